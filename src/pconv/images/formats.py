"""What the formats can hold, and so in which mode a photo is stored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pconv.errors import InputError
from pconv.images.photo import Photo


class Format(NamedTuple):
    """One file format.

    Attributes:
        name: as Pillow calls it.
        title: as people call it.
        suffixes: of its files.
        modes: the photos' modes that it stores without changing a value.
        transparent_palette: whether an entry of its palettes may be transparent: "no", "one" (GIF) or "any" (PNG).
        lossy: whether it changes values a little: "always", "optional" (WebP) or "never".
        longest_side: in pixels.
        holds: which metadata it has a place for.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    modes: frozenset[str]
    transparent_palette: str = "no"
    lossy: str = "never"
    longest_side: int = 2**31 - 1
    holds: frozenset[str] = frozenset({"EXIF", "XMP", "colour profile"})


_DEEP = {"I;16", "LA;16", "RGB;16", "RGBA;16"}
_COMMON = frozenset({"EXIF", "XMP", "colour profile"})
FORMATS = (
    Format(
        "PNG",
        "PNG",
        (".png",),
        frozenset({"1", "L", "LA", "P", "RGB", "RGBA"} | _DEEP),
        transparent_palette="any",
        holds=_COMMON | {"resolution", "comment", "texts"},
    ),
    Format(
        "JPEG",
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        frozenset({"L", "RGB", "CMYK"}),
        lossy="always",
        longest_side=65500,
        holds=_COMMON | {"resolution", "comment"},
    ),
    Format("WEBP", "WebP", (".webp",), frozenset({"RGB", "RGBA"}), lossy="optional", longest_side=16383),
    Format(
        "TIFF",
        "TIFF",
        (".tif", ".tiff"),
        frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "CMYK;16"} | _DEEP),
        holds=_COMMON | {"resolution"},
    ),
    Format("BMP", "BMP", (".bmp",), frozenset({"1", "L", "P", "RGB", "RGBA"}), holds=frozenset({"resolution"})),
    Format(
        "GIF",
        "GIF",
        (".gif",),
        frozenset({"L", "P"}),
        transparent_palette="one",
        longest_side=65535,
        holds=frozenset({"comment"}),
    ),
    Format("AVIF", "AVIF", (".avif",), frozenset({"L", "RGB", "RGBA"}), lossy="always", longest_side=65536),
    Format("HEIF", "HEIC", (".heic", ".heif"), frozenset({"L", "RGB", "RGBA"}), lossy="always", longest_side=65536),
)
BY_SUFFIX = {suffix: form for form in FORMATS for suffix in form.suffixes}
BY_NAME = {form.name: form for form in FORMATS}

_WIDER = {
    "1": ("L",), "L": ("RGB",), "LA": ("RGBA",), "PA": ("RGBA",), "YCbCr": ("RGB",), "RGBX": ("RGB",),
    "I;16B": ("I;16",), "I;16L": ("I;16",), "I;16": ("RGB;16",), "LA;16": ("RGBA;16",),
}  # fmt: skip
_WITH_ALPHA = {"1": "LA", "L": "LA", "RGB": "RGBA", "I;16": "LA;16", "RGB;16": "RGBA;16"}
_WITHOUT_ALPHA = {"LA": "L", "RGBA": "RGB", "LA;16": "I;16", "RGBA;16": "RGB;16"}


def format_for(suffix: str) -> Format:
    """The format that files with this suffix are written in.

    Raises:
        InputError: none is known.
    """
    form = BY_SUFFIX.get(suffix.lower())
    if form is None:
        raise InputError(
            f"cannot tell a format from the suffix {suffix!r}; use one of {', '.join(f.suffixes[0] for f in FORMATS)}"
        )
    return form


def storable_mode(photo: Photo, form: Format) -> str:
    """The mode in which ``form`` stores this photo with nothing lost but a lossy format's rounding.

    Raises:
        InputError: there is none, or the photo is too long for the format.
    """
    if max(photo.height, photo.width) > form.longest_side:
        raise InputError(
            f"{form.title} cannot hold {photo.width}x{photo.height} pixels (at most {form.longest_side} a side); "
            "write another format"
        )
    mode = _mode(photo, form)
    if mode is None:
        able = ", ".join(other.suffixes[0] for other in FORMATS if _mode(photo, other))
        raise InputError(
            f"{form.title} cannot hold the {_hindrance(photo, form)} of this photo, so it cannot be written as "
            f"{form.suffixes[0]}" + (f"; {able} can" if able else "")
        )
    return mode


def _mode(photo: Photo, form: Format) -> str | None:
    mode = photo.mode
    if photo.palette is not None and not (mode in form.modes and _palette_fits(photo, form)):
        mode = "RGBA" if photo.has_alpha else "RGB"
    if photo.colour_key is not None and form.name != "PNG":
        mode = _WITH_ALPHA[mode]
    tried = [mode]
    while mode not in form.modes and mode in _WIDER:
        mode = _WIDER[mode][0]
        tried.append(mode)
    if mode not in form.modes and tried[-1] in _WITHOUT_ALPHA and not is_transparent(photo):
        mode = _WITHOUT_ALPHA[tried[-1]]
    return mode if mode in form.modes else None


def is_transparent(photo: Photo) -> bool:
    """Whether any pixel is less than opaque."""
    alpha = photo.alpha
    return alpha is not None and bool(np.any(alpha != (photo.full if photo.palette is None else 255)))


def _palette_fits(photo: Photo, form: Format) -> bool:
    assert photo.palette is not None
    transparent = photo.palette.alphas[photo.palette.alphas < 255]
    if form.transparent_palette == "one":
        return len(transparent) == 0 or transparent.tolist() == [0]
    return len(transparent) == 0 or form.transparent_palette == "any"


def _hindrance(photo: Photo, form: Format) -> str:
    if ";16" in photo.mode and not any(mode.endswith(";16") for mode in form.modes):
        return "16 bits per channel"
    if photo.mode.startswith("CMYK"):
        return "CMYK inks"
    if is_transparent(photo) and not {"RGBA", "LA"} & form.modes and form.transparent_palette == "no":
        return "transparency"
    return "many colours" if form.name == "GIF" else f"mode {photo.mode}"
