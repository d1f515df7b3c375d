"""A photo in memory: looking at windows of it, and writing into its hole alone."""

import numpy as np
import pytest
from kinds import CHANNELS, fill, pil, pixels, some_hole
from PIL import Image

from pconv.errors import InputError
from pconv.images.palette import Palette
from pconv.images.photo import Photo
from pconv.images.pillow import from_pil

EVERYTHING = slice(None), slice(None)
MODES = ["1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "LA;16", "RGB;16", "RGBA;16", "CMYK;16"]


def photo_of(mode, height=23, width=31, seed=0):
    return Photo(pixels(mode, height, width, seed), mode)


@pytest.mark.parametrize("mode", MODES)
def test_only_the_hole_is_written_and_alpha_stays(mode):
    photo, hole = photo_of(mode), some_hole(23, 31)
    before = photo.pixels.copy()
    filled = fill(photo, hole)
    assert np.array_equal(photo.pixels, before)
    assert filled.pixels.dtype == before.dtype
    assert np.array_equal(filled.pixels[~hole], before[~hole])
    assert not np.array_equal(filled.pixels[hole], before[hole])
    if "A" in mode:
        assert np.array_equal(filled.pixels[..., -1], before[..., -1])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "LA;16", "RGB;16", "RGBA;16", "1"])
def test_what_is_read_and_written_back_is_what_was_there(mode):
    photo = photo_of(mode)
    again = fill(photo, np.ones((23, 31), bool), photo.read(*EVERYTHING))
    assert np.array_equal(again.pixels, photo.pixels)


def test_a_window_is_the_part_of_the_whole():
    photo = photo_of("RGB")
    whole = photo.read(*EVERYTHING)
    assert np.array_equal(whole, photo.pixels.transpose(2, 0, 1) / np.float32(255))
    assert np.array_equal(photo.read(slice(3, 9), slice(20, None)), whole[:, 3:9, 20:])


def test_grey_is_three_equal_channels_and_comes_back_as_their_mean():
    photo = photo_of("I;16")
    seen = photo.read(*EVERYTHING)
    assert np.array_equal(seen[0], seen[2])
    assert np.array_equal(seen[1], photo.pixels[..., 0] / np.float32(65535))
    colours = np.stack([np.full((23, 31), value, np.float32) for value in (0.1, 0.2, 0.6)])
    assert (fill(photo, np.ones((23, 31), bool), colours).pixels == round(0.3 * 65535)).all()


def test_opacity_blends_with_what_was_there():
    photo = Photo(np.full((1, 4, 3), 100, np.uint8), "RGB")
    opacity = np.array([[0, 0.25, 0.5, 1]], np.float32)
    filled = fill(photo, None, np.full((3, 1, 4), 200 / 255), opacity)
    assert filled.pixels[0, :, 0].tolist() == [100, 125, 150, 200]


def test_one_bit_pictures_are_black_or_white():
    photo = Photo(np.zeros((1, 4, 1), bool), "1")
    colours = np.broadcast_to(np.array([0.2, 0.49, 0.5, 0.9], np.float32), (3, 1, 4))
    assert fill(photo, np.ones((1, 4), bool), colours).pixels[0, :, 0].tolist() == [False, False, True, True]


def test_halftones_are_filled_with_dots_and_line_art_is_not():
    grey = Image.linear_gradient("L").resize((200, 200))
    halftone = from_pil(grey.convert("1"))
    hole = np.zeros((200, 200), bool)
    hole[60:140, 60:140] = True
    tone = np.asarray(grey, np.float32) / 255
    filled = fill(halftone, hole, np.stack([tone] * 3)).pixels[..., 0]
    for top in range(60, 140, 20):
        rows = slice(top, top + 20)
        assert filled[rows, 60:140].mean() == pytest.approx(tone[rows, 60:140].mean(), abs=0.03)
    art = np.ones((200, 200, 1), bool)
    art[::20] = art[:, ::20] = False
    white = fill(Photo(art, "1"), hole, np.full((3, 200, 200), 0.8)).pixels
    assert white[hole].all()


