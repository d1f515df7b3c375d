"""The bundled model for super-resolution."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pconv
from pconv.evaluation.metrics import mean_ssim, ssim_map
from pconv.images.psnr import psnr
from pconv.inpainting.upscaling import trained_for_superres

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("name", ["astronaut", "cat", "coffee"])
def test_it_is_better_than_bicubic_on_the_bundled_photos(name, factor):
    truth = Image.open(PHOTOS / f"{name}.jpg").convert("RGB").crop((0, 0, 240, 240))
    small = truth.resize((240 // factor, 240 // factor), Image.Resampling.BICUBIC)
    bicubic = small.resize(truth.size, Image.Resampling.BICUBIC)
    large = pconv.upscale(small, factor)
    pixels, filtered, expected = (np.asarray(image) for image in (large, bicubic, truth))
    assert psnr(pixels, expected) > psnr(filtered, expected)
    assert mean_ssim(ssim_map(pixels, expected)) > mean_ssim(ssim_map(filtered, expected))


def test_its_recipe_says_what_it_is_for():
    assert trained_for_superres(pconv.Inpainter("superres").backend.recipe)
    assert not trained_for_superres(pconv.Inpainter("default").backend.recipe)
