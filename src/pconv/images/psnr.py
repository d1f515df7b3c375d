"""Peak signal-to-noise ratio."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_DB = 100.0
"""PSNR of two equal images, for which there is no finite number."""


def psnr(
    image: NDArray[Any], truth: NDArray[Any], hole: NDArray[np.bool_] | None = None, peak: float = 255.0
) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(peak^2 / mean squared difference), at most 100.

    Args:
        image, truth: two arrays of one shape.
        hole: ``(H, W)``, for images ``(H, W, C)``: only the pixels where it is True count.
        peak: the largest possible value, 255 for uint8 and 1 for values in 0..1.

    Raises:
        ValueError: the shapes differ.
    """
    if image.shape != truth.shape:
        raise ValueError(f"images must be of one size, got {image.shape} and {truth.shape}")
    squared = np.square(image.astype(np.float64) - truth)
    mean = float(squared.mean() if hole is None else squared[hole].mean())
    return float(min(10 * np.log10(peak**2 / mean), MAX_DB)) if mean else MAX_DB
