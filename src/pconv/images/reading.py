"""The reader of photos: every file that pconv takes colours from is read here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

from pconv.errors import ImageFileError, InputError
from pconv.images.codecs import CODECS, SUFFIXES, raw_kind, recognise
from pconv.images.codecs.base import Codec, raw_file
from pconv.images.photo import Photo

MAX_PIXELS = 178_956_970
"""Larger images are refused before they are decoded; Pillow itself warns from here on by default."""

MAX_NAMED = 10
"""Files that a note names."""


def read_photo(source: Path | bytes, name: str = "", max_pixels: int = MAX_PIXELS, shrink: int = 1) -> Photo:
    """Read a photo, upright as its EXIF orientation says, in the mode and depth in which it is stored.

    The content of a file decides its format, and its name does not.

    Args:
        source: a file, or its bytes.
        name: for messages; the path if left out.
        max_pixels: an image with more pixels is refused before it is decoded.
        shrink: 1, 2, 4 or 8: a JPEG may come so many times smaller, but not more, and is decoded much faster. Other
            formats come at full size. Training uses it; a photo that is written again must not be read so.

    Raises:
        ImageFileError: the file is missing, no image, damaged, too large, or of a kind that cannot be filled.
    """
    name = name or _name(source)
    data = source if isinstance(source, bytes) else _bytes_of(source)
    return _codec_of(data, name).decode(data, name, max_pixels, shrink)


def photo_size(source: Path | bytes, name: str = "") -> tuple[int, int]:
    """Height and width of the upright photo, from its file's header alone.

    Raises:
        ImageFileError: the file is missing, no image, or has a damaged header.
    """
    name = name or _name(source)
    try:
        with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            head = file.read(256)
            file.seek(0)
            return _codec_of(head, name).size(file, name)
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error


def find_photos(folder: Path, what: str = "photos", note: Callable[[str], None] | None = None) -> list[Path]:
    """All image files below ``folder``, by their suffixes, sorted by path. Hidden files and folders are left out.

    Args:
        what: what they are, for messages: "photos", "masks", "frames".
        note: called with a sentence on files of other kinds, and one on images that need a library which is missing.

    Raises:
        InputError: no such folder, or no image in it that can be read here.
    """
    if not folder.is_dir():
        raise InputError(f"no folder of {what} at {folder}")
    missing = {suffix: why for codec in CODECS if (why := codec.reader_missing()) for suffix in codec.suffixes}
    found: list[Path] = []
    others: list[str] = []
    unreadable: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts) or not path.is_file():
            continue
        suffix = path.suffix.lower()
        if suffix in missing:
            unreadable.setdefault(missing[suffix], []).append(str(name))
        elif suffix in SUFFIXES:
            found.append(path)
        else:
            others.append(str(name))
    sentences = [f"left out of {folder} ({len(names)}): {some(names)}; {why}" for why, names in unreadable.items()]
    if not found:
        known = ", ".join(codec.suffixes[0] for codec in CODECS)
        raise InputError("; ".join([f"no {what} ({known}) below {folder}", *sentences]))
    if others:
        sentences.append(f"left out of {folder} ({len(others)}): {some(others)}; no suffix of an image")
    if note:
        for sentence in sentences:
            note(sentence)
    return found


def some(names: Sequence[str], separator: str = ", ") -> str:
    """The first names (or sentences) and how many there are more: ``a.heic, b.heic and 9 more``."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return separator.join(names[:MAX_NAMED]) + more


def _codec_of(data: bytes, name: str) -> Codec:
    codec = recognise(data)
    if codec is None and (kind := raw_kind(data)):
        raise raw_file(name, kind)
    if codec is None:
        known = ", ".join(codec.title for codec in CODECS)
        raise ImageFileError(f"{name} is not an image of a known format ({known})" if data else f"{name} is empty")
    return codec


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise _unreadable(str(path), error) from error


def _unreadable(name: str, error: Exception) -> ImageFileError:
    return ImageFileError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}")


def _name(source: Path | bytes) -> str:
    return str(source) if isinstance(source, Path) else "the image"
