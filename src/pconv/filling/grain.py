"""Grain: as much of the finest detail in a fill as there is around the hole.

What a network or a transform estimates is a mean of all that could have been there, and so smoother than any photo:
beside sensor noise, grass or cloth it looks like plastic. What exactly the fine detail was nobody knows, but how much
of it there is changes slowly over a photo. So its amount is measured where the photo is known and carried into the
hole, and noise makes up for what the fill lacks. The noise is weak, and costs little of the squared error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.filling.planes import REACH, blurred, carried
from pconv.filling.regions import Box

SHARE = 0.7
"""The middle of a wide hole gets so much of the amount around it; near known pixels a fill is right as it is."""
AROUND = 32
"""Pixels around a place in which known ones make it less open."""
CELL = 8
"""Side of the squares, in pixels, over which amounts are measured."""
PERIOD = 512
"""Pixels after which the noise repeats."""

Colours = NDArray[np.float32]
Hole = NDArray[np.bool_]

_STRIP = 32 * CELL


def amounts(read: Callable[[slice], Colours], hole: Hole) -> NDArray[np.float32]:
    """How much fine detail there is where a picture is known, and should be in its hole.

    Args:
        read: gives rows of the picture, ``(C, h, W)``, values in 0..1.
        hole: ``(H, W)``, True = unknown; what ``read`` gives there has no say.

    Returns:
        ``(ceil(H / 8), ceil(W / 8))``: for each cell a robust mean of ``|x - blurred x|``. Few strong edges count
        little in it.
    """
    height = hole.shape[0]
    parts = []
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        seen = slice(max(top - REACH, 0), min(bottom + REACH, height))
        known = ~hole[seen]
        inside = slice(top - seen.start, bottom - seen.start)
        fine, weight = _fine(read(seen).mean(axis=0), known)
        parts.append(_measured(fine[inside], (known * weight)[inside]))
    return _carried(*(np.concatenate(maps) for maps in zip(*parts, strict=True)))


def grained(filled: Colours, hole: Hole, amount: NDArray[np.float32], place: Box) -> Colours:
    """``filled`` with noise in its holes, where it has less fine detail than there should be.

    Args:
        filled: ``(C, h, w)``, values in 0..1, a part of a picture.
        hole: ``(h, w)``.
        amount: what :func:`amounts` says of the whole picture.
        place: where in it ``filled`` lies.

    Returns:
        ``(C, h, w)``, values in 0..1, and ``filled`` bit for bit where ``hole`` is False. The noise is one for all
        channels, and always the same at one place of a picture.
    """
    if not hole.any():
        return filled
    whole = Box(0, hole.shape[0], 0, hole.shape[1])
    grey = filled.mean(axis=0)
    fine = grey - blurred(grey)
    there = _at_pixels(_carried(*_measured(fine, hole.astype(np.float32))), whole)
    wanted = SHARE * np.sqrt(_openness(hole)) * _at_pixels(amount, place)
    strength = np.sqrt(np.maximum(wanted**2 - there**2, 0))
    noise = _noise()[np.ix_(np.arange(place.top, place.bottom) % PERIOD, np.arange(place.left, place.right) % PERIOD)]
    return np.where(hole, np.clip(filled + strength * noise, 0, 1), filled)


def _openness(hole: Hole) -> Colours:
    """How much of its surroundings, some 32 pixels wide, is hole: the less, the nearer the truth a fill is."""
    parts = _by_cell(hole.astype(np.float32), AROUND)
    return _at_pixels(parts / np.float32(AROUND**2), Box(0, hole.shape[0], 0, hole.shape[1]), AROUND)


def _fine(grey: Colours, known: Hole) -> tuple[Colours, Colours]:
    """What a blur takes away, from known pixels alone, and how much of the blur's weight these have."""
    weight = blurred(known.astype(np.float32))
    without = blurred(np.where(known, grey, np.float32(0))) / np.maximum(weight, np.float32(1e-6))
    return np.where(known, grey - without, np.float32(0)), weight


def _measured(fine: Colours, weight: Colours) -> tuple[Colours, Colours]:
    """By cell, the weighted sum of the roots of amounts and the sum of the weights."""
    return _by_cell(np.sqrt(np.abs(fine)) * weight), _by_cell(weight)


def _by_cell(plane: Colours, side: int = CELL) -> Colours:
    height, width = plane.shape
    padded = np.pad(plane, [(0, -height % side), (0, -width % side)])
    sums: Colours = padded.reshape(-(-height // side), side, -(-width // side), side).sum(axis=(1, 3))
    return sums


def _carried(sums: Colours, weights: Colours) -> Colours:
    """Amounts by cell, half of a known cell's from its surroundings."""
    return np.square(carried(sums, weights, CELL**2))


def _at_pixels(cells: Colours, place: Box, side: int = CELL) -> Colours:
    """Values of cells at the pixels of ``place``, linearly between the cells' centres."""
    size = place.right - place.left, place.bottom - place.top
    box = (place.left / side, place.top / side, place.right / side, place.bottom / side)
    return np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.BILINEAR, box))


@cache
def _noise() -> Colours:
    """Noise without anything coarse, ``(512, 512)``, whose ends meet; its robust mean amount is 1."""
    white = np.random.default_rng(0).standard_normal((PERIOD, PERIOD), np.float32)
    wrapped = np.pad(white, REACH, mode="wrap")
    fine = (wrapped - blurred(wrapped))[REACH:-REACH, REACH:-REACH]
    noise: Colours = fine / np.square(np.sqrt(np.abs(fine)).mean())
    return noise
