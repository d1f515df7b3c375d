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


def recognise(head: bytes) -> Codec | None:
    """The format of a file, whatever its name is.

    Args:
        head: its first 256 bytes, or more.
    """
    return next((codec for codec in CODECS if codec.recognises(head)), None)
