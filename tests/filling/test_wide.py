"""Depths in holes, images of half the size, and what the inside of wide holes starts from."""

import numpy as np
import pytest

from pconv.filling.wide import (
    CELL,
    DEEP,
    WIDE,
    WIDE_BELOW,
    cell_means,
    deep_inside,
    depth_steps,
    halved,
    halved_by_strips,
    needed_at_half_size,
    surface_start,
)


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


def disc(radius, size=500):
    rows, columns = np.mgrid[:size, :size] - size // 2
    return np.hypot(rows, columns) < radius


def test_only_holes_deeper_than_wide_have_an_inside():
    assert deep_inside(disc(WIDE), coarse=False) is None
    assert deep_inside(np.random.default_rng(0).random((300, 300)) < 0.9, coarse=False) is None
    assert deep_inside(np.zeros((5, 5), bool), coarse=False) is None
    deep = deep_inside(disc(WIDE + 40), coarse=False)
    assert deep is not None
    assert np.array_equal(deep, disc(WIDE + 40 - DEEP) & deep)
    assert deep.sum() > 0.95 * disc(WIDE + 40 - DEEP).sum()


def test_in_coarser_images_narrower_holes_have_one_too():
    hole = disc(WIDE_BELOW + 10)
    assert deep_inside(hole, coarse=False) is None
    assert deep_inside(hole, coarse=True).sum() > 200
    assert deep_inside(disc(WIDE_BELOW), coarse=True) is None


def test_a_narrow_hole_has_no_inside_beside_a_wide_one():
    hole = disc(WIDE + 40, size=900)
    hole[:, 30:130] = True  # its pixels are at most 50 deep
    deep = deep_inside(hole, coarse=False)
    assert deep[450, 450]
    assert not deep[:, :200].any()


def test_beyond_the_border_nothing_is_known():
    hole = np.zeros((300, 400), bool)
    hole[:, 150:] = True
    assert np.array_equal(np.unique(np.nonzero(deep_inside(hole, coarse=False))[1]), np.arange(150 + DEEP, 400))


@pytest.mark.parametrize("size", [(80, 64), (37, 30), (1, 1)])
def test_cells_are_means_and_between_them_values_change_evenly(size):
    half = np.random.default_rng(0).random((3, *size)).astype(np.float16)
    cells = cell_means(half)
    side = CELL // 2
    assert cells.shape == (3, -(-size[0] // side), -(-size[1] // side))
    first = half[:, :side, :side].astype(np.float32)
    if min(size) >= side:
        assert np.allclose(cells[:, 0, 0], first.mean(axis=(1, 2)), atol=1e-3)
    rows, columns = slice(0, 2 * size[0]), slice(0, 2 * size[1])
    whole = surface_start(cells, rows, columns)
    assert whole.shape == (3, 2 * size[0], 2 * size[1])
    assert 0 <= whole.min() <= whole.max() <= 1
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 40, dtype=np.float32), (1, 5, 40))
    assert np.abs(np.diff(surface_start(ramp, slice(0, 40), slice(40, 280)), n=2, axis=2)).max() < 0.001


def test_windows_are_windows_of_the_whole():
    cells = np.random.default_rng(0).random((3, 12, 9), dtype=np.float32)
    whole = surface_start(cells, slice(0, 96), slice(0, 72))
    for rows, columns in ((slice(0, 20), slice(0, 20)), (slice(33, 61), slice(7, 72)), (slice(95, 96), slice(1, 2))):
        assert np.allclose(surface_start(cells, rows, columns), whole[:, rows, columns], atol=1e-5)


def test_what_the_start_depends_on_is_needed():
    """It does not depend on pixels of half the size that nobody asked for."""
    generator = np.random.default_rng(1)
    deep = np.zeros((161, 180), bool)
    deep[60:81, 90:115] = generator.random((21, 25)) < 0.1
    half_hole = np.ones((81, 90), bool)
    needed = needed_at_half_size(deep, half_hole)
    assert 0 < needed.sum() < needed.size / 2
    half = generator.random((1, 81, 90)).astype(np.float16)
    other = np.where(needed, half, np.float16(0))
    window = slice(0, 161), slice(0, 180)
    assert np.array_equal(
        surface_start(cell_means(half), *window)[0][deep], surface_start(cell_means(other), *window)[0][deep]
    )
    assert not needed_at_half_size(deep, np.zeros_like(half_hole)).any()
