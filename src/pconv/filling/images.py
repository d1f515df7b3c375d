"""Files to pictures and holes, and back."""

from __future__ import annotations

from pathlib import Path
from struct import error as StructError
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pconv.errors import ImageFileError, InputError
from pconv.files import replacing


class _Format(NamedTuple):
    name: str
    modes: frozenset[str]
    """Pillow modes that it stores without changing a pixel."""
    options: dict[str, Any]


_JPEG = _Format("JPEG", frozenset({"L", "RGB", "CMYK"}), {"quality": 95, "subsampling": 0})
_TIFF = _Format(
    "TIFF", frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"}), {"compression": "tiff_lzw"}
)
FORMATS: dict[str, _Format] = {
    ".png": _Format("PNG", frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}), {}),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": _Format("WEBP", frozenset({"RGB", "RGBA"}), {"lossless": True, "exact": True}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": _Format("BMP", frozenset({"1", "L", "P", "RGB"}), {}),
}
"""What each suffix is written as. Only JPEG is lossy."""

_WIDER = {"1": "L", "L": "RGB", "LA": "RGBA", "I;16B": "I;16", "I;16L": "I;16"}
"""Modes that hold everything another one holds."""


def is_lossy(path: Path) -> bool:
    """Whether writing to ``path`` changes pixels a little."""
    return _format_of(path) is _JPEG


def storable_mode(image: Image.Image, path: Path) -> str:
    """The mode in which the format of ``path``'s suffix stores ``image`` with nothing lost but JPEG's rounding.

    Raises:
        InputError: the suffix is unknown, or its format cannot hold this kind of picture.
    """
    form, mode = _format_of(path), image.mode
    while mode not in form.modes:
        if mode in ("P", "PA"):
            mode = "RGBA" if image.has_transparency_data else "RGB"
        elif mode in _WIDER:
            mode = _WIDER[mode]
        else:
            able = ", ".join(suffix for suffix, other in FORMATS.items() if mode in other.modes)
            what = {"RGBA": "transparency", "I;16": "16 bits"}.get(mode, f"mode {mode}")
            raise InputError(
                f"{form.name} cannot hold the {what} of this photo, so it cannot be written to {path.name}"
                + (f"; {able} can" if able else "")
            )
    return mode


def _format_of(path: Path) -> _Format:
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise InputError(
            f"cannot tell the format of {path} from its suffix {path.suffix!r}; use one of {', '.join(FORMATS)}"
        )
    return form


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
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageFileError(f"{path} is damaged or cut short, and cannot be read to its end ({error})") from error
    try:
        return ImageOps.exif_transpose(image)
    except _BROKEN_EXIF:
        return image  # as it lies: what the orientation would be cannot be read


def read_hole(path: Path, invert: bool = False) -> NDArray[np.bool_]:
    """Read a hole map, ``(H, W)`` bool, True = hole: white is filled, black is kept, the line is at 50 % grey.

    ``invert`` is for maps in which black is filled.
    """
    hole = hole_from_image(read_image(path))
    return ~hole if invert else hole


def hole_from_image(image: Image.Image) -> NDArray[np.bool_]:
    """The bright half of a picture's luminance, ``(H, W)`` bool; what is transparent counts as black."""
    if image.mode.startswith("I;16"):
        return np.asarray(image) >= 2**15
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer)
    if image.mode not in ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"):
        raise InputError(f"a mask of mode {image.mode!r} has no known white; save it as grey or RGB")
    return np.asarray(image.convert("L")) >= 2**7


def write_image(image: Image.Image, path: Path) -> None:
    """Write ``image`` in the format of ``path``'s suffix, with the EXIF data and colour profile it carries.

    The file appears whole or not at all.

    Raises:
        InputError: the suffix is unknown, or its format cannot hold this kind of picture.
        ImageFileError: the file cannot be written.
    """
    mode, form = storable_mode(image, path), _format_of(path)
    extra = {"icc_profile": image.info.get("icc_profile"), "exif": _exif_of(image)}
    stored = image if image.mode == mode else image.convert(mode)
    try:
        with replacing(path) as temporary:
            stored.save(temporary, format=form.name, **form.options, **{k: v for k, v in extra.items() if v})
    except (OSError, ValueError) as error:
        raise ImageFileError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error


def _exif_of(image: Image.Image) -> bytes | None:
    try:
        return image.getexif().tobytes() or None
    except _BROKEN_EXIF:
        return None


_BROKEN_EXIF = (SyntaxError, StructError, ValueError, TypeError, KeyError, OSError, AttributeError, OverflowError)
"""What Pillow raises on EXIF data that is not what it says it is."""
