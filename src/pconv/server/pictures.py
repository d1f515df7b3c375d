"""A request's bytes to a photo and its hole, and the answer's bytes: everything that a thread does before and after.

Whatever a file makes a decoder raise ends as a RefusedError here: what came is to blame, since nothing
else takes part.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from pconv.errors import ImageFileError, InputError
from pconv.images.decode import Source, format_of
from pconv.images.files import check_storable, encode_photo, read_photo
from pconv.images.formats import BY_NAME, BY_SUFFIX
from pconv.images.photo import Photo
from pconv.masks.reader import MaskFile, hole_of
from pconv.server.options import FORMATS, Options
from pconv.server.refusals import RefusedError
from pconv.server.settings import Settings

TYPES = {name: f"image/{form.title.lower()}" for name, form in BY_NAME.items()}
"""What each format is called on the network."""
_LOG = logging.getLogger("pconv.server")


@dataclass(frozen=True)
class Task:
    """A photo and what to fill in it."""

    photo: Photo
    hole: NDArray[np.bool_]
    notes: tuple[str, ...]

    @cached_property
    def hole_ratio(self) -> float:
        return float(self.hole.mean())


@dataclass(frozen=True)
class Look:
    """What an image file's first bytes say: its type, and its size as it lies in the file."""

    kind: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


def look(data: bytes, what: str, settings: Settings) -> Look:
    """Recognise an image file without decoding it.

    Raises:
        RefusedError: no image of a format that is taken, or too large a one.
    """
    form = format_of(data)
    if form is None:
        raise RefusedError(
            415, "format", f"{what} is not an image of a format that is taken here: {', '.join(FORMATS)}"
        )
    with _blaming(what):
        seen = Look(TYPES[form], *_size_of(data, what, form))
    if seen.pixels > settings.max_pixels:
        raise RefusedError(
            413,
            "too_many_pixels",
            f"{what} has {seen.pixels / 1e6:.4g} megapixels; {settings.max_pixels / 1e6:.4g} are taken here",
        )
    if seen.pixels < 1:
        raise RefusedError(422, "unreadable", f"{what} has no pixels")
    return seen


def _size_of(data: bytes, what: str, form: str) -> tuple[int, int]:
    if form == "TIFF":
        import tifffile

        with tifffile.TiffFile(BytesIO(data)) as file:
            page = file.pages.first
            return int(page.imagewidth), int(page.imagelength)
    if form == "HEIF":
        try:
            import pillow_heif
        except ModuleNotFoundError as error:
            raise RefusedError(
                415, "format", "HEIC photos are not taken here: the server lacks pconv[heic]"
            ) from error
        width, height = pillow_heif.open_heif(BytesIO(data)).size
        return width, height
    with Source(data, what, form).open() as image:
        width, height = image.size
        return int(width), int(height)


def check_sizes(image: Look, mask: Look) -> None:
    """Before anything is decoded. Sides may still be swapped by an EXIF orientation; that shows once decoded."""
    if sorted((image.width, image.height)) != sorted((mask.width, mask.height)):
        raise RefusedError(
            422,
            "mask_size",
            f"the mask is {mask.width}x{mask.height} and the image {image.width}x{image.height} pixels:"
            " they must be of one size",
        )


def open_task(image: bytes, mask: bytes, options: Options, settings: Settings) -> Task:
    """Decode both files and find the hole.

    Raises:
        RefusedError: a file is damaged, the mask has another size, everything is hole, or the answer's format cannot
            hold this photo.
    """
    with _blaming("the image"):
        photo = read_photo(image, "the image", settings.max_pixels)
    try:
        notes = check_storable(photo, options.suffix, options.quality)
    except InputError as error:
        raise RefusedError(422, "format", str(error)) from error
    with _blaming("the mask"):
        hole = hole_of(photo, [MaskFile(mask, name="the mask")], options.invert, options.grow, notes)
    if hole.all():
        raise RefusedError(
            422, "all_hole", "the mask marks the whole photo, so nothing is known to fill it from (inverted?)"
        )
    if not hole.any():
        notes.append("the mask marks nothing to fill, so the photo came back as it was")
    task = Task(photo, hole, (*photo.notes, *notes))
    task.hole_ratio  # noqa: B018  # computed here, in a thread, and not later in the event loop
    return task


def open_original(original: bytes, photo: Photo, options: Options, settings: Settings) -> Photo:
    """The file that the photo was made of.

    Raises:
        RefusedError: that file is damaged, has another size, or cannot be written as it is asked for.
    """
    with _blaming("the original"):
        source = read_photo(original, "the original", settings.max_pixels)
    if (source.height, source.width) != (photo.height, photo.width):
        raise RefusedError(
            422,
            "original_size",
            f"the original has {source.width}x{source.height} and the image {photo.width}x{photo.height} pixels:"
            " they must be of one size",
        )
    try:
        check_storable(source, options.suffix, options.quality)
    except InputError as error:
        raise RefusedError(422, "format", str(error)) from error
    return source


def encode(photo: Photo, kind: str, options: Options) -> tuple[bytes, str]:
    """The answer's bytes and their type; ``kind`` is the source's."""
    if options.suffix is not None:
        kind = TYPES[BY_SUFFIX[options.suffix].name]
    return encode_photo(photo, options.suffix, options.quality), kind


@contextmanager
def _blaming(what: str) -> Iterator[None]:
    try:
        yield
    except RefusedError:
        raise
    except InputError as error:
        raise RefusedError(422, "mask_size" if "mask" in what else "image", str(error)) from error
    except ImageFileError as error:
        raise RefusedError(422, "unreadable", str(error)) from error
    except MemoryError as error:
        raise RefusedError(413, "too_many_pixels", f"{what} is too large for this server's memory") from error
    except Exception as error:  # a decoder's way to say that the file is broken
        _LOG.debug("decoding: %s", type(error).__name__)
        raise RefusedError(
            422, "unreadable", f"{what} is damaged or cut short, and cannot be read to its end"
        ) from error
