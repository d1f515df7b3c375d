"""A photo in memory: its pixels as they are stored, upright, and everything that writing it back needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import InputError
from pconv.images.colour.conversion import ColourSpace
from pconv.images.metadata import Metadata
from pconv.images.palette import Palette, as_bits

COLOURS = {"1": 1, "L": 1, "LA": 1, "P": 1, "PA": 1, "RGB": 3, "RGBA": 3, "RGBX": 3, "CMYK": 4, "YCbCr": 3}
"""How many of a mode's channels are colours; what follows is alpha (or RGBX's padding)."""

CONTEXT = 16
"""Pixels around a window from which CMYK photos learn how their colours are separated into inks."""

STRIP = 2**20
"""Pixels of which floating-point values are made at a time."""


@final
@dataclass(frozen=True, eq=False)
class Photo:
    """An image with its metadata, in the mode and depth in which it is stored.

    Windows are converted to colours and back only when the network needs them. Other pixels keep every bit.

    Attributes:
        pixels: ``(H, W, C)``, upright; bool (mode "1"), uint8 or uint16.
        mode: what the channels are: "1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"; 16-bit ones
            are called "I;16" (grey; "I;16B" where Pillow said so), "LA;16", "RGB;16", "RGBA;16", "CMYK;16".
        space: how stored values become colours for the network, and back.
        palette: of modes "P" and "PA".
        colour_key: the stored value (grey), or values (RGB), that PNG declares transparent.
        metadata: what the file held beside the pixels.
        notes: sentences for the user, such as "only the first of 12 frames is kept".
        fills_are_opaque: what is filled becomes opaque; otherwise alpha stays as it is.
        premultiplied: the stored colours are multiplied by alpha (TIFF's associated alpha).
    """

    pixels: NDArray[Any]
    mode: str
    space: ColourSpace = field(default_factory=ColourSpace)
    palette: Palette | None = None
    colour_key: tuple[int, ...] | None = None
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()
    fills_are_opaque: bool = False
    premultiplied: bool = False

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.pixels.shape[1])

    @property
    def white(self) -> int:
        """The largest stored value: 1, 255 or 65535."""
        return 1 if self.pixels.dtype == np.bool_ else int(np.iinfo(self.pixels.dtype).max)

    @property
    def colour_channels(self) -> int:
        """How many of the channels are colours and not alpha."""
        return 1 if self.mode.startswith("I;16") else COLOURS[self.mode.removesuffix(";16")]

    @property
    def has_alpha(self) -> bool:
        """Whether some pixel could be transparent: by a channel, a palette's entry or a colour key."""
        if self.palette is not None:
            return self.mode == "PA" or not self.palette.is_opaque
        return self.colour_key is not None or self._alpha_channel is not None

    @property
    def alpha(self) -> NDArray[Any] | None:
        """``(H, W)`` of the pixels' depth, 0 = transparent; None where the photo has no transparency at all."""
        return self.alpha_of(slice(None), slice(None))

    def alpha_of(self, rows: slice, columns: slice) -> NDArray[Any] | None:
        """``alpha`` of one window."""
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
        alpha: NDArray[Any] = np.where(transparent, 0, self.white).astype(window.dtype)
        return alpha

    def copy(self) -> Photo:
        """The same photo with pixels (and palette) of its own."""
        palette = self.palette.copy() if self.palette is not None else None
        return replace(self, pixels=self.pixels.copy(), palette=palette)

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """One window's colours for the network: ``(3, h, w)`` float32 in 0..1, R, G, B with sRGB's tone curve.

        A window's colours depend on its own pixels alone. No float copy of the whole photo is made.
        """
        colours = self.space.colours(self._values(rows, columns))
        return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3)).transpose(2, 0, 1))

    def rgb(self) -> NDArray[np.uint8]:
        """All colours that the network sees, ``(H, W, 3)`` uint8; may share the photo's memory. Alpha is left out."""
        as_stored = type(self.space) is ColourSpace and not self.premultiplied
        if as_stored and self.pixels.dtype == np.uint8 and self.mode.startswith("RGB"):
            return self.pixels[..., :3]
        result = np.empty((self.height, self.width, 3), np.uint8)
        for rows in self.strips():
            result[rows] = (self.read(rows, slice(None)) * 255).round().transpose(1, 2, 0)
        return result

    def straight(self) -> Photo:
        """The same photo with colours that are not multiplied by alpha; itself where they are not."""
        if not self.premultiplied:
            return self
        pixels = self.pixels.copy()
        for rows in self.strips():
            values = self._values(rows, slice(None))
            pixels[rows, :, : self.colour_channels] = np.rint(values * self.white)
        return replace(self, pixels=pixels, premultiplied=False)

    def strips(self) -> Iterator[slice]:
        """Slices of rows that cover the photo, with about ``STRIP`` pixels each."""
        step = max(STRIP // self.width, 1)
        for top in range(0, self.height, step):
            yield slice(top, min(top + step, self.height))

    def write(self, rows: slice, columns: slice, colours: NDArray[np.float32], opacity: NDArray[np.float32]) -> None:
        """Put colours into ``pixels``, the inverse of ``read``.

        Args:
            rows, columns: the window.
            colours: ``(3, h, w)`` in 0..1.
            opacity: ``(h, w)`` in 0..1. Where it is 0, pixels stay bit for bit; where it is 1, they are replaced. In
                between, old and new are blended in the photo's own values. A palette's nearest colour is taken. 1-bit
                images get black or white, and dots where they are halftones.
        """
        touched = np.asarray(opacity) > 0
        if not touched.any():
            return
        target = self.pixels[rows, columns]
        if self.space.needs_context:
            new = self._stored_in_context(rows, columns, colours, touched)[touched]
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
        window = self.pixels[rows, columns, : self.colour_channels]
        if self.palette is not None:
            window = self.palette.colours[np.minimum(window[..., 0], len(self.palette.colours) - 1)]
        full = 255 if self.palette is not None else self.white
        values: NDArray[np.float32] = window.astype(np.float32) / np.float32(full)
        if self.premultiplied:
            alpha = self.pixels[rows, columns, self._alpha_channel, None].astype(np.float32) / np.float32(full)
            np.divide(values, alpha, out=values, where=alpha > 0)
            np.clip(values, 0, 1, out=values)
        return values

    def _stored_in_context(
        self, rows: slice, columns: slice, colours: NDArray[np.float32], touched: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        top, bottom, _ = rows.indices(self.height)
        left, right, _ = columns.indices(self.width)
        wide_rows = slice(max(top - CONTEXT, 0), bottom + CONTEXT)
        wide_columns = slice(max(left - CONTEXT, 0), right + CONTEXT)
        known = self._values(wide_rows, wide_columns)
        inner = (
            slice(top - wide_rows.start, bottom - wide_rows.start),
            slice(left - wide_columns.start, right - wide_columns.start),
        )
        filled = np.zeros(known.shape[:2], bool)
        filled[inner] = touched
        wide = np.zeros((*known.shape[:2], 3), np.float32)
        wide[inner] = colours.transpose(1, 2, 0)
        return self.space.stored_in_context(wide, known, filled)[inner]

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
            if self.premultiplied and not self.fills_are_opaque:
                values = values * (
                    target[touched, self._alpha_channel, None].astype(np.float32) / np.float32(self.white)
                )
            rounded = (values * self.white).round().astype(self.pixels.dtype)
            if self.colour_key is not None:
                rounded = self._beside_key(rounded, target[touched])
            target[touched, : self.colour_channels] = rounded
        if self.fills_are_opaque and self._alpha_channel is not None:
            target[touched, self._alpha_channel] = self.white

    def _beside_key(self, new: NDArray[Any], old: NDArray[Any]) -> NDArray[Any]:
        """New values that do not happen to be the transparent one; what was transparent stays so if alpha is kept."""
        key = np.array(self.colour_key, new.dtype)
        beside = key.copy()
        beside[0] = key[0] + 1 if key[0] < self.white else key[0] - 1
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
        if self.mode.endswith(";16") and self.mode != "I;16":
            raise InputError(f"Pillow has no mode for {self.mode} photos; use their pixels as an array")
        if self.premultiplied:
            return self.straight().to_pil()
        size = self.width, self.height
        if self.mode == "1":
            image = Image.fromarray(self.pixels[..., 0])
        elif self.mode.startswith("I;16"):
            stored = ">u2" if self.mode == "I;16B" else "<u2"
            image = Image.frombytes(self.mode, size, self.pixels[..., 0].astype(stored).tobytes())
        else:
            image = Image.frombuffer(self.mode, size, np.ascontiguousarray(self.pixels), "raw", self.mode, 0, 1)
            if image.readonly:  # it shares the photo's memory
                image = image.copy()
        image.info = self._pillow_info()
        if self.palette is not None:
            image.putpalette(self.palette.colours.tobytes(), "RGB")
            if self.mode == "P" and not self.palette.is_opaque and "transparency" not in image.info:
                image.info["transparency"] = self.palette.alphas.tobytes()
        return image

    def _pillow_info(self) -> dict[Any, Any]:
        metadata = self.metadata
        info = dict(metadata.info)
        if not info:
            found = {"exif": metadata.exif, "xmp": metadata.xmp, "icc_profile": metadata.icc, "dpi": metadata.dpi}
            info = {key: content for key, content in found.items() if content}
            if self.colour_key is not None:
                info["transparency"] = self.colour_key if len(self.colour_key) > 1 else self.colour_key[0]
        elif metadata.exif and "exif" not in info:
            info["exif"] = metadata.exif
        return info

    @property
    def _alpha_channel(self) -> int | None:
        return self.colour_channels if self.mode.removesuffix(";16") in ("LA", "PA", "RGBA") else None
