"""What the network sees of a photo, and that it comes back as it was."""

import numpy as np
import pytest
from made_profiles import (
    ADOBE,
    DISPLAY_P3,
    PROPHOTO,
    SRGB,
    SRGB_CURVE,
    cmyk_profile,
    formula,
    gamma,
    grey_profile,
    matrix_profile,
    rgb_table_profile,
    table,
)

from pconv.images.colour import icc
from pconv.images.colour.conversion import ColourSpace, NaiveCmyk, diffuse
from pconv.images.colour.profiles import ByCurves, ByTables, inner_matrix, space_of
from pconv.images.photo import Photo

EVERYTHING = slice(None), slice(None)
SRGB_PROFILE = matrix_profile(SRGB, formula(*SRGB_CURVE))
PROFILES = {
    "none": ("RGB", b""),
    "sRGB": ("RGB", SRGB_PROFILE),
    "Display P3": ("RGB", matrix_profile(DISPLAY_P3, formula(*SRGB_CURVE))),
    "Adobe RGB": ("RGB", matrix_profile(ADOBE, gamma(2.19921875))),
    "ProPhoto RGB": ("RGB", matrix_profile(PROPHOTO, gamma(1.8))),
    "linear": ("RGB", matrix_profile(SRGB, gamma(1))),
    "channels swapped": ("RGB", matrix_profile(SRGB[:, [1, 0, 2]], gamma(2.2))),
    "narrow": ("RGB", matrix_profile(SRGB @ (0.7 * np.eye(3) + 0.1), table(np.linspace(0, 1, 300) ** 1.5))),
    "grey": ("L", grey_profile(gamma(1.4))),
    "CMYK": ("CMYK", b""),
    "CMYK press": ("CMYK", cmyk_profile()),
    "RGB by tables": ("RGB", rgb_table_profile()),
}
FULL = {"": 255, ";16": 65535}


def flat(mode, values, profile, depth=""):
    kind = np.uint16 if depth else np.uint8
    stored = np.broadcast_to(np.array(values, kind), (40, 50, len(values))).copy()
    mode = "I;16" if (mode, depth) == ("L", ";16") else mode + depth
    return Photo(stored, mode, space_of(mode, profile)[0])


def window():
    opacity = np.zeros((40, 50), np.float32)
    opacity[10:25, 12:40] = 1
    return opacity


@pytest.mark.parametrize("depth", ["", ";16"])
@pytest.mark.parametrize("name", PROFILES)
def test_a_flat_picture_comes_back_flat(name, depth):
    """To the last bit, in all colours, if the network fills it with the colour that it sees around the hole."""
    mode, profile = PROFILES[name]
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    full = FULL[depth]
    generator = np.random.default_rng(0)
    extremes = [[0] * channels, [full] * channels, [full] + [0] * (channels - 1), [0] * (channels - 1) + [full]]
    for values in [*extremes, *generator.integers(0, full + 1, (20, channels)).tolist()]:
        photo = flat(mode, values, profile, depth)
        before = photo.pixels.copy()
        seen = photo.read(*EVERYTHING)
        assert seen.shape == (3, 40, 50)
        assert seen.dtype == np.float32
        assert 0 <= seen.min() <= seen.max() <= 1
        assert (seen == seen[:, :1, :1]).all()
        photo.pixels[window() > 0] = full - photo.pixels[window() > 0]  # what is in the hole must not matter
        photo.write(*EVERYTHING, seen, window())
        off = np.abs(photo.pixels.astype(int) - before).max()
        assert off <= (1 if depth else 0), (values, off)


@pytest.mark.parametrize("name", PROFILES)
def test_a_small_error_of_the_network_stays_small(name):
    mode, profile = PROFILES[name]
    for values in np.random.default_rng(1).integers(0, 256, (20, {"L": 1, "RGB": 3, "CMYK": 4}[mode])).tolist():
        photo = flat(mode, values, profile)
        before = photo.pixels.copy()
        photo.write(*EVERYTHING, (photo.read(*EVERYTHING) + np.float32(1 / 255)).clip(0, 1), window())
        off = np.abs(photo.pixels.astype(int) - before)
        if mode != "CMYK":
            assert off.max() <= 8, values
        else:
            shown = space_of(mode, profile)[0].colours(photo.pixels / np.float32(255))
            expected = space_of(mode, profile)[0].colours(before / np.float32(255))
            assert np.abs(shown - expected).max() < 8 / 255, values


