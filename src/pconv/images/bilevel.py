"""Black and white alone: line art is filled with clean edges, halftones are filled with dots."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HALFTONE = 0.2
"""Changes between black and white per pixel along a row. Scanned text has about 0.05, a dithered photo 0.3 to 0.7."""


def as_bits(values: NDArray[np.float32], known: NDArray[np.bool_], filled: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Greys in 0..1 as black or white.

    Args:
        values: ``(n,)``: one for each True in ``filled``.
        known: ``(h, w)``: the picture around them.
        filled: ``(h, w)``.

    Returns:
        ``(n,)``. Beside line art, True from 50 % grey; beside halftones, the greys as dots (Floyd and Steinberg).
    """
    pairs = ~(filled[:, 1:] | filled[:, :-1])
    changes = (known[:, 1:] != known[:, :-1]) & pairs
    if changes.sum() <= HALFTONE * pairs.sum():
        return values >= 0.5
    greys = known.astype(np.uint8) * np.uint8(255)
    greys[filled] = (values * 255).round()
    dots: NDArray[np.bool_] = np.asarray(Image.fromarray(greys).convert("1"))
    return dots[filled]
