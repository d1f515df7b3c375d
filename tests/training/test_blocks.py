import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from skimage import data

from pconv.nn.blocks import BLOCK, kinds_of, transforms
from pconv.training.blocks import COEFFICIENTS, KINDS, THRESHOLD, _drawn, _transform, cosines, learned


def stripes(angle, period=6.0, number=200):
    """Blocks of stripes whose gradients point to ``angle``, in radians."""
    y, x = np.mgrid[:BLOCK, :BLOCK]
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, (number, 1, 1))
    waves = np.sin(2 * np.pi / period * (x * np.cos(angle) + y * np.sin(angle)) + phases)
    return (0.2 * waves).reshape(number, -1).astype(np.float32)


def share_of_largest(blocks, transform, number=8):
    energies = np.sort(np.square(blocks @ transform.T), axis=1)[:, ::-1]
    return energies[:, :number].sum() / energies.sum()


@pytest.mark.parametrize("kind", range(1, KINDS))
def test_a_direction_has_a_kind(kind):
    assert (kinds_of(stripes((kind - 1) * np.pi / (KINDS - 1)), KINDS) == kind).mean() > 0.95


def test_noise_and_flat_blocks_have_no_direction():
    noise = np.random.default_rng(0).normal(size=(500, BLOCK**2)).astype(np.float32)
    assert (kinds_of(noise, KINDS) == 0).mean() > 0.95
    assert (kinds_of(np.full((5, BLOCK**2), 0.7, np.float32), KINDS) == 0).all()


def check_transforms(found):
    assert found.shape == (KINDS, COEFFICIENTS, BLOCK**2)
    for transform in found.astype(np.float64):
        np.testing.assert_allclose(transform @ transform.T, np.eye(COEFFICIENTS), atol=2e-3)
        np.testing.assert_allclose(transform[0], 1 / BLOCK, atol=1e-4)


def test_the_bundled_transforms_are_orthonormal_and_begin_with_the_mean():
    check_transforms(transforms())


@pytest.mark.parametrize("kind", [2, 4, 6, 8, 10, 12, 14, 16])
def test_lines_are_sparser_in_their_own_transform_than_in_cosines(kind):
    lines = stripes((kind - 1) * np.pi / (KINDS - 1), period=9)
    assert share_of_largest(lines, transforms()[kind]) > share_of_largest(lines, cosines())


def test_learning_makes_blocks_sparser():
    photo = data.astronaut()
    blocks = np.concatenate(list(_drawn(20 * [photo, photo[:10]], np.random.default_rng(0))), axis=1)  # [:10] has none
    level = blocks[:, kinds_of(blocks.mean(axis=0), KINDS) == 1]
    assert level.shape[1] > 300

    def cost(transform):
        energies = np.square(level @ transform.T).mean(axis=0) / THRESHOLD**2
        return np.minimum(energies, 1).sum() / level.shape[1]

    costs = [cost(_transform(level, True, rounds)) for rounds in (0, 2, 8)]
    assert costs[0] < cost(cosines())
    assert costs[2] < costs[1] < costs[0]


def test_learned_transforms_are_the_same_each_time():
    photos = [data.astronaut(), data.coffee()]
    once = learned(photos, rounds=2)
    check_transforms(once)
    assert np.array_equal(once, learned(photos, rounds=2))


def test_the_command_writes_them(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(data.coffee()).save(photos / "coffee.png")
    command = [sys.executable, "-m", "pconv.training.blocks", photos, tmp_path / "transforms.npy", "--rounds", "1"]
    subprocess.run(command, check=True, timeout=300)
    check_transforms(np.load(tmp_path / "transforms.npy"))
