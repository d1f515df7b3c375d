"""TIFF: read by Pillow (or tifffile, for layouts that Pillow lacks), written by tifffile, its tags kept."""

from __future__ import annotations

import struct
from dataclasses import replace
from io import BytesIO
from types import MappingProxyType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from pconv.errors import ImageFileError
from pconv.images import ifd
from pconv.images.codecs.base import COMMON, DEEP, Codec, check_mode, check_size, deflate_level, explaining_damage
from pconv.images.metadata import (
    Metadata,
    photoshop_without_thumbnails,
    upright,
    without_embedded_images,
    xmp_without_images,
)
from pconv.images.photo import Photo
from pconv.images.pillow import is_deep, photo_of, pixels_of, read_deep

XMP, IPTC, PHOTOSHOP, ICC, LAYERS = 700, 33723, 34377, 34675, 37724
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
UNSPECIFIED, UNASSOCIATED = 0, 2
"""What a fourth channel may be; 1: an alpha that the colours are multiplied by."""
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

    def size(self, file: IO[bytes], name: str) -> tuple[int, int]:
        with explaining_damage(name, self.name):
            tags, order, _ = _first_directory(file.read(), name)
            width, height = (_number(tags, code, order, 0) for code in (256, 257))
            return (width, height) if _orientation(tags, order) >= 5 else (height, width)

    def decode(self, data: bytes, name: str, max_pixels: int, shrink: int = 1) -> Photo:
        with explaining_damage(name, self.name):
            return _decode(data, name, max_pixels)

    def encode(self, photo: Photo, quality: int | None) -> bytes:
        import tifffile  # here, because it takes 0.1 s to import

        order, described = _described(photo.metadata)
        file = BytesIO()
        tifffile.imwrite(
            file,
            photo.pixels[..., 0] if photo.pixels.shape[2] == 1 else photo.pixels,
            byteorder=order,
            software=False,
            metadata=None,
            **_compression(photo),
            **_layout(photo),
        )
        return _with_tags(bytearray(file.getbuffer()), described, order)


def _decode(data: bytes, name: str, max_pixels: int) -> Photo:
    tags, order, pages = _first_directory(data, name)
    width, height = (_number(tags, code, order, 0) for code in (256, 257))
    check_size(name, width, height, max_pixels)
    bits, samples = _number(tags, 258, order, 1), _number(tags, 277, order, 1)
    if _number(tags, 339, order, 1) not in (1, 4) or bits not in (1, 2, 4, 8, 16):
        raise ImageFileError(
            f"{name} holds signed, floating-point or {bits}-bit values, which cannot be filled; save it with "
            "8 or 16 bits per channel"
        )
    if samples > 4:
        raise ImageFileError(
            f"{name} holds {samples} channels, of which some would be lost; save it with 8 or 16 bits in grey, "
            "RGB or CMYK and at most one alpha channel"
        )
    extra = _number(tags, 338, order, -1)
    in_planes = _number(tags, 284, order, 1) == 2 and samples > 1
    beyond_pillow = extra == UNSPECIFIED or (samples == 2 and extra == 1)
    beyond_pillow |= in_planes and (bits == 16 or samples == 2)
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
        stored = _by_tifffile(data)
        mode = _mode_of(name, stored, _number(tags, 262, order, 1))
    # 8 bits multiplied by their alpha are divided by it by Pillow; other alphas are written as they were.
    kept = UNASSOCIATED if extra < 0 or (image is not None and bits == 8) else extra
    metadata = _metadata(tags, order)
    metadata = replace(metadata, encoding=MappingProxyType({**metadata.encoding, "extra": kept}))
    if image is None:
        stored = upright(stored, metadata.orientation)
    # Pillow has turned the pixels already.
    photo = photo_of(
        stored, mode, image or Image.new("L", (1, 1)), replace(metadata, orientation=1), _notes(pages, tags)
    )
    return replace(photo, metadata=metadata)


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


def _by_tifffile(data: bytes) -> NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages.first
        pixels = page.asarray()
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


def _first_directory(data: bytes, name: str) -> tuple[dict[int, ifd.Entry], ifd.Order, int]:
    """The first page's tags by their codes, the byte order, and the number of pages."""
    order: ifd.Order = "<" if data[:2] == b"II" else ">"
    try:
        big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        place = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)[0]
        entries, following = ifd.read(data, order, place, big)
        seen = {place}
        while following and following not in seen and len(seen) < 1000:
            seen.add(following)
            _, following = ifd.read(data, order, following, big)
    except (struct.error, ifd.BrokenDirectoryError) as error:
        raise ImageFileError(f"{name} is damaged or cut short: TIFF, but {error}") from error
    return {entry.code: entry for entry in entries}, order, len(seen)


def _number(tags: dict[int, ifd.Entry], code: int, order: ifd.Order, default: int) -> int:
    try:
        return tags[code].integer(order) if code in tags else default
    except ifd.BrokenDirectoryError:
        return default


def _orientation(tags: dict[int, ifd.Entry], order: ifd.Order) -> int:
    found = _number(tags, ifd.ORIENTATION, order, 1)
    return found if 1 <= found <= 8 else 1


def _notes(pages: int, tags: dict[int, ifd.Entry]) -> tuple[str, ...]:
    notes = [f"only the first of {pages} pages is kept; the others are lost"] if pages > 1 else []
    if LAYERS in tags:
        notes.append("Photoshop's layers are not kept, since they show the photo as it was; the whole image is")
    return tuple(notes)


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
    photometric = {"RGB": "rgb", "RGBA": "rgb", "CMYK": "separated"}.get(kind, "minisblack")
    options: dict[str, Any] = {"photometric": photometric}
    if photometric != "minisblack" or kind == "LA":
        options["planarconfig"] = "contig"
    if kind in ("LA", "RGBA"):
        options["extrasamples"] = [photo.metadata.encoding.get("extra", UNASSOCIATED)]
    return options


def _compression(photo: Photo) -> dict[str, Any]:
    if not photo.metadata.encoding.get("compressed", True):
        return {}
    level = deflate_level(photo.height, photo.width)
    return {"compression": "zlib", "compressionargs": {"level": level}, "predictor": photo.mode not in ("1", "P")}
