"""Synthetic holes to train on: the mixture of kinds that the bundled model has seen, and rectangles for comparison."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.masks.shapes import blob_hole, dense_thin_hole, thin_strokes_hole
from pconv.masks.strokes import irregular_hole

Hole = NDArray[np.bool_]

SIDE = 512
"""Sides of prepared holes, px; larger crops have them larger."""

LEAST = 0.004
"""The lowest hole ratio of a crop."""

SPREAD = 0.05
"""An irregular hole's ratio lies in a range so wide, which is drawn from the whole: small holes are not left out."""

TRIES = 20


class _Kind(NamedTuple):
    number: int
    prepared: int
    """How many holes are prepared, each when it is first needed: it serves many crops, at many places and sizes."""
    most: float
    """The highest hole ratio of a crop."""


_MIXED, _DENSE = _Kind(0, prepared=3000, most=0.65), _Kind(1, prepared=1000, most=0.9)


class MixedHoles:
    """Holes of several kinds: dense thin lines; else 55 % irregular, 30 % blobs, 15 % few thin strokes.

    A hole is a random crop of a prepared one, which is drawn once at 512 px and kept: at its own size, or shrunk to
    1 to 2 times the crop (dense thin lines always at their own size), flipped and transposed at random. Hole number n
    of a kind is a function of the seed and n, so that every process has the same ones.

    Args:
        seed: of the prepared holes.
        dense_thin_share: which part of the crops has dense thin holes, 0 to 1.
    """

    def __init__(self, seed: int, dense_thin_share: float) -> None:
        self._seed, self._dense_thin_share = seed, dense_thin_share
        self._prepared: dict[tuple[int, int, int], NDArray[np.uint8]] = {}

    def __call__(self, height: int, width: int, ratio: tuple[float, float], *, generator: np.random.Generator) -> Hole:
        """A square mask of ``height`` pixels, True = hole; ``ratio`` limits the irregular ones before the crop."""
        kind = _DENSE if generator.random() < self._dense_thin_share else _MIXED
        for _ in range(TRIES):
            hole = self._hole(kind, int(generator.integers(kind.prepared)), max(SIDE, height), ratio)
            scale = generator.random()
            if kind is _MIXED and scale < 0.35:
                hole = _resized(hole, min(2 * height, len(hole)))
            elif kind is _MIXED and scale < 0.7:
                hole = _resized(hole, min(int(height * generator.uniform(1, 1.8)), len(hole)))
            top, left = generator.integers(0, len(hole) - height + 1, 2)
            hole = hole[top : top + height, left : left + width]
            hole = hole[:: generator.choice((1, -1)), :: generator.choice((1, -1))]
            hole = hole.T if generator.random() < 0.5 else hole
            if LEAST <= hole.mean() <= kind.most:
                return hole
        return irregular_hole(height, width, ratio, generator=generator)

    def _hole(self, kind: _Kind, number: int, side: int, ratio: tuple[float, float]) -> Hole:
        key = kind.number, number, side
        packed = self._prepared.get(key)
        if packed is None:
            generator = np.random.default_rng([self._seed, 5, kind.number, number])
            packed = np.packbits(_draw(kind, side, ratio, generator))
            self._prepared[key] = packed
        return np.unpackbits(packed, count=side * side).view(np.bool_).reshape(side, side)


def _draw(kind: _Kind, side: int, ratio: tuple[float, float], generator: np.random.Generator) -> Hole:
    if kind is _DENSE:
        return dense_thin_hole(side, side, generator=generator)
    which = generator.random()
    if which < 0.55:
        low, high = ratio
        least = generator.uniform(low, max(high - SPREAD, low))
        return irregular_hole(side, side, (least, min(least + SPREAD, high)), generator=generator)
    if which < 0.85:
        return blob_hole(side, side, generator=generator)
    return thin_strokes_hole(side, side, generator=generator)


def _resized(hole: Hole, side: int) -> Hole:
    """Nearest-neighbour resizing of a square mask."""
    image = Image.fromarray(hole.view(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    return np.array(image).view(np.bool_)


def rectangle_hole(height: int, width: int, ratio: tuple[float, float], *, generator: np.random.Generator) -> Hole:
    """One rectangle at a random place, such as other methods are trained with.

    Args:
        height, width: size in pixels.
        ratio: lowest and highest wanted hole ratio, 0 < low <= high < 1; rounding to pixels may leave it a little.
        generator: source of randomness.

    Returns:
        ``(height, width)`` bool, True = hole.
    """
    area = generator.uniform(*ratio) * height * width
    stretch = np.exp(generator.uniform(np.log(0.5), np.log(2)))
    tall = int(np.clip(round(np.sqrt(area * stretch)), max(np.ceil(area / width), 1), height))
    wide = int(np.clip(round(area / tall), 1, width))
    top, left = generator.integers(height - tall + 1), generator.integers(width - wide + 1)
    hole = np.zeros((height, width), dtype=bool)
    hole[top : top + tall, left : left + wide] = True
    return hole
