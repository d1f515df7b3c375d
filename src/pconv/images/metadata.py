"""What a file holds beside its pixels: orientation, EXIF, XMP, colour profile; and embedded images taken out of it."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

_INVERSE = {6: 8, 8: 6}
"""The only two orientations that are not their own inverse."""

_JPEG_START, _JPEG_END, _JPEG_SCAN = b"\xff\xd8\xff", b"\xff\xd9", 0xDA
_IMAGES_IN_XMP = re.compile(
    rb"(<(xmpGImg:image|GImage:Data|GDepth:Data|GContainer:Data)\b[^>]*>)[^<]*(</\2>)"
    rb"|((?:GImage:Data|GDepth:Data|xmpGImg:image)=\")[^\"]*(\")"
)
_VIDEO_IN_XMP = re.compile(rb"((?:GCamera|Camera):(?:MicroVideo|MotionPhoto)(?:=\"|>))1")
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))([1-8])")
_PHOTOSHOP_THUMBNAILS = (1033, 1036)


@dataclass(frozen=True)
class Metadata:
    """Everything beside the pixels that is kept.

    Attributes:
        format: name of the file's codec, as Pillow calls it ("JPEG", "PNG", ...); empty for an image from no file.
        orientation: how the stored pixels were turned to stand upright (EXIF tag 0x0112, 1..8).
        exif: a TIFF structure, as in the file, without the leading "Exif\\0\\0".
        xmp: a packet of XML.
        icc: a colour profile.
        dpi: horizontal and vertical pixels per inch.
        texts: a PNG's keys and texts, which other formats may take as comments.
        comment: of JPEG and GIF.
        verbatim: the source's own PNG chunks or JPEG segments, (name, content) in their order.
        encoding: how the pixels were encoded, as options of the format's own encoder.
        info: a Pillow image's ``info``.
    """

    format: str = ""
    orientation: int = 1
    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes = b""
    dpi: tuple[float, float] | None = None
    texts: tuple[tuple[str, str], ...] = ()
    comment: bytes = b""
    verbatim: tuple[tuple[bytes, bytes], ...] = ()
    encoding: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    info: Mapping[Any, Any] = field(default_factory=lambda: MappingProxyType({}))


def upright(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A view of ``(H, W, ...)`` stored pixels, turned as ``orientation`` (EXIF tag 0x0112, 1..8) says."""
    turned = stored.swapaxes(0, 1) if orientation >= 5 else stored
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return turned


def as_stored(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The inverse of ``upright``."""
    return upright(pixels, _INVERSE.get(orientation, orientation))


def xmp_with_orientation(xmp: bytes, orientation: int) -> bytes:
    """A packet of XMP that gives ``orientation`` wherever it gives one."""
    return _XMP_ORIENTATION.sub(rb"\g<1>%d" % orientation, xmp)


# A preview or thumbnail would still show what was removed from the photo. So all embedded images are taken out.


def without_embedded_images(data: bytes, kept: tuple[int, int] = (0, 0)) -> bytes:
    """The same bytes, of the same length, with zeros for every JPEG file in them.

    Makers of cameras put previews into their notes, whose layout only they know. A JPEG is found by how it begins.

    Args:
        data: EXIF data.
        kept: where the thumbnail starts and ends, which is drawn again later instead.
    """
    result = bytearray(data)
    place = data.find(_JPEG_START)
    while place >= 0:
        end = _end_of_jpeg(data, place)
        if end and not kept[0] <= place < kept[1]:
            result[place:end] = bytes(end - place)
        place = data.find(_JPEG_START, end or place + 1)
    return bytes(result)


def _end_of_jpeg(data: bytes, place: int) -> int | None:
    """Where the JPEG that starts at ``place`` ends; None if what starts there is none."""
    place += 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], struct.unpack_from(">H", data, place + 2)[0]
        place += 2 + length
        if marker == _JPEG_SCAN:
            end = data.find(_JPEG_END, place)
            return end + 2 if end >= 0 else len(data)
    return None


def xmp_without_images(xmp: bytes) -> bytes:
    """A packet of XMP without images written as text, and without the tag of a video behind the photo."""
    return _VIDEO_IN_XMP.sub(rb"\g<1>0", _IMAGES_IN_XMP.sub(rb"\1\3\4\5", xmp))


def announces_video(xmp: bytes) -> bool:
    """Whether a packet of XMP says that a video of the moment follows the photo (motion photo, live photo)."""
    return _VIDEO_IN_XMP.search(xmp) is not None


def photoshop_without_thumbnails(resources: bytes) -> bytes:
    """Photoshop's image resources without the thumbnails. What follows a resource that is no such is kept as it is."""
    kept, place = b"", 0
    while resources[place : place + 4] == b"8BIM" and place + 12 <= len(resources):
        (number,) = struct.unpack_from(">H", resources, place + 4)
        name = (resources[place + 6] + 2) // 2 * 2  # a Pascal string, padded
        if place + 10 + name > len(resources):
            break
        (size,) = struct.unpack_from(">I", resources, place + 6 + name)
        end = place + 10 + name + (size + 1) // 2 * 2
        if number not in _PHOTOSHOP_THUMBNAILS:
            kept += resources[place:end]
        place = end
    return kept + resources[place:]
