"""Stored values to the colours that the network sees, and back, without clipping anything on the way."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
"""``(..., n)`` stored values in 0..1: grey, R G B, Y Cb Cr or C M Y K."""


class ColourSpace(Protocol):
    """A two-way street between stored values and sRGB-like colours, both in 0..1.

    Attributes:
        looks_around: whether colours alone do not say what to store (four inks make three colours), so that
            :meth:`stored_beside` has to be asked.
    """

    looks_around: bool

    def colours(self, values: Values) -> NDArray[np.float32]:
        """``(h, w, n)`` stored values as ``(h, w, 3)`` colours (or ``(h, w, 1)``: grey)."""

    def stored(self, colours: NDArray[np.float32]) -> Values:
        """``(m, 3)`` colours as stored values ``(m, n)``."""

    def stored_beside(self, colours: NDArray[np.float32], known: Values, filled: NDArray[np.bool_]) -> Values:
        """``(h, w, 3)`` colours as stored values that suit the ``(h, w, n)`` known ones where ``(h, w)`` ``filled``
        is False."""


class Plain:
    """Grey or R, G, B as they are: sRGB, or near enough that nothing is gained by converting."""

    looks_around = False

    def colours(self, values: Values) -> NDArray[np.float32]:
        return values

    def stored(self, colours: NDArray[np.float32]) -> Values:
        return colours

    def stored_beside(self, colours: NDArray[np.float32], known: Values, filled: NDArray[np.bool_]) -> Values:
        del known, filled
        return colours


class YCbCr:
    """JFIF's Y, Cb, Cr (ITU-R BT.601, full range), of Pillow images and some TIFF files."""

    looks_around = False
    _TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)
    _MIDDLE = np.array([0, 128 / 255, 128 / 255], np.float32)

    def colours(self, values: Values) -> NDArray[np.float32]:
        return ((values - self._MIDDLE) @ self._TO_RGB.T).clip(0, 1)

    def stored(self, colours: NDArray[np.float32]) -> Values:
        return (colours @ np.linalg.inv(self._TO_RGB).T.astype(np.float32)) + self._MIDDLE

    def stored_beside(self, colours: NDArray[np.float32], known: Values, filled: NDArray[np.bool_]) -> Values:
        del known, filled
        return self.stored(colours)


BLACK = 0.05
"""With less light than this left by K, the other inks are hardly seen, and are those that surround the hole."""


class NaiveCmyk:
    """C, M, Y, K without a profile: R = (1 - C)(1 - K) and so on, as Pillow and browsers do.

    One colour has many separations. The share of its possible black that a photo prints as K is taken from what
    surrounds the hole, so that a flat tint comes back as the same four inks.
    """

    looks_around = True

    def colours(self, values: Values) -> NDArray[np.float32]:
        return (1 - values[..., :3]) * (1 - values[..., 3:])

    def stored(self, colours: NDArray[np.float32]) -> Values:
        return self._separated(colours, np.ones(colours.shape[:-1], np.float32), np.zeros_like(colours))

    def stored_beside(self, colours: NDArray[np.float32], known: Values, filled: NDArray[np.bool_]) -> Values:
        darkness = 1 - self.colours(known).max(axis=-1)
        share = np.divide(known[..., 3], darkness, out=np.zeros_like(darkness), where=darkness > 0)
        seen = (~filled).astype(np.float32)
        inks = spread(known[..., :3], seen)
        return self._separated(colours, spread(share[..., None], darkness * seen)[..., 0], inks)

    @staticmethod
    def _separated(colours: NDArray[np.float32], share: NDArray[np.float32], inks_on_black: Values) -> Values:
        black = (1 - colours.max(axis=-1, keepdims=True)) * share[..., None]
        light = 1 - black
        inks = 1 - colours / np.maximum(light, 1e-6)
        visible = np.minimum(light / BLACK, 1)
        inks = inks * visible + inks_on_black * (1 - visible)
        return np.concatenate([inks, black], axis=-1).astype(np.float32)


def spread(values: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(h, w, n)`` values where ``(h, w)`` weight is positive, carried smoothly to where it is 0 (pull and push)."""
    height, width = weight.shape
    if height * width == 1 or (weight > 0).all():
        return values
    odd = [(0, height % 2), (0, width % 2)]
    totals = np.pad(values * weight[..., None], [*odd, (0, 0)])
    weights = np.pad(weight, odd)
    totals, weights = _sum_of_four(totals), _sum_of_four(weights[..., None])[..., 0]
    means = (totals / np.maximum(weights, 1e-12)[..., None]).astype(np.float32)
    coarse = spread(means, np.minimum(weights, 1).astype(np.float32))
    doubled = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    known = np.minimum(weight, 1)[..., None]
    carried: NDArray[np.float32] = values * known + _smooth(doubled) * (1 - known)
    return carried


def _sum_of_four(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width, channels = maps.shape
    total: NDArray[np.float32] = maps.reshape(height // 2, 2, width // 2, 2, channels).sum(axis=(1, 3))
    return total


def _smooth(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """The binomial filter 1 2 1 in both directions; beyond the border lies what is on it."""
    for axis in (0, 1):
        wide = np.pad(maps, [(1, 1) if axis == a else (0, 0) for a in range(3)], mode="edge")
        first, last = np.take(wide, range(maps.shape[axis]), axis), np.take(wide, range(2, maps.shape[axis] + 2), axis)
        maps = (first + 2 * maps + last) * np.float32(0.25)
    return maps


def space_of(mode: str, profile: bytes) -> tuple[ColourSpace, str]:
    """How values of this mode with this ICC profile (empty: none) become colours, and a note if it is of no use."""
    note = ""
    if profile and mode not in ("1", "YCbCr"):
        from pconv.images.icc import BrokenProfileError
        from pconv.images.profiles import described

        try:
            return described(profile, mode), ""
        except BrokenProfileError as error:
            note = f"the colour profile is not used, but kept: {error}"
    if mode.startswith("CMYK"):
        return NaiveCmyk(), note
    return YCbCr() if mode == "YCbCr" else Plain(), note
