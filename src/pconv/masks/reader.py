"""What is to be filled: a mask's bright half, what is transparent, one colour, rectangles; True = hole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import InputError
from pconv.images.colour import NaiveCmyk, Plain
from pconv.images.files import read_photo
from pconv.images.formats import BY_NAME
from pconv.images.orientation import upright
from pconv.images.photo import Photo, from_pil
from pconv.masks.morphology import grown

Hole = NDArray[np.bool_]

MOST_GROWTH = 1000
LOSSY_TOLERANCE = 30
"""How far JPEG at usual qualities takes a painted colour away from what was painted."""

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, as everywhere where a colour mask becomes grey."""


class HoleSource(Protocol):
    """Something that says where the hole is."""

    def hole(self, photo: Photo, notes: list[str] | None = None) -> Hole:
        """``(H, W)`` of the upright photo, True = fill; adds sentences for the user to ``notes``."""


@dataclass(frozen=True)
class MaskFile:
    """An image whose bright half, from 50 % grey, is the hole; what is transparent in it counts as black.

    If nothing in it is bright, but some of it is transparent, then the mask is what is not: strokes of any colour
    on nothing.

    Attributes:
        source: a file, or its bytes.
        fit: "exact": it must have the photo's size; "nearest": another size is stretched.
        name: for messages.
    """

    source: Path | bytes
    fit: Literal["exact", "nearest"] = "exact"
    name: str = ""

    def hole(self, photo: Photo, notes: list[str] | None = None) -> Hole:
        """Where the mask is bright.

        Raises:
            ImageFileError: it cannot be read.
            InputError: it has another size than the photo, and ``fit`` is "exact".
        """
        name = self.name or (str(self.source) if isinstance(self.source, Path) else "the mask")
        mask = read_photo(self.source, name)
        hole = bright_part(mask)
        turned = photo.metadata.orientation
        if hole.shape == (photo.height, photo.width):
            return hole
        if mask.metadata.orientation == 1 and upright(hole, turned).shape == (photo.height, photo.width):
            if notes is not None:
                notes.append(f"{name} has no orientation of its own and lies as the photo is stored: turned like it")
            return np.ascontiguousarray(upright(hole, turned))
        if self.fit == "nearest":
            return _stretched(hole, photo.height, photo.width)
        raise InputError(
            f"the mask {name} is {mask.width}x{mask.height} and the photo {photo.width}x{photo.height} pixels: "
            "they must be of one size"
        )


@dataclass(frozen=True)
class Alpha:
    """Everything that is not fully opaque; what is filled of it becomes opaque (see :func:`prepared`)."""

    def hole(self, photo: Photo, notes: list[str] | None = None) -> Hole:  # noqa: ARG002
        """Where alpha is less than full.

        Raises:
            InputError: the photo has no transparency.
        """
        alpha = photo.alpha
        if alpha is None:
            raise InputError(f"the photo ({photo.mode}) has no transparency that could mark the hole")
        return np.asarray(alpha != photo.full if photo.palette is None else alpha != 255)


@dataclass(frozen=True)
class Colour:
    """What is painted over in one colour.

    Attributes:
        rgb: in 0..255, as the photo's own values say it.
        tolerance: how far R, G and B may each be off; None: 0 in lossless files, 30 in lossy ones.
    """

    rgb: tuple[int, int, int]
    tolerance: int | None = None

    def hole(self, photo: Photo, notes: list[str] | None = None) -> Hole:  # noqa: ARG002
        """Where the photo has this colour."""
        tolerance = self.tolerance
        if tolerance is None:
            form = BY_NAME.get(photo.metadata.format)
            kept = photo.metadata.encoding.get("lossless", form is None or form.lossy == "never")
            tolerance = 0 if kept else LOSSY_TOLERANCE
        wanted = np.array(self.rgb, np.float32)
        hole = np.zeros((photo.height, photo.width), bool)
        for rows, values in _strips(photo):
            hole[rows] = (np.abs(values * 255 - wanted) <= tolerance + 0.5).all(axis=2)
        return hole


@dataclass(frozen=True)
class Rectangle:
    """``width`` x ``height`` pixels from ``x`` to the right and ``y`` down, in the upright photo."""

    x: int
    y: int
    width: int
    height: int

    def hole(self, photo: Photo, notes: list[str] | None = None) -> Hole:  # noqa: ARG002
        """The rectangle, as far as it lies in the photo.

        Raises:
            InputError: nothing of it does.
        """
        hole = np.zeros((photo.height, photo.width), bool)
        hole[max(self.y, 0) : max(self.y + self.height, 0), max(self.x, 0) : max(self.x + self.width, 0)] = True
        if not hole.any():
            raise InputError(
                f"the rectangle {self.x},{self.y},{self.width},{self.height} lies outside of the photo of "
                f"{photo.width}x{photo.height} pixels"
            )
        return hole


