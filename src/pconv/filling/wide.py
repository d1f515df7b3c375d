"""Holes wider than the network sees, from smaller pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.filling.backends import Backend


def fill_wide(backend: Backend, picture: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill one ``(C, H, W)`` picture, values in 0..1, where ``(H, W)`` ``hole`` is True, however wide the hole.

    Where a hole is wider than the network sees, its middle stays unknown, and the network's output there is a
    constant. At half the size the hole is half as wide; what is still out of reach comes from a quarter, and so on.
    """
    fills, reached = backend.fill(picture[None], hole[None, None])
    if reached.all() or hole.all() or min(hole.shape) < 2:
        alone: NDArray[np.float32] = fills[0]
        return alone
    coarse = fill_wide(backend, *halved(picture, hole))
    height, width = hole.shape
    larger = [Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in coarse]
    coarse = np.stack([np.asarray(plane) for plane in larger])
    return np.where(reached[0], fills[0], coarse).astype(np.float32, copy=False)


def halved(picture: NDArray[np.float32], hole: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Half the size, rounded up; each pixel is the mean of the known ones among its four, hole where none is."""
    odd = [(0, side % 2) for side in hole.shape]
    known = np.pad(~hole, odd).astype(np.float32)
    sums = _sum_of_four(np.pad(np.where(hole, 0, picture), [(0, 0), *odd]))
    counts = _sum_of_four(known)
    return (sums / np.maximum(counts, 1)).astype(np.float32), counts == 0


def _sum_of_four(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    *more, height, width = maps.shape
    total: NDArray[np.float32] = maps.reshape(*more, height // 2, 2, width // 2, 2).sum(axis=(-3, -1))
    return total
