"""From a photo's file to a square to train on, decoding no more of it than the square needs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.images.reading import read_photo

Pixels = NDArray[np.uint8]


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


class Decoded(NamedTuple):
    """A photo's pixels ``(h, w, 3)`` uint8, upright, and the upright size that the file has, which may be larger."""

    pixels: Pixels
    height: int
    width: int


def decode(source: Path | bytes, size: tuple[int, int], shrink: int = 1, name: str = "") -> Decoded:
    """A photo's colours.

    Args:
        source: a file, or its bytes.
        size: height and width, as ``pconv.images.reading.photo_size`` gives them.
        shrink: shrink by at most 1, 2, 4 or 8 while decoding, if it is a JPEG.
        name: for messages; the path if left out.

    Raises:
        ImageFileError: the photo cannot be read.
    """
    return Decoded(np.ascontiguousarray(read_photo(source, name, shrink=shrink).rgb()), *size)


def reduction_for(side: int, size: int) -> int:
    """The strongest of JPEG's reductions that still leaves a square of ``side`` at least ``size`` wide."""
    return next(by for by in (8, 4, 2, 1) if by == 1 or side // by >= size)


def cut(photo: Decoded, square: Square, size: int) -> Pixels:
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


def turned(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """Turned by 90, 180 or 270 degrees."""
    return np.rot90(pixels, int(generator.integers(1, 4)))


def recoloured(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """Another gamma (log-normal, 0.2), saturation (log-normal, 0.3) and gain of each channel (log-normal, 0.08)."""
    gamma, saturation = np.exp(generator.normal(0, 0.2)), np.exp(generator.normal(0, 0.3))
    gains = np.exp(generator.normal(0, 0.08, 3))
    table = (255 * (np.arange(256) / 255) ** gamma).astype(np.float32)
    matrix = gains[:, None] * (saturation * np.eye(3) + (1 - saturation) / 3)
    changed = table[pixels] @ matrix.T.astype(np.float32)
    return np.asarray(changed.clip(0, 255) + 0.5, dtype=np.uint8)
