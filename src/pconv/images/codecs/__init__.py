"""The file formats, one module each.

A new format is a module with a subclass of ``pconv.images.codecs.base.Codec``, and one line in ``CODECS``.
"""

from __future__ import annotations

from pconv.errors import InputError
from pconv.images.codecs.avif import Avif
from pconv.images.codecs.base import Codec
from pconv.images.codecs.bmp import Bmp
from pconv.images.codecs.gif import Gif
from pconv.images.codecs.heic import Heic
from pconv.images.codecs.jpeg import Jpeg
from pconv.images.codecs.png import Png
from pconv.images.codecs.pnm import Pnm
from pconv.images.codecs.tiff import Tiff
from pconv.images.codecs.webp import WebP

CODECS: tuple[Codec, ...] = (Png(), Jpeg(), WebP(), Tiff(), Bmp(), Gif(), Avif(), Heic(), Pnm())
"""All formats, the most usual first: error messages name them in this order."""

SUFFIXES = frozenset(suffix for codec in CODECS for suffix in codec.suffixes)
"""In lower case, with the dot: what the names of image files end with."""


_RAW = (
    (4, b"ftypcrx ", "CR3"), (6, b"HEAPCCDR", "CRW"), (0, b"FUJIFILMCCD-RAW", "RAF"), (0, b"IIU\0", "RW2"),
    (0, b"IIRO", "ORF"), (0, b"IIRS", "ORF"), (0, b"MMOR", "ORF"), (0, b"\0MRM", "MRW"), (0, b"FOVb", "X3F"),
)  # fmt: skip
"""Where a camera raw file has its mark, the mark, and the kind. Those that are TIFF inside are not among them."""


def codec_named(name: str) -> Codec | None:
    """The format of this name, such as "JPEG" (see ``Codec.name``)."""
    return next((codec for codec in CODECS if codec.name == name), None)


def codec_for(suffix: str) -> Codec:
    """The format in which files with this suffix are written.

    Raises:
        InputError: none is known.
    """
    for codec in CODECS:
        if suffix.lower() in codec.suffixes:
            return codec
    able = ", ".join(codec.suffixes[0] for codec in CODECS)
    raise InputError(f"cannot tell a format from the suffix {suffix!r}; use one of {able}")


def raw_kind(head: bytes) -> str:
    """The kind of a camera raw file that is not TIFF inside; empty for no such file.

    Args:
        head: its first 256 bytes, or more.
    """
    return next((kind for place, mark, kind in _RAW if head.startswith(mark, place)), "")


def recognise(head: bytes) -> Codec | None:
    """The format of a file, whatever its name is.

    Args:
        head: its first 256 bytes, or more.
    """
    return next((codec for codec in CODECS if codec.recognises(head)), None)
