"""What a mask marks: one rule for files, Pillow images, arrays and tensors, wherever they come in.

| mask | hole |
|---|---|
| bool | True |
| one value | 0: none; the type's largest value: everything; another value is refused |
| two values | the larger one; a note where it is not the type's largest value |
| more than two values, integers, at most 32 of them and all below 64 | a label map: refused without chosen labels |
| other greys | from half of the type's range on; a note where more than 1 % is neither dark nor bright |
| two colours, one of them black | the other one |
| colours that are nearly grey | as grey |
| other colours | refused |
| alpha that varies | colours times alpha; where one colour is visible only, alpha itself, with a note |
| palette of two colours in use | as colours; of more, which are no greys: a label map of its indices |
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pconv.errors import InputError

Hole = NDArray[np.bool_]
Values = NDArray[Any]

MOST_LABELS = 32
LABELS_BELOW = 64
"""A mask of at most 32 different whole numbers below 64 is a label map. Soft edges have other values."""

NEARLY_GREY = 24
"""Largest difference between the channels of a grey image, of 255: JPEG stores colours coarsely."""

SOFT = (0.1, 0.9)
"""Parts of the range between which a pixel is neither dark nor bright."""
MANY_SOFT = 0.01

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601."""


class _Reading(NamedTuple):
    """How a mask is read, and where notes go."""

    labels: Collection[int]
    bright_from: float
    notes: list[str]


def hole_from_values(
    values: Values,
    *,
    alpha: Values | None = None,
    palette: NDArray[np.uint8] | None = None,
    labels: Collection[int] = (),
    bright_from: float = 0.5,
    notes: list[str] | None = None,
) -> Hole:
    """The hole that a mask marks, by the table of this module.

    Args:
        values: ``(H, W)`` or ``(H, W, 1)`` greys or palette indices, or ``(H, W, 3)`` colours: bool, integers, or
            floats in 0..1.
        alpha: ``(H, W)``, of the type and scale of ``values``; of a palette's entries in 0..255.
        palette: ``(N, 3)``, colours in 0..255 of the indices in ``values``.
        labels: values of a label map that are the hole; none chosen: a label map is refused.
        bright_from: part of the range from which other greys are the hole.
        notes: sentences for the user are added to it.

    Returns:
        ``(H, W)`` bool, True = hole.

    Raises:
        InputError: the values do not say what the hole is; the message names them and what to do.
    """
    reading = _Reading(labels, bright_from, [] if notes is None else notes)
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if values.dtype == bool:
        return values.copy() if values.ndim == 2 else _of_greys(_luminance(values.astype(np.uint8) * 255), reading)
    if palette is not None:
        values = np.minimum(values, len(palette) - 1)
        used = np.flatnonzero(np.bincount(values.ravel(), minlength=len(palette)))
        colours = palette[used]
        if labels or (len(used) > 2 and not _nearly_grey(colours, 255)):
            return _of_labels(values, labels)
        values = palette[values]
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise InputError("the mask has NaN or Inf; give a mask of whole numbers, bool, or floats in 0..1")
    if alpha is not None and alpha.size and alpha.min() != alpha.max():
        visible = values[alpha > 0]
        if (visible == visible[0]).all():
            reading.notes.append("the mask has one colour, so its opaque part is filled")
            return _of_greys(alpha, reading)
        values = _times(values, alpha)
    return _of_greys(values, reading) if values.ndim == 2 else _of_colours(values, reading)


def _of_colours(values: Values, reading: _Reading) -> Hole:
    full = _full_scale(values)
    if _nearly_grey(values, full):
        equal = (values == values[..., :1]).all()
        return _of_greys(values[..., 0] if equal else _luminance(values), reading)
    first = values[0, 0]
    differs = (values != first).any(axis=2)
    second = values[differs][0] if differs.any() else first
    if not (~differs | (values == second).all(axis=2)).all() or (first.any() and second.any()):
        raise InputError(
            "the mask has many colours: it looks like a photo (are photo and mask swapped?); give a mask in black and "
            "white, or name the colour that is painted over in the photo with --hole color:#RRGGBB"
        )
    hole = ~differs if first.any() else differs
    marked = first if first.any() else second
    reading.notes.append(f"the mask is black and {_shown(marked, full)}: {_shown(marked, full)} is filled")
    return np.asarray(hole)


