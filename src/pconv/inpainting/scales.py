"""Wide holes: the smooth surface inside them starts from a fill of a smaller image, in which they are narrow.

The network continues edges and colours some 60 pixels into a hole. A fill at half the size continues them twice as
far, and so on. Means over small cells of that fill become the surface that the network starts from at full size. The
means leave out texture, which the network would amplify. For the same reason there are two runs, whatever the width
of the hole: at the size where it is narrow, and at full size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.masks.morphology import dilate

WIDE = 100
"""Pixels from the nearest known one: a hole that has pixels as deep is wide (docs/wide-holes.md)."""

NARROW = 32
"""Pixels: the image is halved until no hole is deeper. Colours and edges count there, and the smaller the image, the
further they reach; a wide hole's texture is made at full size."""

DEEP = 32
"""Depth, in pixels of full size, from which pixels of a wide hole start from the smaller fill."""

CELL = 2
"""Side of the cells, in pixels of the smaller image, over which its fill is averaged."""

_STRIP = 256
"""Rows that are halved at a time."""

_REACH = 4 * CELL
"""Pixels of the smaller image around one, within which lies what its start depends on: the corners of three cells."""


def deep_inside(hole: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """``(H, W)``: the pixels of wide holes that start from a fill of a smaller image; None where no hole is wide.

    Depth is the distance to the nearest known pixel; beyond the border nothing is known. Only what lies near a pixel
    of the depth WIDE counts, so that a narrow hole is filled alike, whether or not there is a wide one elsewhere.

    Args:
        hole: ``(H, W)``.
    """
    core = _deeper(hole, WIDE)
    return None if core is None else dilate(core, WIDE - DEEP) & ~dilate(~hole, DEEP)


def _deeper(hole: NDArray[np.bool_], depth: int) -> NDArray[np.bool_] | None:
    """``(H, W)``: the pixels of the hole that are deeper than ``depth``; None where none is."""
    if not _holds_a_square(hole, depth // 2):
        return None
    core = hole & ~dilate(~hole, depth)
    return core if core.any() else None


def _holds_a_square(hole: NDArray[np.bool_], side: int) -> bool:
    """Whether an aligned square of ``side`` lies in the hole, as in every disc of twice that radius; quickly found."""
    height, width = (length // side * side for length in hole.shape)
    rows = hole[:height, :width].reshape(height, width // side, side).all(axis=2)
    return bool(rows.reshape(height // side, side, width // side).all(axis=1).any())


def depth_steps(hole: NDArray[np.bool_], deepest: float, steps: int) -> NDArray[np.uint8]:
    """``(H, W)``: how many of ``steps`` depths, evenly spaced up to ``deepest``, a pixel lies beyond.

    Depth is the distance to the nearest known pixel; beyond the border nothing is known.
    """
    passed = np.zeros(hole.shape, np.uint8)
    for depth in np.linspace(0, deepest, steps + 1)[1:]:
        deeper = hole & ~dilate(~hole, round(depth))
        if not deeper.any():
            break
        passed += deeper
    return passed


class Smaller(NamedTuple):
    """An image in which no hole is wide."""

    image: NDArray[np.float16]
    """``(C, H / scale, W / scale)``, rounded up."""
    hole: NDArray[np.bool_]
    scale: int
    """How many pixels of full size one of its pixels is wide: a power of two."""


def smaller_by_strips(read: Callable[[slice], NDArray[np.float32]], hole: NDArray[np.bool_]) -> Smaller:
    """An image halved until none of its holes is wide, at least once.

    Args:
        read: gives rows of the image, ``(C, h, W)``, so that no copy of the whole is made.
        hole: ``(H, W)``.
    """
    strips, holes = [], []
    for top in range(0, hole.shape[0], _STRIP):
        rows = slice(top, min(top + _STRIP, hole.shape[0]))
        strip, unknown = halved(read(rows), hole[rows])
        strips.append(strip.astype(np.float16))
        holes.append(unknown)
    half, unknown, scale = np.concatenate(strips, axis=1), np.concatenate(holes), 2
    while _deeper(unknown, NARROW) is not None:
        smaller, unknown = halved(half.astype(np.float32), unknown)
        half, scale = smaller.astype(np.float16), 2 * scale
    return Smaller(half, unknown, scale)


def halved(image: NDArray[np.float32], hole: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Half the size, rounded up; each pixel is the mean of the known ones among its four, hole where none is."""
    odd = [(0, side % 2) for side in hole.shape]
    known = np.pad(~hole, odd).astype(np.float32)
    sums = _sum_of_four(np.pad(np.where(hole, 0, image), [(0, 0), *odd]))
    counts = _sum_of_four(known)
    return (sums / np.maximum(counts, 1)).astype(np.float32), counts == 0


def needed_of_smaller(deep: NDArray[np.bool_], smaller: Smaller) -> NDArray[np.bool_]:
    """Which hole pixels of ``smaller`` are needed for ``surface_start`` where ``(H, W)`` ``deep`` is True."""
    height, width = (-(-side // smaller.scale) for side in deep.shape)
    padded = np.pad(deep, [(0, -side % smaller.scale) for side in deep.shape])
    some = np.asarray(padded.reshape(height, smaller.scale, width, smaller.scale).any(axis=(1, 3)))
    return dilate(some, _REACH) & smaller.hole


def cell_means(image: NDArray[np.float16]) -> NDArray[np.float32]:
    """``(C, h / CELL, w / CELL)``, rounded up: means of ``(C, h, w)`` over cells."""
    padded = np.pad(image, [(0, 0), *((0, -length % CELL) for length in image.shape[1:])], mode="edge")
    channels, height, width = padded.shape
    cells = padded.reshape(channels, height // CELL, CELL, width // CELL, CELL)
    means: NDArray[np.float32] = cells.mean(axis=(2, 4), dtype=np.float32)
    return means


def surface_start(cells: NDArray[np.float32], scale: int, rows: slice, columns: slice) -> NDArray[np.float32]:
    """The window ``rows``, ``columns`` at full size, ``(C, h, w)``, bicubic between the cells, within 0..1."""
    size, side = (columns.stop - columns.start, rows.stop - rows.start), scale * CELL
    box = (columns.start / side, rows.start / side, columns.stop / side, rows.stop / side)
    planes = [Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC, box) for plane in cells]
    return np.stack([np.asarray(plane) for plane in planes]).clip(0, 1)


def _sum_of_four(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    *more, height, width = maps.shape
    total: NDArray[np.float32] = maps.reshape(*more, height // 2, 2, width // 2, 2).sum(axis=(-3, -1))
    return total
