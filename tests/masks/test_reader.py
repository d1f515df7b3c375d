"""Mask files and mask images: what in them is the hole, and which way round a folder of them is."""

import numpy as np
import pytest
from kinds import pixels, saved, some_hole
from PIL import Image

from pconv.errors import ImageFileError, InputError
from pconv.images.photo import Photo
from pconv.images.reading import read_photo
from pconv.images.writing import encode_photo
from pconv.masks.reader import MaskFile, detect_polarity, find_masks, hole_from_image, read_mask
from pconv.masks.sources import hole_of

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


def file_of(path, values, mode=None):
    image = Image.fromarray(np.asarray(values))
    (image.convert(mode) if mode else image).save(path)
    return path


def test_white_starts_at_half_or_at_another_part_of_the_range(tmp_path):
    grey = file_of(tmp_path / "grey.png", np.array([[0, 127, 128, 152, 153, 255]], np.uint8))  # 0.6 * 255 = 153
    assert read_mask(grey).tolist() == [[False, False, True, True, True, True]]
    assert read_mask(grey, white_is_hole=False).tolist() == [[True, True, False, False, False, False]]
    for mode in ("L", "RGB", "RGBA", "P"):
        again = file_of(tmp_path / f"{mode}.png", np.asarray(Image.open(grey)), mode)
        assert read_mask(again, bright_from=0.6).tolist() == [[False, False, False, False, True, True]], mode
    deep = file_of(tmp_path / "deep.png", np.array([[0, 39320, 39321, 65535]], np.uint16))  # 0.6 * 65535 = 39321
    assert read_mask(deep, bright_from=0.6).tolist() == [[False, False, True, True]]


def test_masks_of_mask_tools_are_read(tmp_path):
    for name in ("mask.pgm", "mask.pbm", "mask.ppm"):
        image = Image.fromarray(BRIGHT) if name == "mask.pbm" else Image.fromarray(RAMP)
        (image.convert("RGB") if name == "mask.ppm" else image).save(tmp_path / name)
        assert np.array_equal(read_mask(tmp_path / name), BRIGHT), name


def test_masks_are_found_in_all_folders(tmp_path):
    (tmp_path / "b").mkdir()
    file_of(tmp_path / "b" / "2.png", np.zeros((2, 2), np.uint8))
    file_of(tmp_path / "1.bmp", np.zeros((2, 2), np.uint8))
    (tmp_path / "notes.txt").write_text("no mask")
    assert [path.name for path in find_masks(tmp_path)] == ["1.bmp", "2.png"]
    with pytest.raises(InputError, match="no folder of masks at"):
        find_masks(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no masks"):
        find_masks(tmp_path / "empty")


def folder_of(tmp_path, parts):
    """Masks of 10 x 10 pixels with the given parts white."""
    paths = []
    for i, part in enumerate(parts):
        pixels = np.zeros(100, np.uint8)
        pixels[: round(100 * part)] = 255
        paths.append(file_of(tmp_path / f"{i}.png", pixels.reshape(10, 10)))
    return paths


def test_polarity_is_that_of_most_masks(tmp_path):
    assert detect_polarity(folder_of(tmp_path, [0.1, 0.3, 0.2, 0.7])) is True
    assert detect_polarity(folder_of(tmp_path, [0.9, 0.3, 0.8, 0.95])) is False
    assert detect_polarity(folder_of(tmp_path, [0.1, 1.0, 1.0, 1.0])) is True  # white all over: no vote


def test_unclear_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="the median one is 50% white: say white-hole or white-valid"):
        detect_polarity(folder_of(tmp_path, [0.5, 0.45, 0.55]))
    with pytest.raises(InputError, match="each of the 3 masks that were looked at has one value only"):
        detect_polarity(folder_of(tmp_path, [0.0, 1.0, 0.0]))


def test_a_broken_mask_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(ImageFileError, match=r"the mask .*broken\.png is not an image"):
        read_mask(tmp_path / "broken.png", white_is_hole=True)
