"""Depths in holes, smaller images, and what the inside of wide holes starts from."""

import numpy as np
import pytest

from pconv.inpainting.scales import (
    CELL,
    DEEP,
    WIDE,
    Smaller,
    cell_means,
    deep_inside,
    depth_steps,
    halved,
    needed_of_smaller,
    smaller_by_strips,
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
    half, half_hole = halved(picture, hole)
    smaller = smaller_by_strips(lambda rows: picture[:, rows], hole)
    assert np.array_equal(smaller.image, half.astype(np.float16))
    assert np.array_equal(smaller.hole, half_hole)
    assert smaller.scale == 2


@pytest.mark.parametrize(("radius", "scale"), [(60, 2), (110, 4), (220, 8)])
def test_images_are_halved_until_no_hole_is_wide(radius, scale):
    hole = disc(radius, size=500)
    smaller = smaller_by_strips(lambda rows: np.full((1, rows.stop - rows.start, 500), 0.5, np.float32), hole)
    assert smaller.scale == scale
    assert smaller.image.shape == (1, *smaller.hole.shape) == (1, -(-500 // scale), -(-500 // scale))
    assert np.array_equal(np.unique(smaller.image[0][~smaller.hole]), [0.5])


def test_where_nothing_is_known_halving_ends():
    hole = np.ones((300, 500), bool)
    assert (
        max(smaller_by_strips(lambda rows: np.zeros((1, rows.stop - rows.start, 500), np.float32), hole).hole.shape)
        < 64
    )


def test_depth_is_the_distance_to_what_is_known_and_nothing_is_known_beyond_the_border():
    hole = np.ones((30, 40), bool)
    hole[:, 0] = False
    steps = depth_steps(hole, 12, 4)  # depths 3, 6, 9, 12
    by_column = np.array([0] * 4 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 27)
    assert np.array_equal(steps, np.broadcast_to(by_column, (30, 40)))
    assert not depth_steps(np.zeros((5, 5), bool), 3, 3).any()
    round_hole = np.ones((21, 21), bool)
    round_hole[10, 10] = False
    assert depth_steps(round_hole, 5, 1)[10, 15] == 0
    assert depth_steps(round_hole, 5, 1)[10, 16] == 1
    assert depth_steps(round_hole, 5, 1)[14, 14] == 1  # 5.7 pixels away


def disc(radius, size=500):
    rows, columns = np.mgrid[:size, :size] - size // 2
    return np.hypot(rows, columns) < radius


def test_only_holes_deeper_than_wide_have_an_inside():
    assert deep_inside(disc(WIDE)) is None
    assert deep_inside(np.random.default_rng(0).random((300, 300)) < 0.9) is None
    assert deep_inside(np.zeros((5, 5), bool)) is None
    deep = deep_inside(disc(WIDE + 40))
    assert deep is not None
    assert np.array_equal(deep, disc(WIDE + 40 - DEEP) & deep)
    assert deep.sum() > 0.95 * disc(WIDE + 40 - DEEP).sum()


def test_a_narrow_hole_has_no_inside_beside_a_wide_one():
    hole = disc(WIDE + 40, size=900)
    hole[:, 30:130] = True  # its pixels are at most 50 deep
    deep = deep_inside(hole)
    assert deep[450, 450]
    assert not deep[:, :200].any()


def test_beyond_the_border_nothing_is_known():
    hole = np.zeros((300, 400), bool)
    hole[:, 150:] = True
    assert np.array_equal(np.unique(np.nonzero(deep_inside(hole))[1]), np.arange(150 + DEEP, 400))


@pytest.mark.parametrize("scale", [2, 8])
@pytest.mark.parametrize("size", [(80, 64), (37, 30), (1, 1)])
def test_cells_are_means_and_between_them_values_change_evenly(size, scale):
    small = np.random.default_rng(0).random((3, *size)).astype(np.float16)
    cells = cell_means(small)
    assert cells.shape == (3, -(-size[0] // CELL), -(-size[1] // CELL))
    first = small[:, :CELL, :CELL].astype(np.float32)
    if min(size) >= CELL:
        assert np.allclose(cells[:, 0, 0], first.mean(axis=(1, 2)), atol=1e-3)
    whole = surface_start(cells, scale, slice(0, scale * size[0]), slice(0, scale * size[1]))
    assert whole.shape == (3, scale * size[0], scale * size[1])
    assert 0 <= whole.min() <= whole.max() <= 1
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 40, dtype=np.float32), (1, 5, 40))
    side = scale * CELL
    steps = np.diff(surface_start(ramp, scale, slice(0, 5 * side), slice(5 * side, 35 * side)), n=2, axis=2)
    assert np.abs(steps).max() < 0.001


def test_windows_are_windows_of_the_whole():
    cells = np.random.default_rng(0).random((3, 24, 18), dtype=np.float32)
    whole = surface_start(cells, 2, slice(0, 96), slice(0, 72))
    for rows, columns in ((slice(0, 20), slice(0, 20)), (slice(33, 61), slice(7, 72)), (slice(95, 96), slice(1, 2))):
        assert np.allclose(surface_start(cells, 2, rows, columns), whole[:, rows, columns], atol=1e-5)


@pytest.mark.parametrize("scale", [2, 4])
def test_what_the_start_depends_on_is_needed(scale):
    """It does not depend on pixels of the smaller image that nobody asked for."""
    generator = np.random.default_rng(1)
    deep = np.zeros((161, 180), bool)
    deep[60:81, 90:115] = generator.random((21, 25)) < 0.1
    size = -(-161 // scale), -(-180 // scale)
    smaller = Smaller(generator.random((1, *size)).astype(np.float16), np.ones(size, bool), scale)
    needed = needed_of_smaller(deep, smaller)
    assert needed.any()
    assert not needed.all()
    other = np.where(needed, smaller.image, generator.random((1, *size)).astype(np.float16))
    window = slice(0, 161), slice(0, 180)
    starts = [surface_start(cell_means(each), scale, *window)[0][deep] for each in (smaller.image, other)]
    assert np.array_equal(*starts)
    nowhere = smaller._replace(hole=np.zeros(size, bool))
    assert not needed_of_smaller(deep, nowhere).any()
