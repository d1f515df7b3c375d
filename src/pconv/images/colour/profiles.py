"""Colour spaces that a profile describes: by curves and a matrix in numpy, by look-up tables through LittleCMS."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pconv.images.colour import icc
from pconv.images.colour.conversion import ColourSpace, NaiveCmyk, Values, YCbCr, diffuse

GAMMA = 2.2
"""The network's tone curve: sRGB's without its straight foot, which would make much of small errors in black."""

NEAR = 0.05
"""A tone curve that is nowhere farther than this from the network's is taken for it: sRGB, Adobe RGB, Display P3."""

_FROM_XYZ = np.linalg.inv([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
"""D50 XYZ to linear sRGB: the inverse of the primaries in sRGB's ICC profile."""


class ByCurves(ColourSpace):
    """A tone curve per channel, then the matrix that is nearest to the one into sRGB and leaves nothing outside 0..1.

    So wide gamuts (Display P3, Adobe RGB, ProPhoto) keep their own primaries. What is saturated beyond sRGB looks a
    little less so to the network, and comes back as it was. Clipped to sRGB, it would come back duller.
    """

    def __init__(self, curves: icc.Curves) -> None:
        self._tables = (curves.linear ** (1 / GAMMA)).astype(np.float32)
        self._grid = np.linspace(0, 1, icc.STEPS)
        self._matrix = None if curves.to_xyz is None else inner_matrix(_FROM_XYZ @ curves.to_xyz)

    @property
    def is_identity(self) -> bool:
        """Whether converting would change next to nothing."""
        return self._matrix is None and bool(np.abs(self._tables - self._grid).max() <= NEAR)

    def colours(self, values: Values) -> NDArray[np.float32]:
        """R, G, B through the curves and the matrix, or grey through its curve."""
        places = np.rint(values * np.float32(icc.STEPS - 1)).astype(np.intp)
        colours = np.stack([table[places[..., i]] for i, table in enumerate(self._tables)], axis=-1)
        return colours if self._matrix is None else _mixed(colours, self._matrix)

    def stored(self, colours: NDArray[np.float32]) -> Values:
        """The inverse of ``colours``; grey from the mean of R, G and B."""
        if self._matrix is not None:
            colours = _mixed(colours, np.linalg.inv(self._matrix).astype(np.float64))
        if len(self._tables) == 1:
            colours = colours.mean(axis=-1, keepdims=True)
        channels = [np.interp(colours[..., i], table, self._grid) for i, table in enumerate(self._tables)]
        return np.stack(channels, axis=-1).astype(np.float32)


def inner_matrix(to_srgb: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """A matrix near ``to_srgb`` that maps 0..1 into 0..1 and white to white; None for (nearly) no change."""
    positive = to_srgb.clip(0)
    matrix: NDArray[np.float64] = positive / np.maximum(positive.sum(axis=1, keepdims=True), 1e-6)
    if np.abs(matrix - np.eye(3)).max() < 0.02 or abs(np.linalg.det(matrix)) < 0.05:
        return None
    return matrix


def _mixed(colours: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    light = np.asarray(colours, np.float32) ** np.float32(GAMMA) @ matrix.T.astype(np.float32)
    mixed: NDArray[np.float32] = light.clip(0, 1) ** np.float32(1 / GAMMA)
    return mixed


class ByTables(ColourSpace):
    """CMYK, or R, G, B that only look-up tables describe, converted to sRGB by LittleCMS in 8 bits.

    Converting there and back loses what sRGB does not have, and mixes inks differently. So what is lost on known
    pixels around a hole is diffused into it: a flat tint comes back as the same inks.
    """

    needs_context = True

    def __init__(self, profile: bytes, mode: str) -> None:
        own, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE  # a cache is not for many threads
        self._mode = mode
        self._there = ImageCms.buildTransform(own, srgb, mode, "RGB", intent, flags)
        self._back = ImageCms.buildTransform(srgb, own, "RGB", mode, intent, flags)

    def colours(self, values: Values) -> NDArray[np.float32]:
        """R, G, B of sRGB."""
        return _transformed(values, self._mode, self._there)

    def stored_in_context(self, colours: NDArray[np.float32], known: Values, hole: NDArray[np.bool_]) -> Values:
        """The profile's own values, corrected by what the conversion loses around the hole."""
        lost = known - _transformed(self.colours(known), "RGB", self._back)
        corrected: Values = _transformed(colours, "RGB", self._back) + diffuse(lost, (~hole).astype(np.float32))
        return corrected


def _transformed(values: Values, mode: str, transform: ImageCms.ImageCmsTransform) -> NDArray[np.float32]:
    eight_bits = np.ascontiguousarray((values * 255).round().clip(0, 255).astype(np.uint8))
    height, width, _ = eight_bits.shape
    image = ImageCms.applyTransform(Image.frombytes(mode, (width, height), eight_bits.tobytes()), transform)
    assert image is not None
    result: Values = np.asarray(image).astype(np.float32) / np.float32(255)
    return result


def space_of(mode: str, profile: bytes) -> tuple[ColourSpace, str]:
    """How values of a photo's mode become colours, and a note for the user if its ICC profile cannot be used.

    Args:
        mode: as in ``pconv.images.photo.Photo``.
        profile: empty for none.
    """
    note = ""
    if profile and mode not in ("1", "YCbCr"):
        try:
            return _space_of_profile(profile, mode), ""
        except icc.BrokenProfileError as error:
            note = f"the colour profile is not used, but kept: {error}"
    if mode.startswith("CMYK"):
        return NaiveCmyk(), note
    return YCbCr() if mode == "YCbCr" else ColourSpace(), note


@lru_cache(maxsize=16)
def _space_of_profile(profile: bytes, mode: str) -> ColourSpace:
    kind = mode.removesuffix(";16")
    wanted = {"CMYK": "CMYK", "1": "grey", "L": "grey", "LA": "grey", "I": "grey"}.get(kind, "RGB")
    found = icc.space_of(profile)
    if found != wanted:
        raise icc.BrokenProfileError(f"it is for {found}, and the photo is {wanted}")
    if found != "CMYK" and (curves := icc.curves_of(profile)) is not None:
        by_curves = ByCurves(curves)
        return ColourSpace() if by_curves.is_identity else by_curves
    if found == "grey" or (found == "RGB" and mode.endswith(";16")):
        return ColourSpace()  # LittleCMS would cut 16 bits to 8
    try:
        return ByTables(profile, found)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise icc.BrokenProfileError(str(error)) from error
