"""A photo in memory: its pixels as they are stored, upright, and everything that writing it back needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.images.bilevel import as_bits
from pconv.images.colour import ColourSpace, Plain
from pconv.images.metadata import Metadata
from pconv.images.palette import Palette

COLOURS = {"1": 1, "L": 1, "LA": 1, "P": 1, "PA": 1, "RGB": 3, "RGBA": 3, "RGBX": 3, "CMYK": 4, "YCbCr": 3}
"""How many of a mode's channels are colours; what follows is alpha (or RGBX's padding)."""

SURROUNDINGS = 16
"""Pixels around a window from which CMYK photos learn how their colours are separated into inks."""


@final
@dataclass(frozen=True, eq=False)
class Photo:
    """A photo as it is stored: nothing is converted before it is looked at, and then only the window looked at.

    Attributes:
        pixels: ``(H, W, C)``, upright; bool (mode "1"), uint8 or uint16.
        mode: what the channels are: "1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"; 16-bit ones
            are called "I;16" (grey; "I;16B" where Pillow said so), "LA;16", "RGB;16", "RGBA;16", "CMYK;16".
        space: how its values become colours for the network, and back.
        palette: of modes "P" and "PA".
        colour_key: the stored value (grey), or values (RGB), that PNG declares transparent.
        metadata: what the file held beside the pixels.
        notes: sentences for the user, such as "only the first of 12 frames is kept".
        fills_are_opaque: what is filled becomes opaque; otherwise alpha stays as it is.
    """

    pixels: NDArray[Any]
    mode: str
    space: ColourSpace = field(default_factory=Plain)
    palette: Palette | None = None
    colour_key: tuple[int, ...] | None = None
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()
    fills_are_opaque: bool = False

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def full(self) -> int:
        """The stored value of white: 1, 255 or 65535."""
        return 1 if self.pixels.dtype == np.bool_ else int(np.iinfo(self.pixels.dtype).max)

    @property
    def colours(self) -> int:
        """How many of the channels are colours."""
        return 1 if self.mode.startswith("I;16") else COLOURS[self.mode.removesuffix(";16")]

    @property
    def has_alpha(self) -> bool:
        if self.palette is not None:
            return self.mode == "PA" or not self.palette.is_opaque
        return self.colour_key is not None or self._alpha_channel is not None

    @property
    def alpha(self) -> NDArray[Any] | None:
        """``(H, W)`` of the pixels' depth, 0 = transparent; None where the photo has no transparency at all."""
        return self.alpha_of(slice(None), slice(None))

    def alpha_of(self, rows: slice, columns: slice) -> NDArray[Any] | None:
        """:attr:`alpha` of one window."""
        if not self.has_alpha:
            return None
        window = self.pixels[rows, columns]
        if self._alpha_channel is not None:
            channel: NDArray[Any] = window[..., self._alpha_channel]
            return channel
        if self.palette is not None:
            entries: NDArray[Any] = self.palette.alphas[np.minimum(window[..., 0], len(self.palette.alphas) - 1)]
            return entries
        transparent: NDArray[np.bool_] = (window == np.array(self.colour_key, window.dtype)).all(axis=2)
        alpha: NDArray[Any] = np.where(transparent, 0, self.full).astype(window.dtype)
        return alpha

    def copy(self) -> Photo:
        """The same photo with pixels (and palette) of its own."""
        palette = self.palette.copy() if self.palette is not None else None
        return replace(self, pixels=self.pixels.copy(), palette=palette)

    def with_notes(self, *notes: str) -> Photo:
        """The same photo, pixels shared, with more to say."""
        return replace(self, notes=self.notes + notes)

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """One window's colours for the network: ``(3, h, w)`` in 0..1, R, G, B with sRGB's tone curve.

        Deterministic: a window's colours depend on its own pixels alone. No float copy of the whole photo is made.
        """
        colours = self.space.colours(self._values(rows, columns))
        return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3)).transpose(2, 0, 1))

    def write(self, rows: slice, columns: slice, colours: NDArray[np.float32], opacity: NDArray[np.float32]) -> None:
        """Put colours into :attr:`pixels`: the way back of :meth:`read`.

        Args:
            rows, columns: the window.
            colours: ``(3, h, w)`` in 0..1.
            opacity: ``(h, w)`` in 0..1. Where it is 0, pixels stay bit for bit; where it is 1 they are replaced; in
                between, they are blended with what was there, in the photo's own values. Palettes have the blend's
                nearest colours, 1-bit pictures black or white (dots, where they are halftones).
        """
        touched = np.asarray(opacity) > 0
        if not touched.any():
            return
        target = self.pixels[rows, columns]
        if self.space.looks_around:
            new = self._stored_with_surroundings(rows, columns, colours, touched)[touched]
        else:
            new = self.space.stored(colours.transpose(1, 2, 0)[touched])
        old = self._values(rows, columns)[touched]
        weights = np.asarray(opacity)[touched][:, None].astype(np.float32)
        if new.shape[1] != old.shape[1]:  # grey: one value for R, G and B
            new = new.mean(axis=1, keepdims=True)
        blended = np.where(weights >= 1, new, old + (new - old) * weights).clip(0, 1)
        self._store(target, touched, blended)

    def _values(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """A window's colour channels, ``(h, w, n)`` in 0..1: palettes are looked up, alpha is left out."""
        window = self.pixels[rows, columns, : self.colours]
        if self.palette is not None:
            window = self.palette.colours[np.minimum(window[..., 0], len(self.palette.colours) - 1)]
        full = 255 if self.palette is not None else self.full
        values: NDArray[np.float32] = window.astype(np.float32) / np.float32(full)
        return values

    def _stored_with_surroundings(
        self, rows: slice, columns: slice, colours: NDArray[np.float32], touched: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        top, bottom, _ = rows.indices(self.height)
        left, right, _ = columns.indices(self.width)
        wide_rows = slice(max(top - SURROUNDINGS, 0), bottom + SURROUNDINGS)
        wide_columns = slice(max(left - SURROUNDINGS, 0), right + SURROUNDINGS)
        known = self._values(wide_rows, wide_columns)
        inner = (
            slice(top - wide_rows.start, bottom - wide_rows.start),
            slice(left - wide_columns.start, right - wide_columns.start),
        )
        filled = np.zeros(known.shape[:2], bool)
        filled[inner] = touched
        picture = np.zeros((*known.shape[:2], 3), np.float32)
        picture[inner] = colours.transpose(1, 2, 0)
        return self.space.stored_beside(picture, known, filled)[inner]

    def _store(self, target: NDArray[Any], touched: NDArray[np.bool_], values: NDArray[np.float32]) -> None:
        """Round ``(n, channels)`` values in 0..1 to what the pixels can hold."""
        if self.palette is not None:
            alphas = self.palette.alphas[target[touched][:, 0]]
            if self.fills_are_opaque:
                alphas = np.full_like(alphas, 255)
            indices = self.palette.indices_of((values * 255).round().astype(np.uint8), alphas)
            target[touched, 0] = np.where(alphas == 0, target[touched][:, 0], indices)  # a colour of what is unseen
        elif self.pixels.dtype == np.bool_:
            if self.colour_key is None:
                target[touched, 0] = as_bits(values[:, 0], target[..., 0], touched)
            elif self.fills_are_opaque:  # one of the two colours is transparent: what is opaque has the other
                target[touched, 0] = not self.colour_key[0]
        else:
            rounded = (values * self.full).round().astype(self.pixels.dtype)
            if self.colour_key is not None:
                rounded = self._beside_key(rounded, target[touched])
            target[touched, : self.colours] = rounded
        if self.fills_are_opaque and self._alpha_channel is not None:
            target[touched, self._alpha_channel] = self.full

    def _beside_key(self, new: NDArray[Any], old: NDArray[Any]) -> NDArray[Any]:
        """New values that do not happen to be the transparent one; what was transparent stays so if alpha is kept."""
        key = np.array(self.colour_key, new.dtype)
        beside = key.copy()
        beside[0] = key[0] + 1 if key[0] < self.full else key[0] - 1
        new[(new == key).all(axis=1)] = beside
        if not self.fills_are_opaque:
            transparent = (old == key).all(axis=1)
            new[transparent] = key
        return new

    def to_pil(self) -> Image.Image:
        """A Pillow image of the photo's mode, with its palette, and with its metadata in ``info``.

        Raises:
            InputError: Pillow has no mode for 16 bits per channel but for grey.
        """
        from pconv.images import pil

        return pil.image_of(self)

    @property
    def _alpha_channel(self) -> int | None:
        return self.colours if self.mode.removesuffix(";16") in ("LA", "PA", "RGBA") else None


def from_pil(image: Image.Image) -> Photo:
    """A photo with the image's pixels, which are taken as they stand, and all that its ``info`` says.

    Raises:
        InputError: an image of a mode that has no colours known to us, such as "LAB", "F" or "I".
    """
    from pconv.images import pil

    return pil.photo_of(image)
