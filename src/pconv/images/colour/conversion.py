"""Stored values to the colours that the network sees, and back, without clipping anything on the way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
"""``(..., n)`` stored values in 0..1: grey, R G B, Y Cb Cr or C M Y K."""

BLACK = 0.05
"""With less light than this left by K, the other inks are hardly seen, and are those that surround the hole."""


class ColourSpace:
    """Converts stored values to sRGB-like colours and back, both in 0..1. This one changes nothing.

    It serves grey or R, G, B as they are: sRGB, or near enough that nothing is gained by converting.

    Attributes:
        needs_context: whether colours alone do not say what to store, as four inks make three colours. Then
            ``stored_in_context`` has to be called, not ``stored``.
    """

    needs_context = False

    def colours(self, values: Values) -> NDArray[np.float32]:
        """``(h, w, n)`` stored values as ``(h, w, 3)`` colours (or ``(h, w, 1)``: grey)."""
        return values

    def stored(self, colours: NDArray[np.float32]) -> Values:
        """``(m, 3)`` colours as stored values ``(m, n)``."""
        return colours

    def stored_in_context(self, colours: NDArray[np.float32], known: Values, hole: NDArray[np.bool_]) -> Values:
        """``(h, w, 3)`` colours as stored values that suit the known ones around them.

        Args:
            colours: ``(h, w, 3)``; only those in the hole count.
            known: ``(h, w, n)`` stored values; only those outside the hole count.
            hole: ``(h, w)``.
        """
        del known, hole
        return self.stored(colours)


class YCbCr(ColourSpace):
    """JFIF's Y, Cb, Cr (ITU-R BT.601, full range), of Pillow images and some TIFF files."""

    _TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)
    _MIDDLE = np.array([0, 128 / 255, 128 / 255], np.float32)

    def colours(self, values: Values) -> NDArray[np.float32]:
        """R, G, B, clipped to 0..1."""
        return ((values - self._MIDDLE) @ self._TO_RGB.T).clip(0, 1)

    def stored(self, colours: NDArray[np.float32]) -> Values:
        """Y, Cb, Cr."""
        return (colours @ np.linalg.inv(self._TO_RGB).T.astype(np.float32)) + self._MIDDLE


class NaiveCmyk(ColourSpace):
    """C, M, Y, K without a profile: R = (1 - C)(1 - K) and so on, as Pillow and browsers do.

    One colour has many separations into inks. How much of its black a photo prints as K is measured around the hole.
    So a flat tint comes back as the same four inks.
    """

    needs_context = True

    def colours(self, values: Values) -> NDArray[np.float32]:
        """R, G, B."""
        return (1 - values[..., :3]) * (1 - values[..., 3:])

    def stored_in_context(self, colours: NDArray[np.float32], known: Values, hole: NDArray[np.bool_]) -> Values:
        """C, M, Y, K with the part of K that is usual around the hole."""
        darkness = 1 - self.colours(known).max(axis=-1)
        share = np.divide(known[..., 3], darkness, out=np.zeros_like(darkness), where=darkness > 0)
        valid = (~hole).astype(np.float32)
        inks_on_black = diffuse(known[..., :3], valid)
        share = diffuse(share[..., None], darkness * valid)
        black = (1 - colours.max(axis=-1, keepdims=True)) * share
        light = 1 - black
        inks = 1 - colours / np.maximum(light, 1e-6)
        visible = np.minimum(light / BLACK, 1)
        inks = inks * visible + inks_on_black * (1 - visible)
        return np.concatenate([inks, black], axis=-1).astype(np.float32)


def diffuse(values: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values continued smoothly from where they are known to where they are not, by a pull-push pyramid.

    Args:
        values: ``(h, w, n)``.
        weight: ``(h, w)``: 0 where the value is unknown, 1 where it is known.

    Returns:
        ``(h, w, n)``, unchanged where the weight is 1 or more.
    """
    height, width = weight.shape
    if height * width == 1 or (weight > 0).all():
        return values
    odd = [(0, height % 2), (0, width % 2)]
    totals = np.pad(values * weight[..., None], [*odd, (0, 0)])
    weights = np.pad(weight, odd)
    totals, weights = _sum_of_four(totals), _sum_of_four(weights[..., None])[..., 0]
    means = (totals / np.maximum(weights, 1e-12)[..., None]).astype(np.float32)
    coarse = diffuse(means, np.minimum(weights, 1).astype(np.float32))
    doubled = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    known = np.minimum(weight, 1)[..., None]
    diffused: NDArray[np.float32] = values * known + _smooth(doubled) * (1 - known)
    return diffused


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
