"""AVIF: 8 bits, with the source's subsampling."""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from PIL import AvifImagePlugin, features

from pconv.errors import InputError
from pconv.images.codecs.base import (
    QUALITY,
    Codec,
    media_brands,
    metadata_options,
    pillow_file,
    pillow_image,
    pillow_metadata,
)
from pconv.images.metadata import Metadata
from pconv.images.photo import Photo


class Avif(Codec):
    """AVIF, where Pillow was built with it."""

    name, title, media_type = "AVIF", "AVIF", "image/avif"
    suffixes = (".avif",)
    plugin = AvifImagePlugin.AvifImageFile
    modes = frozenset({"L", "RGB", "RGBA"})
    lossy = "always"
    longest_side = 65536

    def recognises(self, head: bytes) -> bool:
        return bool(media_brands(head) & {b"avif", b"avis"})

    def metadata(self, data: bytes, image: Any) -> tuple[Metadata, list[str]]:
        # The subsampling and depth of the largest AV1 image; that of one without colours is its alpha.
        flags = [data[found.end() + 2] for found in re.finditer(rb"av1C(?=.{4})", data, re.S)]
        flags = [each for each in flags if not each & 0x10] or flags or [0]
        sampling = {0x0C: "4:2:0", 0x08: "4:2:2"}.get(flags[0] & 0x0C, "4:4:4")
        lossless = re.search(rb"colrnclx....\0\0", data, re.S) is not None  # R, G, B as they are
        notes = ["the AVIF photo has more than 8 bits per channel, of which 8 are kept"] if flags[0] & 0x40 else []
        encoding = {"quality": 100} if lossless else {"subsampling": sampling}
        return replace(pillow_metadata(image), encoding=MappingProxyType(encoding)), notes

    def encode(self, photo: Photo, quality: int | None) -> bytes:
        options: dict[str, Any] = {"quality": QUALITY, "subsampling": "4:4:4"} | dict(photo.metadata.encoding)
        if photo.mode == "L":
            del options["subsampling"]
        if quality is not None:
            options["quality"] = quality
        return pillow_file(pillow_image(photo), "AVIF", options | metadata_options(photo.metadata))

    def check_encoder(self) -> None:
        if not features.check("avif"):
            raise InputError("the Pillow that is installed was built without AVIF; write another format")