@pytest.mark.parametrize("mode", ["LA", "RGBA", "LA;16", "RGBA;16"])
def test_fills_can_be_made_opaque(mode):
    photo, hole = photo_of(mode), some_hole(23, 31)
    filled = fill(Photo(photo.pixels, mode, fills_are_opaque=True), hole)
    assert (filled.alpha[hole] == photo.white).all()
    assert np.array_equal(filled.pixels[~hole], photo.pixels[~hole])


def test_a_transparent_colour_is_never_hit_by_accident():
    for mode, key in (("L", (255,)), ("RGB", (10, 20, 30)), ("I;16", (0,))):
        before = pixels(mode)
        before[0, :5] = key
        photo, hole = Photo(before, mode, colour_key=key), np.ones((23, 31), bool)
        assert (photo.alpha == 0).sum() == (before == key).all(axis=2).sum() > 4
        colours = np.broadcast_to(np.array(key, np.float32).reshape(-1, 1, 1) / photo.white, (3, 23, 31))
        assert np.array_equal(fill(photo, hole, colours).alpha, photo.alpha)
        opaque = fill(Photo(before, mode, colour_key=key, fills_are_opaque=True), hole, colours)
        assert (opaque.alpha == photo.white).all()


# Palettes


def palette_photo(colours, indices, room=256, alphas=None):
    colours = np.array(colours, np.uint8)
    alphas = np.full(len(colours), 255, np.uint8) if alphas is None else np.array(alphas, np.uint8)
    indices = np.array(indices, np.uint8)
    return Photo(indices[..., None], "P", palette=Palette.of(colours, alphas, indices, room))


def test_fills_take_the_nearest_colour_where_a_palette_is_full():
    photo = palette_photo([[0, 0, 0], [250, 0, 0], [0, 0, 250], [255, 255, 255]], [[0, 1, 2, 3]], room=4)
    colours = np.array([[[255, 200, 40, 90]], [[250, 20, 30, 90]], [[250, 20, 200, 90]]], np.float32) / 255
    filled = fill(photo, np.array([[True, True, True, False]]), colours)
    assert filled.pixels[0, :, 0].tolist() == [3, 1, 2, 3]
    assert np.array_equal(filled.palette.colours, photo.palette.colours)


def test_new_colours_take_free_entries_and_the_others_stay():
    photo = palette_photo([[0, 0, 0], [255, 255, 255]], [[0, 1, 0, 1]], room=8)
    colours = np.array([[[40, 200, 2, 0]], [[80, 100, 0, 0]], [[120, 0, 1, 0]]], np.float32) / 255
    filled = fill(photo, np.array([[True, True, True, False]]), colours)
    shown = filled.palette.colours[filled.pixels[..., 0]]
    assert shown[0, :3].tolist() == [[40, 80, 120], [200, 100, 0], [0, 0, 0]]  # the last is near enough to black
    assert filled.palette.colours[:2].tolist() == [[0, 0, 0], [255, 255, 255]]
    assert photo.palette.used == 2
    assert filled.palette.used == 4


def test_many_new_colours_share_half_of_the_free_entries():
    photo = palette_photo([[0, 0, 0]], np.zeros((40, 40)), room=21)
    hole = np.ones((40, 40), bool)
    smooth = np.stack([np.linspace(0, 1, 1600).reshape(40, 40)] * 3)
    filled = fill(photo, hole, smooth)
    assert 8 <= filled.palette.used - 1 <= 10
    shown = filled.palette.colours[filled.pixels[..., 0]].transpose(2, 0, 1) / 255
    assert np.abs(shown - smooth).mean() < 0.04


def test_padding_is_used_up_before_a_palette_grows():
    table = np.zeros((16, 3), np.uint8)
    table[1] = 255
    photo = palette_photo(table, [[0, 1, 1, 0]], room=16)
    assert photo.palette.used == 2  # the rest is black like the first
    filled = fill(photo, np.array([[True, False, False, False]]), np.full((3, 1, 4), 0.5))
    assert len(filled.palette.colours) == 16
    assert filled.palette.colours[filled.pixels[0, 0, 0]].tolist() == [128, 128, 128]


