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

from pconv.filling.planes import REACH, at_pixels, blurred, by_cell, carried, openness
from pconv.filling.regions import Box

SHARE = 0.7
"""The middle of a wide hole gets so much of the amount around it."""
LESS = 0.35
"""Power of the openness by which other places get less: near known pixels a fill is right as it is."""
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
    there = at_pixels(_carried(*_measured(fine, hole.astype(np.float32))), whole, CELL)
    wanted = SHARE * openness(hole) ** LESS * at_pixels(amount, place, CELL)
    strength = np.sqrt(np.maximum(wanted**2 - there**2, 0))
    noise = _noise()[np.ix_(np.arange(place.top, place.bottom) % PERIOD, np.arange(place.left, place.right) % PERIOD)]
    return np.where(hole, np.clip(filled + strength * noise, 0, 1), filled)


def _fine(grey: Colours, known: Hole) -> tuple[Colours, Colours]:
    """What a blur takes away, from known pixels alone, and how much of the blur's weight these have."""
    weight = blurred(known.astype(np.float32))
    without = blurred(np.where(known, grey, np.float32(0))) / np.maximum(weight, np.float32(1e-6))
    return np.where(known, grey - without, np.float32(0)), weight


def _measured(fine: Colours, weight: Colours) -> tuple[Colours, Colours]:
    """By cell, the weighted sum of the roots of amounts and the sum of the weights."""
    return by_cell(np.sqrt(np.abs(fine)) * weight, CELL), by_cell(weight, CELL)


def _carried(sums: Colours, weights: Colours) -> Colours:
    """Amounts by cell, half of a known cell's from its surroundings."""
    return np.square(carried(sums, weights, CELL**2))


@cache
def _noise() -> Colours:
    """Noise ``(512, 512)`` whose ends meet, with a robust mean amount of 1.

    It is as fine as can be: so it has the most of gradients for the squared error that it costs.
    """
    noise = np.random.default_rng(0).standard_normal((PERIOD, PERIOD), np.float32)
    for _ in range(2):
        wrapped = np.pad(noise, REACH, mode="wrap")
        noise = (wrapped - blurred(wrapped))[REACH:-REACH, REACH:-REACH]
    return np.asarray(noise / np.square(np.sqrt(np.abs(noise)).mean()), np.float32)
