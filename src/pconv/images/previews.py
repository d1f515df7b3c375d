"""Pictures inside the metadata: previews and thumbnails that would still show what was removed from the photo."""

from __future__ import annotations

import re
import struct

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_SCAN = 0xDA
_IN_XMP = re.compile(
    rb"(<(xmpGImg:image|GImage:Data|GDepth:Data|GContainer:Data)\b[^>]*>)[^<]*(</\2>)"
    rb"|((?:GImage:Data|GDepth:Data|xmpGImg:image)=\")[^\"]*(\")"
)
_FILM = re.compile(rb"((?:GCamera|Camera):(?:MicroVideo|MotionPhoto)(?:=\"|>))1")
_PHOTOSHOP_THUMBNAILS = (1033, 1036)


def without_pictures(data: bytes, kept: tuple[int, int] = (0, 0)) -> bytes:
    """The same bytes, of the same length, with zeros for every JPEG file in them.

    Makers of cameras put previews into their notes, whose layout only they know; a JPEG is found by how it begins.

    Args:
        data: EXIF data.
        kept: where the thumbnail starts and ends, which is drawn again and not only removed.
    """
    result = bytearray(data)
    place = data.find(_START)
    while place >= 0:
        end = _end_of_jpeg(data, place)
        if end and not kept[0] <= place < kept[1]:
            result[place:end] = bytes(end - place)
        place = data.find(_START, end or place + 1)
    return bytes(result)


def _end_of_jpeg(data: bytes, place: int) -> int | None:
    """Where the JPEG that starts at ``place`` ends; None if what starts there is none."""
    place += 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], struct.unpack_from(">H", data, place + 2)[0]
        place += 2 + length
        if marker == _SCAN:
            end = data.find(_END, place)
            return end + 2 if end >= 0 else len(data)
    return None


def xmp_without_pictures(xmp: bytes) -> bytes:
    """A packet of XMP without the pictures that are written into it as text, nor a word of a film behind the photo."""
    return _FILM.sub(rb"\g<1>0", _IN_XMP.sub(rb"\1\3\4\5", xmp))


def has_film(xmp: bytes) -> bool:
    """Whether a packet of XMP says that a film of the moment lies behind the photo (motion photo, live photo)."""
    return _FILM.search(xmp) is not None


def photoshop_without_thumbnails(resources: bytes) -> bytes:
    """Photoshop's image resources but for the thumbnails; as they are from where they cannot be understood."""
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