def test_transparent_entries_of_a_palette():
    colours, alphas = [[9, 9, 9], [250, 0, 0], [0, 250, 0], [0, 0, 250]], [0, 255, 128, 255]
    photo = palette_photo(colours, [[0, 1, 2, 3]], room=4, alphas=alphas)
    hole = np.ones((1, 4), bool)
    red = np.broadcast_to(np.array([1, 0, 0], np.float32).reshape(3, 1, 1), (3, 1, 4))
    kept = fill(photo, hole, red)
    assert kept.pixels[0, :, 0].tolist() == [0, 1, 2, 1]  # only entry 2 is half transparent
    assert np.array_equal(kept.alpha, photo.alpha)
    opaque = Photo(photo.pixels, "P", palette=photo.palette, fills_are_opaque=True)
    assert fill(opaque, hole, red).pixels[0, :, 0].tolist() == [1, 1, 1, 1]


def test_indices_beyond_the_palette_are_black():
    photo = palette_photo([[255, 0, 0]], [[0, 9]])
    assert photo.read(*EVERYTHING)[:, 0].T.tolist() == [[1, 0, 0], [0, 0, 0]]


# Pillow images


def some_pil(mode):
    if mode == "P":
        return pil("RGB", pixels("RGB")).quantize(30)
    if mode == "PA":
        return pil("P", pixels("P"), pixels("RGB", 1, 256)).convert("PA")
    if mode in ("I;16B", "I;16L"):
        return Image.frombytes(mode, (31, 23), pixels("I;16").tobytes())
    return pil(mode, pixels(mode))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L"])
def test_pillow_images_come_back_bit_for_bit(mode):
    image = some_pil(mode)
    image.info |= {"icc_profile": b"x", "dpi": (300, 300), "mine": object()}
    before = image.tobytes()
    again = from_pil(image).to_pil()
    assert (again.mode, again.size, again.tobytes()) == (mode, image.size, before)
    assert again.info == image.info
    assert np.array_equal(np.asarray(again.convert("RGB")), np.asarray(image.convert("RGB")))
    hole = some_hole(23, 31)
    filled = fill(from_pil(image), hole).to_pil()
    assert filled.mode == mode
    assert image.tobytes() == before
    differs = np.array(filled.convert("RGBA") if mode != "I;16B" else filled, int) != np.array(
        image.convert("RGBA") if mode != "I;16B" else image, int
    )
    differs = differs.any(axis=2) if differs.ndim == 3 else differs
    assert not differs[~hole].any()
    assert differs[hole].any()


def test_a_transparent_palette_and_exif_survive_pillow():
    image = some_pil("P")
    image.info["transparency"] = 3
    image.getexif()[0x010E] = "a description"
    filled = fill(from_pil(image), some_hole(23, 31)).to_pil()
    assert filled.info["transparency"] == 3
    assert filled.getexif()[0x010E] == "a description"
    image.info["transparency"] = bytes([0, 128])
    again = from_pil(image).to_pil()
    assert np.array_equal(np.asarray(again.convert("RGBA")), np.asarray(image.convert("RGBA")))


def test_premultiplied_images_become_plain_ones():
    image = some_pil("RGBA").convert("RGBa")
    assert from_pil(image).to_pil().mode == "RGBA"


def test_what_has_no_place_in_pillow_or_here_is_refused():
    for mode in ("LAB", "HSV", "F", "I"):
        with pytest.raises(InputError, match=f"mode '{mode}'"):
            from_pil(Image.new(mode, (4, 4)))
    for mode in ("RGB;16", "LA;16", "CMYK;16"):
        with pytest.raises(InputError, match=f"no mode for {mode}"):
            photo_of(mode).to_pil()


def test_every_mode_knows_its_channels():
    for mode in CHANNELS:
        photo = photo_of(mode) if mode != "P" else palette_photo([[0, 0, 0]], [[0]])
        alpha = photo.alpha
        assert photo.colour_channels == CHANNELS[mode] - ("A" in mode)
        assert (alpha is not None) == ("A" in mode)
        if alpha is not None:
            assert alpha.shape == (23, 31)
