"""What the steps behind the network do to planes of values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.filling.regions import Box
from pconv.filling.wide import sum_of_four, twice

Planes = NDArray[np.float32]

REACH = 2
"""Pixels that :func:`blurred` looks to each side."""
AROUND = 32
"""Pixels around a place in which known ones make it less open."""
_TAPS = np.array([1, 4, 6, 4, 1], np.float32) / 16


def blurred(planes: Planes) -> Planes:
    """``(..., H, W)`` under a binomial blur of variance 1; beyond the edges they go on as they end."""
    for axis in (-2, -1):
        around = [(0, 0)] * planes.ndim
        around[axis] = (REACH, REACH)
        padded = np.pad(planes, around, mode="edge").swapaxes(axis, 0)
        length = planes.shape[axis]
        planes = padded[:length] * _TAPS[0]
        for tap, share in enumerate(_TAPS[1:], start=1):
            planes += padded[tap : tap + length] * share
        planes = planes.swapaxes(axis, 0)
    return planes


def block_sums(plane: NDArray[np.bool_] | Planes, side: int) -> NDArray[np.float64]:
    """Sums over the block that begins at each pixel, ``(H - side + 1, W - side + 1)``; of counts they are exact."""
    sums = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1))
    np.cumsum(np.cumsum(plane, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    found: NDArray[np.float64] = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return found


def carried(sums: Planes, weights: Planes, few: float) -> Planes:
    """Weighted means at each place of ``(H, W)`` maps, carried to where there is no weight.

    The surroundings of a place count for as much as a weight of ``few`` there; they in turn are counted with theirs.
    """
    height, width = sums.shape
    if height == width == 1:
        return np.asarray(sums / np.maximum(weights, 1e-6), np.float32)
    odd = [(0, height % 2), (0, width % 2)]
    around = carried(sum_of_four(np.pad(sums, odd)), sum_of_four(np.pad(weights, odd)), few)
    wider = twice(around[None], Image.Resampling.BILINEAR)[0, :height, :width]
    return np.asarray((sums + few * wider) / (weights + few), np.float32)


def openness(hole: NDArray[np.bool_]) -> Planes:
    """How much of what lies around a pixel, some 32 pixels wide, is hole: the less, the nearer the truth a fill is."""
    parts = by_cell(hole.astype(np.float32), AROUND)
    return at_pixels(parts / np.float32(AROUND**2), Box(0, hole.shape[0], 0, hole.shape[1]), AROUND)


def by_cell(plane: Planes, side: int) -> Planes:
    """Sums over squares of ``side`` pixels, ``(ceil(H / side), ceil(W / side))``."""
    height, width = plane.shape
    padded = np.pad(plane, [(0, -height % side), (0, -width % side)])
    sums: Planes = padded.reshape(-(-height // side), side, -(-width // side), side).sum(axis=(1, 3))
    return sums


def at_pixels(cells: Planes, place: Box, side: int) -> Planes:
    """Values of cells of ``side`` pixels at the pixels of ``place``, linearly between the cells' centres."""
    size = place.right - place.left, place.bottom - place.top
    box = (place.left / side, place.top / side, place.right / side, place.bottom / side)
    return np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.BILINEAR, box))
