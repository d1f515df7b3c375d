"""Where the hole is: a mask file, transparent pixels, pixels of one colour, rectangles; or several of these."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from pconv.errors import InputError
from pconv.images.codecs import codec_named
from pconv.images.photo import Photo
from pconv.masks.morphology import dilate
from pconv.masks.reader import Hole, MaskFile, rgb_strips

MAX_GROW = 1000
"""Pixels by which a hole may be grown."""

LOSSY_TOLERANCE = 30
"""How far JPEG at usual qualities takes a painted colour away from what was painted, in 0..255."""


class HoleSource(Protocol):
    """Something that says where the hole is, such as ``pconv.masks.reader.MaskFile``."""

    def hole(self, photo: Photo, notes: list[str] | None = None) -> Hole:
        """``(H, W)`` of the upright photo, True = fill; adds sentences for the user to ``notes``."""


@dataclass(frozen=True)
class Alpha:
    """Everything that is not fully opaque; what is filled of it becomes opaque (see ``with_opaque_fills``)."""

    def hole(self, photo: Photo, notes: list[str] | None = None) -> Hole:  # noqa: ARG002
        """Where alpha is less than full.

        Raises:
            InputError: the photo has no transparency.
        """
        alpha = photo.alpha
        if alpha is None:
            raise InputError(f"the photo ({photo.mode}) has no transparency that could mark the hole")
        return np.asarray(alpha != (photo.white if photo.palette is None else 255))


@dataclass(frozen=True)
class Colour:
    """What is painted over in one colour.

    Attributes:
        rgb: in 0..255, in the photo's own values, without its colour profile.
        tolerance: how far R, G and B may each be off, in 0..255; None: 0 in lossless files, 30 in lossy ones.
    """

    rgb: tuple[int, int, int]
    tolerance: int | None = None

    def hole(self, photo: Photo, notes: list[str] | None = None) -> Hole:  # noqa: ARG002
        """Where the photo has this colour."""
        tolerance = self.tolerance
        if tolerance is None:
            codec = codec_named(photo.metadata.format)
            kept = photo.metadata.encoding.get("lossless", codec is None or codec.lossy == "never")
            tolerance = 0 if kept else LOSSY_TOLERANCE
        wanted = np.array(self.rgb, np.float32)
        hole = np.zeros((photo.height, photo.width), bool)
        for rows, values in rgb_strips(photo):
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
        """The part of the rectangle that lies in the photo.

        Raises:
            InputError: there is none.
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
    """The union of what all sources mark, ``(H, W)`` bool of the upright photo, True = fill.

    Args:
        photo: what has the hole.
        sources: at least one.
        invert: the black of mask files is the hole, not their white.
        grow: pixels, 0 to 1000, by which the union becomes larger on all sides, round at the corners.
        notes: sentences for the user are added to it.

    Raises:
        InputError: a source does not fit the photo, or ``grow`` is out of range.
        ImageFileError: a mask cannot be read.
    """
    if not 0 <= grow <= MAX_GROW:
        raise InputError(f"a hole can grow by 0 to {MAX_GROW} pixels, not {grow}")
    if not sources:
        raise InputError("nothing says where the hole is; give a mask, or one of alpha, color, rect")
    union = np.zeros((photo.height, photo.width), bool)
    for source in sources:
        hole = source.hole(photo, notes)
        union |= ~hole if invert and isinstance(source, MaskFile) else hole
    return dilate(union, grow)


def with_opaque_fills(photo: Photo, sources: Sequence[HoleSource]) -> Photo:
    """The photo as it has to be filled: where transparency marks the hole, what is filled becomes opaque."""
    return replace(photo, fills_are_opaque=True) if any(isinstance(source, Alpha) for source in sources) else photo
