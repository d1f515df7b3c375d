"""The reader of masks: every mask file and mask image is read here. True = hole, to be filled.

What in a mask marks the hole is the rule of ``pconv.masks.rule``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import InputError
from pconv.images.colour.conversion import ColourSpace, NaiveCmyk
from pconv.images.metadata import upright
from pconv.images.photo import Photo
from pconv.images.pillow import from_pil
from pconv.images.reading import find_photos, read_photo
from pconv.masks.rule import hole_from_values

Hole = NDArray[np.bool_]

_VOTERS = 200
_UNCLEAR = 0.4, 0.6
"""Median parts of white between which a folder's polarity is not clear; hole ratios seldom exceed 0.6."""


@dataclass(frozen=True)
class MaskFile:
    """A mask file that belongs to a photo.

    Attributes:
        source: a file, or its bytes.
        fit: "exact": it must have the photo's size; "nearest": another size is stretched.
        name: for messages.
        labels: values of a label map that are the hole.
    """

    source: Path | bytes
    fit: Literal["exact", "nearest"] = "exact"
    name: str = ""
    labels: tuple[int, ...] = ()

    def hole(self, photo: Photo, notes: list[str] | None = None) -> Hole:
        """``(H, W)`` of the upright photo.

        A mask without an orientation of its own is turned like the photo, if it has the photo's stored size.

        Raises:
            ImageFileError: it cannot be read.
            InputError: it has another size than the photo, and ``fit`` is "exact"; or it does not say what the hole
                is.
        """
        name = self.name or (str(self.source) if isinstance(self.source, Path) else "the mask")
        mask = read_photo(self.source, name)
        hole = _named(name, mask, self.labels, notes)
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
            f"{_the_mask(name)} is {mask.width}x{mask.height} and the photo {photo.width}x{photo.height} pixels: "
            "they must be of one size"
        )


def read_mask(path: Path, white_is_hole: bool = True, bright_from: float = 0.5) -> Hole:
    """A mask file as ``(H, W)`` bool, True = hole, upright.

    Args:
        path: the file, of any format that photos may have.
        white_is_hole: the masks' polarity; False: what marks the hole in other masks marks the known pixels.
        bright_from: part of the range from which greys are white, in masks of more than two values.

    Raises:
        ImageFileError: the file cannot be read as an image.
        InputError: the mask does not say what the hole is.
    """
    white = _named(str(path), read_photo(path, f"the mask {path}"), (), None, bright_from)
    return white if white_is_hole else ~white


def _named(name: str, mask: Photo, labels: Collection[int], notes: list[str] | None, bright_from: float = 0.5) -> Hole:
    """The hole of a mask, with the file's name in messages."""
    mask_notes: list[str] = []
    try:
        hole = hole_from_photo(mask, labels, mask_notes, bright_from)
    except InputError as error:
        raise InputError(str(error).replace("the mask", _the_mask(name), 1)) from error
    if notes is not None:
        notes += [note.replace("the mask", _the_mask(name), 1) for note in mask_notes]
    return hole


def _the_mask(name: str) -> str:
    return name if name.startswith("the mask") else f"the mask {name}"


def hole_from_photo(
    mask: Photo, labels: Collection[int] = (), notes: list[str] | None = None, bright_from: float = 0.5
) -> Hole:
    """What a mask marks, ``(H, W)`` bool, by the rule of ``pconv.masks.rule``; see there for the arguments.

    Raises:
        InputError: the mask does not say what the hole is.
    """
    mask = mask.straight()
    how: dict[str, Any] = {"alpha": mask.alpha, "labels": labels, "bright_from": bright_from, "notes": notes}
    if mask.palette is not None:
        return hole_from_values(mask.pixels[..., 0], palette=mask.palette.colours, **how)
    values = mask.pixels[..., : mask.colour_channels]
    if mask.mode.startswith(("CMYK", "YCbCr")):
        strips = [np.rint(colours * mask.white).astype(values.dtype) for _, colours in rgb_strips(mask)]
        values = np.concatenate(strips)
    return hole_from_values(values, **how)


def hole_from_image(image: Image.Image, labels: Collection[int] = (), notes: list[str] | None = None) -> Hole:
    """What a Pillow image marks, as ``hole_from_photo`` finds it.

    Raises:
        InputError: the mask does not say what the hole is, or its mode has no black and white, such as "LAB".
    """
    if image.mode in ("F", "I"):
        return hole_from_values(np.asarray(image), labels=labels, notes=notes)
    try:
        photo = from_pil(image)
    except InputError as error:
        raise InputError(f"a mask of mode {image.mode!r} has no known white; save it as grey or RGB") from error
    return hole_from_photo(photo, labels, notes)


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
        raise InputError(
            f"cannot tell whether white means hole: each of the {len(voters)} masks that were looked at has one value "
            f"only, such as {voters[0]}"
        )
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
        polarity: "white-hole", "white-valid", or "auto" for ``detect_polarity``, which may raise.
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