def parse_hole(text: str) -> HoleSource:
    """``alpha``, ``color:#ff00ff``, ``color:#ff00ff:TOLERANCE`` or ``rect:X,Y,WIDTH,HEIGHT``.

    Raises:
        InputError: none of these.
    """
    if text == "alpha":
        return Alpha()
    if found := re.fullmatch(r"colou?r:#?([0-9a-fA-F]{6})(?::([0-9]{1,3}))?", text):
        value, tolerance = found.groups()
        red, green, blue = bytes.fromhex(value)
        if tolerance is None or int(tolerance) <= 255:
            return Colour((red, green, blue), None if tolerance is None else int(tolerance))
    if found := re.fullmatch(r"rect:(-?[0-9]{1,9}),(-?[0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9})", text):
        x, y, width, height = map(int, found.groups())
        if width and height:
            return Rectangle(x, y, width, height)
    raise InputError(
        f"{text!r} says no hole; say alpha, color:#ff00ff, color:#ff00ff:TOLERANCE (0 to 255) or rect:X,Y,WIDTH,HEIGHT"
    )


def hole_of(
    photo: Photo,
    sources: Sequence[HoleSource],
    invert: bool = False,
    grow: int = 0,
    notes: list[str] | None = None,
) -> Hole:
    """The union of what all sources say, ``(H, W)`` of the upright photo, True = fill.

    Args:
        photo: what has the hole.
        sources: at least one.
        invert: mask files mark what is kept instead.
        grow: pixels by which the whole becomes larger on all sides, round at the corners.
        notes: sentences for the user are added to it.

    Raises:
        InputError: a source does not fit the photo, or ``grow`` is out of range.
        ImageFileError: a mask cannot be read.
    """
    if not 0 <= grow <= MOST_GROWTH:
        raise InputError(f"a hole can grow by 0 to {MOST_GROWTH} pixels, not {grow}")
    if not sources:
        raise InputError("nothing says where the hole is; give a mask, or one of alpha, color, rect")
    union = np.zeros((photo.height, photo.width), bool)
    for source in sources:
        hole = source.hole(photo, notes)
        union |= ~hole if invert and isinstance(source, MaskFile) else hole
    return grown(union, grow)


def prepared(photo: Photo, sources: Sequence[HoleSource]) -> Photo:
    """The photo as it has to be filled: where transparency marks the hole, what is filled becomes opaque."""
    return replace(photo, fills_are_opaque=True) if any(isinstance(source, Alpha) for source in sources) else photo


def bright_part(mask: Photo) -> Hole:
    """A mask's bright half; see :class:`MaskFile`."""
    if mask.colours == 1 and not mask.has_alpha and mask.palette is None:
        return np.asarray(mask.pixels[..., 0] > mask.full // 2)
    hole, opaque = np.zeros((mask.height, mask.width), bool), np.ones((mask.height, mask.width), bool)
    for rows, values in _strips(mask):
        luminance = values @ _LUMINANCE
        if (alpha := mask.alpha_of(rows, slice(None))) is not None:
            share = alpha.astype(np.float32) / np.float32(mask.full if mask.palette is None else 255)
            luminance = luminance * share
            opaque[rows] = share >= 0.5
        hole[rows] = luminance >= 0.5
    return opaque if not hole.any() and not opaque.all() else hole


def hole_from_image(image: Image.Image) -> Hole:
    """The bright half of a Pillow image.

    Raises:
        InputError: a mode in which nothing is known to be bright, such as "F".
    """
    try:
        return bright_part(from_pil(image))
    except InputError as error:
        raise InputError(f"a mask of mode {image.mode!r} has no known white; save it as grey or RGB") from error


def _strips(photo: Photo) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """The photo's own values as ``(h, W, 3)`` in 0..1, without its profile, a few rows at a time."""
    space = NaiveCmyk() if photo.mode.startswith("CMYK") else photo.space if photo.mode == "YCbCr" else Plain()
    raw = replace(photo, space=space)
    step = max(2**20 // photo.width, 1)
    for top in range(0, photo.height, step):
        rows = slice(top, min(top + step, photo.height))
        yield rows, raw.read(rows, slice(None)).transpose(1, 2, 0)


def _stretched(hole: Hole, height: int, width: int) -> Hole:
    rows = ((np.arange(height) + 0.5) * hole.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * hole.shape[1] / width).astype(np.intp)
    stretched: Hole = hole[rows][:, columns]
    return stretched
