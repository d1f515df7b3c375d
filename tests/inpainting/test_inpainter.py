from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pconv
from pconv import Inpainter, InputError, ModelError, PConvUNet, UNetConfig, save_network
from pconv.images.reading import read_photo
from pconv.inpainting.inpainter import LEAST_PIXELS, _cached_inpainter
from pconv.inpainting.tiles import BYTES_PER_PIXEL
from pconv.masks.reader import MaskFile


def picture(height, width, channels, dtype, seed=0):
    generator = np.random.default_rng(seed)
    shape = (height, width) if channels is None else (height, width, channels)
    if np.issubdtype(dtype, np.floating):
        return generator.random(shape).astype(dtype)
    return generator.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def some_hole(height, width, seed=0):
    hole = np.random.default_rng(seed).random((height, width)) < 0.3
    hole.flat[0] = True
    hole.flat[-1] = False
    return hole


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(2, 70),
    channels=st.sampled_from([None, 1, 3, 4]),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]),
    seed=st.integers(0, 2**32),
)
def test_arrays_come_back_with_known_pixels_bit_for_bit(inpainter, height, width, channels, dtype, seed):
    image, hole = picture(height, width, channels, dtype, seed), some_hole(height, width, seed)
    image_before, hole_before = image.copy(), hole.copy()
    filled = inpainter(image, hole)
    assert filled.shape == image.shape
    assert filled.dtype == image.dtype
    assert np.array_equal(filled[~hole], image[~hole])
    if channels == 4:
        assert np.array_equal(filled[..., 3], image[..., 3])
    assert not np.array_equal(filled[hole], image[hole])
    assert np.array_equal(image, image_before)
    assert np.array_equal(hole, hole_before)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "CMYK", "YCbCr", "I;16"])
def test_pil_images_keep_mode_alpha_and_known_pixels(inpainter, mode):
    channels = {"L": None, "I;16": None, "LA": 2, "RGB": 3, "YCbCr": 3, "RGBA": 4, "CMYK": 4}[mode]
    pixels = picture(40, 50, channels, np.uint16 if mode == "I;16" else np.uint8)
    image = Image.fromarray(pixels) if mode in ("L", "I;16") else Image.frombytes(mode, (50, 40), pixels.tobytes())
    image.info["icc_profile"] = b"profile"
    hole = some_hole(40, 50)
    filled = inpainter(image, Image.fromarray(hole))
    assert filled.mode == mode
    assert filled.size == image.size
    assert filled.info["icc_profile"] == b"profile"
    result = np.asarray(filled)
    assert np.array_equal(result[~hole], pixels[~hole])
    assert not np.array_equal(result[hole], pixels[hole])
    if mode in ("LA", "RGBA"):
        assert np.array_equal(result[..., -1], pixels[..., -1])
    assert np.array_equal(np.asarray(image), pixels)


def test_palette_and_bilevel_images_stay_what_they_are(inpainter):
    hole = some_hole(20, 20)
    colour = Image.fromarray(picture(20, 20, 3, np.uint8))
    for image in (colour.quantize(16), colour.convert("1")):
        filled = inpainter(image, hole)
        assert filled.mode == image.mode
        assert np.array_equal(np.asarray(filled)[~hole], np.asarray(image)[~hole])
        assert not np.array_equal(np.asarray(filled)[hole], np.asarray(image)[hole])


def test_grey_16_bit_and_float_get_the_same_fill(inpainter):
    grey, hole = picture(32, 32, None, np.uint8), some_hole(32, 32)
    as8 = inpainter(grey, hole)
    as16 = inpainter(grey.astype(np.uint16) * 257, hole)
    as_float = inpainter(grey / 255, hole)
    as_rgb = inpainter(np.repeat(grey[..., None], 3, axis=2), hole)
    assert np.abs(as16 / 257 - as8).max() <= 0.51
    assert np.abs(as_float * 255 - as8).max() <= 0.51
    assert np.abs(as_rgb.mean(axis=2) - as8).max() <= 1.0
    assert len(np.unique(as16[hole] % 257)) > 1  # not through 8 bits


