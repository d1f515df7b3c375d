"""A filled photo, back in the file that it came from.

The page goes on from fill to fill with PNG, which rounds nothing, and wants the last one as the file that was opened:
its format, its tables of quantisation, its metadata, and each pixel that no fill changed, in whatever mode it was.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pconv.images.encode import as_mode
from pconv.images.formats import format_for, storable_mode
from pconv.images.photo import Photo

_STRIP = 512
_VISIBLE = 0.5 / 255
"""Between colours that came from different modes: what is less is rounding."""


def as_original(original: Photo, filled: Photo) -> Photo:
    """``original`` with the pixels that fills have changed.

    Args:
        filled: made of ``original`` by writing it as PNG, which need not have its mode, and filling; upright like it,
            and of its size.
    """
    result = original.copy()
    png = format_for(".png")
    as_sent = storable_mode(original, png)
    alike = as_sent == filled.mode and filled.palette is None
    directly = alike and original.mode == filled.mode and original.pixels.dtype == filled.pixels.dtype
    sent = as_mode(original, as_sent) if alike else None
    for top in range(0, original.height, _STRIP):
        rows, columns = slice(top, min(top + _STRIP, original.height)), slice(0, original.width)
        if sent is not None:
            changed: NDArray[np.bool_] = (sent[rows] != filled.pixels[rows]).any(axis=2)
        else:
            apart = np.abs(original.read(rows, columns) - filled.read(rows, columns))
            changed = (apart > _VISIBLE).any(axis=0)
        if directly:
            result.pixels[rows][changed] = filled.pixels[rows][changed]
        elif changed.any():
            result.write(rows, columns, filled.read(rows, columns), changed.astype(np.float32))
    return result
