"""The reader of masks: every mask file and mask image is read here. True = hole, to be filled.

What is white marks the hole, from 50 % grey on. Colours count by their luminance, and transparent pixels as black.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import InputError
from pconv.images.colour.conversion import ColourSpace, NaiveCmyk
from pconv.images.metadata import upright
from pconv.images.photo import Photo
from pconv.images.pillow import from_pil
from pconv.images.reading import find_photos, read_photo

Hole = NDArray[np.bool_]

WHITE_FROM = 0.5
"""Part of the value range from which a mask's pixel is white."""

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, as everywhere where a colour mask becomes grey."""

_ROUNDING = 1e-6
"""The sum of an even grey's three parts may be less than the grey by so much."""

_VOTERS = 200
_UNCLEAR = 0.4, 0.6
"""Median parts of white between which a folder's polarity is not clear; hole ratios seldom exceed 0.6."""


@dataclass(frozen=True)
class MaskFile:
    """A mask file that belongs to a photo: its white pixels are the hole.

    Attributes:
        source: a file, or its bytes.
        fit: "exact": it must have the photo's size; "nearest": another size is stretched.
        name: for messages.
    """

    source: Path | bytes
    fit: Literal["exact", "nearest"] = "exact"
    name: str = ""

    def hole(self, photo: Photo, notes: list[str] | None = None) -> Hole:
        """``(H, W)`` of the upright photo.

        A mask without an orientation of its own is turned like the photo, if it has the photo's stored size.

        Raises:
            ImageFileError: it cannot be read.
            InputError: it has another size than the photo, and ``fit`` is "exact".
        """
        name = self.name or (str(self.source) if isinstance(self.source, Path) else "the mask")
        mask = read_photo(self.source, name)
        hole = hole_from_photo(mask)
        if hole.shape == (photo.height, photo.width):
            return hole
        turned = upright(hole, photo.metadata.orientation)
        if mask.metadata.orientation == 1 and turned.shape == (photo.height, photo.width):
            if notes is not None:
                notes.append(f"{name} has no orientation of its own and lies as the photo is stored: turned like it")
            return np.ascontiguousarray(turned)
        if self.fit == "nearest":
            return _stretched(hole, photo.height, photo.width)
        raise InputError(
            f"the mask {name} is {mask.width}x{mask.height} and the photo {photo.width}x{photo.height} pixels: "
            "they must be of one size"
        )


def read_mask(path: Path, white_is_hole: bool = True, white_from: float = WHITE_FROM) -> Hole:
    """A mask file as ``(H, W)`` bool, True = hole, upright.

    Args:
        path: the file, of any format that photos may have.
        white_is_hole: the masks' polarity; False: their black is the hole.
        white_from: part of the value range at and above which a pixel is white.

    Raises:
        ImageFileError: the file cannot be read as an image.
    """
    white = hole_from_photo(read_photo(path, f"the mask {path}"), white_from)
    return white if white_is_hole else ~white


def hole_from_photo(mask: Photo, white_from: float = WHITE_FROM) -> Hole:
    """The white pixels of a mask, ``(H, W)`` bool.

    Strokes of any colour on a transparent ground are a mask too: if nothing is white and some of it is transparent,
    then the opaque pixels are the hole.
    """
    if mask.colour_channels == 1 and not mask.has_alpha and mask.palette is None:
        return np.asarray(mask.pixels[..., 0] >= white_from * mask.white)
    hole, opaque = np.zeros((mask.height, mask.width), bool), np.ones((mask.height, mask.width), bool)
    for rows, values in rgb_strips(mask):
        luminance = values @ _LUMINANCE
        if (alpha := mask.alpha_of(rows, slice(None))) is not None:
            share = alpha.astype(np.float32) / np.float32(mask.white if mask.palette is None else 255)
            luminance = luminance * share
            opaque[rows] = share >= 0.5
        hole[rows] = luminance >= white_from - _ROUNDING
    return opaque if not hole.any() and not opaque.all() else hole


def hole_from_image(image: Image.Image) -> Hole:
    """The white pixels of a Pillow image, as ``hole_from_photo`` finds them.

    Raises:
        InputError: a mode in which nothing is known to be white, such as "F".
    """
    try:
        return hole_from_photo(from_pil(image))
    except InputError as error:
        raise InputError(f"a mask of mode {image.mode!r} has no known white; save it as grey or RGB") from error


def find_masks(folder: Path) -> list[Path]:
    """All mask files below ``folder``, sorted by path.

    Raises:
        InputError: no such folder, or no image in it.
    """
    return find_photos(folder, "masks")


def detect_polarity(paths: Sequence[Path]) -> bool:
    """Whether white means hole in these masks: it does where most of them are mostly black.

    The paper's published test masks have white holes, its training masks white valid pixels. Masks of one colour are
    not counted.

    Raises:
        InputError: about half of the pixels are white, or all masks are of one colour.
        ImageFileError: a mask cannot be read.
    """
    voters = paths[:: max(len(paths) // _VOTERS, 1)]
    parts = [part for part in (float(read_mask(path).mean()) for path in voters) if 0 < part < 1]
    if not parts:
        raise InputError(f"all masks are empty: the {len(voters)} looked at have one colour each, like {voters[0]}")
    median = float(np.median(parts))
    if _UNCLEAR[0] <= median <= _UNCLEAR[1]:
        raise InputError(
            f"cannot tell whether white means hole in these masks, of which the median one is {median:.0%} white: say "
            f"white-hole or white-valid (--polarity, or mask_polarity in a configuration)"
        )
    return median < 0.5


def resolve_polarity(paths: Sequence[Path], polarity: str) -> tuple[bool, str]:
    """Whether white means hole in these masks, and a sentence that says so.

    Args:
        paths: of the masks.
        polarity: "white-hole", "white-valid", or "auto" for :func:`detect_polarity`, which may raise.
    """
    white_is_hole = detect_polarity(paths) if polarity == "auto" else polarity == "white-hole"
    how = "detected" if polarity == "auto" else "as given"
    return white_is_hole, f"{len(paths)} masks, white = {'hole' if white_is_hole else 'valid'} ({how})"


def rgb_strips(photo: Photo) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """The photo's own values as ``(h, W, 3)`` in 0..1, without its colour profile, a few rows at a time."""
    space = NaiveCmyk() if photo.mode.startswith("CMYK") else photo.space if photo.mode == "YCbCr" else ColourSpace()
    raw = replace(photo, space=space)
    for rows in raw.strips():
        yield rows, raw.read(rows, slice(None)).transpose(1, 2, 0)


def _stretched(hole: Hole, height: int, width: int) -> Hole:
    rows = ((np.arange(height) + 0.5) * hole.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * hole.shape[1] / width).astype(np.intp)
    stretched: Hole = hole[rows][:, columns]
    return stretched