def _of_greys(values: Values, reading: _Reading) -> Hole:
    if reading.labels:
        return _of_labels(values, reading.labels)
    low, high = values.min(), values.max()
    full = _full_scale(values)
    if low == high:
        if low not in (0, full):
            raise InputError(
                f"the mask has one value only, {low:g}, so it does not say what to fill; give 0 for known pixels and "
                f"{full:g} for the hole"
            )
        return np.full(values.shape, low != 0)
    bright: Hole = values == high
    if (bright | (values == low)).all():
        if high != full:
            reading.notes.append(f"the mask has the values {low:g} and {high:g}: {high:g} is filled")
        return bright
    if np.issubdtype(values.dtype, np.integer) and low >= 0 and high < LABELS_BELOW:
        found = np.flatnonzero(np.bincount(values.ravel().astype(np.uint8)))
        if len(found) <= MOST_LABELS:
            raise InputError(
                f"the mask looks like a label map with the values {', '.join(map(str, found))}; choose which are "
                f"filled with --label (label= in Python), such as --label {found[-1]}"
            )
    if low < 0 or high > full:
        raise InputError(f"the mask has values of {low:g} to {high:g}; give values of 0 to {full:g}")
    lowest = reading.bright_from * full
    soft = np.count_nonzero((values > SOFT[0] * full) & (values < SOFT[1] * full)) / values.size
    if soft > MANY_SOFT:
        reading.notes.append(f"{soft:.0%} of the mask is neither dark nor bright; it is filled from {lowest:g} on")
    return np.asarray(values >= lowest)


def _of_labels(values: Values, labels: Collection[int]) -> Hole:
    if not labels:
        found = np.flatnonzero(np.bincount(values.ravel()))
        raise InputError(
            f"the mask is a palette image with the indices {', '.join(map(str, found[:MOST_LABELS]))}; choose which "
            f"are filled with --label (label= in Python), such as --label {found[-1]}"
        )
    if values.ndim != 2:
        raise InputError("labels choose among the values of a grey or palette mask, and this mask has colours")
    chosen: Hole = np.isin(values, list(labels))
    return chosen


def _full_scale(values: Values) -> float:
    """What white is: 1 for floats, 255 or 65535 for integers, by their type or, in wider types, by their values."""
    if np.issubdtype(values.dtype, np.floating):
        return 1.0
    if values.dtype.itemsize <= 2:
        return float(np.iinfo(values.dtype).max)
    return 255.0 if values.size and values.max() <= 255 else 65535.0


def _nearly_grey(colours: Values, full: float) -> bool:
    most = NEARLY_GREY * full / 255
    return all(
        bool((strip.max(axis=-1).astype(np.float32) - strip.min(axis=-1) <= most).all())
        for (strip,) in _strips(colours)
    )


def _luminance(colours: Values) -> Values:
    """The grey of colours, of the same type."""
    return np.concatenate([_as(strip @ LUMINANCE, colours.dtype) for (strip,) in _strips(colours)])


def _times(values: Values, alpha: Values) -> Values:
    """Colours or greys over black."""
    full = np.float32(_full_scale(alpha))
    products = []
    for strip, its in _strips(values, alpha):
        share = its.astype(np.float32) / full
        products.append(_as(strip * (share if values.ndim == 2 else share[..., None]), values.dtype))
    return np.concatenate(products)


def _as(values: Values, dtype: np.dtype[Any]) -> Values:
    rounded: Values = (values if np.issubdtype(dtype, np.floating) else np.rint(values)).astype(dtype)
    return rounded


def _strips(*arrays: Values) -> Iterator[tuple[Values, ...]]:
    """A few rows at a time: intermediate results of a large mask take several times its memory."""
    step = max(2**20 * len(arrays[0]) // max(arrays[0].size, 1), 1)
    for top in range(0, len(arrays[0]), step):
        yield tuple(each[top : top + step] for each in arrays)


def _shown(colour: Values, full: float) -> str:
    return "#" + "".join(f"{round(float(value) * 255 / full):02x}" for value in colour)
