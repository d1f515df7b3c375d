"""The tags of a GeoTIFF that say where its pixels lie on the ground (OGC 19-008r4, GeoTIFF 1.1, section 7)."""

from __future__ import annotations

import struct

from pconv.images import ifd

_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _RPC, _GEO_KEYS = 33550, 33922, 34264, 50844, 34735
_RASTER_TYPE, _PIXEL_IS_AREA, _PIXEL_IS_POINT = 1025, 1, 2
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
    middle = (factor - 1) / 2
    shift = middle if _raster_type(tags, order) == _PIXEL_IS_POINT else 0.0
    patched = bytearray(exif)
    for code, length in ((_PIXEL_SCALE, 3), (_TIE_POINTS, 6), (_TRANSFORMATION, 16), (_RPC, 92)):
        entry = tags.get(code)
        if entry is None or entry.type != _DOUBLE or len(entry.data) % (8 * length):
            continue
        form = f"{order}{len(entry.data) // 8}d"
        values = struct.unpack(form, entry.data)
        changed: list[float] = []
        for first in range(0, len(values), length):
            part = values[first : first + length]
            if code == _PIXEL_SCALE:
                across, down, up = part  # ground units for each column, row and level
                changed += [across / factor, down / factor, up]
            elif code == _TIE_POINTS:
                column, row, *rest = part  # rest: the level, and the place on the ground
                changed += [factor * column + shift, factor * row + shift, *rest]
            elif code == _TRANSFORMATION:
                changed += _enlarged_matrix(part, factor, shift)
            else:
                changed += _enlarged_rpc(part, factor, middle)
        patched[entry.at : entry.at + len(entry.data)] = struct.pack(form, *changed)
    return bytes(patched)


def _enlarged_matrix(values: tuple[float, ...], factor: int, shift: float) -> list[float]:
    """A 4 x 4 matrix from (column, row, level, 1) to the ground, row by row."""
    changed: list[float] = []
    for first in range(0, 16, 4):
        of_column, of_row, of_level, constant = values[first : first + 4]
        constant -= shift * (of_column + of_row) / factor
        changed += [of_column / factor, of_row / factor, of_level, constant]
    return changed


def _enlarged_rpc(values: tuple[float, ...], factor: int, middle: float) -> list[float]:
    """Rational polynomials (RPC) from the ground to rows and columns, which count from the first pixel's middle."""
    changed = list(values)
    for offset, scale in ((2, 7), (3, 8)):  # of rows, of columns
        changed[offset] = factor * values[offset] + middle
        changed[scale] = factor * values[scale]
    return changed


def _raster_type(tags: dict[int, ifd.Entry], order: ifd.Order) -> int:
    """Whether coordinates count from a pixel's corner, as without a key that says it, or from its middle."""
    if _GEO_KEYS not in tags:
        return _PIXEL_IS_AREA
    data = tags[_GEO_KEYS].data
    keys = struct.iter_unpack(f"{order}4H", data[8 : len(data) // 8 * 8])  # the first four numbers are a header
    return next((value for key, _, _, value in keys if key == _RASTER_TYPE), _PIXEL_IS_AREA)
