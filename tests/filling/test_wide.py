"""Depths in holes, and pictures of half the size."""

import numpy as np
import pytest

from pconv.filling.wide import depth_steps, doubled, halved, halved_by_strips, halved_wish


def test_half_the_size_is_the_mean_of_what_is_known():
    picture = np.arange(15, dtype=np.float32).reshape(1, 3, 5)
    hole = np.zeros((3, 5), bool)
    hole[0, 0] = hole[0:2, 2:4] = hole[2, 4] = True
    smaller, smaller_hole = halved(np.where(hole, np.nan, picture), hole)
    assert smaller_hole.tolist() == [[False, True, False], [False, False, True]]
    assert smaller[0].tolist() == [[(1 + 5 + 6) / 3, 0, (4 + 9) / 2], [10.5, 12.5, 0]]


@pytest.mark.parametrize("height", [1, 255, 256, 257, 600])
def test_halving_by_strips_is_halving(height):
    generator = np.random.default_rng(0)
    picture, hole = generator.random((3, height, 33), dtype=np.float32), generator.random((height, 33)) < 0.7
    smaller, smaller_hole = halved(picture, hole)
    by_strips, hole_by_strips = halved_by_strips(lambda rows: picture[:, rows], hole)
    assert np.array_equal(by_strips, smaller.astype(np.float16))
    assert np.array_equal(hole_by_strips, smaller_hole)


def test_depth_is_the_distance_to_what_is_known_and_nothing_is_known_beyond_the_border():
    hole = np.ones((30, 40), bool)
    hole[:, 0] = False
    steps = depth_steps(hole, 4, 12, 4)  # depths 6, 8, 10, 12
    by_column = np.array([0] * 7 + [1] * 2 + [2] * 2 + [3] * 2 + [4] * 27)
    assert np.array_equal(steps, np.broadcast_to(by_column, (30, 40)))
    assert not depth_steps(np.zeros((5, 5), bool), 0, 3, 3).any()
    round_hole = np.ones((21, 21), bool)
    round_hole[10, 10] = False
    assert depth_steps(round_hole, 0, 5, 1)[10, 15] == 0
    assert depth_steps(round_hole, 0, 5, 1)[10, 16] == 1
    assert depth_steps(round_hole, 0, 5, 1)[14, 14] == 1  # 5.7 pixels away


def test_windows_of_a_doubled_picture_are_windows_of_the_whole():
    small = np.random.default_rng(0).random((3, 40, 31)).astype(np.float16)
    whole = doubled(small, slice(0, 80), slice(0, 62))
    assert whole.shape == (3, 80, 62)
    for rows, columns in ((slice(0, 20), slice(0, 20)), (slice(33, 61), slice(7, 62)), (slice(79, 80), slice(1, 2))):
        assert np.allclose(doubled(small, rows, columns), whole[:, rows, columns], atol=1e-6)
    assert np.abs(whole.mean() - small.astype(np.float32).mean()) < 0.01


def test_what_doubling_looks_at_is_wished_for():
    """Wanted pixels of the doubled picture do not depend on small pixels that nobody asked for."""
    generator = np.random.default_rng(1)
    wanted = np.zeros((61, 80), bool)
    wanted[20:41, 30:55] = generator.random((21, 25)) < 0.1
    half_hole = np.ones((31, 40), bool)
    wish = halved_wish(wanted, half_hole)
    assert 0 < wish.sum() < wish.size / 2
    small = generator.random((1, 31, 40)).astype(np.float16)
    other = np.where(wish, small, np.float16(0))
    window = slice(0, 61), slice(0, 80)
    assert np.array_equal(doubled(small, *window)[0][wanted], doubled(other, *window)[0][wanted])
    assert not halved_wish(wanted, np.zeros_like(half_hole)).any()
