"""WebP: lossless or lossy, as the source was."""

from __future__ import annotations

import struct
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from PIL import WebPImagePlugin

from pconv.images.codecs.base import QUALITY, Codec, metadata_options, pillow_file, pillow_image, pillow_metadata
from pconv.images.metadata import Metadata
from pconv.images.photo import Photo


class WebP(Codec):
    """WebP; lossless unless the source was lossy or a quality is given."""

    name, title, media_type = "WEBP", "WebP", "image/webp"
    suffixes = (".webp",)
    plugin = WebPImagePlugin.WebPImageFile
    modes = frozenset({"RGB", "RGBA"})
    lossy = "optional"
    longest_side = 16383

    def recognises(self, head: bytes) -> bool:
        return head[:4] == b"RIFF" and head[8:12] == b"WEBP"

    def metadata(self, data: bytes, image: Any) -> tuple[Metadata, list[str]]:
        encoding = MappingProxyType({"lossless": b"VP8L" in chunk_names(data)})
        return replace(pillow_metadata(image), encoding=encoding), []

    def encode(self, photo: Photo, quality: int | None) -> bytes:
        kept = self.is_lossless(photo.metadata, quality)
        options = {"lossless": True, "exact": True} if kept else {"quality": quality or QUALITY, "exact": True}
        return pillow_file(pillow_image(photo), "WEBP", options | metadata_options(photo.metadata))


def chunk_names(data: bytes) -> list[bytes]:
    """The names of a WebP file's chunks, and of those in its first frame."""
    names, place = [], 12
    while place + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, place)
        names.append(name)
        place += 8 + (16 if name == b"ANMF" and b"ANMF" not in names[:-1] else length + length % 2)
    return names
