"""Super-resolution as inpainting (Liu et al., extensions): a small image's pixels with holes between them."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import InputError

FACTORS = (2, 3, 4)
MULTIPLE = math.lcm(*FACTORS)
"""Sides that are a multiple of it, in px, can be shrunk by each factor."""


def shrunk(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """``(H, W, 3)`` shrunk to ``(H // K, W // K, 3)``, K being ``factor``, by Pillow's BICUBIC, which averages."""
    size = image.shape[1] // factor, image.shape[0] // factor
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


Value = TypeVar("Value", bound=np.generic)


def superres_input(small: NDArray[Value], factor: int) -> tuple[NDArray[Value], NDArray[np.bool_]]:
    """Spread a small image's pixels over an image that is ``factor`` times as high and wide; all else is hole.

    Pixel (x, y) goes to (K x + floor(K / 2), K y + floor(K / 2)), where K is ``factor``.

    Args:
        small: ``(h, w)`` or ``(h, w, C)``, of any dtype.
        factor: 2, 3 or 4.

    Returns:
        The image ``(K h, K w)`` or ``(K h, K w, C)``, zero in the hole, of the dtype of ``small``; and the mask
        ``(K h, K w)`` bool, True = hole.

    Raises:
        InputError: another factor.
    """
    check_factor(factor)
    height, width = factor * small.shape[0], factor * small.shape[1]
    kept = slice(factor // 2, None, factor)
    image = np.zeros((height, width, *small.shape[2:]), small.dtype)
    image[kept, kept] = small
    hole = np.ones((height, width), dtype=np.bool_)
    hole[kept, kept] = False
    return image, hole


def check_factor(factor: int) -> None:
    """Refuse factors that no network is trained for, and such as 2.0, which are no integers.

    Raises:
        InputError: it is one of these.
    """
    if not isinstance(factor, (int, np.integer)) or factor not in FACTORS:
        raise InputError(f"the factor must be one of {', '.join(map(str, FACTORS))}; got {factor!r}")
