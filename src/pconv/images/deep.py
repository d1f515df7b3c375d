"""16 bits per channel through Pillow, which has no mode for them.

Pillow reads 16-bit R, G, B as 8 bits: the high byte of each value. Told that the bytes come in the other order, it
reads the low byte. Both together are the whole value, with Pillow's own decoders for every kind of compression.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

_NATIVE, _FOREIGN = ("L", "B") if sys.byteorder == "little" else ("B", "L")
_OTHER = {"L": "B", "B": "L", "N": _FOREIGN}


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow would drop the low bytes of this newly opened image."""
    raw_modes = [_raw_mode(tile.args) for tile in getattr(image, "tile", ())]
    return any(";16" in raw for raw in raw_modes) and not image.mode.startswith("I;16")


def read_deep(open_image: Callable[[], Any]) -> NDArray[np.uint16]:
    """``(H, W, C)`` uint16 of an image for which :func:`is_deep`; it is opened and read twice."""
    image = open_image()
    if _raw_mode(image.tile[0].args).startswith("LA;16"):  # four bytes per pixel, which RGBA takes as they are
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        return pixels_of(image).view(">u2").astype(np.uint16)
    deep = pixels_of(image).astype(np.uint16)
    deep <<= 8
    del image  # its memory first
    image = open_image()
    image.tile = [tile._replace(args=_with_other_order(tile.args)) for tile in image.tile]
    deep |= pixels_of(image)
    return deep


def pixels_of(image: ImageFile.ImageFile | Any) -> NDArray[Any]:
    """``(H, W, C)`` of a Pillow image: bool, uint8 or uint16. Copied in strips, so that it is not in memory thrice."""
    image.load()
    bands = len(image.getbands())
    kind = np.bool_ if image.mode == "1" else np.uint16 if image.mode.startswith("I;16") else np.uint8
    pixels = np.empty((image.height, image.width, bands), kind)
    rows = max(2**20 // image.width, 1)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels[top : top + rows] = np.asarray(strip).reshape(-1, image.width, bands)
    return pixels


def _raw_mode(args: Any) -> str:
    return str(args[0] if isinstance(args, tuple) else args)


def _with_other_order(args: Any) -> Any:
    raw = _raw_mode(args)
    other = raw[:-1] + _OTHER[raw[-1]]
    return (other, *args[1:]) if isinstance(args, tuple) else other
