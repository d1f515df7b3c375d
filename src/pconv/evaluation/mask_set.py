"""The generated holes of the protocol: the same bits on every machine, with every version of the packages.

``pconv.irregular_hole``, which draws holes to train on, uses Pillow, whose lines and ellipses differ between
versions. Here shapes are computed from coordinates that are rounded to sixteenths of a pixel. Thus the last bit of a
sine does not matter. Networks are not trained with this generator.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Hole = NDArray[np.bool_]

_SHAPES = 600
_GRID = 16
"""Parts of a pixel that coordinates are rounded to."""
_THINNEST, _THICKEST = 0.012, 0.14
"""Brush widths as parts of the shorter side."""
_ELLIPSES = 0.25
"""Part of the shapes that are ellipses; the others are strokes."""


def generate_hole(
    height: int, width: int, ratio: tuple[float, float], margin: int, generator: np.random.Generator
) -> Hole | None:
    """Strokes and ellipses until the hole ratio is in (low, high].

    Args:
        height, width: px.
        ratio: low and high.
        margin: px along each edge that stay valid.
        generator: only its ``random()`` is used.

    Returns:
        ``(height, width)`` bool, True = hole; None where the shapes do not reach that ratio.
    """
    low, high = ratio
    allowed = np.zeros((height, width), dtype=bool)
    allowed[margin : height - margin, margin : width - margin] = True
    hole = np.zeros_like(allowed)
    side = min(height, width)
    target = low + (high - low) * (0.1 + 0.8 * generator.random())
    thinnest = _THINNEST + 0.03 * target
    brush = side * thinnest * (_THICKEST / thinnest) ** generator.random()
    scale = 1.0
    for _ in range(_SHAPES):
        drawn = hole.copy()
        if generator.random() < _ELLIPSES:
            _draw_ellipse(drawn, brush * scale, generator)
        else:
            _draw_stroke(drawn, brush * scale, side * scale, generator)
        drawn &= allowed
        if np.count_nonzero(drawn) > high * hole.size:
            scale *= 0.7
            continue
        hole = drawn
        if np.count_nonzero(hole) >= target * hole.size:
            return hole
    return None


def _draw_stroke(hole: Hole, brush: float, side: float, generator: np.random.Generator) -> None:
    """A random walk that keeps its direction for a while; the brush is round and its width wanders."""
    x, y = generator.random() * hole.shape[1], generator.random() * hole.shape[0]
    heading = 2 * math.pi * generator.random()
    for _ in range(3 + int(generator.random() * 9)):
        heading += 1.4 * (generator.random() + generator.random() + generator.random() - 1.5)
        length = side * (0.03 + 0.12 * generator.random())
        radius = max(brush * (0.35 + 0.3 * generator.random()), 0.75)
        to_x, to_y = x + length * math.cos(heading), y + length * math.sin(heading)
        _draw_capsule(hole, *(_on_grid(value) for value in (x, y, to_x, to_y, radius)))
        x, y = to_x, to_y


def _draw_capsule(hole: Hole, x: float, y: float, to_x: float, to_y: float, radius: float) -> None:
    """Every pixel whose centre is within ``radius`` of a line."""
    part, columns, rows = _around(hole, min(x, to_x), max(x, to_x), min(y, to_y), max(y, to_y), radius)
    dx, dy = to_x - x, to_y - y
    along = ((columns - x) * dx + (rows - y) * dy) / max(dx * dx + dy * dy, 1 / _GRID**2)
    along = np.clip(along, 0, 1)
    part |= np.square(columns - x - along * dx) + np.square(rows - y - along * dy) <= radius * radius


def _draw_ellipse(hole: Hole, brush: float, generator: np.random.Generator) -> None:
    x, y = (_on_grid(generator.random() * side) for side in hole.shape[::-1])
    across, along = (_on_grid(max(brush * (0.3 + 2.2 * generator.random()), 1.0)) for _ in range(2))
    angle = math.pi * generator.random()
    cos, sin = _on_grid(math.cos(angle) * 64) / 64, _on_grid(math.sin(angle) * 64) / 64
    part, columns, rows = _around(hole, x, x, y, y, max(across, along) * 1.01)
    u = (columns - x) * cos + (rows - y) * sin
    v = (rows - y) * cos - (columns - x) * sin
    part |= np.square(u / across) + np.square(v / along) <= 1


def _around(
    hole: Hole, left: float, right: float, top: float, bottom: float, reach: float
) -> tuple[Hole, NDArray[np.float64], NDArray[np.float64]]:
    """The part of the map that a shape can touch, and its pixels' columns and rows."""
    height, width = hole.shape
    first_column, first_row = max(math.floor(left - reach), 0), max(math.floor(top - reach), 0)
    last_column, last_row = min(math.ceil(right + reach) + 1, width), min(math.ceil(bottom + reach) + 1, height)
    columns = np.arange(first_column, max(last_column, first_column), dtype=np.float64)
    rows = np.arange(first_row, max(last_row, first_row), dtype=np.float64)[:, None]
    return hole[first_row : first_row + len(rows), first_column : first_column + len(columns)], columns, rows


def _on_grid(value: float) -> float:
    return round(value * _GRID) / _GRID
