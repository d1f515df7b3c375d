"""Reading folders of mask files, whichever way round they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import ImageFileError, InputError

BINARISE_AT = 0.6
"""Part of the value range at and above which a mask is white (Liu et al., section 4)."""

_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".pgm", ".pbm", ".jpg", ".jpeg"})
_VOTERS = 200
_UNCLEAR = 0.4, 0.6
"""Median parts of white between which a folder does not tell its polarity; hole ratios seldom exceed 0.6."""


def find_masks(folder: Path) -> list[Path]:
    """All mask files below ``folder``, sorted by path.

    Raises:
        InputError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"no folder of masks at {folder}")
    masks = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    if not masks:
        raise InputError(f"no masks (.png and such) below {folder}")
    return masks


def read_mask(path: Path, white_is_hole: bool) -> NDArray[np.bool_]:
    """A mask file as a hole map ``(height, width)``, True = hole.

    Colours count by their luminance and transparent pixels as black; what is at 0.6 of the value range or above is
    white.

    Raises:
        ImageFileError: the file cannot be read as an image.
    """
    white = _white(path)
    return white if white_is_hole else ~white


def detect_polarity(paths: Sequence[Path]) -> bool:
    """Whether white means hole in these masks: it does where most of them are mostly black.

    The paper's published test masks have white holes, its training masks white valid pixels. Masks of one colour have
    no vote.

    Raises:
        InputError: about half of the pixels are white, or all masks are of one colour.
    """
    voters = paths[:: max(len(paths) // _VOTERS, 1)]
    parts = [part for part in (float(_white(path).mean()) for path in voters) if 0 < part < 1]
    if not parts:
        raise InputError(f"all masks are empty: the {len(voters)} looked at have one colour each, like {voters[0]}")
    median = float(np.median(parts))
    if _UNCLEAR[0] <= median <= _UNCLEAR[1]:
        raise InputError(
            f"cannot tell whether white means hole in these masks, of which the median one is {median:.0%} white: say "
            f"white-hole or white-valid (--polarity, or mask_polarity in a configuration)"
        )
    return median < 0.5


def _white(path: Path) -> NDArray[np.bool_]:
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16 bits, in one of Pillow's modes
                return np.asarray(np.asarray(image) >= BINARISE_AT * 65535)
            grey: Image.Image = image
            if image.has_transparency_data:
                grey = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
            return np.asarray(np.asarray(grey.convert("L")) >= BINARISE_AT * 255)
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError) as error:
        raise ImageFileError(f"cannot read the mask {path}: {error}") from error
