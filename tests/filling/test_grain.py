import numpy as np
import pytest
from hypothesis import given, settings
from known import check_known_pixels_stay, noise_with_holes
from skimage import data

from pconv import Inpainter, irregular_hole
from pconv.filling import grain
from pconv.filling.grain import SHARE, amounts, grained
from pconv.filling.regions import Box


def amounts_of(picture, hole):
    return amounts(lambda rows: picture[:, rows], hole)


def whole(hole):
    return Box(0, hole.shape[0], 0, hole.shape[1])


def grained_whole(filled, hole):
    return grained(filled, hole, amounts_of(filled, hole), whole(hole))


def fine_detail(picture, where):
    """Standard deviation of what a 3 x 3 mean takes away."""
    grey = picture.mean(axis=0)
    mean = sum(np.roll(grey, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)) / 9
    return (grey - mean)[where].std()


def noisy_ramp(size=160, sigma=0.03):
    generator = np.random.default_rng(1)
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, size, dtype=np.float32), (3, size, size)).copy()
    hole = np.zeros((size, size), bool)
    hole[40:120, 40:120] = True
    noisy = ramp + generator.normal(0, sigma, (1, size, size)).astype(np.float32)
    return np.where(hole, ramp, noisy), hole


def inside(hole, margin=4):
    rows, columns = np.nonzero(hole)
    smaller = np.zeros_like(hole)
    smaller[rows.min() + margin : rows.max() - margin, columns.min() + margin : columns.max() - margin] = True
    return smaller


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_a_smooth_fill_gets_its_share_of_the_noise_around(sigma):
    filled, hole = noisy_ramp(sigma=sigma)
    border = np.ones_like(hole)
    border[2:-2, 2:-2] = False
    around = fine_detail(filled, ~inside(hole, -4) & ~border)
    assert fine_detail(grained_whole(filled, hole), inside(hole, 24)) == pytest.approx(SHARE * around, rel=0.15)


def test_thin_holes_get_less_of_it_than_wide_ones():
    filled, wide = noisy_ramp()
    thin = np.zeros_like(wide)
    thin[78:82, 20:140] = True
    amount = amounts_of(filled, wide)
    flat = np.full_like(filled, 0.5)
    strengths = [grained(flat, hole, amount, whole(hole))[0, 79, 50:110].std() for hole in (thin, wide)]
    assert strengths[0] < 0.6 * strengths[1]


def test_a_fill_that_has_as_much_stays():
    filled, hole = noisy_ramp()
    noisy = np.where(hole, filled + np.random.default_rng(2).normal(0, 0.03, hole.shape).astype(np.float32), filled)
    assert np.array_equal(grained_whole(noisy, hole), noisy)


def test_flat_colours_with_lines_between_them_stay_flat():
    picture = np.full((3, 128, 128), 0.9, np.float32)
    picture[:, 60:] = 0.2
    picture[:, :, 30:32] = 0
    hole = np.zeros((128, 128), bool)
    hole[80:100, 60:110] = True
    assert np.abs(grained_whole(picture, hole) - picture).max() < 0.5 / 255


def test_more_detail_on_one_side_of_a_hole_gives_more_grain_on_that_side():
    filled, hole = noisy_ramp()
    filled[:, :, 80:] = np.linspace(0.5, 0.8, 80, dtype=np.float32)
    left, right = inside(hole), inside(hole)
    left[:, 60:], right[:, :100] = False, False
    result = grained_whole(filled, hole)
    assert fine_detail(result, left) > 3 * fine_detail(result, right)


def test_the_noise_has_no_colour_and_keeps_the_mean():
    filled, hole = noisy_ramp()
    change = grained_whole(filled, hole) - filled
    np.testing.assert_allclose(change[0], change[1], atol=1e-6)
    assert abs(change[:, hole].mean()) < 0.001


def test_parts_of_a_picture_get_the_noise_of_the_whole():
    filled, hole = noisy_ramp(300)
    amount = amounts_of(filled, hole)
    everything = grained(filled, hole, amount, whole(hole))
    part = Box(21, 180, 35, 201)
    of_it = grained(filled[:, *part.slices], hole[part.slices], amount, part)
    added, of_all = of_it - filled[:, *part.slices], (everything - filled)[:, *part.slices]
    deep = hole[part.slices] & inside(hole, 8)[part.slices]
    assert np.corrcoef(added[0, deep], of_all[0, deep])[0, 1] > 0.98


def test_amounts_do_not_depend_on_how_the_picture_is_read(monkeypatch):
    picture = data.coffee().transpose(2, 0, 1).astype(np.float32) / 255
    hole = irregular_hole(*picture.shape[1:], (0.3, 0.4), generator=np.random.default_rng(0))
    by_strips = amounts_of(picture, hole)
    monkeypatch.setattr(grain, "_STRIP", 1024)
    np.testing.assert_allclose(by_strips, amounts_of(picture, hole), rtol=1e-5)


def test_what_lies_in_the_hole_has_no_say():
    filled, hole = noisy_ramp()
    other = np.where(hole, np.float32(np.nan), filled)
    assert np.array_equal(amounts_of(filled, hole), amounts_of(other, hole))


@settings(max_examples=25, deadline=None)
@given(noise_with_holes())
def test_known_pixels_stay_and_values_stay_in_range(case):
    check_known_pixels_stay(grained_whole, *case)


def test_wide_holes_have_grain_up_to_their_middle():
    generator = np.random.default_rng(0)
    photo = np.clip(128 + generator.normal(0, 8, (400, 400, 1)).repeat(3, axis=2), 0, 255).round().astype(np.uint8)
    hole = np.zeros((400, 400), bool)
    hole[60:340, 60:340] = True
    planes = Inpainter(device="cpu")(photo, hole).transpose(2, 0, 1) / 255
    middle, rim = np.zeros_like(hole), np.zeros_like(hole)
    middle[170:230, 170:230] = rim[90:110, 90:310] = True
    assert fine_detail(planes, middle) == pytest.approx(fine_detail(planes, rim), rel=0.3)
    assert fine_detail(planes, middle) > 0.4 * fine_detail(photo.transpose(2, 0, 1) / 255, ~hole)
