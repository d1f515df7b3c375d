"""TIFF: read by Pillow (or tifffile, for layouts that Pillow lacks), written by tifffile, its tags kept."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from types import MappingProxyType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from pconv.errors import ImageFileError
from pconv.images import ifd
from pconv.images.codecs.base import (
    COMMON,
    DEEP,
    Codec,
    check_mode,
    check_size,
    deflate_level,
    explaining_damage,
    raw_file,
)
from pconv.images.metadata import (
    Metadata,
    photoshop_without_thumbnails,
    upright,
    without_embedded_images,
    xmp_notes,
    xmp_without_images,
)
from pconv.images.photo import Photo
from pconv.images.pillow import is_deep, photo_of, pixels_of, read_deep

XMP, IPTC, PHOTOSHOP, ICC, LAYERS = 700, 33723, 34377, 34675, 37724
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
SUBFILE, OLD_SUBFILE, PHOTOMETRIC, TILE_WIDTH, SUB_DIRECTORIES, EXTRA_SAMPLES = 254, 255, 262, 322, 330, 338
DNG_VERSION = 50706
UNSPECIFIED, PREMULTIPLIED, UNASSOCIATED = 0, 1, 2
"""What the channel behind the colours may be: unknown, an alpha that the colours are multiplied by, another alpha."""
_MIN_IS_WHITE, _MIN_IS_BLACK = 0, 1
_REDUCED, _TRANSPARENCY = 1, 4
"""Bits of a directory's kind (``SUBFILE``): a smaller copy of another image, or a mask of it."""
_MOST_INSIDE = 100
"""Directories inside of the first one that are looked at."""
_SENSOR = {32803, 34892}
"""How raw files call their pixels: colour filter array and linear raw."""
_RAW_MARKS = {b"CR\2\0": "CR2", b"IIIITwaR": "IIQ", b"IIIIRawT": "IIQ", b"MMMMRawT": "IIQ"}
"""What stands behind the header of raw files whose first directory looks like that of a photo."""
_OF_THE_PIXELS = {
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291, 292,
    293, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 326, 327, 328, 330, 332, 338, 339, 340,
    341, 342, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 559,
}  # fmt: skip
"""Tags that say how the pixels are laid out, or where other images lie: the writer has its own."""
_BLOBS = {"iptc": IPTC, "photoshop": PHOTOSHOP}
_DEEP_MODES = {"RGB": "RGB;16", "RGBA": "RGBA;16", "RGBX": "RGB;16", "CMYK": "CMYK;16"}
_RESOLUTION_UNITS = {2: 1.0, 3: 2.54}


class Tiff(Codec):
    """TIFF and BigTIFF; of many pages, the first."""

    name, title, media_type = "TIFF", "TIFF", "image/tiff"
    suffixes = (".tif", ".tiff")
    magic = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    modes = DEEP | {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "CMYK;16"}
    holds = COMMON | {"resolution"}
    premultiplied = True

    def size(self, file: IO[bytes], name: str) -> tuple[int, int]:
        with explaining_damage(name, self.name):
            tags, order, _ = _directories(file.read(), name)
            width, height = (_number(tags, code, order, 0) for code in (256, 257))
            return (width, height) if _orientation(tags, order) >= 5 else (height, width)

    def decode(self, data: bytes, name: str, max_pixels: int, shrink: int = 1) -> Photo:
        with explaining_damage(name, self.name):
            return _decode(data, name, max_pixels)

    def encode(self, photo: Photo, quality: int | None) -> bytes:
        import tifffile  # here, because it takes 0.1 s to import

        order, described = _described(photo.metadata)
        pixels = _inverted(photo.pixels) if _is_white_at_zero(photo) else photo.pixels
        file = BytesIO()
        tifffile.imwrite(
            file,
            pixels[..., 0] if pixels.shape[2] == 1 else pixels,
            byteorder=order,
            software=False,
            metadata=None,
            **_compression(photo),
            **_layout(photo),
        )
        return _with_tags(bytearray(file.getbuffer()), described, order)


