"""Images that are read and written window by window, so that no float copy of a whole image is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pconv.errors import InputError
from pconv.images.photo import Photo

FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


class WindowedImage(Protocol):
    """An image whose colours are read and written window by window."""

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """One window as ``(C, h, w)``, values in 0..1. What lies in holes may be anything, NaN too."""

    def write(self, rows: slice, columns: slice, colours: NDArray[np.float32], opacity: NDArray[np.float32]) -> None:
        """Blend ``(C, h, w)`` colours into one window by ``(h, w)`` opacity in 0..1; at 0 pixels stay bit for bit."""


@dataclass(frozen=True)
class ArrayImage:
    """An array ``(H, W, C)`` of uint8, uint16 or float in 0..1, written in place.

    Attributes:
        pixels: an image with the network's channels, or with one, which then stands for each of them.
        channels: of the network.
    """

    pixels: NDArray[Any]
    channels: int

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        window = self.pixels[rows, columns].astype(np.float32) / np.float32(self._scale)
        return np.broadcast_to(window.transpose(2, 0, 1), (self.channels, *window.shape[:2]))

    def write(self, rows: slice, columns: slice, colours: NDArray[np.float32], opacity: NDArray[np.float32]) -> None:
        touched = opacity > 0
        target = self.pixels[rows, columns]
        new = colours[:, touched].T
        if target.shape[2] == 1:
            new = new.mean(axis=1, keepdims=True)
        if (opacity[touched] < 1).any():
            weights = opacity[touched][:, None]
            old = target[touched].astype(np.float32) / np.float32(self._scale)
            new = np.where(weights < 1, old + (new - old) * weights, new)
        new = new if self._scale == 1 else (new * self._scale).round()
        target[touched] = new.astype(self.pixels.dtype)

    @property
    def _scale(self) -> float:
        return FULL_SCALE.get(self.pixels.dtype.newbyteorder("="), 1.0)


@dataclass(frozen=True)
class GreyPhoto:
    """A photo for a network of one channel."""

    photo: Photo

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        grey: NDArray[np.float32] = self.photo.read(rows, columns).mean(axis=0, keepdims=True)
        return grey

    def write(self, rows: slice, columns: slice, colours: NDArray[np.float32], opacity: NDArray[np.float32]) -> None:
        self.photo.write(rows, columns, np.broadcast_to(colours, (3, *opacity.shape)), opacity)


def array_image(pixels: NDArray[Any], channels: int) -> ArrayImage:
    """``(H, W)`` or ``(H, W, C)``, for a network of ``channels``; a fourth channel, alpha, stays as it is.

    Raises:
        InputError: the dtype or the channels are not what such a network can fill.
    """
    if pixels.dtype.newbyteorder("=") not in FULL_SCALE and not np.issubdtype(pixels.dtype, np.floating):
        raise InputError(f"cannot inpaint an array of {pixels.dtype}; give uint8, uint16, or float in 0..1")
    colours = pixels if pixels.ndim == 3 else pixels[..., None]
    if colours.shape[2] == 4 and channels == 3:
        colours = colours[..., :3]
    if colours.shape[2] not in (1, channels):
        raise InputError(f"this model fills images of {channels} channels; got an array of shape {pixels.shape}")
    return ArrayImage(colours, channels)


def photo_image(photo: Photo, channels: int) -> WindowedImage:
    """A photo, as an image for a network of ``channels``.

    Raises:
        InputError: a network of neither colours nor grey.
    """
    if channels not in (1, 3):
        raise InputError(f"this model fills images of {channels} channels; a photo has three, or one")
    return photo if channels == 3 else GreyPhoto(photo)
