"""A photo to bytes: in its own format all its metadata as it was, in another one whatever that can hold."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from pconv.errors import ImageFileError, InputError
from pconv.images import exif, jpeg, png
from pconv.images.formats import BY_NAME, Format, format_for, storable_mode
from pconv.images.icc import BrokenProfileError, space_of
from pconv.images.metadata import Metadata
from pconv.images.orientation import as_stored
from pconv.images.photo import Photo
from pconv.images.pil import without_metadata

JPEG_QUALITY = 95
"""Of photos that come from another format; those that come from a JPEG keep its tables."""
QUALITY = 90
"""Of WebP, AVIF and HEIC, whose files do not say at which quality they were made."""


def encode(photo: Photo, form: Format, quality: int | None) -> bytes:
    """The file.

    Raises:
        InputError: the format cannot hold this photo.
        ImageFileError: the encoder failed.
    """
    check_encoder(form)
    mode = storable_mode(photo, form)
    metadata = _for_format(photo, form, mode)
    pixels = np.ascontiguousarray(as_stored(as_mode(photo, mode), metadata.orientation))
    try:
        return _ENCODERS[form.name](pixels, mode, photo, metadata, quality)
    except MemoryError as error:
        raise ImageFileError(f"the photo of {photo.width}x{photo.height} pixels does not fit into memory") from error
    except (OSError, ValueError, OverflowError, RuntimeError, struct.error) as error:
        raise ImageFileError(f"cannot encode the photo as {form.title}: {error}") from error


def as_mode(photo: Photo, mode: str) -> NDArray[Any]:
    """The photo's pixels in a mode that holds everything they are; :func:`storable_mode` names one."""
    if mode == photo.mode or {mode, photo.mode} <= {"I;16", "I;16B", "I;16L"}:
        return photo.pixels
    deep = mode.endswith(";16")
    full = 65535 if deep else 255
    everything = slice(None), slice(None)
    if photo.palette is not None:
        colours: NDArray[Any] = photo.palette.colours[photo.pixels[..., 0]]
    elif photo.mode == "1":
        colours = photo.pixels.astype(np.uint8) * np.uint8(255)
    elif photo.mode == "YCbCr":
        colours = np.asarray(without_metadata(photo).convert("RGB"))
    else:
        colours = photo.pixels[..., : photo.colours]
    if mode.startswith("RGB") and colours.shape[2] == 1:
        colours = colours.repeat(3, axis=2)
    if not mode.removesuffix(";16").endswith("A"):
        return colours
    alpha = photo.alpha_of(*everything)
    if alpha is None:
        alpha = np.full(colours.shape[:2], full, colours.dtype)
    if alpha.dtype == np.bool_:
        alpha = alpha.astype(np.uint8) * np.uint8(255)
    return np.concatenate([colours, alpha[..., None].astype(colours.dtype)], axis=2)


def _for_format(photo: Photo, form: Format, mode: str) -> Metadata:
    """What is written beside the pixels: the orientation as it was, or upright; a thumbnail of the photo as it is."""
    metadata = photo.metadata
    if metadata.format != form.name and metadata.orientation != 1:
        metadata = replace(
            metadata,
            orientation=1,
            exif=exif.with_orientation(metadata.exif, 1),
            xmp=exif.xmp_with_orientation(metadata.xmp, 1),
        )
    if metadata.format != form.name:
        metadata = replace(metadata, verbatim=(), encoding={})
    if _loses_profile(photo, mode):
        metadata = replace(metadata, icc=b"")
    if exif.has_thumbnail(metadata.exif):
        drawn = exif.with_thumbnail(metadata.exif, lambda width, height: small(photo, width, height, metadata))
        metadata = replace(metadata, exif=drawn)
    return metadata


def _loses_profile(photo: Photo, mode: str) -> bool:
    """Whether grey becomes RGB, for which a profile of greys says nothing."""
    if not photo.metadata.icc or photo.colours != 1 or photo.palette is not None or not mode.startswith("RGB"):
        return False
    try:
        return space_of(photo.metadata.icc) == "grey"
    except BrokenProfileError:
        return False