def _decode(data: bytes, name: str, max_pixels: int) -> Photo:
    tags, order, others = _directories(data, name)
    width, height = (_number(tags, code, order, 0) for code in (256, 257))
    check_size(name, width, height, max_pixels)
    _check_values(name, tags, order)
    extra = _number(tags, EXTRA_SAMPLES, order, -1)
    photometric = _number(tags, PHOTOMETRIC, order, _MIN_IS_BLACK)
    white_at_zero = photometric == _MIN_IS_WHITE and PHOTOMETRIC in tags
    if white_at_zero and extra == PREMULTIPLIED:
        raise ImageFileError(
            f"{name} holds grey values whose zero is white and which are multiplied by alpha; no rule says what they "
            "look like, so save it with an alpha that is not multiplied in"
        )
    # The values are read as they are stored. So the decoders see no tag by which they would convert them.
    plain = {PHOTOMETRIC: _MIN_IS_BLACK} if white_at_zero else {}
    plain |= {EXTRA_SAMPLES: UNASSOCIATED} if extra in (UNSPECIFIED, PREMULTIPLIED) else {}
    data = _with_values(data, tags, order, plain)
    samples = _number(tags, 277, order, 1)
    in_planes = _number(tags, 284, order, 1) == 2 and samples > 1
    beyond_pillow = in_planes and (_number(tags, 258, order, 1) == 16 or samples == 2)
    image = None if beyond_pillow else _opened(data)
    stored: NDArray[Any]
    if image is not None and is_deep(image):
        mode = _DEEP_MODES[image.mode]
        stored = read_deep(lambda: _with_memory(_opened(data), width, height))
    elif image is not None:
        check_mode(name, image.mode)
        mode = "I;16" if image.mode.startswith("I;16") else image.mode
        stored = pixels_of(_with_memory(image, width, height))
    else:
        stored = _by_tifffile(data, name)
        mode = _mode_of(name, stored, plain.get(PHOTOMETRIC, photometric))
    if white_at_zero:
        stored = _inverted(stored)
    metadata = _metadata(tags, order)
    own = {"extra": UNASSOCIATED if extra < 0 else extra, "white_at_zero": white_at_zero}
    metadata = replace(metadata, encoding=MappingProxyType({**metadata.encoding, **own}))
    if image is None:
        stored = upright(stored, metadata.orientation)
    # Pillow has turned the pixels already.
    photo = photo_of(
        stored, mode, image or Image.new("L", (1, 1)), replace(metadata, orientation=1), _notes(others, tags)
    )
    return replace(photo, metadata=metadata, premultiplied=extra == PREMULTIPLIED and photo.has_alpha)


def _check_values(name: str, tags: dict[int, ifd.Entry], order: ifd.Order) -> None:
    """Raise ImageFileError where the pixels are of a kind that cannot be filled."""
    bits, samples, form = (_number(tags, code, order, 1) for code in (258, 277, 339))
    if form not in (1, 4) or bits not in (1, 2, 4, 8, 16):
        kind = {2: " signed", 3: " floating-point"}.get(form, "")
        raise ImageFileError(
            f"{name} holds {bits}-bit{kind} values, which cannot be filled; save it with 8 or 16 bits per channel"
        )
    if samples > 4:
        raise ImageFileError(
            f"{name} holds {samples} channels, of which some would be lost; save it with 8 or 16 bits in grey, "
            "RGB or CMYK and at most one alpha channel"
        )


def _with_values(data: bytes, tags: dict[int, ifd.Entry], order: ifd.Order, values: dict[int, int]) -> bytes:
    """The file with other values in these tags, which it has."""
    if not values:
        return data
    patched = bytearray(data)
    for code, value in values.items():
        entry = tags[code]
        size = ifd.SIZES[entry.type]
        patched[entry.at : entry.at + size] = value.to_bytes(size, "little" if order == "<" else "big")
    return bytes(patched)


