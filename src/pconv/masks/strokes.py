"""Synthetic irregular holes: random walks with a brush, ellipses and polygons, up to a wanted hole ratio."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pconv.errors import InputError
from pconv.masks.morphology import dilate

RATIO_BINS: tuple[tuple[float, float], ...] = (
    (0.01, 0.1),
    (0.1, 0.2),
    (0.2, 0.3),
    (0.3, 0.4),
    (0.4, 0.5),
    (0.5, 0.6),
)
"""The paper's bins of hole ratios (section 4), each from above its first number up to and including its second."""

_TRIES_PER_HOLE = 400
_THINNEST, _THICKEST = 0.006, 0.16
"""Brush widths as parts of the shorter side: from a scratch to a thumb."""
_THINNEST_PER_RATIO = 0.05
"""The thinnest brush widens by this, times the shorter side, with the hole ratio: half a photo is no scratch."""


def irregular_hole(
    height: int,
    width: int,
    ratio: tuple[float, float] = (0.1, 0.3),
    *,
    border: int = 0,
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """Draw strokes, ellipses and polygons until the part of the image that is hole lies in ``ratio``.

    The brush's width is drawn once for each mask, so some masks are all scratches and some all blots. Sizes are
    relative to the shorter side: the same holes at 256 and at 512 pixels.

    Args:
        height, width: size in pixels.
        ratio: lowest and highest hole ratio, 0 < low <= high < 1; where within it is drawn uniformly.
        border: pixels along each edge that stay valid (the paper's "no border" cells use 50).
        generator: source of randomness; the same state gives the same hole.

    Returns:
        ``(height, width)`` bool, True = hole.

    Raises:
        InputError: no hole of this ratio fits this size and border.
    """
    low, high = ratio
    if not 0 < low <= high < 1:
        raise InputError(f"a hole ratio needs 0 < low <= high < 1, got {low:g}-{high:g}")
    inside = max(height - 2 * border, 0) * max(width - 2 * border, 0) / (height * width)
    if border < 0 or inside < high:
        raise InputError(
            f"a border of {border} px leaves {inside:.0%} of {width}x{height} px for holes, fewer than the wanted "
            f"{high:.0%}: lower the border or the ratio"
        )
    if math.floor(high * height * width) < math.ceil(low * height * width):
        raise InputError(f"no whole number of {width}x{height} pixels is a hole ratio of {low:g}-{high:g}: widen it")

    target = generator.uniform(low, high)
    thinnest = _THINNEST + _THINNEST_PER_RATIO * target
    brush = min(height, width) * math.exp(generator.uniform(math.log(thinnest), math.log(_THICKEST)))
    hole = Image.new("L", (width, height))
    scale = 1.0
    for _ in range(_TRIES_PER_HOLE):
        drawn = hole.copy()
        _add_shape(drawn, brush, scale, generator)
        _clear_border(drawn, border)
        now = drawn.histogram()[1] / (height * width)
        if now > high:
            scale *= 0.7  # too much: a smaller shape next
            continue
        hole = drawn
        if now >= target:
            return _as_array(hole)
    return _fill_up(_as_array(hole), target, high, border)


def _as_array(hole: Image.Image) -> NDArray[np.bool_]:
    return np.array(hole).view(np.bool_)


def _clear_border(hole: Image.Image, border: int) -> None:
    if border:
        width, height = hole.size
        rows = (0, 0, width, border), (0, height - border, width, height)
        columns = (0, 0, border, height), (width - border, 0, width, height)
        for box in rows + columns:
            hole.paste(0, box)


def _add_shape(hole: Image.Image, brush: float, scale: float, generator: np.random.Generator) -> None:
    width, height = hole.size
    draw = ImageDraw.Draw(hole)
    x, y = generator.uniform(0, width), generator.uniform(0, height)
    kind = generator.random()
    if kind < 0.7:
        _draw_stroke(draw, x, y, max(brush * scale, 1.0), scale, min(height, width), generator)
    elif kind < 0.85:
        _draw_polygon(draw, x, y, brush * scale * generator.uniform(0.5, 2.5), generator)
    else:
        _draw_ellipse(draw, x, y, brush * scale * generator.uniform(0.5, 2.5), generator)


def _draw_stroke(
    draw: ImageDraw.ImageDraw,
    x: float,
    y: float,
    brush: float,
    scale: float,
    side: int,
    generator: np.random.Generator,
) -> None:
    """A random walk that keeps its direction for a while, with a round brush whose width wanders."""
    heading = generator.uniform(0, 2 * math.pi)
    for _ in range(generator.integers(3, 12)):
        heading += generator.normal(0, 0.7)
        length = scale * side * generator.uniform(0.03, 0.15)
        thickness = brush * generator.uniform(0.7, 1.3)
        to_x, to_y = x + length * math.cos(heading), y + length * math.sin(heading)
        draw.line((x, y, to_x, to_y), fill=1, width=max(round(thickness), 1))
        radius = (thickness - 1) / 2
        if radius >= 1:
            draw.ellipse((to_x - radius, to_y - radius, to_x + radius, to_y + radius), fill=1)
        x, y = to_x, to_y


def _draw_polygon(
    draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, generator: np.random.Generator
) -> None:
    angles = np.sort(generator.uniform(0, 2 * math.pi, generator.integers(3, 9)))
    radii = radius * generator.uniform(0.4, 1.6, len(angles))
    corners = [(x + r * math.cos(a), y + r * math.sin(a)) for a, r in zip(angles, radii, strict=True)]
    draw.polygon(corners, fill=1)


def _draw_ellipse(
    draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, generator: np.random.Generator
) -> None:
    half_width, half_height = radius * generator.uniform(0.5, 1.5, 2)
    draw.ellipse((x - half_width, y - half_height, x + half_width, y + half_height), fill=1)


def _fill_up(hole: NDArray[np.bool_], target: float, high: float, border: int) -> NDArray[np.bool_]:
    """Where shapes did not hit a narrow range: add the missing pixels along the hole's rim, row by row."""
    height, width = hole.shape
    wanted = min(math.ceil(target * hole.size), math.floor(high * hole.size))
    allowed = np.zeros_like(hole)
    allowed[border : height - border, border : width - border] = True
    while (missing := wanted - int(hole.sum())) > 0:
        rim = np.flatnonzero(dilate(hole, 1) & allowed & ~hole)
        if not len(rim):
            rim = np.array([(height // 2) * width + width // 2]) if not hole.any() else np.flatnonzero(allowed & ~hole)
        hole.flat[rim[:missing]] = True
    return hole
