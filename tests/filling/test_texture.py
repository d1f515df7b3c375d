import numpy as np
import pytest
from hypothesis import given, settings
from known import check_known_pixels_stay, noise_with_holes
from skimage import data

from pconv import Inpainter, irregular_hole
from pconv.filling import texture
from pconv.filling.texture import BLOCK, STRONG, textured
from pconv.filling.work import Settings, digest


def striped(height=200, width=240, amplitude=0.15):
    """Stripes on the left, which are flat grey from afar; flat grey on the right; a smoothly filled hole in each."""
    x = np.arange(width)
    stripes = np.where(x < width // 2, amplitude * np.sin(2 * np.pi * x / 5), 0)
    truth = np.broadcast_to(0.5 + stripes, (3, height, width)).astype(np.float32)
    truth[:, :, width // 2 :] = np.float32(0.3)
    hole = np.zeros((height, width), bool)
    hole[70:130, 30:90] = hole[70:130, 150:210] = True
    filled = truth.copy()
    filled[:, 70:130, 30:90] = 0.5
    return filled, truth, hole


DEEP = np.s_[:, 90:110, 50:70]
"""Well inside the left hole."""


def test_a_place_gets_the_texture_of_what_it_looks_like_from_afar():
    filled, truth, hole = striped()
    result = textured(filled, hole)
    around = np.std(truth[DEEP])
    assert np.std(result[DEEP]) == pytest.approx(around * around**2 / (around**2 + STRONG**2), rel=0.3)
    along, across = (np.abs(np.diff(result[DEEP], axis=axis)).mean() for axis in (1, 2))
    assert along < 0.5 * across  # stripes, of a kind
    np.testing.assert_allclose(result[:, 90:110, 170:190], 0.3, atol=0.01)


def test_of_weak_texture_a_smaller_share_is_lent():
    (weak, _, hole), (strong, _, _) = striped(amplitude=0.03), striped(amplitude=0.15)
    assert np.std(textured(weak, hole)[DEEP]) < 0.1 * np.std(textured(strong, hole)[DEEP])


@pytest.mark.parametrize(("share", "most"), [(0.2, 2), (0.8, 1.25)])
def test_a_fills_own_texture_gets_stronger_in_the_middle(share, most):
    """Up to twice as strong, but not stronger than that around; faint stripes get none lent."""
    _, truth, hole = striped(amplitude=0.02)
    truth[:, :, 120:] = truth[:, :, :120]
    filled = np.where(hole, 0.5 + share * (truth - 0.5), truth).astype(np.float32)
    result = textured(filled, hole)
    assert np.std(result[DEEP]) == pytest.approx(most * np.std(filled[DEEP]), rel=0.2)
    edge = np.s_[:, 90:110, 30:33]
    assert np.std(result[edge]) < 1.3 * np.std(filled[edge])
    across = [(picture[DEEP] - picture[DEEP].mean()).ravel() for picture in (truth, result)]
    assert np.corrcoef(*across)[0, 1] > 0.95


def test_a_fill_that_has_as_much_stays():
    _, truth, hole = striped()
    assert np.abs(textured(truth, hole) - truth).max() < 0.1 * 0.15


def test_no_texture_is_taken_out_of_a_hole():
    filled, _, hole = striped()
    noisy = np.where(hole, np.random.default_rng(0).random(filled.shape, np.float32), filled)
    smooth = textured(filled, hole)
    change = np.abs(textured(noisy, hole) - noisy).max()
    assert change < 0.1 * np.abs(smooth - filled).max()


def test_thin_holes_stay_as_they_are():
    filled, truth, hole = striped()
    hole[:] = False
    hole[100:103, 10:110] = True
    thin = np.where(hole, np.float32(0.5), truth)
    assert np.abs(textured(thin, hole) - thin).max() < 0.3 * np.abs(textured(filled, striped()[2]) - filled).max()


def test_where_no_block_is_known_it_stays():
    picture = np.random.default_rng(0).random((3, 60, 60), np.float32)
    hole = np.zeros((60, 60), bool)
    hole[:: BLOCK - 1] = True
    assert textured(picture, hole) is picture


def test_far_blocks_lend_where_none_is_near():
    generator = np.random.default_rng(0)
    picture = np.full((1, 40, 900), 0.5, np.float32)
    picture[:, :, :60] += generator.normal(0, 0.1, (1, 40, 60)).astype(np.float32)
    hole = np.zeros((40, 900), bool)
    hole[:, 60:] = True
    assert textured(picture, hole)[0, :, 800:].std() > 0.02


def test_neighbours_do_not_repeat_one_block():
    generator = np.random.default_rng(0)
    picture = np.clip(0.5 + generator.normal(0, 0.1, (1, 200, 200)), 0, 1).astype(np.float32)
    hole = np.zeros((200, 200), bool)
    hole[60:140, 60:140] = True
    picture[:, hole] = 0.5
    deep = textured(picture, hole)[0, 76:124, 76:124] - 0.5
    for shift in (BLOCK // 2, BLOCK, 2 * BLOCK):
        for axis in (0, 1):
            alike = (deep * np.roll(deep, shift, axis)).mean() / np.square(deep).mean()
            assert abs(alike) < 0.3


@settings(max_examples=25, deadline=None)
@given(noise_with_holes())
def test_known_pixels_stay_and_values_stay_in_range(case):
    check_known_pixels_stay(textured, *case)


def test_what_is_lent_does_not_depend_on_other_areas(monkeypatch):
    """The search goes area by area; with one area for all, places still get blocks that are like them."""
    filled, _, hole = striped()
    monkeypatch.setattr(texture, "_AREA", 2000)
    result = textured(filled, hole)
    np.testing.assert_allclose(result[:, 90:110, 170:190], 0.3, atol=0.01)
    assert np.std(result[:, 90:110, 50:70]) > 0.03


def test_a_fill_without_it_is_smoother_and_nearer():
    photo = data.chelsea()[:256, :256]
    hole = irregular_hole(256, 256, (0.2, 0.3), generator=np.random.default_rng(3))
    without, rich = (Inpainter(device="cpu", texture=on)(photo, hole) for on in (False, True))

    def miss(filled):
        return np.square(filled.astype(float) - photo)[hole].mean()

    def gradients(filled):
        grey = filled.mean(axis=2)
        return (np.abs(np.diff(grey, axis=0)[:, :-1]) + np.abs(np.diff(grey, axis=1)[:-1]))[hole[:-1, :-1]].mean()

    assert miss(without) < miss(rich) < 1.1 * miss(without)
    assert gradients(without) * 1.05 < gradients(rich) < gradients(photo)
    assert np.array_equal(rich[~hole], photo[~hole])


def test_a_folder_is_filled_again_with_another_choice():
    assert digest(Settings(texture=True).about()) != digest(Settings(texture=False).about())