def _inverted(pixels: NDArray[Any]) -> NDArray[Any]:
    """Grey values counted from the other end; alpha as it is."""
    inverted = pixels.copy()
    inverted[..., 0] = ~pixels[..., 0]  # bool and unsigned integers alike
    return inverted


def _is_white_at_zero(photo: Photo) -> bool:
    return photo.colour_channels == 1 and photo.palette is None and photo.metadata.encoding.get("white_at_zero", False)


def _opened(data: bytes) -> ImageFile.ImageFile | None:
    try:
        return TiffImagePlugin.TiffImageFile(BytesIO(data))
    except Exception:  # Pillow raises many kinds; tifffile, which is tried next, names the damage
        return None


def _with_memory(image: Any, width: int, height: int) -> ImageFile.ImageFile:
    """The opened image with memory for its pixels: where there is none, Pillow asks its own limit when it decodes."""
    opened: ImageFile.ImageFile = image
    opened.im = Image.new(opened.mode, (width, height)).im
    return opened


def _by_tifffile(data: bytes, name: str) -> NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages.first
        try:
            pixels = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            raise ImageFileError(
                f"{name} has a layout of channels that is read uncompressed or compressed by Deflate only, and not by "
                f"{getattr(page.compression, 'name', page.compression)}; save it so"
            ) from error
        if pixels.ndim == 3 and int(page.planarconfig) == 2:
            pixels = np.moveaxis(pixels, 0, -1)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _mode_of(name: str, pixels: NDArray[Any], photometric: int) -> str:
    modes = {(1, 1): "L", (1, 2): "LA", (2, 3): "RGB", (2, 4): "RGBA", (5, 4): "CMYK"}
    mode = modes.get((photometric, pixels.shape[2])) if pixels.ndim == 3 else None
    if mode is None or pixels.dtype not in (np.uint8, np.uint16):
        raise ImageFileError(
            f"{name} holds {pixels.shape[2] if pixels.ndim == 3 else 'several'} channels of {pixels.dtype}, "
            "which cannot be filled; save it with 8 or 16 bits in grey, RGB or CMYK"
        )
    return mode if pixels.dtype == np.uint8 else {"L": "I;16"}.get(mode, f"{mode};16")


def _directories(data: bytes, name: str) -> tuple[dict[int, ifd.Entry], ifd.Order, list[int]]:
    """The first page's tags by their codes, the byte order, and the kinds (``SUBFILE``) of all other images.

    Raises:
        ImageFileError: the file is damaged, a camera's raw file, or begins with a reduced image.
    """
    order: ifd.Order = "<" if data[:2] == b"II" else ">"
    try:
        big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        place = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)[0]
        entries, following = ifd.read(data, order, place, big)
        tags = {entry.code: entry for entry in entries}
        pages = []
        seen = {place}
        while following and following not in seen and len(seen) < 1000:
            seen.add(following)
            page, following = ifd.read(data, order, following, big)
            pages.append({entry.code: entry for entry in page})
    except (struct.error, ifd.BrokenDirectoryError) as error:
        raise ImageFileError(f"{name} is damaged or cut short, and cannot be read as TIFF ({error})") from error
    inner = _sub_directories(data, tags, order, big)
    kind = _raw_kind(data, [tags, *pages, *inner], order)
    if kind:
        raise raw_file(name, kind)
    if _kind(tags, order) & _REDUCED:
        raise ImageFileError(
            f"{name} begins with a reduced image (a thumbnail or preview), which is not taken for the photo; save the "
            "photo itself as TIFF, PNG or JPEG, or develop it first if it is a camera raw file"
        )
    return tags, order, [_kind(each, order) for each in (*pages, *inner)]


