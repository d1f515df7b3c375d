"""Wide holes from smaller pictures: what a small picture says about the inside of a large hole.

A network sees so far, and was trained on holes of so many pixels. Deeper than DEEP inside a hole the colours
come from the picture at half its size, where the hole is half as wide, and so on; the network then fills the rim,
with the inside as known, and both are blended where they meet.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.photos.grow import grown

DEEP = 24
"""Pixels from the nearest known one beyond which half the size does better (docs/performance.md, "Wide holes")."""

_STRIP = 256
"""Rows that are halved at a time."""

_REACH = 3
"""Pixels around a wanted one that doubling looks at."""


def depth_steps(hole: NDArray[np.bool_], start: float, end: float, steps: int) -> NDArray[np.uint8]:
    """``(H, W)``: how many of ``steps`` depths, evenly from ``start`` (excluded) to ``end``, a pixel lies beyond.

    Depth is the distance to the nearest known pixel; beyond the border nothing is known.
    """
    passed = np.zeros(hole.shape, np.uint8)
    for depth in np.linspace(start, end, steps + 1)[1:]:
        deeper = hole & ~grown(~hole, round(depth))
        if not deeper.any():
            break
        passed += deeper
    return passed


def halved_by_strips(
    read: Callable[[slice], NDArray[np.float32]], hole: NDArray[np.bool_]
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """:func:`halved` for a picture whose rows ``read`` gives, ``(C, h, W)``; no copy of the whole is made."""
    pictures, holes = [], []
    for top in range(0, hole.shape[0], _STRIP):
        rows = slice(top, min(top + _STRIP, hole.shape[0]))
        picture, unknown = halved(read(rows), hole[rows])
        pictures.append(picture.astype(np.float16))
        holes.append(unknown)
    return np.concatenate(pictures, axis=1), np.concatenate(holes)


def halved(picture: NDArray[np.float32], hole: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Half the size, rounded up; each pixel is the mean of the known ones among its four, hole where none is."""
    odd = [(0, side % 2) for side in hole.shape]
    known = np.pad(~hole, odd).astype(np.float32)
    sums = _sum_of_four(np.pad(np.where(hole, 0, picture), [(0, 0), *odd]))
    counts = _sum_of_four(known)
    return (sums / np.maximum(counts, 1)).astype(np.float32), counts == 0


def halved_wish(wanted: NDArray[np.bool_], half_hole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pixels of a picture of half the size it takes to double it where ``(H, W)`` ``wanted`` is True."""
    odd = np.pad(wanted, [(0, side % 2) for side in wanted.shape])
    some = np.asarray(odd.reshape(odd.shape[0] // 2, 2, odd.shape[1] // 2, 2).any(axis=(1, 3)))
    return grown(some, _REACH) & half_hole


def doubled(picture: NDArray[np.float16], rows: slice, columns: slice) -> NDArray[np.float32]:
    """The window ``rows``, ``columns`` of ``(C, H/2, W/2)`` at twice the size, bicubic, within 0..1."""
    top, left = max(rows.start // 2 - _REACH, 0), max(columns.start // 2 - _REACH, 0)
    part = picture[:, top : -(-rows.stop // 2) + _REACH, left : -(-columns.stop // 2) + _REACH].astype(np.float32)
    size = (2 * part.shape[2], 2 * part.shape[1])
    larger = np.stack([np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC)) for plane in part])
    y, x = rows.start - 2 * top, columns.start - 2 * left
    return larger[:, y : y + rows.stop - rows.start, x : x + columns.stop - columns.start].clip(0, 1)


def _sum_of_four(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    *more, height, width = maps.shape
    total: NDArray[np.float32] = maps.reshape(*more, height // 2, 2, width // 2, 2).sum(axis=(-3, -1))
    return total
