"""Between the bytes of a request and pixels: recognise and decode its files, and encode the answer.

A decoder may raise any exception for a damaged file. All of them end here as an ApiError that names the file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from pconv.errors import ImageFileError, InputError
from pconv.images.codecs import CODECS, codec_for, codec_named, recognise
from pconv.images.photo import Photo
from pconv.images.reading import photo_size, read_photo
from pconv.images.writing import as_mode, check_storable, encode_photo, storable_mode
from pconv.masks.reader import MaskFile
from pconv.masks.sources import hole_of
from pconv.server.config import ServerConfig
from pconv.server.errors import ApiError
from pconv.server.options import RequestOptions

_ROWS = 512
_ROUNDING = 0.5 / 255
"""Colours in 0..1 that come from files of different modes and differ by less are the same."""
_LOG = logging.getLogger("pconv.server")


def read_size(data: bytes, what: str, config: ServerConfig) -> tuple[int, int]:
    """Height and width of an image file, upright, without decoding it.

    Args:
        what: the file's name in messages, such as "the mask".

    Raises:
        ApiError: it is not an image of an accepted format, or has too many pixels.
    """
    codec = recognise(data)
    if codec is None:
        known = ", ".join(codec.title for codec in CODECS)
        raise ApiError(415, "format", f"{what} is not an image of a format that is accepted here: {known}")
    if codec.name == "HEIF" and find_spec("pillow_heif") is None:
        raise ApiError(415, "format", "HEIC photos are not accepted here: the server lacks the package pillow-heif")
    with _decoding(what):
        height, width = photo_size(data, what)
    if height * width > config.max_pixels:
        size, limit = f"{height * width / 1e6:.4g}", f"{config.max_pixels / 1e6:.4g}"
        raise ApiError(413, "too_many_pixels", f"{what} has {size} megapixels; {limit} are accepted here")
    if height * width < 1:
        raise ApiError(422, "unreadable", f"{what} has no pixels")
    return height, width


def check_sizes(image: tuple[int, int], mask: tuple[int, int]) -> None:
    """Refuse a mask of another size before anything is decoded.

    A mask without an orientation may still be turned like the photo; the decoded sizes are compared later.
    """
    if sorted(image) != sorted(mask):
        raise _different_sizes("mask", mask, image)


def decode_image_and_mask(
    image: bytes, mask: bytes, options: RequestOptions, config: ServerConfig
) -> tuple[Photo, NDArray[np.bool_], list[str]]:
    """Decode both files.

    Returns:
        The photo; its hole, `(H, W)`, True = fill; sentences for the client.

    Raises:
        ApiError: a file is damaged, the mask has another size, everything is hole, or the answer's format cannot
            hold this photo.
    """
    with _decoding("the image"):
        photo = read_photo(image, "the image", config.max_pixels)
    notes = [*photo.notes, *_check_storable(photo, options)]
    with _decoding("the mask"):
        source = MaskFile(mask, name="the mask", labels=options.fill.label)
        hole = hole_of(photo, [source], options.fill.invert, options.fill.grow, mask_notes := [])
    if hole.all():
        message = "the mask marks the whole photo, so nothing is known to fill it from (inverted mask?)"
        raise ApiError(422, "all_hole", message)
    if not hole.any():
        mask_notes.append("the mask marks nothing to fill, so the photo came back as it was")
    return photo, hole, notes + mask_notes


def decode_original(original: bytes, photo: Photo, options: RequestOptions, config: ServerConfig) -> Photo:
    """Decode the file that `photo` was made from.

    Raises:
        ApiError: the file is damaged, has another size, or cannot be written as the client wants it.
    """
    with _decoding("the original"):
        source = read_photo(original, "the original", config.max_pixels)
    sizes = (source.height, source.width), (photo.height, photo.width)
    if sizes[0] != sizes[1]:
        raise _different_sizes("original", *sizes)
    _check_storable(source, options)
    return source


def copy_changes(filled: Photo, original: Photo) -> Photo:
    """`original` with the pixels that fills have changed, in its own mode and with its metadata.

    The page goes on from fill to fill with PNG, which rounds nothing. The last fill is written as the file that was
    opened: its format, its quantisation tables, and each unchanged pixel as it was.

    Args:
        filled: made from `original` by writing it as PNG, which need not have its mode, and filling. It has the
            size and orientation of `original`.
    """
    result = original.copy()
    png_mode = storable_mode(original, codec_for(".png"))
    comparable = png_mode == filled.mode and filled.palette is None
    same_values = comparable and original.mode == filled.mode and original.pixels.dtype == filled.pixels.dtype
    same_values = same_values and not original.premultiplied
    as_png = as_mode(original.straight(), png_mode) if comparable else None
    for top in range(0, original.height, _ROWS):
        rows, columns = slice(top, min(top + _ROWS, original.height)), slice(0, original.width)
        if as_png is not None:
            changed: NDArray[np.bool_] = (as_png[rows] != filled.pixels[rows]).any(axis=2)
        else:
            difference = np.abs(original.read(rows, columns) - filled.read(rows, columns))
            changed = (difference > _ROUNDING).any(axis=0)
        if same_values:
            result.pixels[rows][changed] = filled.pixels[rows][changed]
        elif changed.any():
            result.write(rows, columns, filled.read(rows, columns), changed.astype(np.float32))
    return result


def encode_answer(photo: Photo, options: RequestOptions) -> tuple[bytes, str]:
    """The answer's bytes and their media type."""
    codec = codec_named(photo.metadata.format) if options.suffix is None else codec_for(options.suffix)
    assert codec is not None  # the photo comes from a file
    return encode_photo(photo, options.suffix, options.quality), codec.media_type


def _different_sizes(name: str, other: tuple[int, int], image: tuple[int, int]) -> ApiError:
    sizes = f"{other[1]}x{other[0]} and the image {image[1]}x{image[0]}"
    return ApiError(422, f"{name}_size", f"the {name} has {sizes} pixels: they must be of one size")


def _check_storable(photo: Photo, options: RequestOptions) -> list[str]:
    try:
        return check_storable(photo, options.suffix, options.quality)
    except InputError as error:
        raise ApiError(422, "format", str(error)) from error


@contextmanager
def _decoding(what: str) -> Iterator[None]:
    """Whatever is raised while `what` is decoded becomes an ApiError about it."""
    try:
        yield
    except ApiError:
        raise
    except InputError as error:
        raise ApiError(422, "mask_size" if "mask" in what else "image", str(error)) from error
    except ImageFileError as error:
        raise ApiError(422, "unreadable", str(error)) from error
    except MemoryError as error:
        raise ApiError(413, "too_many_pixels", f"{what} is too large for this server's memory") from error
    except Exception as error:
        _LOG.debug("decoding: %s", type(error).__name__)
        message = f"{what} is damaged or cut short, and cannot be read to its end"
        raise ApiError(422, "unreadable", message) from error