def _sub_directories(
    data: bytes, tags: dict[int, ifd.Entry], order: ifd.Order, big: bool
) -> list[dict[int, ifd.Entry]]:
    """The directories that the first one points to, as far as they can be read."""
    entry = tags.get(SUB_DIRECTORIES)
    size = ifd.SIZES.get(entry.type, 0) if entry is not None else 0
    if entry is None or size not in (4, 8):
        return []
    found = []
    for start in range(0, min(len(entry.data), _MOST_INSIDE * size), size):
        place = int.from_bytes(entry.data[start : start + size], "little" if order == "<" else "big")
        with suppress(ifd.BrokenDirectoryError):
            found.append({each.code: each for each in ifd.read(data, order, place, big)[0]})
    return found


def _raw_kind(data: bytes, directories: list[dict[int, ifd.Entry]], order: ifd.Order) -> str:
    """What kind of camera raw file this is; empty for none."""
    if DNG_VERSION in directories[0]:
        return "DNG"
    for mark, kind in _RAW_MARKS.items():
        if data.startswith(mark, 8):
            return kind
    sensor = any(_number(each, PHOTOMETRIC, order, _MIN_IS_BLACK) in _SENSOR for each in directories)
    return "such as NEF or ARW" if sensor else ""


def _kind(tags: dict[int, ifd.Entry], order: ifd.Order) -> int:
    """The bits of ``SUBFILE``, also where a file says it in the old way."""
    return _number(tags, SUBFILE, order, 0) | (_REDUCED if _number(tags, OLD_SUBFILE, order, 1) == 2 else 0)


def _number(tags: dict[int, ifd.Entry], code: int, order: ifd.Order, default: int) -> int:
    try:
        return tags[code].integer(order) if code in tags else default
    except ifd.BrokenDirectoryError:
        return default


def _orientation(tags: dict[int, ifd.Entry], order: ifd.Order) -> int:
    found = _number(tags, ifd.ORIENTATION, order, 1)
    return found if 1 <= found <= 8 else 1


def _notes(others: list[int], tags: dict[int, ifd.Entry]) -> tuple[str, ...]:
    """What of the file is not kept.

    Args:
        others: the kinds of the other images in the file.
        tags: of the first.
    """
    notes = []
    pages = 1 + sum(not kind & (_REDUCED | _TRANSPARENCY) for kind in others)
    if pages > 1:
        notes.append(f"only the first of {pages} pages is kept; the others are lost")
    reduced = sum(bool(kind & _REDUCED) for kind in others)
    lost = [f"{reduced} reduced image{'s' * (reduced > 1)} (overviews or thumbnails)"] if reduced else []
    lost += ["transparency mask"] if any(kind & _TRANSPARENCY and not kind & _REDUCED for kind in others) else []
    lost += ["division into tiles"] if TILE_WIDTH in tags else []
    if lost:
        notes.append(f"the file's {' and '.join(lost)} {'are' if len(lost) > 1 or reduced > 1 else 'is'} not kept")
    if LAYERS in tags:
        notes.append("Photoshop's layers are not kept, since they show the photo as it was; the whole image is")
    return (*notes, *(xmp_notes(tags[XMP].data) if XMP in tags else ()))


def _metadata(tags: dict[int, ifd.Entry], order: ifd.Order) -> Metadata:
    special = {XMP, IPTC, PHOTOSHOP, ICC, LAYERS}
    described = [entry for code, entry in tags.items() if code not in _OF_THE_PIXELS | special]
    per_unit = _RESOLUTION_UNITS.get(_number(tags, RESOLUTION_UNIT, order, 2))
    resolution = [_ratio(tags.get(code), order) for code in (X_RESOLUTION, Y_RESOLUTION)]
    return Metadata(
        format="TIFF",
        orientation=_orientation(tags, order),
        exif=without_embedded_images(ifd.structure(described, order)) if described else b"",
        xmp=xmp_without_images(tags[XMP].data) if XMP in tags else b"",
        icc=tags[ICC].data if ICC in tags else b"",
        dpi=(resolution[0] * per_unit, resolution[1] * per_unit) if per_unit and all(resolution) else None,
        encoding=MappingProxyType(
            {"compressed": _number(tags, 259, order, 1) != 1, "order": order}
            | {name: tags[code].data for name, code in _BLOBS.items() if code in tags}
        ),
    )


