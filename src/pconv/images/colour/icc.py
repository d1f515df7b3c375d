"""ICC colour profiles that are tone curves and a matrix, read without clipping what lies outside of sRGB.

The layout is ICC.1:2022: a header of 128 bytes, a table of tags, and curves as tables or as formulas.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = 65536
"""Samples of a curve: every value that 16 bits can have."""

SPACES = {b"RGB ": "RGB", b"GRAY": "grey", b"CMYK": "CMYK"}


class BrokenProfileError(ValueError):
    """The bytes are no colour profile, or one that cannot be used."""


@dataclass(frozen=True)
class Curves:
    """A profile that is one tone curve per channel, and for R, G, B a matrix.

    Attributes:
        linear: ``(channels, 65536)``: the light for each stored value, both in 0..1, never falling.
        to_xyz: ``(3, 3)``: linear R, G, B to the profile connection space, white being D50; None for grey.
    """

    linear: NDArray[np.float64]
    to_xyz: NDArray[np.float64] | None


def space_of(profile: bytes) -> str:
    """What the profile is for: "RGB", "grey", "CMYK".

    Raises:
        BrokenProfileError: none of these, or no profile.
    """
    if len(profile) < 132 or profile[36:40] != b"acsp" or profile[16:20] not in SPACES:
        raise BrokenProfileError("no ICC profile of RGB, grey or CMYK")
    return SPACES[profile[16:20]]


def curves_of(profile: bytes) -> Curves | None:
    """The profile's curves and matrix; None where it consists of look-up tables instead.

    Raises:
        BrokenProfileError: it is damaged.
    """
    try:
        tags = _tags(profile)
        if space_of(profile) == "grey" and b"kTRC" in tags:
            return Curves(_curve(tags[b"kTRC"])[None], None)
        if not {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"} <= tags.keys():
            return None
        linear = np.stack([_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")])
        columns = [_fixed(tags[name][8:20]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    except (struct.error, IndexError, ValueError) as error:
        raise BrokenProfileError(str(error)) from error
    to_xyz = np.array(columns).T
    if to_xyz.shape != (3, 3) or abs(np.linalg.det(to_xyz)) < 1e-4:
        raise BrokenProfileError("its primaries span no colours")
    return Curves(linear, to_xyz)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    found = {}
    for place in range(132, 132 + 12 * min(count, 200), 12):
        name, start, size = struct.unpack_from(">4sII", profile, place)
        found[name] = profile[start : start + size]
    return found


def _curve(tag: bytes) -> NDArray[np.float64]:
    """The samples of a ``curv`` or ``para`` tag."""
    x: NDArray[np.float64] = np.linspace(0, 1, STEPS)
    y: NDArray[np.float64]
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            y = x
        elif count == 1:
            y = x ** (struct.unpack_from(">H", tag, 12)[0] / 256)
        else:
            table = np.array(struct.unpack_from(f">{count}H", tag, 12)) / 65535
            y = np.interp(x, np.linspace(0, 1, count), table)
    elif tag[:4] == b"para":
        (kind,) = struct.unpack_from(">H", tag, 8)
        y = _formula(kind, _fixed(tag[12:]), x)
    else:
        raise BrokenProfileError(f"a curve of type {tag[:4]!r}")
    y = np.maximum.accumulate(np.clip(y, 0, 1))
    if not np.isfinite(y).all() or y[-1] - y[0] < 0.1:
        raise BrokenProfileError("a curve that does not rise")
    return y


def _formula(kind: int, numbers: list[float], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """ICC.1:2022, table 68: Y = (aX + b)^g + e above d, cX + f below."""
    g, a, b, c, d, e, f = (*numbers[: (1, 3, 4, 5, 7)[kind]], *[0.0] * 7)[:7]
    if kind == 0:
        a = 1.0
    elif kind < 3:  # the straight part is at c, and begins where the power's base is 0
        c, d, e, f = 0.0, -b / a, c, c
    y: NDArray[np.float64] = np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
    return y


def _fixed(data: bytes) -> list[float]:
    return [number / 65536 for number in struct.unpack(f">{len(data) // 4}i", data[: len(data) // 4 * 4])]
