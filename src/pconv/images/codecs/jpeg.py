"""JPEG: its segments beside the pixels are kept byte for byte, without images in them of what was removed."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from PIL import JpegImagePlugin

from pconv.images import exif
from pconv.images.codecs.base import COMMON, Codec, pillow_file, pillow_image, pillow_metadata
from pconv.images.metadata import (
    Metadata,
    photoshop_without_thumbnails,
    xmp_without_images,
)
from pconv.images.photo import Photo

QUALITY = 95
"""Of photos that come from another format; those that come from a JPEG keep its tables."""

Segment = tuple[bytes, bytes]
"""A marker's second byte, and the content without its length."""

_SOI, _SOS, _COMMENT = b"\xff\xd8", 0xDA, 0xFE
_JFIF, _JFXX = b"JFIF\0", b"JFXX\0"
_XMP, _MORE_XMP = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_ICC, _MPF, _FLASHPIX = b"ICC_PROFILE\0", b"MPF\0", b"FPXR\0"
_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
_ADOBE, _PHOTOSHOP, _JUMBF = b"Adobe", b"Photoshop 3.0\0", b"JP"
_LONGEST = 65533
_IMAGES_IN_XMP = (b"GImage:Data", b"GDepth:Data", b"xmpGImg:image")
_LARGE_XMP = "the images and depth maps in the XMP data are not kept: they show the photo as it was"
_CREDENTIALS = "the content credentials (C2PA) are not kept: they vouch for the photo as it was"
_OTHER_IMAGES = "the other images in the file (previews, depth or HDR gain maps) are not kept"


class Jpeg(Codec):
    """JPEG; a photo that was one keeps its tables, subsampling and progression."""

    name, title, media_type = "JPEG", "JPEG", "image/jpeg"
    suffixes = (".jpg", ".jpeg", ".jpe", ".jfif")
    magic = (b"\xff\xd8\xff",)
    plugin = JpegImagePlugin.JpegImageFile
    modes = frozenset({"L", "RGB", "CMYK"})
    lossy = "always"
    longest_side = 65500
    holds = COMMON | {"resolution", "comment"}

    def metadata(self, data: bytes, image: Any) -> tuple[Metadata, list[str]]:
        kept, notes = kept_segments(data)
        encoding = MappingProxyType(encoding_of(image))
        return replace(pillow_metadata(image), verbatim=kept, encoding=encoding), notes

    def with_xmp(self, verbatim: Sequence[Segment], xmp: bytes) -> tuple[Segment, ...]:
        return tuple((marker, _XMP + xmp if content.startswith(_XMP) else content) for marker, content in verbatim)

    def encode(self, photo: Photo, quality: int | None) -> bytes:
        metadata = photo.metadata
        options: dict[str, Any] = dict(metadata.encoding)
        if quality is not None:
            options.pop("qtables", None)
            options["quality"] = quality
        elif "qtables" not in options:
            options |= {"quality": QUALITY, "subsampling": 0}
        bare = pillow_file(pillow_image(photo), "JPEG", options)
        if metadata.format == "JPEG":
            return with_segments(bare, with_exif(metadata.verbatim, metadata.exif))
        return with_segments(bare, segments_of(metadata)[0])

    def quality_words(self, metadata: Metadata, quality: int | None) -> str:
        if metadata.format == self.name and quality is None:
            return "with the photo's own tables"
        return f"at quality {quality or QUALITY}"

    def too_long(self, metadata: Metadata) -> list[str]:
        return segments_of(metadata)[1]


def segments(data: bytes) -> tuple[list[Segment], int]:
    """What lies between the start and the scan, and where the scan starts."""
    found: list[Segment] = []
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            break
        if data[place + 1] == 0xFF:  # padding
            place += 1
            continue
        marker, length = data[place + 1], struct.unpack_from(">H", data, place + 2)[0]
        if marker == _SOS:
            break
        found.append((bytes([marker]), data[place + 4 : place + 2 + length]))
        place += 2 + length
    return found, place


