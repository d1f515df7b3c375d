"""Files to pictures and holes, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pconv.errors import ImageFileError, InputError
from pconv.files import replacing

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}),
    ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
    ".bmp": ("BMP", {}),
}
"""What each suffix is written as. Only JPEG is lossy."""


def is_lossy(path: Path) -> bool:
    """Whether writing to ``path`` changes pixels a little."""
    return FORMATS[path.suffix.lower()][0] == "JPEG"


def check_suffix(path: Path) -> None:
    """Raise InputError unless results can be written to a file of this name."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            f"cannot tell the format of {path} from its suffix {path.suffix!r}; use one of {', '.join(FORMATS)}"
        )


def read_image(path: Path) -> Image.Image:
    """Read an image file whole, turned upright as its EXIF orientation says.

    Raises:
        ImageFileError: the file is missing, is no image, or is damaged.
    """
    try:
        image = Image.open(path)
    except UnidentifiedImageError as error:
        raise ImageFileError(f"{path} is not an image of a known format") from error
    except Image.DecompressionBombError as error:
        raise ImageFileError(f"{path} is too large: {error}") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageFileError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        with image:
            image.load()
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageFileError(f"{path} is damaged or cut short, and cannot be read to its end ({error})") from error


def read_hole(path: Path, invert: bool = False) -> NDArray[np.bool_]:
    """Read a hole map, ``(H, W)`` bool, True = hole: white is filled, black is kept, the line is at 50 % grey.

    ``invert`` is for maps in which black is filled.
    """
    hole = hole_from_image(read_image(path))
    return ~hole if invert else hole


def hole_from_image(image: Image.Image) -> NDArray[np.bool_]:
    """The bright half of a picture's luminance, ``(H, W)`` bool."""
    if image.mode.startswith("I;16"):
        return np.asarray(image) >= 2**15
    if image.mode in ("I", "F"):
        raise InputError(f"a mask of mode {image.mode!r} has no known white; save it with 8 or 16 bits")
    return np.asarray(image.convert("L")) >= 2**7


def write_image(image: Image.Image, path: Path) -> None:
    """Write ``image`` in the format of ``path``'s suffix, with the EXIF data and colour profile it carries.

    The file appears whole or not at all.

    Raises:
        InputError: the suffix is unknown, or its format cannot hold this kind of picture.
        ImageFileError: the file cannot be written.
    """
    check_suffix(path)
    name, options = FORMATS[path.suffix.lower()]
    if name == "JPEG" and (image.has_transparency_data or image.mode.startswith("I;16")):
        what = "transparency" if image.has_transparency_data else "16 bits"
        raise InputError(f"JPEG cannot hold the {what} of this photo: write to .png or .tif instead of {path.name}")
    extra = {"icc_profile": image.info.get("icc_profile"), "exif": image.getexif().tobytes() or None}
    try:
        with replacing(path) as temporary:
            image.save(temporary, format=name, **options, **{k: v for k, v in extra.items() if v})
    except (OSError, ValueError) as error:
        raise ImageFileError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