def test_sixteen_bits_are_not_rounded_to_eight():
    for name in ("none", "Display P3", "ProPhoto RGB", "narrow", "grey"):
        mode, profile = PROFILES[name]
        photo = flat(mode, [0] * {"L": 1, "RGB": 3}[mode], profile, ";16")
        ramp = np.linspace(0.2, 0.8, 2000, dtype=np.float32).reshape(40, 50)
        photo.write(*EVERYTHING, np.stack([ramp] * 3), np.ones((40, 50), np.float32))
        assert len(np.unique(photo.pixels[..., 0])) > 1990, name


def test_the_network_sees_srgb_like_colours():
    """A profile's tone curve becomes sRGB's; colours inside sRGB are those that a viewer shows."""
    linear = flat("RGB", [int(255 * 0.2140), 255, 0], PROFILES["linear"][1]).read(*EVERYTHING)[:, 0, 0]
    assert linear == pytest.approx([0.5, 1, 0], abs=0.01)
    swapped = flat("RGB", [200, 30, 90], PROFILES["channels swapped"][1]).read(*EVERYTHING)[:, 0, 0]
    assert swapped == pytest.approx(np.array([30, 200, 90]) / 255, abs=0.005)
    narrow = flat("RGB", [255, 0, 0], PROFILES["narrow"][1]).read(*EVERYTHING)[:, 0, 0]
    assert narrow == pytest.approx(np.array([0.8, 0.1, 0.1]) ** (1 / 2.2), abs=0.01)
    dull = flat("RGB", [128, 128, 128], PROFILES["RGB by tables"][1]).read(*EVERYTHING)[:, 0, 0]
    assert dull == pytest.approx([0.5**1.3] * 3, abs=0.02)
    press = flat("CMYK", [0, 255, 255, 0], PROFILES["CMYK press"][1]).read(*EVERYTHING)[:, 0, 0]
    assert press == pytest.approx([1, 0.1, 0.1], abs=0.03)
    naive = flat("CMYK", [0, 255, 127, 51], b"").read(*EVERYTHING)[:, 0, 0]
    assert naive == pytest.approx([0.8, 0, 0.8 * 128 / 255], abs=0.001)


def test_wide_gamuts_keep_their_primaries_and_their_saturation():
    """Through sRGB, the most saturated red of Display P3 would come back as (234, 51, 35)."""
    for name in ("Display P3", "Adobe RGB", "ProPhoto RGB"):
        for colour in ([255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 0, 255]):
            seen = flat("RGB", colour, PROFILES[name][1]).read(*EVERYTHING)[:, 0, 0]
            assert seen == pytest.approx(np.array(colour) / 255, abs=0.001), name


def test_the_inner_matrix_leaves_nothing_outside():
    for to_xyz in (DISPLAY_P3, ADOBE, PROPHOTO):
        assert inner_matrix(np.linalg.inv(SRGB) @ to_xyz) is None
    matrix = inner_matrix(np.array([[0.9, 0.2, -0.1], [0.1, 0.8, 0.1], [0, 0.1, 0.9]]))
    assert matrix.min() == 0
    assert matrix.sum(axis=1) == pytest.approx([1, 1, 1])
    assert inner_matrix(np.full((3, 3), 1 / 3)) is None  # cannot be undone


def test_which_profiles_are_converted_and_how():
    kinds = {name: type(space_of(mode, profile)[0]) for name, (mode, profile) in PROFILES.items()}
    assert kinds == {
        "none": ColourSpace, "sRGB": ColourSpace, "Display P3": ColourSpace, "Adobe RGB": ColourSpace,
        "ProPhoto RGB": ByCurves,
        "linear": ByCurves, "channels swapped": ByCurves, "narrow": ByCurves, "grey": ByCurves, "CMYK": NaiveCmyk,
        "CMYK press": ByTables, "RGB by tables": ByTables,
    }  # fmt: skip


