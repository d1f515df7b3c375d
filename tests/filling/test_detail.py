import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from known import check_known_pixels_stay, noise_with_holes
from skimage import data
from threadpoolctl import threadpool_info, threadpool_limits

from pconv import Inpainter, irregular_hole
from pconv.filling import detail
from pconv.filling.detail import detailed
from pconv.filling.threads import one_thread
from pconv.filling.work import Settings, digest
from pconv.nn.blocks import BLOCK
from pconv.training.blocks import cosines


def error(picture, truth, hole):
    return np.sqrt(np.square(picture - truth)[:, hole].mean())


def smoothed(truth, hole):
    """The rows' linear interpolation over the hole: continuous at its edges, and no texture in it."""
    start = truth.copy()
    columns = np.arange(truth.shape[2])
    for channel in start:
        for row, unknown in zip(channel, hole, strict=True):
            if unknown.any() and not unknown.all():
                row[unknown] = np.interp(columns[unknown], columns[~unknown], row[~unknown])
    return start


def stripe_across(size=96):
    hole = np.zeros((size, size), bool)
    hole[:, size // 2 - 5 : size // 2 + 5] = True
    return hole


def test_the_transform_is_the_orthonormal_cosine_transform():
    blocks = np.random.default_rng(0).random((5, BLOCK, BLOCK), dtype=np.float32)
    ours = (blocks.reshape(5, -1) @ cosines().T).reshape(blocks.shape)
    np.testing.assert_allclose(ours, scipy.fft.dctn(blocks, axes=(1, 2), norm="ortho"), atol=1e-5)


@pytest.mark.parametrize("slope", [0, 0.4, 1])
def test_an_edge_goes_on_across_a_hole(slope):
    y, x = np.mgrid[:96, :96]
    truth = np.repeat((y - 40 > slope * (x - 48)).astype(np.float32)[None], 3, axis=0) * 0.6 + 0.2
    hole = stripe_across()
    start = smoothed(truth, hole)
    if slope == 0:
        start[:, hole] = 0.5
    assert error(detailed(start, hole), truth, hole) < 0.75 * error(start, truth, hole)


def test_texture_goes_on_into_a_hole():
    y, x = np.mgrid[:96, :96]
    truth = np.stack([0.5 + 0.3 * np.sin(0.9 * x + 0.5 * y + phase) for phase in (0, 1, 2)]).astype(np.float32)
    hole = stripe_across()
    start = smoothed(truth, hole)
    assert error(detailed(start, hole), truth, hole) < 0.7 * error(start, truth, hole)


def test_thresholds_begin_higher_where_more_is_known_and_end_alike(monkeypatch):
    hole = np.zeros((96, 96), bool)
    hole[:, :48] = True
    hole[:, 80] = True
    picture = np.random.default_rng(0).random((1, 96, 96), np.float32)
    picture[:, hole] = 0.5
    seen = []

    def watched(blocks, thresholds):
        seen.append((blocks, thresholds))
        return blocks

    monkeypatch.setattr(detail, "_sparse", watched)
    detail._projected(picture, hole)
    blocks, first = seen[0]
    all_hole = np.ptp(blocks, axis=(0, 2, 3)) == 0
    assert all_hole.any()
    np.testing.assert_allclose(first[all_hole], detail.FIRST_THRESHOLD)
    assert first.max() == pytest.approx((1 + detail.MORE * 15 / 16) * detail.FIRST_THRESHOLD)
    np.testing.assert_allclose(seen[-1][1], detail.LAST_THRESHOLD, rtol=1e-5)


@pytest.mark.parametrize("photo", ["astronaut", "coffee", "chelsea"])
def test_scratched_photos_are_filled_better_than_by_the_network_alone(photo):
    picture = getattr(data, photo)()[20:276, 100:356]
    hole = np.zeros((256, 256), bool)
    for start in range(30, 230, 40):
        hole[start : start + 6, 20:230] = hole[20:230, start : start + 6] = True

    def psnr(filled):
        return -10 * np.log10(np.square(filled.astype(float) - picture)[hole].mean() / 255**2)

    alone, detail = (Inpainter(device="cpu", detail=on, texture=False)(picture, hole) for on in (False, True))
    assert psnr(detail) > psnr(alone) + 0.5
    assert np.array_equal(detail[~hole], picture[~hole])


@settings(max_examples=25, deadline=None)
@given(noise_with_holes())
def test_known_pixels_stay_and_a_constant_stays_constant(case):
    noise, hole = case
    flat = np.full_like(noise, 0.3)
    np.testing.assert_allclose(detailed(flat, hole), flat, atol=1e-4)
    check_known_pixels_stay(detailed, noise, hole)


def test_grey_is_one_picture_in_one_channel_or_three():
    grey = (data.camera()[200:328, 200:328] / np.float32(255))[None]
    hole = irregular_hole(128, 128, (0.2, 0.3), generator=np.random.default_rng(0))
    start = smoothed(grey, hole)
    three = detailed(np.repeat(start, 3, axis=0), hole)
    np.testing.assert_allclose(three.mean(axis=0), detailed(start, hole)[0], atol=0.02)
    assert error(three, np.repeat(grey, 3, axis=0), hole) < error(start, grey, hole)


def test_what_is_far_away_has_no_say():
    """A block's width of known pixels has, at the size itself and at half of it."""
    picture = data.coffee()[:256, :320].transpose(2, 0, 1).astype(np.float32) / 255
    hole = np.zeros(picture.shape[1:], bool)
    hole[100:106, 40:120] = True
    start = smoothed(picture, hole)
    elsewhere = start.copy()
    elsewhere[:, :, 200:] = 0
    assert np.array_equal(detailed(start, hole)[:, hole], detailed(elsewhere, hole)[:, hole])


def test_without_it_a_fill_is_what_the_network_gives():
    picture = data.astronaut()[:256, :256]
    hole = np.zeros((256, 256), bool)
    hole[100:110, 60:200] = True
    inpainter = Inpainter(device="cpu", detail=False, texture=False)
    planes = picture.transpose(2, 0, 1)[None].astype(np.float32) / 255
    alone = inpainter.backend.fill(np.where(hole, np.float32(0), planes), hole[None, None])[0][0].transpose(1, 2, 0)
    expected = np.where(hole[..., None], (alone * 255).round().astype(np.uint8), picture)
    assert np.array_equal(inpainter(picture, hole), expected)
    assert not np.array_equal(Inpainter(device="cpu")(picture, hole), expected)


def test_a_folder_is_filled_again_with_another_choice():
    assert digest(Settings(detail=True).about()) != digest(Settings(detail=False).about())


def test_threads_of_products_are_one_inside_and_what_they_were_outside():
    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        with one_thread:
            with one_thread:
                assert set(threads()) <= {1}
            assert set(threads()) <= {1}
        assert threads() == before
