"""Pictures of every kind, and files of them made by other libraries than the ones that read them."""

from io import BytesIO

import numpy as np
from PIL import Image

DEPTHS = {"1": bool, "I;16": np.uint16}
CHANNELS = {"1": 1, "L": 1, "LA": 2, "P": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "YCbCr": 3, "I;16": 1}


def pixels(mode, height=23, width=31, seed=0):
    """``(H, W, C)`` of random values."""
    generator = np.random.default_rng(seed)
    kind = np.uint16 if mode.endswith("16") else np.uint8
    shape = height, width, CHANNELS[mode if mode == "I;16" else mode.removesuffix(";16")]
    if mode == "1":
        return generator.random(shape) < 0.5
    return generator.integers(0, np.iinfo(kind).max + 1, shape, dtype=kind)


def pil(mode, values, palette=None):
    """A Pillow image of ``(H, W, C)`` values."""
    height, width = values.shape[:2]
    if mode in ("1", "I;16"):
        return Image.fromarray(values[..., 0])
    image = Image.frombytes(mode, (width, height), np.ascontiguousarray(values).tobytes())
    if palette is not None:
        image.putpalette(np.asarray(palette, np.uint8).tobytes(), "RGB")
    return image


def saved(image, form, **options):
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def opened(data):
    image = Image.open(BytesIO(data))
    image.load()
    return image


def some_hole(height, width, seed=0, share=0.3):
    return np.random.default_rng(seed).random((height, width)) < share


def fill(photo, hole, colours=None, opacity=None):
    """``photo`` with its hole written in one go; by default with random colours."""
    if colours is None:
        colours = np.random.default_rng(7).random((3, *hole.shape), dtype=np.float32)
    opacity = hole.astype(np.float32) if opacity is None else opacity
    result = photo.copy()
    result.write(slice(0, photo.height), slice(0, photo.width), np.asarray(colours, np.float32), opacity)
    return result
