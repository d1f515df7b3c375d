"""The EXIF orientation: how stored pixels are turned to stand upright, and back."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

_BACK = {6: 8, 8: 6}
"""The only two orientations that are not their own inverse."""


def upright(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A view of ``(H, W, ...)`` stored pixels, turned as ``orientation`` (EXIF tag 0x0112, 1..8) says."""
    turned = stored.swapaxes(0, 1) if orientation >= 5 else stored
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return turned


def as_stored(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The inverse of :func:`upright`."""
    return upright(pixels, _BACK.get(orientation, orientation))


def stored_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """The (height, width) in the file of a photo that stands ``height`` x ``width``."""
    return (width, height) if orientation >= 5 else (height, width)