def test_what_lies_in_the_hole_is_never_read(inpainter):
    image, hole = picture(32, 32, 3, np.float32), some_hole(32, 32)
    other = image.copy()
    other[hole] = np.nan
    assert np.array_equal(inpainter(image, hole), inpainter(other, hole))


def test_masks_of_any_kind_mean_the_same(inpainter):
    image, hole = picture(16, 16, 3, np.uint8), some_hole(16, 16)
    expected = inpainter(image, hole)
    grey = Image.fromarray(np.where(hole, 128, 127).astype(np.uint8))
    for form in (hole.astype(np.uint8), hole * 255, hole * 0.1, hole[..., None], Image.fromarray(hole), grey):
        assert np.array_equal(inpainter(image, form), expected)


def test_nothing_to_fill_gives_a_copy(inpainter):
    image = picture(8, 8, 3, np.uint8)
    filled = inpainter(image, np.zeros((8, 8), bool))
    assert np.array_equal(filled, image)
    assert filled is not image


def test_a_network_of_other_channels_fills_its_own_kind(tmp_path):
    config = UNetConfig((8, 8), (3, 3), in_channels=5)
    save_network(PConvUNet(config), tmp_path / "five.safetensors", {})
    five = Inpainter(tmp_path / "five.safetensors", device="cpu")
    image, hole = picture(12, 12, 5, np.float32), some_hole(12, 12)
    assert np.array_equal(five(image, hole)[~hole], image[~hole])
    with pytest.raises(InputError, match="images of 5 channels"):
        five(picture(12, 12, 3, np.float32), hole)


