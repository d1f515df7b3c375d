"""Dilation of a mask, on bits packed into words: fast on large images with numpy alone."""

from __future__ import annotations

from math import floor, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]


def dilate(mask: NDArray[np.bool_], radius: float, square: bool = False) -> NDArray[np.bool_]:
    """``(H, W)`` mask with every pixel added that is at most ``radius`` away from it.

    The disc is a stack of horizontal strokes: the mask is widened step by step, and each width is moved up and down
    by the rows that have it.

    Args:
        mask: ``(H, W)`` bool.
        radius: pixels, 0 or more; need not be whole.
        square: the distance is the larger of the horizontal and the vertical one, not the Euclidean one.
    """
    if radius <= 0 or not mask.any():
        return mask.copy()
    margin = floor(radius)
    top, bottom = _extent(np.any(mask, axis=1), margin)
    left, right = _extent(np.any(mask, axis=0), margin)
    result = mask.copy()
    result[top:bottom, left:right] = _dilated(mask[top:bottom, left:right], radius, square)
    return result


def _dilated(mask: NDArray[np.bool_], radius: float, square: bool) -> NDArray[np.bool_]:
    height, width = mask.shape
    widened = _packed(mask)
    result = np.zeros_like(widened)
    reach = 0
    for away in range(floor(radius), -1, -1):
        while reach < floor(radius if square else sqrt(radius * radius - away * away)):
            widened = widened | _left(widened) | _right(widened)
            reach += 1
        if away < height:
            result[away:] |= widened[: height - away]
            result[: height - away] |= widened[away:]
    return np.unpackbits(result.byteswap().view(np.uint8), axis=1, count=width).astype(np.bool_)


def _packed(mask: NDArray[np.bool_]) -> Words:
    """64 pixels of a row per word, the leftmost in its highest bit."""
    height, width = mask.shape
    bits = np.zeros((height, -(-width // 64) * 8), np.uint8)
    packed = np.packbits(mask, axis=1)
    bits[:, : packed.shape[1]] = packed
    return bits.view(">u8").astype(np.uint64)


def _left(words: Words) -> Words:
    moved = words << np.uint64(1)
    moved[:, :-1] |= words[:, 1:] >> np.uint64(63)
    return moved


def _right(words: Words) -> Words:
    moved = words >> np.uint64(1)
    moved[:, 1:] |= words[:, :-1] << np.uint64(63)
    return moved


def _extent(lines: Any, margin: int) -> tuple[int, int]:
    places = np.flatnonzero(lines)
    return max(int(places[0]) - margin, 0), min(int(places[-1]) + margin + 1, len(lines))