def small(photo: Photo, width: int, height: int, metadata: Metadata) -> Image.Image:
    """The photo as it is stored, shrunk to fit into ``width`` x ``height``."""
    step = max(min(photo.height, photo.width) // (4 * max(width, height)), 1)
    few = replace(photo, pixels=np.ascontiguousarray(photo.pixels[::step, ::step]))
    colours = few.read(slice(None), slice(None)).transpose(1, 2, 0)
    shown = as_stored((colours * 255).round().clip(0, 255).astype(np.uint8), metadata.orientation)
    image = Image.fromarray(np.ascontiguousarray(shown))
    image.thumbnail((width, height), Image.Resampling.BOX)
    return image


def lossless(form: Format, metadata: Metadata, quality: int | None) -> bool:
    """Whether the photo is written without changing any pixel: of WebP, unless the source was lossy or asked for."""
    if form.lossy == "optional":
        lossy_before = metadata.format == form.name and not metadata.encoding.get("lossless", True)
        return quality is None and not lossy_before
    return form.lossy == "never"


Encoder = Callable[[NDArray[Any], str, Photo, Metadata, int | None], bytes]


def _image(pixels: NDArray[Any], mode: str, photo: Photo) -> Image.Image:
    palette = photo.palette if mode == "P" else None
    return without_metadata(replace(photo, pixels=pixels, mode=mode, palette=palette, colour_key=None))


def _saved(image: Image.Image, form: str, options: Mapping[str, Any]) -> bytes:
    file = BytesIO()
    image.save(file, form, **{key: value for key, value in options.items() if value not in (None, b"")})
    return file.getvalue()


def _encode_png(pixels: NDArray[Any], mode: str, photo: Photo, metadata: Metadata, _: int | None) -> bytes:
    if mode.endswith("16"):
        own = png.encode_deep(pixels.astype(np.uint16, copy=False), photo.colour_key)
    else:
        bits = metadata.encoding.get("bits", 8)
        options: dict[str, Any] = {"compress_level": png.compression_of(*pixels.shape[:2])}
        if mode == "L" and bits < 8:
            options["bits"] = bits
        if mode == "P" and photo.palette is not None and not photo.palette.is_opaque:
            options["transparency"] = photo.palette.alphas.tobytes()
        elif photo.colour_key is not None:
            key = photo.colour_key
            options["transparency"] = key if len(key) > 1 else key[0]
        own = png.chunks(_saved(_image(pixels, mode, photo), "PNG", options))
    if metadata.format == "PNG":
        added: list[png.Chunk] = [
            (name, metadata.exif if name == b"eXIf" and metadata.exif else content)
            for name, content in metadata.verbatim
        ]
    else:
        added = list(png.chunks_of(metadata))
    return png.with_chunks(own, added)


def _encode_jpeg(pixels: NDArray[Any], mode: str, photo: Photo, metadata: Metadata, quality: int | None) -> bytes:
    options: dict[str, Any] = dict(metadata.encoding)
    if quality is not None:
        options.pop("qtables", None)
        options["quality"] = quality
    elif "qtables" not in options:
        options |= {"quality": JPEG_QUALITY, "subsampling": 0}
    bare = _saved(_image(pixels, mode, photo), "JPEG", options)
    if metadata.format == "JPEG":
        return jpeg.with_segments(bare, jpeg.with_exif(metadata.verbatim, metadata.exif))
    return jpeg.with_segments(bare, jpeg.segments_of(metadata)[0])


def _common_options(metadata: Metadata) -> dict[str, Any]:
    return {"icc_profile": metadata.icc, "exif": metadata.exif, "xmp": metadata.xmp}


def _encode_webp(pixels: NDArray[Any], mode: str, photo: Photo, metadata: Metadata, quality: int | None) -> bytes:
    kept = lossless(BY_NAME["WEBP"], metadata, quality)
    options = {"lossless": True, "exact": True} if kept else {"quality": quality or QUALITY, "exact": True}
    return _saved(_image(pixels, mode, photo), "WEBP", options | _common_options(metadata))


def _encode_avif(pixels: NDArray[Any], mode: str, photo: Photo, metadata: Metadata, quality: int | None) -> bytes:
    options: dict[str, Any] = {"quality": QUALITY, "subsampling": "4:4:4"} | dict(metadata.encoding)
    if mode == "L":
        del options["subsampling"]
    if quality is not None:
        options["quality"] = quality
    return _saved(_image(pixels, mode, photo), "AVIF", options | _common_options(metadata))


def _encode_heif(pixels: NDArray[Any], mode: str, photo: Photo, metadata: Metadata, quality: int | None) -> bytes:
    import pillow_heif

    file = BytesIO()
    image = _image(pixels, mode, photo)
    image.info = {key: value for key, value in _common_options(metadata).items() if value}
    pillow_heif.from_pillow(image).save(file, quality=quality or QUALITY, **metadata.encoding)
    return file.getvalue()


def _encode_tiff(pixels: NDArray[Any], mode: str, photo: Photo, metadata: Metadata, _: int | None) -> bytes:
    from pconv.images import tiff

    return tiff.encode(pixels, mode, photo, metadata)


def _encode_bmp(pixels: NDArray[Any], mode: str, photo: Photo, metadata: Metadata, _: int | None) -> bytes:
    bare = _saved(_image(pixels, mode, photo), "BMP", {"dpi": metadata.dpi})
    return _with_masks(bare) if mode == "RGBA" else bare


def _with_masks(bmp: bytes) -> bytes:
    """Pillow's BMP of B, G, R, A with the header (BITMAPV4HEADER) that says that the fourth byte is alpha."""
    pixels = bmp[54:]
    width, height, _, _, _, size, *density = struct.unpack_from("<iiHHIIii", bmp, 18)
    masks = 0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000
    header = struct.pack("<IiiHHIIiiII4I4s48x", 108, width, height, 1, 32, 3, size, *density, 0, 0, *masks, b"BGRs")
    return b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + header + pixels


def _encode_gif(pixels: NDArray[Any], mode: str, photo: Photo, metadata: Metadata, _: int | None) -> bytes:
    options: dict[str, Any] = {"optimize": False, "comment": metadata.comment}
    options |= {"interlace": metadata.encoding.get("interlace", 0)}
    if mode == "P" and photo.palette is not None and not photo.palette.is_opaque:
        options["transparency"] = int(np.flatnonzero(photo.palette.alphas == 0)[0])
    return _saved(_image(pixels, mode, photo), "GIF", options)


_ENCODERS: dict[str, Encoder] = {
    "PNG": _encode_png,
    "JPEG": _encode_jpeg,
    "WEBP": _encode_webp,
    "AVIF": _encode_avif,
    "HEIF": _encode_heif,
    "TIFF": _encode_tiff,
    "BMP": _encode_bmp,
    "GIF": _encode_gif,
}


def check_encoder(form: Format) -> None:
    """What writes this format must be installed.

    Raises:
        InputError: it is not.
    """
    if form.name == "HEIF" and find_spec("pillow_heif") is None:
        raise InputError("writing HEIC photos needs pillow-heif: pip install pillow-heif")
    if form.name == "AVIF" and not features.check("avif"):
        raise InputError("the Pillow that is installed was built without AVIF; write another format")


def format_of(photo: Photo, suffix: str | None) -> Format:
    """The format for a suffix, or the photo's own.

    Raises:
        InputError: an unknown suffix, or none and the photo comes from no file.
    """
    if suffix is not None:
        return format_for(suffix)
    if photo.metadata.format not in BY_NAME:
        raise InputError("the photo comes from no file, so its format has to be named by a suffix such as .png")
    return BY_NAME[photo.metadata.format]


def notes(photo: Photo, form: Format, quality: int | None) -> list[str]:
    """What changes when the photo is written in this format."""
    metadata, said = photo.metadata, []
    same = metadata.format == form.name
    if not lossless(form, metadata, quality):
        default = metadata.encoding.get("quality", QUALITY) if same else QUALITY
        how = f"at quality {quality or (JPEG_QUALITY if form.name == 'JPEG' else default)}"
        if form.name == "JPEG" and same and quality is None:
            how = "with the photo's own tables"
        said.append(f"{form.title} is lossy: known pixels are encoded again too, {how}; .png keeps them")
    found = {
        "EXIF": metadata.exif,
        "XMP": metadata.xmp,
        "colour profile": metadata.icc,
        "resolution": metadata.dpi,
        "comment": metadata.comment,
        "texts": [key for key, _ in metadata.texts if key != "Comment"],
    }
    lost = [] if same else [kind for kind, content in found.items() if content and kind not in form.holds]
    if "colour profile" not in lost and _loses_profile(photo, storable_mode(photo, form)):
        lost.append("colour profile of greys")
    if form.name == "JPEG" and not same:
        lost += jpeg.segments_of(metadata)[1]
    if lost:
        said.append(f"{form.title} has no place for the photo's {', '.join(lost)}")
    if "EXIF" in form.holds and exif.has_thumbnail(metadata.exif):
        said.append("the thumbnail in the EXIF data is drawn again")
    return said
