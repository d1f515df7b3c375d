"""Boxes around holes, and tiles: every wanted pixel once, with its context."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pconv.inpainting.regions import CONTEXT, OVERLAP, Box, regions, spans, tile_side, tiles

NOISE = 16
"""Pixels of one value of the coarsest noise input: boxes and tiles begin at multiples of it."""


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    spots=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    multiple=st.sampled_from([2, 8, 32, 128, 256]),
)
def test_each_wanted_pixel_is_in_one_region_with_its_context(height, width, spots, seed, multiple):
    generator = np.random.default_rng(seed)
    wanted = np.zeros((height, width), bool)
    for _ in range(spots):
        y, x, h, w = generator.integers(0, [height, width, 60, 60])
        wanted[y : y + h + 1, x : x + w + 1] = True
    times = np.zeros(wanted.shape, int)
    grid = max(multiple, NOISE)
    for box, own in regions(wanted, multiple):
        assert own.shape == (box.bottom - box.top, box.right - box.left)
        assert own.any()
        times[box.slices] += own
        assert box.top % grid == 0
        assert box.left % grid == 0
        assert box.bottom % grid == 0 or box.bottom == height
        assert box.right % grid == 0 or box.right == width
        rows, columns = np.nonzero(own)
        assert rows.min() >= min(CONTEXT, box.top + rows.min())
        assert columns.min() >= min(CONTEXT, box.left + columns.min())
        assert box.bottom - box.top - rows.max() > min(CONTEXT, height - box.top - rows.max() - 1)
        assert box.right - box.left - columns.max() > min(CONTEXT, width - box.left - columns.max() - 1)
    assert np.array_equal(times, wanted.astype(int))


def test_far_holes_are_computed_apart_and_near_ones_together():
    wanted = np.zeros((4000, 6000), bool)
    wanted[100:110, 100:110] = wanted[3900:3920, 5000:5030] = True
    boxes = [region.box for region in regions(wanted, 128)]
    assert boxes == [Box(0, 256, 0, 256), Box(3712, 4000, 4864, 5120)]
    wanted[200:210, 300:310] = True
    assert next(iter(regions(wanted, 128))).box == Box(0, 384, 0, 384)
    assert not list(regions(np.zeros((50, 50), bool), 128))


def test_many_specks_do_not_become_one_box():
    wanted = np.zeros((4000, 6000), bool)
    for y, x in np.random.default_rng(0).integers(0, [4000, 6000], (200, 2)):
        wanted[y : y + 12, x : x + 12] = True
    assert sum(region.box.area for region in regions(wanted, 128)) < 0.8 * wanted.size


@given(length=st.integers(1, 9000), side=st.sampled_from([256, 512, 768, 1024, 4096]))
def test_tiles_cover_a_length_and_overlap_enough(length, side):
    found = spans(length, side)
    assert found[0][0] == 0
    assert found[-1][1] == length
    for (start, end), (begin, _) in pairwise(found):
        assert end - start == side
        assert OVERLAP <= end - begin < side
        assert begin % OVERLAP == 0
        assert begin % NOISE == 0
    for (_, end), (begin, _) in zip(found, found[2:], strict=False):
        assert begin >= end  # no more than two overlap


def test_tiles_without_anything_wanted_are_left_out():
    diagonal = np.eye(3000, dtype=bool)
    side = tile_side(diagonal, 4e6)
    assert side < 1536
    assert sum(box.area for box in tiles(diagonal, side)) < 0.65 * diagonal.size
    covered = np.zeros_like(diagonal)
    for box in tiles(diagonal, side):
        covered[box.slices] = True
    assert covered[diagonal].all()


@pytest.mark.parametrize(("most", "side"), [(1e9, 768), (3e5, 512), (1e5, 256), (1, 256)])
def test_tiles_are_as_large_as_memory_allows_where_everything_is_wanted(most, side):
    assert tile_side(np.ones((4000, 6000), bool), most) == side


def test_up_to_a_megapixel_nothing_is_cut():
    thin = np.eye(1000, dtype=bool)
    assert tile_side(thin, 1e7) == 1000
