import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.metrics import structural_similarity

from pconv.evaluation.metrics import (
    gram_distance,
    l1_percent,
    mean_ssim,
    sharpness,
    ssim_map,
    vgg_distance,
    vgg_features,
)
from pconv.images.psnr import psnr
from pconv.training.features import VGG16Features


@pytest.fixture
def pictures():
    """A smooth truth, and the same with noise in the upper left quarter, which is the hole."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    truth = np.stack([3 * x + y, 200 - 2 * x, 40 + 4 * y], axis=2).astype(np.uint8)
    hole = np.zeros((40, 48), dtype=bool)
    hole[:20, :24] = True
    noise = generator.integers(-30, 31, truth.shape)
    picture = np.where(hole[..., None], (truth + noise).clip(0, 255), truth).astype(np.uint8)
    return picture, truth, hole


def test_l1_and_psnr_by_hand():
    truth = np.full((2, 4, 3), 100, np.uint8)
    picture = truth.copy()
    picture[0, 0] = (151, 100, 49)  # |51| + 0 + |-51|, in one of eight pixels
    hole = np.zeros((2, 4), dtype=bool)
    hole[0, :2] = True
    assert l1_percent(picture, truth) == pytest.approx(100 * (102 / 24) / 255)
    assert l1_percent(picture, truth, hole) == pytest.approx(100 * (102 / 6) / 255)
    assert psnr(picture, truth) == pytest.approx(10 * math.log10(255**2 / (2 * 51**2 / 24)))
    assert psnr(picture, truth, hole) == pytest.approx(10 * math.log10(255**2 / (2 * 51**2 / 6)))
    assert psnr(truth, truth) == 100
    assert psnr(picture / 255, truth / 255, peak=1.0) == pytest.approx(psnr(picture, truth))
    with pytest.raises(ValueError, match="of one size"):
        psnr(picture, truth[:1])


def test_ssim_equals_scikit_images(pictures):
    picture, truth, _ = pictures
    expected = structural_similarity(
        truth, picture, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert mean_ssim(ssim_map(picture, truth)) == pytest.approx(expected, abs=1e-4)
    assert 0.3 < expected < 0.95
    assert mean_ssim(ssim_map(truth, truth)) == pytest.approx(1)


def test_ssim_of_one_window_by_hand(pictures):
    """Wang et al. 2004, equation 13, with its window of 11 x 11."""
    picture, truth, _ = pictures
    taps = np.exp(-np.square(np.arange(-5, 6)) / (2 * 1.5**2))
    window = np.outer(taps, taps) / np.outer(taps, taps).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    at, expected = (12, 15), []
    for channel in range(3):
        a, b = (p[7:18, 10:21, channel].astype(float) for p in (picture, truth))
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        var_a, var_b = (window * a * a).sum() - mean_a**2, (window * b * b).sum() - mean_b**2
        both = (window * a * b).sum() - mean_a * mean_b
        top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
        expected.append(top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
    assert ssim_map(picture, truth)[at] == pytest.approx(np.mean(expected), abs=1e-6)


def test_ssim_over_the_hole_is_the_maps_mean_there(pictures):
    picture, truth, hole = pictures
    values = ssim_map(picture, truth)
    assert mean_ssim(values, hole) == pytest.approx(values[:20, :24].mean())
    assert mean_ssim(values, hole) < mean_ssim(values)


def test_sharpness_by_hand():
    truth = np.zeros((3, 4, 3), np.uint8)
    truth[:, 2:] = 90  # one edge, between columns 1 and 2
    hole = np.zeros((3, 4), dtype=bool)
    hole[:2, 1:3] = True
    half = truth // 2
    assert sharpness(truth, truth, hole) == 1
    assert sharpness(half, truth, hole) == 0.5
    assert sharpness(np.zeros_like(truth), truth, hole) == 0
    noisy = truth.copy()
    noisy[0, 1] = 30  # dx of (0, 0) is outside the hole; of (0, 1) 60, dy 30; (1, 1) has 90
    assert sharpness(noisy, truth, hole) == pytest.approx((60 + 30 + 90) / 180)
    assert math.isnan(sharpness(truth, np.zeros_like(truth), hole))


def test_vgg_distance_is_the_sum_of_the_pools_mean_differences(pictures):
    picture, truth, _ = pictures
    vgg = VGG16Features(2)
    a, b = (vgg(torch.from_numpy(p).permute(2, 0, 1)[None].float() / 255) for p in (picture, truth))
    expected = sum((x - y).abs().mean().item() for x, y in zip(a, b, strict=True))
    assert vgg_distance(vgg_features(vgg, picture), vgg_features(vgg, truth)) == pytest.approx(expected, rel=1e-5)
    assert expected > 0
    assert vgg_distance(vgg_features(vgg, truth), vgg_features(vgg, truth)) == 0


def test_gram_distance_by_hand():
    """Features of two pools, 2 x 2 with two channels and 1 x 1 with one; 9 stands where nothing is filled."""
    hole = np.zeros((4, 4), dtype=bool)
    hole[:2, :2] = hole[0, 2:] = True  # 1, 1/2, 0, 0 of the four cells, 6/16 of all
    truth = [torch.tensor([[[[2.0, 4], [9, 9]], [[1, 0], [9, 9]]]]), torch.tensor([[[[2.0]]]])]
    picture = [torch.tensor([[[[2.0, 0], [9, 1]], [[1, 4], [0, 9]]]]), torch.tensor([[[[1.0]]]])]
    # f w is (2, 2), (1, 0) and (2, 0), (1, 2): f f^T is [8 2, 2 1] and [4 2, 2 5]; then 4 and 1, both times (6/16)^2.
    assert gram_distance(picture, truth, hole) == pytest.approx((4 + 0 + 0 + 4) / (8 + 2 + 2 + 1) + 3 / 4)
    assert gram_distance(truth, truth, hole) == 0
    assert math.isnan(gram_distance(picture, [truth[0], torch.zeros(1, 1, 1, 1)], hole))


def test_gram_distance_does_not_depend_on_where_the_same_texture_lies():
    pixels = np.random.default_rng(0).random((1, 3, 8, 8)).astype(np.float32)
    hole = np.ones((8, 8), dtype=bool)
    truth, moved = torch.from_numpy(pixels), torch.from_numpy(np.roll(pixels, (3, 5), (2, 3)))
    assert vgg_distance([moved], [truth]) > 0.1
    assert gram_distance([moved], [truth], hole) == pytest.approx(0, abs=1e-6)


def test_blurring_the_truth_and_noise_on_it_raise_the_gram_distance():
    torch.manual_seed(0)
    vgg = VGG16Features(2)
    truth = data.astronaut()[150:246, 200:296]
    hole = np.zeros((96, 96), dtype=bool)
    hole[20:80, 16:70] = True
    wanted = vgg_features(vgg, truth)

    def distance(picture):
        composite = np.where(hole[..., None], np.clip(picture, 0, 255).astype(np.uint8), truth)
        return gram_distance(vgg_features(vgg, composite), wanted, hole)

    noise = np.random.default_rng(0).normal(size=truth.shape)
    blurred = [distance(gaussian_filter(truth.astype(float), (sigma, sigma, 0))) for sigma in (0.7, 1.5, 4)]
    noisy = [distance(truth + sigma * noise) for sigma in (8, 20, 50)]
    assert distance(truth) == 0
    assert 0.01 < blurred[0] < blurred[1] < blurred[2]
    assert 0.01 < noisy[0] < noisy[1] < noisy[2]
