"""Several small pictures of one size through the network at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.filling.backends import Backend
from pconv.filling.wide import halved

WHOLE_SIDE = 768
"""Pictures up to this side are filled as one piece: cutting the hole out would save little."""


def fill_together(backend: Backend, pictures: NDArray[np.float32], holes: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill ``(B, C, H, W)`` pictures, values in 0..1, where ``(B, H, W)`` ``holes`` are True.

    Each comes out as :func:`pconv.filling.wide.fill_wide` makes it alone: what no known pixel reaches comes from half
    the size, where those that need it go together again.
    """
    filled, reached = backend.fill(pictures, holes[:, None])
    wide = [n for n, hole in enumerate(holes) if not (reached[n].all() or hole.all() or min(hole.shape) < 2)]
    if not wide:
        return filled
    smaller = [halved(pictures[n], holes[n]) for n in wide]
    coarse = fill_together(backend, np.stack([s[0] for s in smaller]), np.stack([s[1] for s in smaller]))
    height, width = holes.shape[1:]
    filled = filled.copy()
    for n, picture in zip(wide, coarse, strict=True):
        planes = [Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in picture]
        filled[n] = np.where(reached[n], filled[n], np.stack([np.asarray(plane) for plane in planes]))
    return filled