@pytest.mark.parametrize(
    ("image", "hole", "message"),
    [
        (np.zeros((4, 6, 3), np.uint8), np.ones((6, 4), bool), "mask is 4x6 and the image 6x4"),
        (np.zeros((4, 6, 3), np.uint8), np.ones((4, 6, 5), bool), "an array of shape"),
        (np.zeros((4, 6, 3), np.uint8), np.ones((4, 6), bool), "the mask marks the whole image"),
        (np.zeros((4, 6, 2), np.uint8), np.eye(4, 6, dtype=bool), "images of 3 channels"),
        (np.zeros((4, 6), np.int32), np.eye(4, 6, dtype=bool), "an array of int32; give uint8"),
        (np.full((4, 6), 200.0), np.eye(4, 6, dtype=bool), r"values in 0..1; got 200..200 \(divide by 255"),
        (np.full((4, 6), np.nan), np.eye(4, 6, dtype=bool), "NaN or Inf outside the hole"),
        (np.zeros(4), np.zeros(4), "cannot inpaint an array of shape"),
        (torch.zeros(4, 4), np.zeros((4, 4)), "cannot inpaint an array of shape"),
        ("photo.png", np.zeros(4), "cannot inpaint a str"),
        (Image.new("F", (6, 4)), np.eye(4, 6, dtype=bool), "mode 'F'"),
        (np.zeros((4, 6), np.uint8), Image.new("LAB", (6, 4)), "no known white"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(inpainter, image, hole, message):
    with pytest.raises(InputError, match=message):
        inpainter(image, hole)


def test_unknown_model_and_device():
    for name in ("best", "x" * 300, "a\0b"):
        with pytest.raises(ModelError, match=r"unknown model '.*': bundled are default, clean, superres"):
            Inpainter(name)
    with pytest.raises(InputError, match=r"no device 'cuda:99' on this machine; there are auto, .*cpu"):
        Inpainter(device="cuda:99")
    with pytest.raises(InputError, match="no device 'toaster'"):
        Inpainter(device="toaster")


@pytest.mark.parametrize("name", ["astronaut", "cat"])
def test_the_bundled_model_is_a_trained_one(name):
    """Scratches across real photos come out far closer to the truth than the photo's mean colour."""
    photos = Path(__file__).parents[2] / "examples" / "photos"
    read = read_photo(photos / f"{name}.jpg")
    photo, hole = read.pixels, MaskFile(photos / f"{name}-mask.png").hole(read)
    filled = pconv.inpaint(photo, hole, device="cpu")
    error = np.abs(filled.astype(float) - photo)[hole].mean()
    by_mean = np.abs(photo[~hole].mean(axis=0) - photo)[hole].mean()
    assert error < by_mean / 3
    assert np.array_equal(filled[~hole], photo[~hole])


def test_the_bundled_model_fills_a_gradient_better_than_its_mean():
    """The model in the box is a trained one: it continues a smooth picture and an edge across a hole."""
    x, y = np.meshgrid(np.linspace(0, 1, 128), np.linspace(0, 1, 128))
    image = np.stack([0.2 + 0.6 * x, 0.8 - 0.5 * y, 0.3 + 0.4 * (y > 0.5)], axis=2)
    hole = np.zeros((128, 128), bool)
    hole[40:88, 60:72] = True
    filled = pconv.inpaint(image, hole, device="cpu")
    error = np.abs(filled - image)[hole].mean()
    by_mean = np.abs(image[~hole].mean(axis=0) - image)[hole].mean()
    assert error < by_mean / 4
    assert np.array_equal(filled[~hole], image[~hole])


def test_single_calls_share_a_model_until_its_file_changes(inpainter, tiny_model, tmp_path):
    image, hole = picture(30, 30, 3, np.uint8), some_hole(30, 30)
    path = tmp_path / "model.safetensors"
    path.write_bytes(tiny_model.read_bytes())
    expected = inpainter(image, hole)
    before = _cached_inpainter.cache_info()
    for _ in range(3):
        assert np.array_equal(pconv.inpaint(image, hole, model=path, device="cpu"), expected)
    after = _cached_inpainter.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 2)
    torch.manual_seed(4)
    save_network(PConvUNet(pconv.PRESETS["tiny"]), path, {})
    assert not np.array_equal(pconv.inpaint(image, hole, model=path, device="cpu"), expected)


def test_big_endian_arrays_are_filled_like_others(inpainter):
    image, hole = picture(20, 20, None, np.uint16), some_hole(20, 20)
    filled = inpainter(image.astype(">u2"), hole)
    assert filled.dtype == np.dtype(">u2")
    assert np.array_equal(filled, inpainter(image, hole))


def test_a_model_whose_training_diverged_is_refused(tmp_path):
    net = PConvUNet(pconv.PRESETS["tiny"])
    torch.nn.init.constant_(net.decoder[-1].conv.weight, float("nan"))
    save_network(net, tmp_path / "nan.safetensors", {})
    with pytest.raises(ModelError, match="output is not finite"):
        Inpainter(tmp_path / "nan.safetensors", device="cpu")(picture(20, 20, 3, np.uint8), some_hole(20, 20))


class Counting:
    """A backend that counts how many of its runs go on at a time."""

    name, device, precision, path, recipe, channels, multiple = "counting", "cpu", "fp32", Path("none"), {}, 3, 16
    noise = estimates = False

    def __init__(self):
        self.now = self.most = 0

    def fill(self, images, holes, **_):
        self.now += 1
        self.most = max(self.most, self.now)
        sleep(0.02)
        self.now -= 1
        return np.where(holes, np.float32(0.5), images)


@pytest.mark.parametrize(("side", "most"), [(128, 4), (256, 1)])
def test_runs_in_several_threads_take_at_most_max_memory_together(side, most):
    backend = Counting()
    inpainter = Inpainter(backend=backend, max_memory=LEAST_PIXELS * BYTES_PER_PIXEL)
    image, hole = picture(side, side, 3, np.uint8), some_hole(side, side)
    with ThreadPoolExecutor(8) as pool:
        fills = list(pool.map(lambda _: inpainter(image, hole), range(24)))
    assert all(np.array_equal(each, fills[0]) for each in fills)
    assert backend.most == most