def _ratio(entry: ifd.Entry | None, order: ifd.Order) -> float:
    if entry is None or len(entry.data) < 8:
        return 0.0
    above, below = struct.unpack_from(f"{order}II", entry.data)
    return float(above / below) if below else 0.0


def _described(metadata: Metadata) -> tuple[ifd.Order, list[ifd.Entry]]:
    """The byte order, and the tags beside those of the pixels."""
    order: ifd.Order = "<"
    entries: list[ifd.Entry] = []
    try:
        if metadata.exif:
            order, place = ifd.header(metadata.exif)
            entries = ifd.read(metadata.exif, order, place)[0]
    except ifd.BrokenDirectoryError:
        order, entries = "<", []
    tags = {entry.code: entry for entry in entries if entry.code not in _OF_THE_PIXELS}
    blobs = {XMP: (1, metadata.xmp), ICC: (7, metadata.icc)}
    for name, code in _BLOBS.items():
        blobs[code] = (7, photoshop_without_thumbnails(metadata.encoding.get(name, b"")))
    tags |= {code: ifd.Entry(code, kind, data) for code, (kind, data) in blobs.items() if data}
    if metadata.dpi and metadata.format != "TIFF":
        for code, dots in zip((X_RESOLUTION, Y_RESOLUTION), metadata.dpi, strict=True):
            tags[code] = ifd.Entry(code, 5, struct.pack(f"{order}II", round(dots * 10000), 10000))
        tags[RESOLUTION_UNIT] = ifd.Entry(RESOLUTION_UNIT, 3, struct.pack(f"{order}H", 2))
    return order, list(tags.values())


def _with_tags(data: bytearray, described: list[ifd.Entry], order: ifd.Order) -> bytes:
    """The file with another directory, behind its pixels, which has these tags too."""
    layout, _ = ifd.read(data, order, struct.unpack_from(f"{order}I", data, 4)[0])
    merged = [entry for entry in layout if entry.code in _OF_THE_PIXELS] + described
    data += bytes(len(data) % 2)
    struct.pack_into(f"{order}I", data, 4, len(data))
    data += ifd.pack(merged, order, len(data))
    return bytes(data)


def _layout(photo: Photo) -> dict[str, Any]:
    kind = photo.mode.removesuffix(";16")
    if kind == "P":
        assert photo.palette is not None
        table = np.zeros((3, 256), np.uint16)
        table[:, : len(photo.palette.colours)] = photo.palette.colours.T.astype(np.uint16) * 257
        return {"photometric": "palette", "colormap": table}
    grey = "miniswhite" if _is_white_at_zero(photo) else "minisblack"
    photometric = {"RGB": "rgb", "RGBA": "rgb", "CMYK": "separated"}.get(kind, grey)
    options: dict[str, Any] = {"photometric": photometric}
    if photometric != grey or kind == "LA":
        options["planarconfig"] = "contig"
    if kind in ("LA", "RGBA"):
        extra = photo.metadata.encoding.get("extra", UNASSOCIATED)
        straight = UNASSOCIATED if extra == PREMULTIPLIED else extra
        options["extrasamples"] = [PREMULTIPLIED if photo.premultiplied else straight]
    return options


def _compression(photo: Photo) -> dict[str, Any]:
    if not photo.metadata.encoding.get("compressed", True):
        return {}
    level = deflate_level(photo.height, photo.width)
    return {"compression": "zlib", "compressionargs": {"level": level}, "predictor": photo.mode not in ("1", "P")}
