"""What a file holds beside its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Metadata:
    """Everything beside the pixels that is kept.

    Attributes:
        format: the file's, as Pillow calls it ("JPEG", "PNG", ...); empty for a Pillow image that has none.
        orientation: how the stored pixels were turned to stand upright (EXIF tag 0x0112, 1..8).
        exif: a TIFF structure, as in the file, without the leading "Exif\\0\\0".
        xmp: a packet of XML.
        icc: a colour profile.
        dpi: horizontal and vertical.
        texts: a PNG's keys and texts, which other formats may take as comments.
        comment: of JPEG and GIF.
        verbatim: the source's own pieces, (name, content) in their order: PNG chunks, JPEG segments.
        encoding: how the pixels were encoded, as options of the format's own encoder.
        info: a Pillow image's ``info``.
    """

    format: str = ""
    orientation: int = 1
    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes = b""
    dpi: tuple[float, float] | None = None
    texts: tuple[tuple[str, str], ...] = ()
    comment: bytes = b""
    verbatim: tuple[tuple[bytes, bytes], ...] = ()
    encoding: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    info: Mapping[Any, Any] = field(default_factory=lambda: MappingProxyType({}))
