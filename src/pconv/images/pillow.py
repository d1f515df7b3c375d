"""Pillow images to photos: their pixels at full depth, palettes and transparency.

Pillow has no mode for 16 bits per channel. It reads 16-bit R, G, B as 8 bits: the high byte of each value. With a
raw mode of the other byte order, it reads the low byte. Both together are the whole value, with Pillow's
own decoders for every kind of compression.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import InputError
from pconv.images import exif
from pconv.images.colour.profiles import space_of
from pconv.images.ifd import ORIENTATION
from pconv.images.metadata import Metadata, upright
from pconv.images.palette import Palette
from pconv.images.photo import STRIP, Photo

_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L"}
_NATIVE, _FOREIGN = ("L", "B") if sys.byteorder == "little" else ("B", "L")
_OTHER_ORDER = {"L": "B", "B": "L", "N": _FOREIGN}


def from_pil(image: Image.Image) -> Photo:
    """A photo with the image's pixels, which are not turned, and all that its ``info`` says.

    Raises:
        InputError: an image of a mode that has no colours known to us, such as "LAB", "F" or "I".
    """
    if image.mode in ("RGBa", "La"):
        image = image.convert({"RGBa": "RGBA", "La": "LA"}[image.mode])
    if image.mode not in _MODES:
        raise InputError(f"cannot inpaint an image of mode {image.mode!r}; convert it to RGB first")
    info = dict(image.info)
    metadata = Metadata(
        exif=exif.without_mark(exif_of(image)),
        xmp=xmp_of(image),
        icc=bytes(info.get("icc_profile") or b""),
        dpi=dpi_of(image),
        info=MappingProxyType(info),
    )
    return photo_of(pixels_of(image), image.mode, image, metadata)


def photo_of(
    stored: NDArray[Any], mode: str, image: Image.Image, metadata: Metadata, notes: tuple[str, ...] = ()
) -> Photo:
    """A photo of ``(H, W, C)`` pixels as they are stored, and of the Pillow image that has their palette."""
    pixels = np.ascontiguousarray(upright(stored, metadata.orientation))
    bits = metadata.encoding.get("bits", 8)
    palette = _palette_of(image, pixels, bits) if mode in ("P", "PA") else None
    space, note = space_of(mode, metadata.icc)
    notes += (note,) if note else ()
    return Photo(pixels, mode, space, palette, _colour_key_of(image, mode, bits), metadata, notes)


def pixels_of(image: Image.Image) -> NDArray[Any]:
    """``(H, W, C)`` of a Pillow image: bool, uint8 or uint16.

    They are copied in strips, because Pillow makes a copy of its own first.
    """
    image.load()
    bands = len(image.getbands())
    kind = np.bool_ if image.mode == "1" else np.uint16 if image.mode.startswith("I") else np.uint8
    pixels = np.empty((image.height, image.width, bands), kind)
    rows = max(STRIP // image.width, 1)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels[top : top + rows] = np.asarray(strip).reshape(-1, image.width, bands)
    return pixels


def is_deep(image: Image.Image) -> bool:
    """Whether Pillow would drop the low bytes of this newly opened image."""
    raw_modes = [_raw_mode(tile.args) for tile in getattr(image, "tile", ())]
    return any(";16" in raw for raw in raw_modes) and not image.mode.startswith("I")


def read_deep(open_image: Callable[[], Any]) -> NDArray[np.uint16]:
    """``(H, W, C)`` uint16 of an image for which ``is_deep``; it is opened and read twice."""
    image = open_image()
    if is_deep_grey_with_alpha(image):  # four bytes per pixel, which RGBA takes as they are
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        return pixels_of(image).view(">u2").astype(np.uint16)
    deep = pixels_of(image).astype(np.uint16)
    deep <<= 8
    del image  # its memory first
    image = open_image()
    image.tile = [tile._replace(args=_in_other_order(tile.args)) for tile in image.tile]
    deep |= pixels_of(image)
    return deep


def is_deep_grey_with_alpha(image: Any) -> bool:
    """Whether a newly opened image has 16 bits of grey and 16 of alpha."""
    return _raw_mode(image.tile[0].args).startswith("LA;16")


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 where there is none, or where it cannot be read."""
    try:
        found = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow raises many kinds on damaged EXIF data
        return 1
    return found if 1 <= found <= 8 else 1


def exif_of(image: Image.Image) -> bytes:
    """EXIF data, also where ``image`` was given tags by a program, or has them in a PNG's text as ImageMagick does."""
    try:
        tags = image.getexif()
        return tags.tobytes() if len(tags) else bytes(image.info.get("exif") or b"")
    except Exception:  # Pillow raises many kinds on damaged EXIF data
        return bytes(image.info.get("exif") or b"")


def xmp_of(image: Image.Image) -> bytes:
    """The packet of XMP in ``info``, empty if there is none."""
    xmp = image.info.get("xmp") or b""
    return xmp.encode() if isinstance(xmp, str) else bytes(xmp)


def dpi_of(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch, where ``info`` has them."""
    dpi = image.info.get("dpi")
    return (float(dpi[0]), float(dpi[1])) if isinstance(dpi, tuple) and min(dpi) > 0 else None


def _palette_of(image: Image.Image, pixels: NDArray[Any], bits: int) -> Palette:
    stored = image.palette
    width = 4 if stored is not None and stored.mode == "RGBA" else 3
    entries = np.frombuffer(bytes(stored.palette) if stored is not None and stored.palette else b"", np.uint8)
    entries = entries[: len(entries) // width * width].reshape(-1, width)[:256]
    alphas = entries[:, 3].copy() if width == 4 else np.full(len(entries), 255, np.uint8)
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        count = min(len(transparency), len(alphas))
        alphas[:count] = np.frombuffer(transparency[:count], np.uint8)
    elif isinstance(transparency, int) and transparency < len(alphas):
        alphas[transparency] = 0
    return Palette.of(entries[:, :3].copy(), alphas, pixels[..., 0].astype(np.uint8, copy=False), 2**bits)


def _colour_key_of(image: Image.Image, mode: str, bits: int) -> tuple[int, ...] | None:
    """The transparent colour of a grey or RGB PNG or GIF, in the pixels' own values."""
    key = image.info.get("transparency")
    if key is None or isinstance(key, bytes) or mode in ("P", "PA", "LA", "RGBA", "LA;16", "RGBA;16"):
        return None
    if mode == "1":
        return (int(bool(key)),)
    if mode == "L" and bits < 8:
        return (int(key) * 255 // (2**bits - 1),)
    return tuple(key) if isinstance(key, tuple) else (int(key),)


def _raw_mode(args: Any) -> str:
    return str(args[0] if isinstance(args, tuple) else args)


def _in_other_order(args: Any) -> Any:
    raw = _raw_mode(args)
    other = raw[:-1] + _OTHER_ORDER[raw[-1]]
    return (other, *args[1:]) if isinstance(args, tuple) else other
