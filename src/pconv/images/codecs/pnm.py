"""PNM, which mask tools and video tools write: PBM, PGM and PPM."""

from __future__ import annotations

from PIL import PpmImagePlugin

from pconv.images.codecs.base import Codec, pillow_file, pillow_image
from pconv.images.photo import Photo


class Pnm(Codec):
    """PBM, PGM and PPM, by what they hold; R, G, B of 16 bits are read as 8."""

    name, title, media_type = "PPM", "PNM", "image/x-portable-anymap"
    suffixes = (".ppm", ".pgm", ".pbm", ".pnm")
    plugin = PpmImagePlugin.PpmImageFile
    modes = frozenset({"1", "L", "I;16", "RGB"})
    holds = frozenset()

    def recognises(self, head: bytes) -> bool:
        return head[:1] == b"P" and head[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and head[2:3].isspace()

    def encode(self, photo: Photo, quality: int | None) -> bytes:
        return pillow_file(pillow_image(photo), "PPM", {})
