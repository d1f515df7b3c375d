"""What is to be filled: masks, transparency, colours, rectangles; and growing it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import pil, pixels, saved, some_hole
from PIL import Image

from pconv.errors import ImageFileError, InputError
from pconv.images.photo import Photo
from pconv.images.pillow import from_pil
from pconv.images.reading import read_photo
from pconv.images.writing import encode_photo
from pconv.masks.morphology import dilate
from pconv.masks.reader import MaskFile, hole_from_image
from pconv.masks.sources import Alpha, Colour, Rectangle, hole_of, parse_hole, with_opaque_fills

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
BRIGHT = RAMP >= 128


def photo(height=16, width=16):
    return Photo(pixels("RGB", height, width), "RGB")


def test_masks_are_read_at_half_grey_in_any_mode(tmp_path):
    grey = Image.fromarray(RAMP)
    for name, image in {
        "grey.png": grey,
        "colour.png": grey.convert("RGB"),
        "alpha.png": grey.convert("LA"),
        "palette.png": grey.convert("P"),
        "palette.gif": grey.convert("P"),
        "deep.png": Image.fromarray(RAMP.astype(np.uint16) * 257),
        "deep.tif": Image.fromarray(RAMP.astype(np.uint16) * 257),
        "bilevel.png": Image.fromarray(BRIGHT),
        "bilevel.bmp": Image.fromarray(BRIGHT),
        "inks.tif": grey.convert("RGB").convert("CMYK"),
        "lossless.webp": grey.convert("RGB"),
    }.items():
        image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
        assert np.array_equal(MaskFile(tmp_path / name).hole(photo()), BRIGHT), name
        assert np.array_equal(hole_of(photo(), [MaskFile(tmp_path / name)], invert=True), ~BRIGHT), name
        assert np.array_equal(hole_from_image(image), BRIGHT), name
    deep = encode_photo(Photo(np.stack([RAMP.astype(np.uint16) * 257] * 3, axis=-1), "RGB;16"), ".png")
    assert np.array_equal(MaskFile(deep).hole(photo()), BRIGHT)


def test_what_is_transparent_in_a_mask_is_no_hole():
    layer = np.full((2, 2, 4), 255, np.uint8)
    layer[0, 0, 3] = 0
    layer[0, 1, :3] = 0
    assert hole_from_image(Image.fromarray(layer)).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize("colour", [(0, 0, 0), (200, 0, 0), (90, 90, 90)])
def test_strokes_on_nothing_are_the_hole_in_any_colour(colour):
    strokes = some_hole(16, 16)
    layer = np.zeros((16, 16, 4), np.uint8)
    layer[strokes] = (*colour, 255)
    assert np.array_equal(hole_from_image(Image.fromarray(layer)), strokes)
    opaque = np.dstack([layer[..., :3], np.full((16, 16), 255, np.uint8)])
    assert not hole_from_image(Image.fromarray(opaque)).any()  # nothing bright, nothing transparent: nothing


def test_a_mask_without_a_known_white_is_refused():
    with pytest.raises(InputError, match="mask of mode 'LAB' has no known white"):
        hole_from_image(Image.new("LAB", (4, 4)))


def turned(image, orientation, form="PNG"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, form, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_and_mask_are_turned_alike(orientation):
    """A mask made upright, one with the photo's own tag, and one that lies as the photo is stored: all the same."""
    marked = some_hole(10, 20, share=0.2)
    stored = Image.fromarray(np.where(marked[..., None], 255, pixels("RGB", 10, 20) // 2))
    read = read_photo(turned(stored, orientation))
    expected = (read.pixels == 255).all(axis=2)
    assert expected.sum() == marked.sum()
    notes = []
    upright = saved(Image.fromarray(expected), "PNG")
    tagged = turned(Image.fromarray(marked), orientation)
    for mask in (upright, tagged):
        assert np.array_equal(MaskFile(mask).hole(read, notes), expected)
    assert notes == []
    if orientation >= 5:
        assert np.array_equal(MaskFile(saved(Image.fromarray(marked), "PNG")).hole(read, notes), expected)
        assert "turned like it" in notes[0]


def test_a_mask_of_another_size_is_refused_or_stretched(tmp_path):
    Image.fromarray(BRIGHT).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"mask .*mask.png is 16x16 and the photo 32x48 pixels"):
        MaskFile(tmp_path / "mask.png").hole(photo(48, 32))
    stretched = MaskFile(tmp_path / "mask.png", fit="nearest").hole(photo(48, 32))
    assert np.array_equal(stretched, BRIGHT.repeat(3, axis=0).repeat(2, axis=1))
    shrunk = MaskFile(tmp_path / "mask.png", fit="nearest").hole(photo(8, 4))
    assert np.array_equal(shrunk, BRIGHT[1::2, 2::4])


def test_a_mask_that_cannot_be_read(tmp_path):
    with pytest.raises(ImageFileError, match=r"cannot read .*none.png: No such file"):
        MaskFile(tmp_path / "none.png").hole(photo())
    with pytest.raises(ImageFileError, match="the mask is not an image"):
        MaskFile(b"nonsense").hole(photo())


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


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 200),
    reach=st.integers(0, 40),
    share=st.sampled_from([0.0, 0.001, 0.02, 0.5, 1.0]),
    seed=st.integers(0, 999),
)
def test_growing_adds_all_that_is_near(height, width, reach, share, seed):
    """Against the distances from every pixel to every pixel of the hole."""
    hole = some_hole(height, width, seed, share)
    before = hole.copy()
    result = dilate(hole, reach)
    rows, columns = np.mgrid[:height, :width]
    marked = np.argwhere(hole)[:, :, None, None]
    expected = np.zeros((height, width), bool)
    for row, column in marked[:, :, 0, 0]:
        expected |= (rows - row) ** 2 + (columns - column) ** 2 <= reach**2
    assert np.array_equal(result, expected)
    assert np.array_equal(hole, before)


def test_a_hole_grows_after_the_union():
    hole = hole_of(photo(40, 40), [Rectangle(20, 20, 1, 1)], grow=5)
    assert hole[20, 15:26].all()
    assert hole.sum() == 81  # lattice points in a disc of radius 5