def kept_segments(data: bytes) -> tuple[tuple[Segment, ...], list[str]]:
    """Segments of applications and comments that are still true of a changed photo; notes about the others."""
    kept: list[Segment] = []
    notes: list[str] = []
    for marker, content in segments(data)[0]:
        if not (0xE0 <= marker[0] <= 0xEF or marker[0] == _COMMENT) or content.startswith((_ADOBE, _JFXX, _FLASHPIX)):
            continue
        if marker == b"\xe2" and content.startswith((_MPF, _GAIN_MAP)):
            if _OTHER_IMAGES not in notes:
                notes.append(_OTHER_IMAGES)
        elif marker == b"\xeb" and content.startswith(_JUMBF):
            if _CREDENTIALS not in notes:
                notes.append(_CREDENTIALS)
        elif content.startswith(_JFIF):
            kept.append((marker, content[:12] + b"\0\0"))  # without its thumbnail
        elif content.startswith(_PHOTOSHOP):
            kept.append((marker, _PHOTOSHOP + photoshop_without_thumbnails(content.removeprefix(_PHOTOSHOP))))
        elif content.startswith(_XMP):
            kept.append((marker, xmp_without_images(content)))
        elif content.startswith(_MORE_XMP) and any(name in data for name in _IMAGES_IN_XMP):
            if _LARGE_XMP not in notes:
                notes.append(_LARGE_XMP)
        else:
            kept.append((marker, content))
    return tuple(kept), notes


def segments_of(metadata: Metadata) -> tuple[tuple[Segment, ...], list[str]]:
    """The segments that say what another format's metadata says, and what does not fit in."""
    made: list[Segment] = []
    lost = []
    if metadata.dpi:
        dots = [min(max(round(each), 1), 65535) for each in metadata.dpi]
        made.append((b"\xe0", _JFIF + struct.pack(">HBHHBB", 0x0101, 1, *dots, 0, 0)))
    for name, mark, content in (("EXIF", exif.MARK, metadata.exif), ("XMP", _XMP, metadata.xmp)):
        if content and len(mark + content) > _LONGEST:
            lost.append(f"{name} data of {len(content)} bytes")
        elif content:
            made.append((b"\xe1", mark + content))
    room = _LONGEST - len(_ICC) - 2
    pieces = [metadata.icc[start : start + room] for start in range(0, len(metadata.icc), room)]
    if len(pieces) > 255:
        pieces, lost = [], [*lost, "a colour profile of more than 16 MB"]
    made += [(b"\xe2", _ICC + bytes([i + 1, len(pieces)]) + piece) for i, piece in enumerate(pieces)]
    if metadata.comment:
        made.append((bytes([_COMMENT]), metadata.comment[:_LONGEST]))
    return tuple(made), lost


def with_exif(kept: Iterable[Segment], replacement: bytes) -> list[Segment]:
    """The same segments, with other EXIF data in the place of the first that held some."""
    room = _LONGEST - len(exif.MARK)
    pieces = [replacement[start : start + room] for start in range(0, len(replacement), room)]
    result: list[Segment] = []
    for marker, content in kept:
        if marker == b"\xe1" and content.startswith(exif.MARK):
            result += [(marker, exif.MARK + piece) for piece in pieces]
            pieces = []
        else:
            result.append((marker, content))
    return result


def with_segments(data: bytes, added: Iterable[Segment]) -> bytes:
    """A JPEG of pixels alone, with segments put before all else; its JFIF segment gives way to theirs."""
    own, scan = segments(data)
    added = list(added)
    if added:
        own = [segment for segment in own if not segment[1].startswith(_JFIF)]
    parts = [b"\xff" + marker + struct.pack(">H", len(content) + 2) + content for marker, content in (*added, *own)]
    return _SOI + b"".join(parts) + data[scan:]


def encoding_of(image: JpegImagePlugin.JpegImageFile) -> dict[str, Any]:
    """Options with which Pillow encodes as this file was: tables, subsampling, progressive or not, RGB or YCbCr."""
    tables = [image.quantization[layer[3]] for layer in image.layer if layer[3] in image.quantization]
    options: dict[str, Any] = {"subsampling": max(JpegImagePlugin.get_sampling(image), 0)}
    if tables:
        while len(tables) > 1 and tables[-1] == tables[-2]:
            tables.pop()
        options["qtables"] = tables
    if image.info.get("progressive"):
        options["progressive"] = True
    if image.mode == "RGB" and image.info.get("adobe_transform") == 0:
        options["keep_rgb"] = True
    return options
