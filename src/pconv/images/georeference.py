"""The tags of a GeoTIFF that say where its pixels lie on the ground (OGC 19-008r4, GeoTIFF 1.1, section 7)."""

from __future__ import annotations

import struct

from pconv.images import ifd

PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, KEYS = 33550, 33922, 34264, 34735
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2
_DOUBLE = 12


def enlarged(exif: bytes, factor: int) -> bytes:
    """The same data, of the same length, for an image ``factor`` times as large; broken data as it is.

    The column i of a place becomes ``factor * i`` where columns count from a pixel's corner, and half of
    ``factor - 1`` more where they count from a pixel's middle. The same is true of rows.
    """
    try:
        order, place = ifd.header(exif)
        tags = {entry.code: entry for entry in ifd.read(exif, order, place)[0]}
    except ifd.BrokenDirectoryError:
        return exif
    shift = (factor - 1) / 2 if _raster_type(tags, order) == _PIXEL_IS_POINT else 0.0
    patched = bytearray(exif)
    for code, length in ((PIXEL_SCALE, 3), (TIE_POINTS, 6), (TRANSFORMATION, 16)):
        entry = tags.get(code)
        if entry is None or entry.type != _DOUBLE or len(entry.data) % (8 * length):
            continue
        form = f"{order}{len(entry.data) // 8}d"
        values = list(struct.unpack(form, entry.data))
        for first in range(0, len(values), length):
            if code == PIXEL_SCALE:  # ground units per column and per row
                values[first] /= factor
                values[first + 1] /= factor
            elif code == TIE_POINTS:  # column, row, level, and the place on the ground
                values[first] = factor * values[first] + shift
                values[first + 1] = factor * values[first + 1] + shift
            else:  # a 4 x 4 matrix from column, row, level and 1 to the ground, row by row
                for row in range(first, first + 16, 4):
                    values[row] /= factor
                    values[row + 1] /= factor
                    values[row + 3] -= shift * (values[row] + values[row + 1])
        patched[entry.at : entry.at + len(entry.data)] = struct.pack(form, *values)
    return bytes(patched)


def _raster_type(tags: dict[int, ifd.Entry], order: ifd.Order) -> int:
    """Whether coordinates count from a pixel's corner (1, also where no key says it) or from its middle (2)."""
    if KEYS not in tags:
        return 1
    data = tags[KEYS].data
    keys = struct.iter_unpack(f"{order}4H", data[8 : len(data) // 8 * 8])  # the first four numbers are a header
    return next((value for key, _, _, value in keys if key == _RASTER_TYPE), 1)
