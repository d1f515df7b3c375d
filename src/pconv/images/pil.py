"""Pillow images to photos and back."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
from PIL import Image

from pconv.errors import InputError
from pconv.images import exif
from pconv.images.collect import DAMAGE
from pconv.images.colour import space_of
from pconv.images.decode import colour_key_of, palette_of
from pconv.images.deep import pixels_of
from pconv.images.metadata import Metadata
from pconv.images.photo import Photo

_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L"}
_BROKEN_EXIF = (*DAMAGE, AttributeError)


def photo_of(image: Image.Image) -> Photo:
    """What :func:`pconv.images.photo.from_pil` promises."""
    if image.mode in ("RGBa", "La"):
        image = image.convert({"RGBa": "RGBA", "La": "LA"}[image.mode])
    if image.mode not in _MODES:
        raise InputError(f"cannot inpaint an image of mode {image.mode!r}; convert it to RGB first")
    info = dict(image.info)
    try:
        tags = image.getexif()
        found = tags.tobytes() if len(tags) else bytes(info.get("exif") or b"")
    except _BROKEN_EXIF:
        found = bytes(info.get("exif") or b"")
    icc, xmp, dpi = info.get("icc_profile") or b"", info.get("xmp") or b"", info.get("dpi")
    metadata = Metadata(
        exif=exif.without_mark(found),
        xmp=xmp.encode() if isinstance(xmp, str) else bytes(xmp),
        icc=bytes(icc),
        dpi=(float(dpi[0]), float(dpi[1])) if isinstance(dpi, tuple) and min(dpi) > 0 else None,
        info=MappingProxyType(info),
    )
    pixels = pixels_of(image)
    palette = palette_of(image, pixels) if image.mode in ("P", "PA") else None
    space, note = space_of(image.mode, metadata.icc)
    key = colour_key_of(image, image.mode, 8)
    return Photo(pixels, image.mode, space, palette, key, metadata, (note,) if note else ())


def image_of(photo: Photo) -> Image.Image:
    """What :meth:`pconv.images.photo.Photo.to_pil` promises."""
    if photo.mode.endswith(";16") and photo.mode != "I;16":
        raise InputError(f"Pillow has no mode for {photo.mode} photos; use their pixels as an array")
    size = photo.width, photo.height
    if photo.mode == "1":
        image = Image.fromarray(photo.pixels[..., 0])
    elif photo.mode.startswith("I;16"):
        stored = ">u2" if photo.mode == "I;16B" else "<u2"
        image = Image.frombytes(photo.mode, size, photo.pixels[..., 0].astype(stored).tobytes())
    else:
        image = Image.frombuffer(photo.mode, size, np.ascontiguousarray(photo.pixels), "raw", photo.mode, 0, 1)
        if image.readonly:  # it shares the photo's memory
            image = image.copy()
    metadata = photo.metadata
    image.info = dict(metadata.info)
    if not metadata.info:
        found = {"exif": metadata.exif, "xmp": metadata.xmp, "icc_profile": metadata.icc, "dpi": metadata.dpi}
        image.info.update({key: content for key, content in found.items() if content})
        if photo.colour_key is not None:
            image.info["transparency"] = photo.colour_key if len(photo.colour_key) > 1 else photo.colour_key[0]
    elif metadata.exif and "exif" not in metadata.info:
        image.info["exif"] = metadata.exif
    if photo.palette is not None:
        image.putpalette(photo.palette.colours.tobytes(), "RGB")
        if photo.mode == "P" and not photo.palette.is_opaque and "transparency" not in image.info:
            image.info["transparency"] = photo.palette.alphas.tobytes()
    return image


def without_metadata(photo: Photo) -> Image.Image:
    """:func:`image_of` the pixels (and palette) alone."""
    image = image_of(replace(photo, metadata=Metadata(), colour_key=None))
    image.info.clear()
    return image
