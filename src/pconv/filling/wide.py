"""Wide holes: the smooth surface inside them starts from a fill at half the size, where they are half as wide.

The network continues edges and colours some 60 pixels into a hole. A fill at half the size continues them twice as
far. Its means over small cells become the surface that the network starts from at full size. The means leave out
texture: the network would amplify it instead of making its own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.photos.grow import grown

WIDE = 100
"""Pixels from the nearest known one: a hole that has pixels as deep is wide (docs/wide-holes.md)."""

WIDE_BELOW = 32
"""The same at half the size and below. Colours and edges count there, and the smaller the image, the further they
reach; a wide hole's texture is made at full size."""

DEEP = 32
"""Depth, in pixels, from which pixels of a wide hole start from the fill at half the size."""

CELL = 8
"""Side of the cells, in pixels, over which the fill at half the size is averaged."""

_STRIP = 256
"""Rows that are halved at a time."""

_REACH = 16
"""Pixels of the fill at half the size around one, within which lies what its start depends on: the corners of three
cells."""


def deep_inside(hole: NDArray[np.bool_], coarse: bool) -> NDArray[np.bool_] | None:
    """``(H, W)``: the pixels of wide holes that start from a fill at half the size; None where no hole is wide.

    Depth is the distance to the nearest known pixel; beyond the border nothing is known. Only what lies near a pixel
    of the least depth counts, so that a narrow hole is filled alike, whether or not there is a wide one elsewhere.

    Args:
        hole: ``(H, W)``.
        coarse: the least depth is WIDE_BELOW, not WIDE.
    """
    width = WIDE_BELOW if coarse else WIDE
    if not _holds_a_square(hole, width // 2):
        return None
    core = hole & ~grown(~hole, width)
    if not core.any():
        return None
    return grown(core, width - DEEP) & ~grown(~hole, DEEP)


def _holds_a_square(hole: NDArray[np.bool_], side: int) -> bool:
    """Whether an aligned square of ``side`` lies in the hole, as in every disc of twice that radius; quickly found."""
    height, width = (length // side * side for length in hole.shape)
    rows = hole[:height, :width].reshape(height, width // side, side).all(axis=2)
    return bool(rows.reshape(height // side, side, width // side).all(axis=1).any())


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


def needed_at_half_size(deep: NDArray[np.bool_], half_hole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which hole pixels of the half-size image :func:`surface_start` needs where ``(H, W)`` ``deep`` is True."""
    odd = np.pad(deep, [(0, side % 2) for side in deep.shape])
    some = np.asarray(odd.reshape(odd.shape[0] // 2, 2, odd.shape[1] // 2, 2).any(axis=(1, 3)))
    return grown(some, _REACH) & half_hole


def cell_means(half: NDArray[np.float16]) -> NDArray[np.float32]:
    """``(C, H / CELL, W / CELL)``, rounded up: means of ``(C, H / 2, W / 2)`` over the cells of the full size."""
    side = CELL // 2
    padded = np.pad(half, [(0, 0), *((0, -length % side) for length in half.shape[1:])], mode="edge")
    channels, height, width = padded.shape
    cells = padded.reshape(channels, height // side, side, width // side, side)
    means: NDArray[np.float32] = cells.mean(axis=(2, 4), dtype=np.float32)
    return means


def surface_start(cells: NDArray[np.float32], rows: slice, columns: slice) -> NDArray[np.float32]:
    """The window ``rows``, ``columns`` at full size, ``(C, h, w)``, bicubic between the cells, within 0..1."""
    size = (columns.stop - columns.start, rows.stop - rows.start)
    box = (columns.start / CELL, rows.start / CELL, columns.stop / CELL, rows.stop / CELL)
    planes = [Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC, box) for plane in cells]
    return np.stack([np.asarray(plane) for plane in planes]).clip(0, 1)


def _sum_of_four(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    *more, height, width = maps.shape
    total: NDArray[np.float32] = maps.reshape(*more, height // 2, 2, width // 2, 2).sum(axis=(-3, -1))
    return total
