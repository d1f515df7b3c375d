"""What is to be filled: transparency, colours, rectangles, and several of these at once."""

import numpy as np
import pytest
from kinds import pil, pixels, saved, some_hole
from PIL import Image

from pconv.errors import InputError
from pconv.images.photo import Photo
from pconv.images.pillow import from_pil
from pconv.images.reading import read_photo
from pconv.masks.reader import MaskFile
from pconv.masks.sources import Alpha, Colour, Rectangle, hole_of, parse_hole, with_opaque_fills

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
BRIGHT = RAMP >= 128


def photo(height=16, width=16):
    return Photo(pixels("RGB", height, width), "RGB")


@pytest.mark.parametrize("mode", ["LA", "RGBA", "LA;16", "RGBA;16"])
def test_transparency_marks_the_hole_and_is_filled_opaquely(mode):
    values = pixels(mode)
    values[..., -1] = np.iinfo(values.dtype).max
    values[2:5, 3:9, -1] = 0
    values[5, 3:9, -1] //= 2  # a soft edge would otherwise stay half transparent
    source, expected = Photo(values, mode), np.zeros((23, 31), bool)
    expected[2:6, 3:9] = True
    assert np.array_equal(hole_of(source, [Alpha()]), expected)
    assert with_opaque_fills(source, [Alpha()]).fills_are_opaque
    assert not with_opaque_fills(source, [Rectangle(0, 0, 1, 1)]).fills_are_opaque


def test_transparency_of_palettes_and_of_one_colour():
    image = pil("RGB", pixels("RGB")).quantize(8)
    image.info["transparency"] = 2
    expected = np.asarray(image) == 2
    for form in ("PNG", "GIF"):
        assert np.array_equal(hole_of(read_photo(saved(image, form)), [Alpha()]), expected)
    grey = pil("L", pixels("L"))
    assert np.array_equal(hole_of(read_photo(saved(grey, "PNG", transparency=7)), [Alpha()]), np.asarray(grey) == 7)
    with pytest.raises(InputError, match="has no transparency"):
        hole_of(from_pil(grey), [Alpha()])


def test_one_colour_marks_the_hole():
    values = pixels("RGB")
    painted = some_hole(23, 31)
    values[painted] = (255, 0, 255)
    values[~painted, 1] |= 8
    source = Photo(values, "RGB")
    assert np.array_equal(hole_of(source, [parse_hole("color:#ff00ff")]), painted)
    assert np.array_equal(hole_of(source, [parse_hole("color:FF00FF:0")]), painted)
    near = (np.abs(values.astype(int) - (255, 0, 255)) <= 60).all(axis=2)
    assert near.sum() > painted.sum()
    assert np.array_equal(hole_of(source, [parse_hole("color:#ff00ff:60")]), near)
    deep = Photo(values.astype(np.uint16) * 257, "RGB;16")
    assert np.array_equal(hole_of(deep, [Colour((255, 0, 255))]), painted)


def test_a_painted_jpeg_is_found_in_spite_of_its_compression():
    values = np.full((64, 64, 3), 120, np.uint8)
    values[16:48, 16:48] = (255, 0, 255)
    source = read_photo(saved(Image.fromarray(values), "JPEG", quality=90, subsampling=0))
    hole = hole_of(source, [parse_hole("color:#ff00ff")])
    assert hole[18:46, 18:46].all()
    assert not hole[:12].any()
    assert not hole_of(source, [parse_hole("color:#ff00ff:0")])[18:46, 18:46].all()


def test_rectangles_are_clipped_and_add_up():
    expected = np.zeros((16, 16), bool)
    expected[2:5, 10:16] = expected[0:3, 0:4] = True
    sources = [parse_hole("rect:10,2,20,3"), parse_hole("rect:-2,-1,6,4")]
    assert np.array_equal(hole_of(photo(), sources), expected)
    mask = MaskFile(saved(Image.fromarray(BRIGHT), "PNG"))
    assert np.array_equal(hole_of(photo(), [*sources, mask], invert=True), expected | ~BRIGHT)
    with pytest.raises(InputError, match="rectangle 16,0,4,4 lies outside of the photo of 16x16"):
        hole_of(photo(), [Rectangle(16, 0, 4, 4)])


@pytest.mark.parametrize(
    "text",
    ["", "alfa", "color:#ff00f", "color:#ff00ff:256", "color:red", "rect:1,2,3", "rect:0,0,0,5", "rect:a,b,c,d"],
)
def test_what_says_no_hole_is_refused_in_a_sentence(text):
    with pytest.raises(InputError, match=r"says no hole; say alpha, color:#ff00ff"):
        parse_hole(text)


def test_limits_are_said():
    with pytest.raises(InputError, match="grow by 0 to 1000 pixels, not 1001"):
        hole_of(photo(), [Rectangle(0, 0, 1, 1)], grow=1001)
    with pytest.raises(InputError, match="nothing says where the hole is"):
        hole_of(photo(), [])


def test_a_hole_grows_after_the_union():
    hole = hole_of(photo(40, 40), [Rectangle(20, 20, 1, 1)], grow=5)
    assert hole[20, 15:26].all()
    assert hole.sum() == 81  # lattice points in a disc of radius 5
