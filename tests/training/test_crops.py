import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from pconv.errors import ImageFileError
from pconv.evaluation.protocol import fit_photo
from pconv.images.reading import photo_size
from pconv.training.crops import (
    Decoded,
    Square,
    central_square,
    cut,
    decode,
    draw_square,
    recoloured,
    reduction_for,
    turned,
)


def gradient(height, width):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=2).astype(np.uint8)


def as_file(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def test_squares_lie_in_the_photo_and_zoom_between_its_own_scale_and_the_smallest():
    generator = np.random.default_rng(0)
    squares = [draw_square(300, 200, 50, 0.5, generator) for _ in range(300)]
    assert all(0 <= s.top <= 300 - s.side and 0 <= s.left <= 200 - s.side for s in squares)
    assert min(s.side for s in squares) < 53
    assert 97 < max(s.side for s in squares) <= 100
    assert {s.flip for s in squares} == {True, False}
    assert all(draw_square(300, 200, 50, 1.0, generator).side == 50 for _ in range(20))
    assert draw_square(30, 40, 50, 1.0, generator).side == 30  # too small: to be enlarged
    assert central_square(30, 41) == Square(0, 5, 30, False)


def test_a_square_at_the_photos_own_scale_is_cut_bit_for_bit():
    pixels = gradient(60, 80)
    photo = Decoded(pixels, 60, 80)
    assert np.array_equal(cut(photo, Square(7, 11, 32, False), 32), pixels[7:39, 11:43])
    assert np.array_equal(cut(photo, Square(7, 11, 32, True), 32), pixels[7:39, 11:43][:, ::-1])


def test_shrunk_and_enlarged_squares_show_the_same_part():
    photo = Decoded(gradient(200, 200), 200, 200)
    small = cut(photo, Square(100, 50, 100, False), 25).astype(int)
    assert small.shape == (25, 25, 3)
    # x runs from 50 to 150 of 200, y from 100 to 200, in steps of 4.
    assert abs(small[12, 0, 0] - 52 * 255 / 200) < 2
    assert abs(small[0, 12, 1] - 102 * 255 / 200) < 2
    assert cut(Decoded(gradient(20, 20), 20, 20), Square(0, 0, 20, False), 64).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("side", "by"), [(64, 1), (127, 1), (128, 2), (256, 4), (511, 4), (512, 8), (4000, 8), (20, 1)]
)
def test_reduction_leaves_enough_for_the_square(side, by):
    assert reduction_for(side, 64) == by


def test_a_jpeg_is_decoded_smaller_and_shows_the_same():
    pixels = gradient(801, 602)
    pixels[..., 2] = 0
    file = as_file(pixels, "JPEG", quality=95)
    size = photo_size(file)
    assert size == (801, 602)
    small, whole = decode(file, size, 4), decode(file, size)
    assert small.pixels.shape == (201, 151, 3)
    assert whole.pixels.shape == (801, 602, 3)
    square = Square(100, 40, 512, True)
    difference = np.abs(cut(small, square, 128).astype(int) - cut(whole, square, 128))
    assert difference.max() <= 6
    assert decode(as_file(pixels, "PNG"), size, 4).pixels.shape == (801, 602, 3)  # no other format shrinks


@pytest.mark.parametrize("by", [1, 2])
def test_photos_stand_upright(by):
    pixels = gradient(96, 64)
    lying = np.rot90(pixels)  # what a camera held sideways stores, with the note that it is to be turned
    exif = Image.Exif()
    exif[0x0112] = 6
    file = as_file(np.ascontiguousarray(lying), "JPEG", exif=exif, quality=95)
    size = photo_size(file)
    assert size == (96, 64)
    photo = decode(file, size, by)
    assert photo.pixels.shape == (96 // by, 64 // by, 3)
    top_left = cut(photo, Square(0, 0, 32, False), 16).astype(int)
    assert np.abs(top_left[..., :2] - cut(Decoded(pixels, 96, 64), Square(0, 0, 32, False), 16)[..., :2]).max() < 12


def deep(**options):
    """A file that Pillow alone reads as noise, as a negative or nearly black; and the colours it has."""
    grey = options["photometric"] == "miniswhite"
    values = np.random.default_rng(0).integers(0, 65536, (40, 30, 3), dtype=np.uint16)
    stored = 65535 - values[..., 0] if grey else np.ascontiguousarray(values.transpose(2, 0, 1))
    file = io.BytesIO()
    tifffile.imwrite(file, stored, metadata=None, **options)
    return file.getvalue(), values[..., :1].repeat(3, axis=2) if grey else values


@pytest.mark.parametrize(
    "options", [{"photometric": "rgb", "planarconfig": "separate"}, {"photometric": "miniswhite"}]
)
def test_training_and_evaluation_see_deep_tiffs_as_they_look(options, tmp_path):
    data, values = deep(**options)
    path = tmp_path / "deep.tif"
    path.write_bytes(data)
    for pixels in (decode(path, photo_size(path)).pixels, fit_photo(path, (40, 30))):
        assert np.abs(pixels - values / 257).max() <= 0.51


def test_training_and_evaluation_read_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.heic"
    heif.from_pillow(Image.new("RGB", (32, 48), (200, 100, 50))).save(path, quality=100)
    for pixels in (decode(path, photo_size(path)).pixels, fit_photo(path, (48, 32))):
        assert np.abs(pixels.astype(int) - (200, 100, 50)).max() < 6


def test_twelve_bits_are_refused_and_not_taken_for_black(tmp_path):
    path = tmp_path / "twelve.tif"
    tifffile.imwrite(path, np.zeros((40, 30), np.uint16), photometric="minisblack", metadata=None)
    data = path.read_bytes()
    bits = b"\x02\x01\x03\0\x01\0\0\0"  # BitsPerSample, one SHORT
    path.write_bytes(data.replace(bits + b"\x10", bits + b"\x0c"))
    for read in (lambda: decode(path, (40, 30)), lambda: fit_photo(path, (40, 30))):
        with pytest.raises(ImageFileError, match=r"twelve\.tif holds 12-bit values"):
            read()


def test_turned_crops_hold_the_same_pixels_in_another_order():
    pixels = gradient(16, 16)
    kinds = {turned(pixels, np.random.default_rng(seed)).tobytes() for seed in range(20)}
    assert kinds == {np.rot90(pixels, k).tobytes() for k in (1, 2, 3)}


def test_recoloured_crops_stay_in_range_and_keep_black_and_the_order_of_greys():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    changed = [recoloured(grey, np.random.default_rng(seed)) for seed in range(20)]
    for pixels in changed:
        assert pixels.dtype == np.uint8
        assert (pixels[0] == 0).all()
        assert (np.diff(pixels.astype(int), axis=0) >= 0).all()
    assert len({pixels.tobytes() for pixels in changed}) == 20
    colour = np.full((4, 4, 3), (200, 100, 50), dtype=np.uint8)
    means = np.mean([recoloured(colour, np.random.default_rng(seed)) for seed in range(200)], axis=(0, 1, 2))
    assert np.allclose(means, (200, 100, 50), atol=12)  # no drift on average
