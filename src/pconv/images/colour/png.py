"""What a PNG's chunks say about its colours, as an ICC profile, which other formats hold too."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from pconv.images.colour.making import BT709, SRGB, Chromaticities, Curve, grey_profile, rgb_profile

_D65 = (0.3127, 0.3290)
_PRIMARIES: dict[int, tuple[str, Chromaticities]] = {
    1: ("BT.709", ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65)),
    5: ("BT.601 PAL", ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), _D65)),
    6: ("BT.601 NTSC", ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65)),
    7: ("SMPTE 240M", ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65)),
    9: ("BT.2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65)),
    11: ("DCI-P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351))),
    12: ("Display P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65)),
}
"""ITU-T H.273, table 2: red, green, blue, white."""

_TRANSFERS: dict[int, tuple[str, Curve | None]] = {
    1: ("BT.709", BT709), 4: ("gamma 2.2", (2.2,)), 5: ("gamma 2.8", (2.8,)), 6: ("BT.601", BT709),
    8: ("linear", (1.0,)), 13: ("sRGB", SRGB), 14: ("BT.2020", BT709), 15: ("BT.2020", BT709),
    16: ("PQ", None), 18: ("HLG", None),
}  # fmt: skip
"""ITU-T H.273, table 3. PQ and HLG reach beyond white, which a curve of a profile does not."""


def profile_of(chunks: Mapping[bytes, bytes], own: bytes, grey: bool) -> tuple[bytes, str]:
    """A profile that says what the chunks cICP, iCCP, sRGB, gAMA and cHRM say. The first of these counts.

    Args:
        chunks: contents by their names.
        own: the profile in iCCP; empty for none.
        grey: whether the image has grey values.

    Returns:
        The profile, empty where nothing is said or sRGB is, which is what all formats mean without a profile; and
        what could not be said by one, in words.
    """
    if b"cICP" in chunks:
        return _of_cicp(chunks[b"cICP"], own, grey)
    if own or b"sRGB" in chunks or not {b"gAMA", b"cHRM"} & chunks.keys():
        return own, ""
    try:
        curve = SRGB
        if b"gAMA" in chunks:
            curve = (100000 / struct.unpack(">I", chunks[b"gAMA"])[0],)
        if not 0.1 <= curve[0] <= 10:
            raise ValueError("no tone curve of an image")
        chromaticities = _PRIMARIES[1][1]
        if b"cHRM" in chunks:
            white, *primaries = struct.iter_unpack(">II", chunks[b"cHRM"])
            red, green, blue, white = ((x / 100000, y / 100000) for x, y in (*primaries, white))
            chromaticities = red, green, blue, white
        return grey_profile(curve) if grey else rgb_profile(chromaticities, curve), ""
    except (struct.error, ValueError, ZeroDivisionError):
        return b"", "gamma and primaries (gAMA, cHRM)"


def _of_cicp(content: bytes, own: bytes, grey: bool) -> tuple[bytes, str]:
    primaries, transfer, matrix, full_range = (*content, 2, 2, 2, 2)[:4]
    name, chromaticities = _PRIMARIES.get(primaries, (f"primaries {primaries}", None))
    curve_name, curve = _TRANSFERS.get(transfer, (f"transfer {transfer}", None))
    if chromaticities is None or curve is None or matrix != 0 or full_range != 1:
        return own, f"cICP colours ({name}, {curve_name}{'' if full_range == 1 else ', narrow range'})"
    return grey_profile(curve) if grey else rgb_profile(chromaticities, curve), ""
