"""What benchmarks/upscale.py measures beside the measures of ``pconv evaluate``."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("upscale_benchmark", BENCHMARKS / "upscale.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
        sys.modules.pop("common", None)
    return module


def photo(height=96, width=120):
    noise = np.random.default_rng(0).integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def test_luma_is_that_of_bt_601(benchmark):
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert benchmark.luma(colours)[0] == pytest.approx([16, 235, 81.481, 144.553, 40.966])


def test_psnr_of_luma_leaves_out_the_border(benchmark):
    truth = np.full((20, 30, 3), 100, np.uint8)
    image = truth.copy()
    image[:2] = image[:, -2:] = 255
    assert benchmark.psnr_of_luma(image, truth, 2) == 100
    assert benchmark.psnr_of_luma(image, truth, 1) < 40
    lighter = truth + np.uint8(10)  # of all channels: 219 / 255 of it in Y
    assert benchmark.psnr_of_luma(lighter, truth, 2) == pytest.approx(20 * np.log10(255 / (10 * 219 / 255)))


@pytest.mark.parametrize("moved", [0.0, 0.5, 1.0])
def test_a_shift_is_found(benchmark, moved):
    large = photo()
    image = Image.fromarray(large).transform(
        (120, 96), Image.Transform.AFFINE, (1, 0, -moved, 0, 1, 0), Image.Resampling.BICUBIC
    )
    inner = slice(8, -8)
    assert benchmark.shift(np.asarray(image)[inner, inner], large[inner, inner]) == pytest.approx(moved, abs=0.1)


def test_the_table_says_what_is_better(benchmark):
    means = {
        "pconv": {"PSNR": 30.0, "VGG distance": 0.3},
        "BICUBIC": {"PSNR": 31.0, "VGG distance": 0.4},
        "LANCZOS": {"PSNR": 29.0, "VGG distance": 0.2},
    }
    assert benchmark.table(2, means) == [
        "| x2 | pconv | 30.0000 | 0.3000 |",
        "| x2 | BICUBIC | 31.0000 | 0.4000 |",
        "| x2 | LANCZOS | 29.0000 | 0.2000 |",
        "| x2 | better than bicubic | no | yes |",
    ]


def test_photos_are_cropped_and_shrunk(benchmark):
    assert benchmark.cropped(np.zeros((50, 61, 3), np.uint8)).shape == (48, 60, 3)
    small = benchmark.shrunk(photo(), 3)
    assert np.array_equal(small, np.asarray(Image.fromarray(photo()).resize((40, 32), Image.Resampling.BICUBIC)))


def test_a_lattice_is_found(benchmark):
    truth = photo()
    noisy = (truth.astype(int) + np.random.default_rng(0).normal(0, 9, truth.shape)).clip(0, 255).astype(np.uint8)
    assert benchmark.lattice(noisy, truth, 3) < 1.1
    noisy[1::3, 1::3] = truth[1::3, 1::3] + (truth[1::3, 1::3] < 255)
    assert benchmark.lattice(noisy, truth, 3) > 5
