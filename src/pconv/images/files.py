"""Photos from files and to files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from pconv.errors import ImageFileError, InputError
from pconv.files import replacing
from pconv.images import decode, encode
from pconv.images.collect import DAMAGE
from pconv.images.decode import MAX_PIXELS
from pconv.images.formats import storable_mode
from pconv.images.photo import Photo


def read_photo(source: Path | bytes, name: str = "", max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo, upright as its EXIF orientation says, in the mode and depth in which it is stored.

    What a file is called does not matter, what is in it does.

    Args:
        source: a file, or its bytes.
        name: for messages; the path if left out.
        max_pixels: a larger picture is refused before it is decoded.

    Raises:
        ImageFileError: the file is missing, no picture, damaged, too large, or of a kind that cannot be filled.
    """
    return decode.decode(_bytes_of(source), name or _name(source), max_pixels)


def encode_photo(photo: Photo, suffix: str | None = None, quality: int | None = None) -> bytes:
    """The photo as a file's bytes, with all its metadata (in another format than its own: what that can hold).

    Args:
        photo: what to write.
        suffix: says the format; None: the photo's own.
        quality: 1..100 of JPEG, WebP, AVIF, HEIC. None: as the source was, where its file says it.

    Raises:
        InputError: the format is unknown or cannot hold this photo.
        ImageFileError: the encoder failed.
    """
    return encode.encode(photo, encode.format_of(photo, suffix), quality)


def write_photo(photo: Photo, path: Path, quality: int | None = None) -> None:
    """Write the photo in the format of ``path``'s suffix; the file appears whole or not at all.

    Raises:
        InputError: as :func:`encode_photo` says.
        ImageFileError: the file cannot be written.
    """
    data = encode_photo(photo, path.suffix, quality)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise ImageFileError(f"cannot write {path}: {error.strerror or error}") from error


def check_storable(photo: Photo, suffix: str | None = None, quality: int | None = None) -> list[str]:
    """Whether :func:`encode_photo` can do what is asked, before any work is done for it.

    Returns:
        Sentences for the user: what changes on the way to the file.

    Raises:
        InputError: it cannot.
    """
    form = encode.format_of(photo, suffix)
    if quality is not None and not 1 <= quality <= 100:
        raise InputError(f"a quality is a number from 1 to 100, not {quality}")
    if quality is not None and form.lossy == "never":
        raise InputError(f"{form.title} is lossless and has no quality; leave it out")
    encode.check_encoder(form)
    storable_mode(photo, form)
    return encode.notes(photo, form, quality)


def read_image(path: Path) -> Image.Image:
    """Any image that Pillow reads, turned upright: for training and evaluation, which look at pixels alone.

    Raises:
        ImageFileError: the file is missing, is no image, or is damaged.
    """
    try:
        image = Image.open(path)
    except UnidentifiedImageError as error:
        raise ImageFileError(f"{path} is not an image of a known format") from error
    except Image.DecompressionBombError as error:
        raise ImageFileError(f"{path} is too large: {error}") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageFileError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        with image:
            image.load()
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageFileError(f"{path} is damaged or cut short, and cannot be read to its end ({error})") from error
    try:
        return ImageOps.exif_transpose(image)
    except (*DAMAGE, AttributeError):
        return image  # as it lies: what the orientation would be cannot be read


def _bytes_of(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except (OSError, ValueError) as error:
        raise ImageFileError(f"cannot read {source}: {getattr(error, 'strerror', None) or error}") from error


def _name(source: Path | bytes) -> str:
    return str(source) if isinstance(source, Path) else "the picture"
