"""Tensors, lists and threads: the same kind of thing comes back, and nothing that was given is changed."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from pconv import InputError
from pconv.images.pillow import from_pil

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (40, 50, 3), dtype=np.uint8)
HOLE = np.zeros((40, 50), bool)
HOLE[10:20, 15:30] = True


def chw(pixels):
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_tensors_keep_shape_dtype_and_known_pixels(inpainter, dtype):
    image = chw(PIXELS).to(dtype) if dtype in (torch.uint8, torch.uint16) else (chw(PIXELS) / 255).to(dtype)
    before = image.clone()
    filled = inpainter(image, torch.from_numpy(HOLE))
    assert isinstance(filled, torch.Tensor)
    assert (filled.shape, filled.dtype, filled.device) == (image.shape, dtype, image.device)
    known = torch.from_numpy(~HOLE).expand(3, 40, 50)
    assert torch.equal(filled[known], image[known])
    assert not torch.equal(filled[~known], image[~known])
    assert torch.equal(image, before)


def test_a_tensor_is_filled_like_the_array_and_the_picture(inpainter):
    expected = inpainter(PIXELS, HOLE)
    assert np.array_equal(inpainter(chw(PIXELS), HOLE).numpy().transpose(1, 2, 0), expected)
    assert np.array_equal(np.asarray(inpainter(Image.fromarray(PIXELS), HOLE)), expected)
    photo = from_pil(Image.fromarray(PIXELS))
    assert np.array_equal(inpainter(photo, HOLE).pixels, expected)
    assert np.array_equal(photo.pixels, PIXELS)
    assert np.array_equal(inpainter(PIXELS, torch.from_numpy(HOLE).bfloat16()), expected)
    grey = chw(PIXELS[..., :1])
    assert np.array_equal(inpainter(grey, HOLE)[0].numpy(), inpainter(PIXELS[..., 0], HOLE))
    assert inpainter(grey.expand(4, 40, 50), HOLE).shape == (4, 40, 50)  # the fourth is alpha


def test_a_batch_takes_a_hole_for_each_or_one_for_all(inpainter):
    other = HOLE[::-1, ::-1].copy()
    batch = torch.stack([chw(PIXELS), chw(PIXELS[::-1])])
    each = [inpainter(PIXELS, HOLE), inpainter(PIXELS[::-1].copy(), other)]
    expected = np.stack(each).transpose(0, 3, 1, 2)
    holes = torch.from_numpy(np.stack([HOLE, other]))
    for form in (holes, holes[:, None], holes[:, None].float(), holes[:, None].numpy()):
        assert np.array_equal(inpainter(batch, form).numpy(), expected)
    one = torch.from_numpy(HOLE)
    for form in (one, one[None], one[None, None], HOLE, Image.fromarray(HOLE)):
        filled = inpainter(batch, form)
        assert filled.shape == batch.shape
        assert np.array_equal(filled[0].numpy(), expected[0])
    with pytest.raises(InputError, match="mask is an array of shape"):
        inpainter(batch, torch.stack([one] * 3))


def test_lists_of_anything(inpainter):
    expected = inpainter(PIXELS, HOLE)
    mixed = [PIXELS, Image.fromarray(PIXELS), chw(PIXELS)]
    filled = inpainter(mixed, HOLE)
    assert [type(one) for one in filled] == [np.ndarray, Image.Image, torch.Tensor]
    assert np.array_equal(filled[0], expected)
    assert np.array_equal(filled[2].numpy().transpose(1, 2, 0), expected)
    two = inpainter([PIXELS, PIXELS], [HOLE, Image.fromarray(~HOLE)])
    assert np.array_equal(two[0], expected)
    assert np.array_equal(two[1][HOLE], PIXELS[HOLE])
    assert inpainter([], []) == []
    with pytest.raises(InputError, match="2 images and 1 masks"):
        inpainter([PIXELS, PIXELS], [HOLE])


def test_gradients_and_layouts_do_not_matter(inpainter):
    image = (chw(PIXELS) / 255)[None].requires_grad_()
    filled = inpainter(image.to(memory_format=torch.channels_last), HOLE)
    assert not filled.requires_grad
    assert torch.equal(filled, inpainter(image.detach(), HOLE))


def test_many_threads_get_what_one_gets(inpainter):
    jobs = [
        (GENERATOR.integers(0, 256, (30 + n, 40, 3), dtype=np.uint8), np.roll(HOLE[:30, :40], n, 1)) for n in range(12)
    ]
    jobs = [(image, np.vstack([hole, np.zeros((image.shape[0] - 30, 40), bool)])) for image, hole in jobs]
    alone = [inpainter(*job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: inpainter(*job), jobs * 3))
    assert all(np.array_equal(one, alone[n % 12]) for n, one in enumerate(together))


@pytest.mark.parametrize("feather", [-1, 1001])
def test_feather_has_bounds(inpainter, feather):
    with pytest.raises(InputError, match=f"feather is {feather}; give a whole number from 0 to 1000"):
        inpainter(PIXELS, HOLE, feather=feather)


def test_feather_and_nan_do_not_go_together(inpainter):
    image = PIXELS / 255
    image[HOLE] = np.nan
    assert np.isfinite(inpainter(image, HOLE)).all()
    with pytest.raises(InputError, match="feather blends with what is there; use feather=0"):
        inpainter(image, HOLE, feather=2)


def test_colours_of_what_is_transparent_are_not_used(inpainter):
    """Beside a hole they would be taken for the photo's; they stay as they are."""
    rgba = np.dstack([PIXELS, np.full((40, 50), 255, np.uint8)])
    rgba[5:25, 30:40, 3] = 0
    other = rgba.copy()
    other[5:25, 30:40, :3] = [255, 0, 255]
    filled = [np.asarray(inpainter(Image.fromarray(each), HOLE)) for each in (rgba, other)]
    assert np.array_equal(filled[0][HOLE], filled[1][HOLE])
    assert np.array_equal(filled[1][~HOLE], other[~HOLE])
    rgba[~HOLE, 3] = 0  # nothing is seen, so all there is has to do
    assert not np.array_equal(np.asarray(inpainter(Image.fromarray(rgba), HOLE))[HOLE], rgba[HOLE])
