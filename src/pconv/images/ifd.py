"""TIFF's directories of tags, which EXIF data consists of too: read and laid out again, values byte for byte."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

Order = Literal["<", ">"]

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes per value of each field type."""

ORIENTATION, EXIF, GPS, INTEROPERABILITY = 0x0112, 0x8769, 0x8825, 0xA005
PIXELS_ACROSS, PIXELS_DOWN = 0xA002, 0xA003
THUMBNAIL, THUMBNAIL_LENGTH = 0x0201, 0x0202
_POINTERS = {EXIF, GPS, INTEROPERABILITY}
_LONG = 4
_MOST_ENTRIES = 4096
"""More tags than this in one directory are garbage read as a directory."""


class BrokenDirectoryError(ValueError):
    """The bytes are no directory, or it points outside of them."""


@dataclass(frozen=True)
class Entry:
    """One tag.

    Attributes:
        code: what it is.
        type: its field type, a key of ``SIZES``.
        data: its values, in the directory's byte order.
        at: where they lay in the source.
        inside: the tags of the directory that it points to (EXIF, GPS, interoperability).
    """

    code: int
    type: int
    data: bytes
    at: int = 0
    inside: tuple[Entry, ...] | None = None

    def integer(self, order: Order) -> int:
        """The value of a SHORT or LONG."""
        size = SIZES.get(self.type, 0)
        if size not in (1, 2, 4, 8) or len(self.data) < size:
            raise BrokenDirectoryError(f"tag {self.code} holds no number")
        return int.from_bytes(self.data[:size], "little" if order == "<" else "big")


def header(data: bytes) -> tuple[Order, int]:
    """The byte order and the first directory's place in a classic TIFF structure."""
    order: Order = "<" if data[:2] == b"II" else ">"
    if data[:2] not in (b"II", b"MM") or len(data) < 8 or struct.unpack_from(f"{order}H", data, 2)[0] != 42:
        raise BrokenDirectoryError("this is not a TIFF structure")
    return order, struct.unpack_from(f"{order}I", data, 4)[0]


def read(
    data: bytes | bytearray, order: Order, place: int, big: bool = False, depth: int = 0
) -> tuple[list[Entry], int]:
    """The directory at ``place`` (``big``: of BigTIFF) and the place of the next one; 0 if there is none.

    Raises:
        BrokenDirectoryError: values or entries lie outside of ``data``.
    """
    count_format, entry_format, next_format, inline = ("Q", "HHQ8s", "Q", 8) if big else ("H", "HHI4s", "I", 4)
    try:
        (count,) = struct.unpack_from(order + count_format, data, place)
        if count > _MOST_ENTRIES:
            raise BrokenDirectoryError(f"a directory of {count} tags")
        place += struct.calcsize(count_format)
        entries = []
        for _ in range(count):
            code, kind, values, raw = struct.unpack_from(order + entry_format, data, place)
            length = SIZES.get(kind, 0) * values
            at = place + struct.calcsize(order + entry_format) - inline
            if length > inline:
                at = int.from_bytes(raw, "little" if order == "<" else "big")
            if at + length > len(data):
                raise BrokenDirectoryError(f"tag {code} points outside of the data")
            entry = Entry(code, kind, bytes(data[at : at + length]), at)
            if code in _POINTERS and length and depth < 3:
                entry = Entry(code, kind, entry.data, at, _inside(data, order, entry, big, depth))
            if length:
                entries.append(entry)
            place += struct.calcsize(order + entry_format)
        (following,) = struct.unpack_from(order + next_format, data, place)
    except struct.error as error:
        raise BrokenDirectoryError("the directory is cut short") from error
    return entries, following


def _inside(data: bytes | bytearray, order: Order, entry: Entry, big: bool, depth: int) -> tuple[Entry, ...]:
    try:
        return tuple(read(data, order, entry.integer(order), big, depth + 1)[0])
    except BrokenDirectoryError:
        return ()


def pack(entries: list[Entry] | tuple[Entry, ...], order: Order, place: int) -> bytes:
    """A classic directory to be put at ``place``, with its values and the directories inside behind it; no next."""
    entries = sorted((e for e in entries if e.inside != ()), key=lambda entry: entry.code)
    rows, tail = b"", b""
    start = place + 2 + 12 * len(entries) + 4
    for entry in entries:
        kind, data = entry.type, entry.data
        if entry.inside is not None:
            at = start + len(tail)
            kind, data = _LONG, struct.pack(f"{order}I", at)
            tail += pack(entry.inside, order, at)
        elif len(data) > 4:
            at = start + len(tail)
            tail += data
        count = len(data) // SIZES[kind]
        value = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{order}I", at)
        rows += struct.pack(f"{order}HHI", entry.code, kind, count) + value
        tail += b"\0" * (len(tail) % 2)
    return struct.pack(f"{order}H", len(entries)) + rows + b"\0\0\0\0" + tail


def structure(entries: list[Entry] | tuple[Entry, ...], order: Order) -> bytes:
    """A whole TIFF structure, as EXIF data is: header and one directory."""
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8) + pack(entries, order, 8)
