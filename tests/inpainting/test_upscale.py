"""Super-resolution by holes: the network's prediction everywhere, of images of every kind and size."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

import pconv
from pconv import Inpainter, InputError, PConvUNet, UNetConfig, save_network, superres_input
from pconv.images.photo import Photo
from pconv.images.pillow import from_pil
from pconv.inpainting.tiles import BYTES_PER_PIXEL
from pconv.inpainting.upscaling import trained_for_superres
from pconv.nn.onnx_export import save_onnx

RECIPE = {"config": {"stages": [{"holes": "superres"}]}}
GENERATOR = np.random.default_rng(0)


def smooth(height, width, channels=3):
    """Noise that has been blurred, uint8."""
    noise = GENERATOR.integers(0, 256, (height // 4 + 1, width // 4 + 1, channels), dtype=np.uint8)
    bands = [Image.fromarray(np.ascontiguousarray(noise[..., i])).resize((width, height)) for i in range(channels)]
    return np.dstack([np.asarray(band) for band in bands])


PIXELS = smooth(19, 26)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    config = UNetConfig(
        (8, 12, 16), (5, 3, 3), mean=0.5, std=0.25, surface="correction", surface_skip=True, blocks=(1,)
    )
    net = PConvUNet(config).eval()
    with torch.no_grad():
        net.decoder[-1].conv.bias += torch.tensor(
            [0.3, 0.2, -0.3]
        )  # so that known pixels are not predicted as they are
    return net


@pytest.fixture(scope="module")
def model(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("superres") / "superres.safetensors"
    save_network(network, path, RECIPE)
    save_onnx(network, path.with_suffix(".onnx"), RECIPE)
    return path


@pytest.fixture(scope="module")
def upscaler(model):
    return Inpainter(model.with_suffix(".onnx"))


def predicted(network, pixels, factor):
    """By the definition, ``(H, W, 3)`` in 0..1."""
    seen, hole = superres_input(pixels.astype(np.float32) / 255, factor)
    with torch.no_grad():
        output = network(torch.from_numpy(seen).permute(2, 0, 1)[None], torch.from_numpy(~hole)[None, None])
    return output[0].permute(1, 2, 0).clamp(0, 1).numpy()


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_the_result_is_the_networks_prediction_everywhere(network, model, factor, suffix):
    result = Inpainter(model.with_suffix(suffix), device="cpu", precision="fp32").upscale(PIXELS, factor)
    assert result.shape == (19 * factor, 26 * factor, 3)
    assert result.dtype == np.uint8
    expected = predicted(network, PIXELS, factor) * 255
    assert np.abs(result - expected).max() <= 0.51
    kept = result[factor // 2 :: factor, factor // 2 :: factor].astype(int)
    assert np.median(kept[..., 0] - PIXELS[..., 0]) > 10  # the pixels themselves are not put back


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_tiles_change_nothing(upscaler, factor):
    image = smooth(440 // factor, 700 // factor) / np.float32(255)
    tiled = Inpainter(backend=upscaler.backend, max_memory=256 * 256 * BYTES_PER_PIXEL)
    whole = upscaler.upscale(image, factor)
    assert np.abs(tiled.upscale(image, factor) - whole).max() < 1e-4
    sizes = []
    fill = upscaler.backend.fill

    def counting(images, holes, **options):
        sizes.append(holes.size)
        return fill(images, holes, **options)

    upscaler.backend.fill = counting
    try:
        tiled.upscale(image, factor)
    finally:
        del upscaler.backend.fill
    assert len(sizes) > 6
    assert max(sizes) <= 256 * 256


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pil_images_keep_their_mode(upscaler, mode):
    image = Image.fromarray(PIXELS)
    if mode == "I;16":
        image = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
        if "A" in mode:
            image.putalpha(Image.linear_gradient("L").resize(image.size))
    large = upscaler.upscale(image, 3)
    assert (large.mode, large.size) == (mode, (78, 57))
    if "A" in mode:
        by_pillow = image.getchannel("A").resize(large.size, Image.Resampling.BICUBIC)
        assert np.array_equal(large.getchannel("A"), by_pillow)
    if mode == "RGB":
        assert np.array_equal(np.asarray(large), upscaler.upscale(PIXELS, 3))


@pytest.mark.parametrize(("mode", "becomes"), [("P", "RGB"), ("1", "L"), ("YCbCr", "RGB")])
def test_images_of_few_colours_come_back_in_more(upscaler, mode, becomes):
    image = Image.fromarray(PIXELS).convert(mode)
    large = upscaler.upscale(image, 2)
    assert (large.mode, large.size) == (becomes, (52, 38))
    expected = upscaler.upscale(np.asarray(image.convert(becomes)), 2)
    assert np.abs(np.asarray(large).astype(int) - expected).max() <= 1
    assert any("for the colours between" in note for note in upscaler.upscale(from_pil(image), 2).notes)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_becomes_alpha(upscaler, channels):
    image = Image.fromarray(PIXELS).convert("L" if channels == 1 else "RGB")
    values = np.array(image)
    values[5:9, 5:9] = 7
    image = Image.fromarray(values)
    image.info["transparency"] = 7 if channels == 1 else (7, 7, 7)
    large = upscaler.upscale(image, 2)
    assert large.mode == ("LA" if channels == 1 else "RGBA")
    assert "transparency" not in large.info
    alpha = np.asarray(large.getchannel("A"))
    assert alpha[12:16, 12:16].max() == 0
    assert alpha[30:, 30:].min() == 255


def test_arrays_of_every_depth_agree(upscaler):
    by_floats = upscaler.upscale(PIXELS / 255, 2)
    assert by_floats.dtype == np.float64
    deep = upscaler.upscale(PIXELS.astype(np.uint16) * 257, 2)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 65535 - by_floats).max() < 1e-5
    assert len(np.unique(deep % 257)) > 100  # computed at its own depth
    assert np.abs(upscaler.upscale(PIXELS, 2) / 255 - by_floats).max() < 0.51 / 255
    grey = upscaler.upscale(PIXELS[..., :1], 2)
    assert np.array_equal(upscaler.upscale(PIXELS[..., 0], 2), grey[..., 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_alpha_of_arrays_is_enlarged_as_pillow_does(upscaler, dtype):
    full = 1 if dtype == np.float32 else np.iinfo(dtype).max
    alpha = np.asarray(Image.linear_gradient("L").resize((26, 19))).astype(np.float32) / 255 * full
    alpha = np.maximum(alpha, full / 255)  # colours of invisible pixels are not used
    image = np.dstack([(PIXELS / 255 * full).astype(dtype), alpha.astype(dtype)])
    large = upscaler.upscale(image, 2)
    assert large.dtype == dtype
    assert np.array_equal(large[..., :3], upscaler.upscale(image[..., :3], 2))
    by_pillow = Image.fromarray(alpha.astype(dtype).astype(np.float32)).resize((52, 38), Image.Resampling.BICUBIC)
    assert np.abs(large[..., 3] - np.asarray(by_pillow).clip(0, full)).max() <= (0 if dtype == np.float32 else 1)


def test_tensors_and_lists(upscaler):
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    expected = upscaler.upscale(PIXELS, 2)
    assert np.array_equal(upscaler.upscale(tensor, 2).permute(1, 2, 0).numpy(), expected)
    batch = upscaler.upscale(torch.stack([tensor, tensor.flip(2)]), 2)
    assert batch.shape == (2, 3, 38, 52)
    assert np.array_equal(batch[0].permute(1, 2, 0).numpy(), expected)
    halves = upscaler.upscale((tensor / 255).bfloat16(), 2)
    assert (halves.dtype, halves.shape) == (torch.bfloat16, (3, 38, 52))
    several = upscaler.upscale([PIXELS, Image.fromarray(PIXELS)], 2)
    assert np.array_equal(several[0], np.asarray(several[1]))


def test_deep_photos_are_computed_at_their_depth(upscaler):
    photo = Photo(PIXELS.astype(np.uint16) * 257, "RGB;16")
    large = upscaler.upscale(photo, 2)
    assert large.mode == "RGB;16"
    assert np.array_equal(large.pixels, upscaler.upscale(photo.pixels, 2))


def test_colours_of_what_is_transparent_are_not_used(upscaler):
    rgba = np.dstack([PIXELS, np.full((19, 26), 255, np.uint8)])
    rgba[5:15, 8:16, 3] = 0
    other = rgba.copy()
    other[5:15, 8:16, :3] = [255, 0, 255]
    large = [np.asarray(upscaler.upscale(Image.fromarray(each), 2)) for each in (rgba, other)]
    assert np.array_equal(*large)
    arrays = [upscaler.upscale(each, 2) for each in (rgba, other)]
    assert np.array_equal(*arrays)
    assert np.array_equal(arrays[0], large[0])
    tensors = [upscaler.upscale(torch.from_numpy(each).permute(2, 0, 1), 2) for each in (rgba, other)]
    assert torch.equal(*tensors)
    rgba[..., 3] = 0  # nothing is seen, so all there is has to do
    assert np.array_equal(np.asarray(upscaler.upscale(Image.fromarray(rgba), 2))[..., :3], upscaler.upscale(PIXELS, 2))
    assert np.array_equal(upscaler.upscale(rgba, 2)[..., :3], upscaler.upscale(PIXELS, 2))


def test_wide_transparent_regions_take_no_run_on_a_smaller_image(upscaler, monkeypatch):
    runs = []
    fill = upscaler.backend.fill
    monkeypatch.setattr(upscaler.backend, "fill", lambda *given, **more: (runs.append(1), fill(*given, **more))[1])
    rgba = np.full((150, 150, 4), 255, np.uint8)
    rgba[:, 10:, 3] = 0
    upscaler.upscale(rgba, 2)
    assert len(runs) == 1


def test_the_function_keeps_the_model(model, upscaler):
    large = pconv.upscale(PIXELS, 2, model.with_suffix(".onnx"))
    assert np.array_equal(large, upscaler.upscale(PIXELS, 2))


def test_other_models_are_named(network, tmp_path, caplog, upscaler):
    save_onnx(network, tmp_path / "holes.onnx", {"config": {"stages": [{"holes": "mixed"}]}})
    with caplog.at_level(logging.WARNING, "pconv"):
        upscaler.upscale(PIXELS, 2)
        assert caplog.messages == []
        pconv.upscale(PIXELS, 2, tmp_path / "holes.onnx")
    (said,) = caplog.messages
    assert "holes.onnx was trained to fill holes, not for super-resolution" in said
    assert not any(trained_for_superres(recipe) for recipe in ({}, {"config": None}, {"config": {"stages": []}}))


@pytest.mark.parametrize(
    ("image", "factor", "message"),
    [
        (PIXELS, 5, "the factor must be one of 2, 3, 4; got 5"),
        (PIXELS, 2.0, r"the factor must be one of 2, 3, 4; got 2\.0"),
        (PIXELS[:0], 2, "an image of 26x0 pixels has nothing to enlarge"),
        (np.broadcast_to(np.uint8(0), (4000, 3000)), 4, "are 12000x16000, more than the 179 million"),
        (PIXELS.astype(np.int32), 2, "cannot inpaint an array of int32"),
        (PIXELS.astype(np.float32), 2, r"need values in 0\.\.1"),
        (np.full((5, 5), np.nan), 2, "the image has NaN or Inf, of which nothing can be predicted"),
        (Image.new("CMYK", (5, 5)), 2, "photos in CMYK are not enlarged"),
        ("photo.png", 2, "cannot upscale a str; give a PIL image"),
    ],
)
def test_what_cannot_be_enlarged_is_refused_in_a_sentence(upscaler, image, factor, message):
    with pytest.raises(InputError, match=message):
        upscaler.upscale(image, factor)
