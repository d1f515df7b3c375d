"""GIF: grey or a palette, of which one entry may be transparent."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import GifImagePlugin

from pconv.images.codecs.base import Codec, pillow_file, pillow_image, pillow_metadata
from pconv.images.metadata import Metadata
from pconv.images.photo import Photo


class Gif(Codec):
    """GIF; of animations, the first frame."""

    name, title, media_type = "GIF", "GIF", "image/gif"
    suffixes = (".gif",)
    magic = (b"GIF87a", b"GIF89a")
    plugin = GifImagePlugin.GifImageFile
    modes = frozenset({"L", "P"})
    transparent_palette = "one"
    longest_side = 65535
    holds = frozenset({"comment"})

    def metadata(self, data: bytes, image: Any) -> tuple[Metadata, list[str]]:
        encoding = MappingProxyType({"interlace": int(image.info.get("interlace", 0))})
        return replace(pillow_metadata(image), encoding=encoding), []

    def encode(self, photo: Photo, quality: int | None) -> bytes:
        options: dict[str, Any] = {"optimize": False, "comment": photo.metadata.comment}
        options |= {"interlace": photo.metadata.encoding.get("interlace", 0)}
        if photo.mode == "P" and photo.palette is not None and not photo.palette.is_opaque:
            options["transparency"] = int(np.flatnonzero(photo.palette.alphas == 0)[0])
        return pillow_file(pillow_image(photo), "GIF", options)
