"""From a photo's file to a square to train on, decoding no more of it than the square needs."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

UNREADABLE = (
    OSError, ValueError, SyntaxError, struct.error, TypeError, KeyError, AttributeError, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises on files that are not what they say."""

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to turn a photo of each EXIF orientation. ``ImageOps.exif_transpose`` also rewrites the EXIF data, and fails
where they are broken, which cameras' often are."""
_NO_PHOTOS = {"PDF", "EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR", "FITS"}
"""Formats of Pillow's that hold no photo, or that it cannot read by itself."""


def photo_suffixes() -> frozenset[str]:
    """Lower-case suffixes, with the dot, of every format that Pillow reads photos from."""
    return frozenset(
        suffix
        for suffix, format_name in Image.registered_extensions().items()
        if format_name in Image.OPEN and format_name not in _NO_PHOTOS
    )


def photos_below(folder: Path) -> list[Path]:
    """All files below ``folder`` with such a suffix, sorted by path."""
    suffixes = photo_suffixes()
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())


class Square(NamedTuple):
    """A square of a photo, in pixels of the photo as it stands upright."""

    top: int
    left: int
    side: int
    flip: bool


def draw_square(height: int, width: int, size: int, smallest_zoom: float, generator: np.random.Generator) -> Square:
    """A random square of a photo, as large as ``size`` or, down to ``smallest_zoom``, to be shrunk to it.

    The scale is drawn log-uniformly; a photo that is too small gives a smaller square, to be enlarged.
    """
    largest = min(height, width, round(size / smallest_zoom))
    side = min(largest, round(size * np.exp(generator.uniform(0, np.log(max(largest / size, 1))))))
    top, left = generator.integers(height - side + 1), generator.integers(width - side + 1)
    return Square(int(top), int(left), side, bool(generator.random() < 0.5))


def central_square(height: int, width: int) -> Square:
    """The largest square around a photo's centre."""
    side = min(height, width)
    return Square((height - side) // 2, (width - side) // 2, side, False)


class Photo(NamedTuple):
    """Decoded pixels ``(h, w, 3)``, upright, and the upright size that the file has, which may be larger."""

    pixels: Pixels
    height: int
    width: int


def upright_size(source: Path | IO[bytes]) -> tuple[int, int]:
    """Height and width of a photo as it stands upright, from its header.

    Raises:
        One of :data:`UNREADABLE`.
    """
    with Image.open(source) as image:
        turned = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
        return image.size if turned else image.size[::-1]


def decode(source: Path | IO[bytes], size: tuple[int, int], by: int = 1) -> Photo:
    """A photo's RGB pixels, upright.

    Args:
        source: a path or an open file.
        size: what :func:`upright_size` said.
        by: shrink by at most 1, 2, 4 or 8 while decoding. JPEG's decoder does that many times faster than it decodes
            the whole; other formats come whole.

    Raises:
        One of :data:`UNREADABLE`.
    """
    with Image.open(source) as image:
        if by > 1:
            image.draft(None, (image.width // by, image.height // by))  # type: ignore[arg-type]
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
        return Photo(_rgb(image if turn is None else image.transpose(turn)), *size)


def reduction_for(side: int, size: int) -> int:
    """The strongest of JPEG's reductions that still leaves a square of ``side`` at least ``size`` wide."""
    return next(by for by in (8, 4, 2, 1) if by == 1 or side // by >= size)


def cut(photo: Photo, square: Square, size: int) -> Pixels:
    """The square, ``(size, size, 3)``."""
    shrunk = photo.pixels.shape[0] / photo.height, photo.pixels.shape[1] / photo.width
    top, left = square.top * shrunk[0], square.left * shrunk[1]
    height, width = square.side * shrunk[0], square.side * shrunk[1]
    if (height, width) == (size, size):
        crop = photo.pixels[int(top) : int(top) + size, int(left) : int(left) + size]
    else:
        inside = slice(int(top), int(np.ceil(top + height))), slice(int(left), int(np.ceil(left + width)))
        box = left - inside[1].start, top - inside[0].start
        piece = Image.fromarray(photo.pixels[inside])
        crop = np.asarray(
            piece.resize(
                (size, size),
                Image.Resampling.BICUBIC,
                (*box, min(box[0] + width, piece.width), min(box[1] + height, piece.height)),
                reducing_gap=2.0,
            )
        )
    return np.array(crop[:, ::-1] if square.flip else crop)


def _rgb(image: Image.Image) -> Pixels:
    """8-bit RGB pixels; 16-bit grey is scaled, where Pillow would clip it to white."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.array(image.convert("RGB"))
