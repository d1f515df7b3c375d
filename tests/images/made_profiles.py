"""ICC profiles made by hand: curves and a matrix for any primaries, and look-up tables for CMYK and RGB."""

import struct

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SRGB = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
D65, D50_XY = (0.3127, 0.3290), (0.3457, 0.3585)


def primaries(red, green, blue, white=D65):
    """Linear R, G, B to XYZ adapted to D50, from chromaticities."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (red, green, blue)]).T
    white = np.array([white[0] / white[1], 1, (1 - white[0] - white[1]) / white[1]])
    to_xyz = columns * np.linalg.solve(columns, white)
    adapt = np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ D50 / (BRADFORD @ white)) @ BRADFORD
    return adapt @ to_xyz


DISPLAY_P3 = primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = primaries((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PROPHOTO = primaries((0.734699, 0.265301), (0.159597, 0.840403), (0.036598, 0.000105), D50_XY)

SRGB_CURVE = (3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""As a ``para`` tag: the kind of formula, and its numbers."""


def fixed(*numbers):
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def gamma(value):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256)) + bytes(2)


def formula(kind, *numbers):
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + fixed(*numbers)


def table(values):
    values = np.round(np.asarray(values) * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", len(values)) + values.tobytes() + bytes(len(values) % 2 * 2)


def profile(space, connection, tags, kind=b"mntr"):
    white = b"XYZ " + bytes(4) + fixed(*D50)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"made\0" + bytes(79)
    right = b"text" + bytes(4) + b"none\0\0\0\0"
    tags = [(b"desc", text), (b"wtpt", white), (b"cprt", right), *tags]
    place, entries, body = 132 + 12 * len(tags), b"", b""
    for name, content in tags:
        entries += struct.pack(">4sII", name, place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = place + len(body)
    head = struct.pack(">I4sI4s4s4s12s4s4s", size, b"", 0x02400000, kind, space, connection, bytes(12), b"acsp", b"")
    head = head.ljust(64, b"\0") + struct.pack(">I", 1) + fixed(*D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + body


def matrix_profile(to_xyz, curve):
    """``curve``: a tag for all three channels."""
    colorants = [
        (name, b"XYZ " + bytes(4) + fixed(*to_xyz[:, i])) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))
    ]
    return profile(b"RGB ", b"XYZ ", [*colorants, *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC"))])


def grey_profile(curve):
    return profile(b"GRAY", b"XYZ ", [(b"kTRC", curve)])


def lut(inputs, outputs, grid, values):
    """An ``mft2`` tag: ``values`` (grid, ..., grid, outputs) in 0..1, the first input slowest."""
    head = b"mft2" + bytes(4) + struct.pack(">BBBB", inputs, outputs, grid, 0) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    line = struct.pack(">HH", 0, 65535)
    cells = np.round(np.clip(values, 0, 1) * 65535).astype(">u2").tobytes()
    return head + struct.pack(">HH", 2, 2) + line * inputs + cells + line * outputs


def lab_of(rgb):
    """sRGB in 0..1 as the 16-bit Lab of version 2 profiles, in 0..1."""
    light = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.moveaxis(light @ SRGB.T / D50, -1, 0)
    f = [np.where(v > 216 / 24389, np.cbrt(np.maximum(v, 0)), (24389 / 27 * v + 16) / 116) for v in (x, y, z)]
    lab = np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])], axis=-1)
    return np.stack([lab[..., 0] / 100 * 0xFF00, (lab[..., 1] + 128) * 256, (lab[..., 2] + 128) * 256], -1) / 65535


def rgb_of(encoded):
    encoded = encoded * 65535
    light, a, b = encoded[..., 0] * 100 / 0xFF00, encoded[..., 1] / 256 - 128, encoded[..., 2] / 256 - 128
    fy = (light + 16) / 116
    f = np.stack([fy + a / 500, fy, fy - b / 200], axis=-1)
    xyz = np.where(f**3 > 216 / 24389, f**3, (116 * f - 16) * 27 / 24389) * D50
    linear = np.clip(xyz @ np.linalg.inv(SRGB).T, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def grid_of(inputs, points):
    axes = np.meshgrid(*[np.linspace(0, 1, points)] * inputs, indexing="ij")
    return np.stack(axes, axis=-1)


def cmyk_profile(black=0.6):
    """A press whose separations print ``black`` of all grey as K; its colours are duller than sRGB's."""
    inks = grid_of(4, 9)
    rgb = (1 - 0.9 * inks[..., :3]) * (1 - 0.95 * inks[..., 3:])
    colours = rgb_of(grid_of(3, 17))
    reflected = np.clip((1 - colours) / 0.95, 0, 1)
    key = black * reflected.min(axis=-1, keepdims=True)
    back = np.concatenate([np.clip((1 - colours / (1 - 0.95 * key)) / 0.9, 0, 1), key], axis=-1)
    tags = [(b"A2B0", lut(4, 3, 9, lab_of(rgb))), (b"A2B1", lut(4, 3, 9, lab_of(rgb)))]
    tags += [(b"B2A0", lut(3, 4, 17, back)), (b"B2A1", lut(3, 4, 17, back))]
    return profile(b"CMYK", b"Lab ", tags, b"prtr")


def rgb_table_profile():
    """R, G, B by tables alone, darker than sRGB."""
    tags = [(b"A2B0", lut(3, 3, 17, lab_of(grid_of(3, 17) ** 1.3)))]
    tags += [(b"B2A0", lut(3, 3, 17, rgb_of(grid_of(3, 17)) ** (1 / 1.3)))]
    return profile(b"RGB ", b"Lab ", tags, b"prtr")