def test_ink_is_separated_as_it_is_around_the_hole():
    """The same colour as rich black or as pure black, as the photo has it."""
    for values in ([102, 102, 102, 0], [0, 0, 0, 102], [60, 60, 60, 55]):
        photo = flat("CMYK", values, b"")
        grey = photo.read(*EVERYTHING)
        photo.write(*EVERYTHING, grey * np.float32(0.8), window())
        filled = photo.pixels[20, 30].astype(int)
        shown = (255 - filled[:3]) * (255 - filled[3]) / 255 / 255
        assert shown == pytest.approx(grey[:, 0, 0] * 0.8, abs=0.005)
        assert (filled[3] == 0) == (values[3] == 0)
        assert (filled[0] == 0) == (values[0] == 0)


def test_a_window_learns_from_what_lies_just_outside_of_it():
    photo = flat("CMYK", [40, 50, 60, 70], cmyk_profile())
    before = photo.pixels.copy()
    inside = slice(10, 20), slice(10, 20)
    seen = photo.read(*inside)
    photo.pixels[inside] = 0
    photo.write(*inside, seen, np.ones((10, 10), np.float32))
    assert np.array_equal(photo.pixels, before)


def test_values_are_diffused_smoothly():
    values = np.zeros((64, 48, 1), np.float32)
    values[:, 24:] = 1
    weight = np.ones((64, 48), np.float32)
    weight[:, 8:40] = 0
    diffused = diffuse(values, weight)[..., 0]
    assert np.array_equal(diffused[weight > 0], values[..., 0][weight > 0])
    assert diffused.min() >= 0
    assert diffused.max() <= 1
    assert np.abs(np.diff(diffused, axis=1)).max() < 0.3
    constant = diffuse(np.where(weight[..., None] > 0, np.float32(0.3), 9), weight)
    assert constant == pytest.approx(0.3, abs=1e-6)
    assert diffuse(np.ones((3, 5, 2), np.float32), np.zeros((3, 5), np.float32)).shape == (3, 5, 2)


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (b"a profile", "no ICC profile"),
        (SRGB_PROFILE[:200], "not used, but kept"),
        (matrix_profile(np.zeros((3, 3)), gamma(2)), "primaries span no colours"),
        (matrix_profile(SRGB, b"text" + bytes(20)), "a curve of type b'text'"),
        (matrix_profile(SRGB, table([0.5, 0.5])), "a curve that does not rise"),
        (matrix_profile(SRGB, formula(9, 1)), "not used, but kept"),
        (grey_profile(gamma(2.2)), "it is for grey, and the photo is RGB"),
        (cmyk_profile(), "it is for CMYK, and the photo is RGB"),
        (rgb_table_profile()[:900], "not used, but kept"),
    ],
)
def test_a_broken_profile_is_said_and_not_used(profile, reason):
    space, note = space_of("RGB", profile)
    assert type(space) is ColourSpace
    assert reason in note
    assert "\n" not in note


def test_all_kinds_of_formulas_of_curves():
    """Against the formulas of ICC.1:2022, table 68, by hand."""
    x = np.linspace(0, 1, icc.STEPS)
    g, a, b, c, d, e, f = 2.4, 0.9, 0.05, 0.3, 0.2, 0.02, 0.01
    cases = {
        0: ((g,), x**g),
        1: ((g, a, b), (a * x + b) ** g),
        2: ((g, a, b, c), (a * x + b) ** g + c),
        3: ((g, a, b, c, d), np.where(x >= d, (a * x + b) ** g, c * x)),
        4: ((g, a, b, c, d, e, f), np.where(x >= d, (a * x + b) ** g + e, c * x + f)),
    }
    for kind, (numbers, expected) in cases.items():
        curves = icc.curves_of(grey_profile(formula(kind, *numbers)))
        expected = np.maximum.accumulate(expected.clip(0, 1))
        assert np.abs(curves.linear[0] - expected).max() < 1e-3, kind
