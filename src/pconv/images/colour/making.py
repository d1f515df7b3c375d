"""ICC profiles of a tone curve and primaries, made from numbers."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Chromaticities = tuple[Point, Point, Point, Point]
"""CIE x, y of red, green, blue and white."""

Curve = tuple[float, ...]
"""The exponent; or g, a, b, c, d of (aX + b)^g from d on and cX below, as in ICC.1:2022, table 68, function 3."""

SRGB: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
BT709: Curve = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def rgb_profile(chromaticities: Chromaticities, curve: Curve) -> bytes:
    """A profile of R, G, B with these primaries, each with the same tone curve.

    Raises:
        ValueError: the primaries span no colours.
    """
    if any(not 0 <= x <= 1 or not 0 < y <= 1 for x, y in chromaticities):
        raise ValueError("chromaticities outside of 0..1")
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in chromaticities]).T
    primaries, white = columns[:, :3], columns[:, 3]
    if abs(np.linalg.det(primaries)) < 1e-4:
        raise ValueError("the primaries span no colours")
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white)) @ _BRADFORD
    to_xyz = adaptation @ (primaries * np.linalg.solve(primaries, white))
    if np.abs(to_xyz).max() > 10:
        raise ValueError("the primaries span no colours")
    columns_by_name = zip((b"rXYZ", b"gXYZ", b"bXYZ"), to_xyz.T, strict=True)
    tags = [(name, b"XYZ \0\0\0\0" + _fixed(column)) for name, column in columns_by_name]
    tags += [(name, _curve(curve)) for name in (b"rTRC", b"gTRC", b"bTRC")]
    return _profile(b"RGB ", [*tags, (b"chad", b"sf32\0\0\0\0" + _fixed(adaptation))])


def grey_profile(curve: Curve) -> bytes:
    """A profile of grey values with this tone curve."""
    return _profile(b"GRAY", [(b"kTRC", _curve(curve))])


def _curve(curve: Curve) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", 0 if len(curve) == 1 else 3, 0) + _fixed(np.array(curve))


def _fixed(numbers: NDArray[np.float64]) -> bytes:
    return np.rint(np.asarray(numbers) * 65536).astype(">i4").tobytes()


def _text(text: str) -> bytes:
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", 2 * len(text), 28) + text.encode("utf-16-be")


def _profile(space: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    """The profile of a display in version 4.3 (ICC.1:2010)."""
    white = b"XYZ \0\0\0\0" + _fixed(_D50)
    text = [(b"desc", _text("From a PNG's own chunks")), (b"cprt", _text("No copyright, use freely"))]
    tags = [*text, (b"wtpt", white), *tags]
    directory, body = b"", b""
    for name, content in tags:
        place = 132 + 12 * len(tags) + len(body)
        directory += struct.pack(">4sII", name, place, len(content))
        body += content + bytes(-len(content) % 4)
    size = 132 + len(directory) + len(body)
    made = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    head = struct.pack(">I4sI4s4s4s12s4s", size, b"", 0x04300000, b"mntr", space, b"XYZ ", made, b"acsp")
    head = head.ljust(68, b"\0") + _fixed(_D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + directory + body
