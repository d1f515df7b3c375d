"""What each format's files hold beside the pixels, collected from their bytes and from what Pillow found."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

from PIL import Image, JpegImagePlugin, PngImagePlugin

from pconv.images import exif, jpeg, png
from pconv.images.metadata import Metadata
from pconv.images.previews import xmp_without_pictures

DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, OverflowError)
"""What Pillow raises on files that are not what they say they are."""

Collected = tuple[Metadata, list[str]]
"""And notes about what is not kept."""


def collect(data: bytes, form: str, image: Image.Image) -> Collected:
    """The metadata of a file of the format ``form``, of which ``image`` was opened."""
    metadata, notes = _COLLECTORS[form](data, image)
    return replace(metadata, format=form), notes


def orientation_of(image: Image.Image) -> int:
    try:
        found = int(image.getexif().get(0x0112, 1))
    except (*DAMAGE, AttributeError):
        return 1  # as it lies: what the orientation would be cannot be read
    return found if 1 <= found <= 8 else 1


def _common(image: Image.Image) -> Metadata:
    """What Pillow says of any format."""
    found = image.info
    dpi = found.get("dpi")
    xmp = found.get("xmp") or b""
    comment = found.get("comment") or b""
    return Metadata(
        orientation=orientation_of(image),
        exif=exif.scrubbed(exif.without_mark(_exif_of(image))),
        xmp=xmp_without_pictures(xmp.encode() if isinstance(xmp, str) else bytes(xmp)),
        icc=bytes(found.get("icc_profile") or b""),
        dpi=(float(dpi[0]), float(dpi[1])) if isinstance(dpi, tuple) and min(dpi) > 0 else None,
        comment=comment.encode("latin-1", "replace") if isinstance(comment, str) else bytes(comment),
    )


def _exif_of(image: Image.Image) -> bytes:
    if "exif" in image.info or "Raw profile type exif" not in image.info:
        return bytes(image.info.get("exif") or b"")
    try:
        return image.getexif().tobytes()  # ImageMagick's way of keeping it in a PNG's text
    except (*DAMAGE, AttributeError):
        return b""


def _plain_metadata(data: bytes, image: Image.Image) -> Collected:
    return _common(image), []


def _jpeg_metadata(data: bytes, image: Image.Image) -> Collected:
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    kept, notes = jpeg.kept_segments(data)
    encoding = MappingProxyType(jpeg.encoding_of(image))
    return replace(_common(image), verbatim=kept, encoding=encoding), notes


def _png_metadata(data: bytes, image: Image.Image) -> Collected:
    assert isinstance(image, PngImagePlugin.PngImageFile)
    kept, notes = png.kept_chunks(data)
    texts = {str(key): str(text) for key, text in image.text.items()}
    xmp = texts.pop("XML:com.adobe.xmp", "")
    common = _common(image)
    return (
        replace(
            common,
            xmp=xmp_without_pictures(xmp.encode()) or common.xmp,
            texts=tuple(texts.items()),
            comment=texts.get("Comment", "").encode(),
            verbatim=kept,
            encoding=MappingProxyType({"bits": data[24]}),
        ),
        notes,
    )


def _gif_metadata(data: bytes, image: Image.Image) -> Collected:
    encoding = MappingProxyType({"interlace": int(image.info.get("interlace", 0))})
    return replace(_common(image), encoding=encoding), []


def _webp_metadata(data: bytes, image: Image.Image) -> Collected:
    encoding = MappingProxyType({"lossless": b"VP8L" in riff_chunks(data)})
    return replace(_common(image), encoding=encoding), []


def riff_chunks(data: bytes) -> list[bytes]:
    """The names of a WebP file's chunks, and of those in its first frame."""
    names, place = [], 12
    while place + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, place)
        names.append(name)
        place += 8 + (16 if name == b"ANMF" and b"ANMF" not in names[:-1] else length + length % 2)
    return names


def _avif_metadata(data: bytes, image: Image.Image) -> Collected:
    """The subsampling and depth of the largest AV1 picture; that of one without colours is its alpha."""
    flags = [data[found.end() + 2] for found in re.finditer(rb"av1C(?=.{4})", data, re.S)]
    flags = [each for each in flags if not each & 0x10] or flags or [0]
    sampling = {0x0C: "4:2:0", 0x08: "4:2:2"}.get(flags[0] & 0x0C, "4:4:4")
    lossless = re.search(rb"colrnclx....\0\0", data, re.S) is not None  # R, G, B as they are: a lossless file
    notes = [_ONLY_8_BITS.format("AVIF")] if flags[0] & 0x40 else []
    encoding = {"quality": 100} if lossless else {"subsampling": sampling}
    return replace(_common(image), encoding=MappingProxyType(encoding)), notes


def _heif_metadata(data: bytes, image: Image.Image) -> Collected:
    notes = [_ONLY_8_BITS.format("HEIC")] if image.info.get("bit_depth", 8) > 8 else []
    others = [image.info.get(kind) for kind in ("thumbnails", "depth_images", "aux")]
    if any(others):
        notes.append("the other pictures in the file (previews, depth or HDR gain maps) are not kept")
    encoding = {"chroma": image.info["chroma"]} if image.info.get("chroma") in (420, 422, 444) else {}
    return replace(_common(image), encoding=MappingProxyType(encoding)), notes


_ONLY_8_BITS = "the {} photo has more than 8 bits per channel, of which 8 are kept"


_COLLECTORS: dict[str, Callable[[bytes, Image.Image], Collected]] = {
    "JPEG": _jpeg_metadata,
    "PNG": _png_metadata,
    "WEBP": _webp_metadata,
    "BMP": _plain_metadata,
    "GIF": _gif_metadata,
    "AVIF": _avif_metadata,
    "HEIF": _heif_metadata,
}
