"""EXIF data: its orientation, and its thumbnail, which would still show what was removed."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from PIL import Image

from pconv.images import ifd
from pconv.images.metadata import without_embedded_images

MARK = b"Exif\0\0"
"""What stands before EXIF data in JPEG files and in Pillow's ``info``."""


def without_mark(exif: bytes) -> bytes:
    """The TIFF structure alone."""
    return exif.removeprefix(MARK)


def with_orientation(exif: bytes, orientation: int) -> bytes:
    """The same data, of the same length, with ``orientation`` in every orientation tag; broken data as it is."""
    try:
        order, place = ifd.header(exif)
        first, following = ifd.read(exif, order, place)
        second = _second(exif, order, following)
    except ifd.BrokenDirectoryError:
        return exif
    return _with_numbers(exif, order, [*first, *second], {ifd.ORIENTATION: orientation})


def with_size(exif: bytes, width: int, height: int) -> bytes:
    """The same data, of the same length, with another size of the image, as stored, in tags that give one.

    A size that a tag has no room for becomes 0; broken data stay as they are. Data may begin with ``MARK``.
    """
    mark = MARK if exif.startswith(MARK) else b""
    exif = exif.removeprefix(mark)
    try:
        order, place = ifd.header(exif)
        first, _ = ifd.read(exif, order, place)
    except ifd.BrokenDirectoryError:
        return mark + exif
    inside = [entry for outer in first for entry in outer.inside or ()]
    return mark + _with_numbers(exif, order, inside, {ifd.PIXELS_ACROSS: width, ifd.PIXELS_DOWN: height})


def without_previews(exif: bytes) -> bytes:
    """The same data without any image but the thumbnail."""
    found = _thumbnail(exif)
    return without_embedded_images(exif, (found[0], found[0] + found[1]) if found else (0, 0))


def has_thumbnail(exif: bytes) -> bool:
    """Whether there is a thumbnail that ``with_thumbnail`` can draw again."""
    return _thumbnail(exif) is not None


def with_thumbnail(exif: bytes, draw: Callable[[int, int], Image.Image]) -> bytes:
    """The same data with its thumbnail drawn again, at its old size and in its old place.

    Args:
        exif: data in which ``has_thumbnail``; all else in it, makers' notes too, stays where it is.
        draw: makes the new one as stored, at most (width, height). If it fits in the old one's bytes at no
            quality, the thumbnail is removed.
    """
    found = _thumbnail(exif)
    if found is None:
        return exif
    start, length, length_at, order, end_of_first = found
    try:
        with Image.open(BytesIO(exif[start : start + length])) as old:
            size = old.size
    except Exception:  # Pillow raises many kinds on what is no image; then it is only removed
        size = (160, 160)
    patched = bytearray(exif)
    patched[start : start + length] = bytes(length)
    small = draw(*size).convert("RGB")
    for quality in (85, 75, 60, 45, 30, 15, 5):
        file = BytesIO()
        small.save(file, "JPEG", quality=quality, optimize=True)
        new = file.getvalue()
        if len(new) <= length:
            patched[start : start + len(new)] = new
            patched[length_at : length_at + 4] = len(new).to_bytes(4, "little" if order == "<" else "big")
            return bytes(patched)
    patched[end_of_first : end_of_first + 4] = bytes(4)
    return bytes(patched)


def _with_numbers(exif: bytes, order: ifd.Order, entries: list[ifd.Entry], numbers: dict[int, int]) -> bytes:
    """The same data with other numbers, by their tags' codes; 0 where a number does not fit."""
    patched = bytearray(exif)
    for entry in entries:
        size = ifd.SIZES.get(entry.type)
        if entry.code in numbers and size in (1, 2, 4):
            number = numbers[entry.code] if numbers[entry.code] < 256**size else 0
            patched[entry.at : entry.at + size] = number.to_bytes(size, "little" if order == "<" else "big")
    return bytes(patched)


def _second(exif: bytes, order: ifd.Order, place: int) -> list[ifd.Entry]:
    """The thumbnail's directory."""
    return ifd.read(exif, order, place)[0] if place else []


def _thumbnail(exif: bytes) -> tuple[int, int, int, ifd.Order, int] | None:
    """Where it starts, its length, where that is written, the byte order, where the link to its directory is."""
    try:
        order, place = ifd.header(exif)
        _, following = ifd.read(exif, order, place)
        tags = {entry.code: entry for entry in _second(exif, order, following)}
        if ifd.THUMBNAIL not in tags or ifd.THUMBNAIL_LENGTH not in tags:
            return None
        start, length = tags[ifd.THUMBNAIL].integer(order), tags[ifd.THUMBNAIL_LENGTH].integer(order)
    except ifd.BrokenDirectoryError:
        return None
    if tags[ifd.THUMBNAIL_LENGTH].type != 4 or length == 0 or start + length > len(exif):
        return None
    count = int.from_bytes(exif[place : place + 2], "little" if order == "<" else "big")
    return start, length, tags[ifd.THUMBNAIL_LENGTH].at, order, place + 2 + 12 * count
