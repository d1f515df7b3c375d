"""More kinds of synthetic holes: dense thin lines, blobs, and few thin strokes.

Networks that only see ``pconv.irregular_hole`` do badly on text, grids and scratches, whose holes are thin and dense.
All sizes are relative to the shorter side. The numbers in the descriptions are pixels at 512 pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pconv.errors import InputError

Hole = NDArray[np.bool_]

SIDE = 512
"""The shorter side at which sizes are given in pixels."""

_MOST_LINES = 5000


def dense_thin_hole(
    height: int, width: int, ratio: tuple[float, float] = (0.25, 0.6), *, generator: np.random.Generator
) -> Hole:
    """Draw thin lines, and sometimes dots, until the part of the image that is hole reaches a value in ``ratio``.

    The widest line is drawn once for each hole, from 3 to 26 px, evenly in its logarithm. Lines are random walks.

    Args:
        height, width: size in pixels.
        ratio: lowest and highest wanted hole ratio, 0 < low <= high < 1. The last line may exceed it a little.
        generator: source of randomness; the same state gives the same hole.

    Returns:
        ``(height, width)`` bool, True = hole.

    Raises:
        InputError: the ratio or the size is out of range.
    """
    low, high = ratio
    if not 0 < low <= high < 1:
        raise InputError(f"a hole ratio needs 0 < low <= high < 1, got {low:g}-{high:g}")
    canvas = _Canvas(height, width, generator)
    target, widest = generator.uniform(low, high), _log_uniform(generator, 3, 26)
    for number in range(_MOST_LINES):
        canvas.walk(
            _log_uniform(generator, 1.5, widest), generator.uniform(0, 0.6), (8, 60), int(generator.integers(1, 12))
        )
        if generator.random() < 1 / 12:
            canvas.dots(20, max(widest / 2, 2))
        if number % 6 == 5 and canvas.share() >= target:
            break
    return canvas.hole()


def thin_strokes_hole(height: int, width: int, *, generator: np.random.Generator) -> Hole:
    """Draw 3 to 29 strokes of 1 to 6 px, and sometimes dots: scratches and dust.

    Args:
        height, width: size in pixels.
        generator: source of randomness; the same state gives the same hole.

    Returns:
        ``(height, width)`` bool, True = hole.

    Raises:
        InputError: the size is out of range.
    """
    canvas = _Canvas(height, width, generator)
    for _ in range(generator.integers(3, 30)):
        canvas.walk(float(generator.integers(1, 7)), 0.5, (10, 90), int(generator.integers(1, 10)))
    if generator.random() < 0.3:
        canvas.dots(int(generator.integers(5, 60)), 8)
    return canvas.hole()


def blob_hole(height: int, width: int, *, generator: np.random.Generator) -> Hole:
    """Draw 1 to 4 blobs of a radius from 12 to 130 px, most of them with smooth outlines: things to remove.

    Args:
        height, width: size in pixels.
        generator: source of randomness; the same state gives the same hole.

    Returns:
        ``(height, width)`` bool, True = hole.

    Raises:
        InputError: the size is out of range.
    """
    canvas = _Canvas(height, width, generator)
    for _ in range(generator.integers(1, 5)):
        canvas.blob(_log_uniform(generator, 12, 130))
    return canvas.hole()


class _Canvas:
    """Draws a hole; lengths are given in pixels at a shorter side of SIDE."""

    def __init__(self, height: int, width: int, generator: np.random.Generator) -> None:
        if min(height, width) < 1:
            raise InputError(f"a hole needs at least one pixel; got {width}x{height}")
        self._image = Image.new("L", (width, height))
        self._draw, self._generator = ImageDraw.Draw(self._image), generator
        self._scale, self._size = min(height, width) / SIDE, np.array([width, height])

    def hole(self) -> Hole:
        return np.array(self._image).view(np.bool_)

    def share(self) -> float:
        """The part of the canvas that is hole."""
        return self._image.histogram()[1] / (self._image.width * self._image.height)

    def _place(self) -> NDArray[np.float64]:
        return np.asarray(self._generator.uniform(0, 1, 2) * self._size)

    def walk(self, thickness: float, turn: float, lengths: tuple[float, float], steps: int) -> None:
        """A line through ``steps`` turns, whose pieces have lengths between the two."""
        generator = self._generator
        start, heading = self._place(), generator.uniform(0, 2 * math.pi)
        headings = heading + np.cumsum(generator.normal(0, turn, steps))
        reach = generator.uniform(*lengths, steps) * self._scale
        moves = np.stack([np.cos(headings), np.sin(headings)], axis=1) * reach[:, None]
        points = start + np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
        self._draw.line(points.ravel().tolist(), fill=1, width=max(round(thickness * self._scale), 1))

    def dots(self, number: int, largest: float) -> None:
        """Discs with radii from 1 px to ``largest``."""
        for _ in range(number):
            (x, y), radius = self._place(), self._generator.uniform(1, largest) * self._scale
            self._draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1)

    def blob(self, radius: float) -> None:
        """A polygon round a random place, stretched and turned; in 7 of 10 its corners are cut three times."""
        generator = self._generator
        count, turn, stretch = (
            generator.integers(5, 14),
            generator.uniform(0, math.pi),
            math.exp(generator.uniform(-0.7, 0.7)),
        )
        radii = radius * self._scale * generator.uniform(0.55, 1.3, count)
        angles = np.sort(generator.uniform(0, 2 * math.pi, count))
        corners = np.stack([np.cos(angles) * radii * stretch, np.sin(angles) * radii / stretch], axis=1)
        turned = corners @ np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        outline = turned + self._place()
        for _ in range(3 if generator.random() < 0.7 else 0):
            following = np.roll(outline, -1, axis=0)
            outline = np.stack([0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following], 1).reshape(
                -1, 2
            )
        self._draw.polygon([tuple(corner) for corner in outline.tolist()], fill=1)


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return math.exp(generator.uniform(math.log(low), math.log(high)))
