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
    rb"(<(xmpGImg:image|GImage:Data|GDepth:Data|GContainer:Data)\b[^<>]*>)[^<]*(</\2>)"
    rb"|((?:GImage:Data|GDepth:Data|xmpGImg:image)=\")[^\"]*(\")"
)
_VIDEO_IN_XMP = re.compile(rb"((?:GCamera|Camera):(?:MicroVideo|MotionPhoto)(?:=\"|>))1")
_VIDEO_NAMES = re.compile(rb"(?:GCamera|Camera):(?:MicroVideo|MotionPhoto)\w*")
_REFERENCE_NAMESPACE = re.compile(
    rb"xmlns:([\w.-]+)\s*=\s*[\"'](?:http://ns\.adobe\.com/hdr-gain-map/1\.0/|http://ns\.apple\.com/HDRGainMap/1\.0/"
    rb"|http://ns\.google\.com/photos/(?:dd/)?1\.0/container/(?:item/)?)[\"']"
)
"""Namespaces in which XMP speaks of gain maps, and of the files behind a photo. Their prefixes are free to choose."""
_REFERENCE_PREFIXES = frozenset({b"hdrgm", b"GContainer", b"HDRGainMap"})
"""The usual prefixes, also where the packet does not declare them."""
_GAIN_MAP = re.compile(rb"hdrgm|gain.?map", re.IGNORECASE)
_XMP_TAG = re.compile(rb"<(/?)([\w.-]+:[\w.-]+)([^<>]*)>")
_XMP_ATTRIBUTE = re.compile(rb"\s([\w.-]+):([\w.-]+)\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))([1-8])")
_XMP_SIZE = re.compile(
    rb"\s(?:exif:Pixel[XY]Dimension|tiff:Image(?:Width|Length))\s*=\s*(?:\"[^\"]*\"|'[^']*')"
    rb"|<(exif:Pixel[XY]Dimension|tiff:Image(?:Width|Length))>[^<]*</\1>"
)
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
        texts: the keys of a PNG's texts.
        colours: what the file says of its colours that no profile can say, in words, such as "cICP colours (PQ)".
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
    texts: tuple[str, ...] = ()
    colours: str = ""
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


def xmp_without_size(xmp: bytes) -> bytes:
    """A packet of XMP without the image's size in pixels, which the file itself says too.

    The size is found under the usual prefixes, exif and tiff.
    """
    return _XMP_SIZE.sub(b"", xmp)


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
    """A packet of XMP without images written as text, and without what points at a gain map, image or video behind."""
    return _without_references(_IMAGES_IN_XMP.sub(rb"\1\3\4\5", xmp))[0]


def xmp_notes(xmp: bytes) -> list[str]:
    """For the user: which files that a packet of XMP points at are not kept, and so are not named in it any more."""
    _, removed = _without_references(xmp)
    has_video = announces_video(xmp) or b"MotionPhoto" in removed
    notes = ["the film behind the photo (motion photo) is not kept"] if has_video else []
    if removed and (_GAIN_MAP.search(removed) or not has_video):
        notes.append("the XMP data points at no gain map or other image any more, since none is kept")
    return notes


def announces_video(xmp: bytes) -> bool:
    """Whether a packet of XMP says that a video of the moment follows the photo (motion photo, live photo)."""
    return _VIDEO_IN_XMP.search(xmp) is not None


def _without_references(xmp: bytes) -> tuple[bytes, bytes]:
    """A packet of XMP without the elements and attributes that speak of other files in this one; and these, joined.

    One pass over the tags: packets come from strangers, and a pattern that looks for each element's end could take
    very long.
    """
    prefixes = {found[1] for found in _REFERENCE_NAMESPACE.finditer(xmp)} | _REFERENCE_PREFIXES
    has_video = announces_video(xmp)
    removed: list[bytes] = []

    def goes(name: bytes) -> bool:
        return name.partition(b":")[0] in prefixes or (has_video and _VIDEO_NAMES.fullmatch(name) is not None)

    def attribute(found: re.Match[bytes]) -> bytes:
        if not goes(found[1] + b":" + found[2]) and not (found[1] == b"xmlns" and found[2] in prefixes):
            return found[0]
        if found[1] != b"xmlns":
            removed.append(found[0])
        return b""

    kept: list[bytes] = []
    place, inside, depth = 0, b"", 0
    for tag in _XMP_TAG.finditer(xmp):
        closing, name, rest = tag.groups()
        empty = rest.endswith(b"/")
        if not inside and not closing and goes(name):
            kept.append(xmp[place : tag.start()])
            place, inside = tag.start(), name
        if inside:
            if name == inside and not empty:
                depth += -1 if closing else 1
            if depth == 0:
                removed.append(xmp[place : tag.end()])
                place, inside = tag.end(), b""
        else:
            kept += [xmp[place : tag.start()], _XMP_ATTRIBUTE.sub(attribute, tag[0])]
            place = tag.end()
    return b"".join([*kept, xmp[place:]]), b"".join(removed)


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
