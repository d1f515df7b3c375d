"""The bundled model's fills give the model card's figures: six of its 60 crops, and six of the bundled photos.

The expected values come from the script that trained the model (tests/nn/reference_unet.py), not from this package.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pconv
from pconv.evaluation.metrics import gram_distance, vgg_features
from pconv.images.psnr import psnr
from pconv.masks.strokes import RATIO_BINS

ROOT = Path(__file__).parents[2]
BSDS = Path(os.environ.get("PCONV_BSDS_TEST", ROOT.parent / "shared" / "data" / "photos-dev"))
"""The 200 photos of BSDS500's test set; their licence keeps them out of this repository."""
VGG = Path(os.environ.get("PCONV_VGG", ROOT.parent / "shared" / "weights" / "vgg16_blocks12.safetensors"))


def central(path, side):
    with Image.open(path) as image:
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return np.array(image.convert("RGB").crop((left, top, left + side, top + side)))


def hole_of(bin_number, side):
    return pconv.irregular_hole(
        side, side, RATIO_BINS[bin_number], generator=np.random.default_rng([5, bin_number, 0])
    )


@pytest.mark.skipif(
    not (BSDS.is_dir() and VGG.is_file()), reason="BSDS500's test photos or VGG-16 weights are not here"
)
@pytest.mark.parametrize(
    ("bin_number", "level", "gram"),
    [
        (0, 44.425, 0.512), (1, 29.853, 0.912), (2, 28.786, 0.775),
        (3, 19.345, 0.846), (4, 22.460, 0.860), (5, 24.194, 0.864),
    ],
)  # fmt: skip
def test_six_of_the_validation_crops(bin_number, level, gram):
    photo = central(sorted(BSDS.glob("*.jpg"))[30 * bin_number], 320)
    hole = hole_of(bin_number, 320)
    filled = pconv.inpaint(photo, hole, seed=0)
    assert psnr(filled, photo) == pytest.approx(level, abs=0.05)
    features = pconv.load_vgg(VGG, blocks=2)
    distance = gram_distance(vgg_features(features, filled), vgg_features(features, photo), hole)
    assert distance == pytest.approx(gram, abs=0.02)


@pytest.mark.parametrize(
    ("name", "bin_number", "level"),
    [
        ("astronaut", 0, 29.584), ("cat", 1, 31.563), ("coffee", 2, 30.080),
        ("astronaut", 3, 26.953), ("cat", 4, 28.600), ("coffee", 5, 18.892),
    ],
)  # fmt: skip
def test_six_crops_of_the_bundled_photos(name, bin_number, level):
    photo = central(ROOT / "examples" / "photos" / f"{name}.jpg", 256)
    filled = pconv.inpaint(photo, hole_of(bin_number, 256), seed=0)
    assert psnr(filled, photo) == pytest.approx(level, abs=0.05)
