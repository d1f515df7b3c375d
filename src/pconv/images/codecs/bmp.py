"""BMP: palettes and R, G, B, with alpha where the header says so."""

from __future__ import annotations

import struct

from PIL import BmpImagePlugin

from pconv.images.codecs.base import Codec, pillow_file, pillow_image
from pconv.images.photo import Photo


class Bmp(Codec):
    """BMP."""

    name, title, media_type = "BMP", "BMP", "image/bmp"
    suffixes = (".bmp",)
    magic = (b"BM",)
    plugin = BmpImagePlugin.BmpImageFile
    modes = frozenset({"1", "L", "P", "RGB", "RGBA"})
    holds = frozenset({"resolution"})

    def encode(self, photo: Photo, quality: int | None) -> bytes:
        bare = pillow_file(pillow_image(photo), "BMP", {"dpi": photo.metadata.dpi})
        return _with_masks(bare) if photo.mode == "RGBA" else bare


def _with_masks(bmp: bytes) -> bytes:
    """Pillow's BMP of B, G, R, A with the header (BITMAPV4HEADER) that says that the fourth byte is alpha."""
    pixels = bmp[54:]
    width, height, _, _, _, size, *density = struct.unpack_from("<iiHHIIii", bmp, 18)
    masks = 0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000
    header = struct.pack("<IiiHHIIiiII4I4s48x", 108, width, height, 1, 32, 3, size, *density, 0, 0, *masks, b"BGRs")
    return b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + header + pixels
