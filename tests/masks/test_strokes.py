import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pconv import InputError, irregular_hole

BINS = [(0.01, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6)]


@pytest.mark.parametrize("ratio", BINS)
@pytest.mark.parametrize("border", [0, 12])
def test_ratio_and_border_are_kept(ratio, border):
    for seed in range(8):
        hole = irregular_hole(128, 160, ratio, border=border, generator=np.random.default_rng(seed))
        assert hole.shape == (128, 160)
        assert hole.dtype == bool
        assert ratio[0] <= hole.mean() <= ratio[1]
        if border:
            assert not np.delete(hole, np.s_[border:-border], axis=0).any()
            assert not np.delete(hole, np.s_[border:-border], axis=1).any()


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    low=st.floats(0.001, 0.9),
    spread=st.floats(0, 0.09),
    border=st.integers(0, 10),
    seed=st.integers(0, 2**32),
)
def test_any_size_and_range_is_met_or_refused(height, width, low, spread, border, seed):
    try:
        hole = irregular_hole(height, width, (low, low + spread), border=border, generator=np.random.default_rng(seed))
    except InputError:
        return
    assert low <= hole.mean() <= low + spread


def test_the_generator_decides_everything():
    first, again, other = (irregular_hole(64, 64, generator=np.random.default_rng(s)) for s in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("height", "width", "ratio", "border", "seed", "digest"),
    [
        (64, 64, (0.1, 0.3), 0, 5, "378031007ab0bdbe3f403e15ecc0e0260065206a0b12bec2d11b95a4297a0229"),
        (96, 160, (0.01, 0.1), 0, 1, "2298f7ca372f03754e88822918f6c33bbedc4b6e47d3fc8684350c10f02b84e3"),
        (240, 135, (0.5, 0.6), 0, 2, "89e066fd43ed25d98f6fe32f9adc3a4f9aca76acd79d844409afe977ced1ceb8"),
        (128, 128, (0.3, 0.301), 12, 3, "45064ca55a97ef74fa6b3216e7fdd4bbe658ba4c7afa30a97031e5bfb23e531e"),
    ],
)
def test_a_seed_gives_the_hole_that_it_always_gave(height, width, ratio, border, seed, digest):
    """Results of evaluations name seeds. Another hole, from this code or a new Pillow, would be another test set."""
    hole = irregular_hole(height, width, ratio, border=border, generator=np.random.default_rng(seed))
    assert hashlib.sha256(np.packbits(hole)).hexdigest() == digest


def test_holes_vary_from_scratches_to_blots():
    """The largest disc inside the hole, over many holes of one ratio: some thin, some wide."""

    def widest(hole):
        size = 0
        while hole.any():
            size += 1
            inner = np.pad(hole, 1)
            hole = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:] & hole
        return size

    widths = [widest(irregular_hole(128, 128, (0.1, 0.2), generator=np.random.default_rng(s))) for s in range(30)]
    assert min(widths) <= 5
    assert max(widths) >= 12


@pytest.mark.parametrize(
    ("ratio", "border", "message"),
    [
        ((0.3, 0.2), 0, "0 < low <= high < 1"),
        ((0.0, 0.2), 0, "0 < low <= high < 1"),
        ((0.5, 1.0), 0, "0 < low <= high < 1"),
        ((0.4, 0.5), 20, "a border of 20 px leaves 14%"),
        ((0.4, 0.5), 40, "a border of 40 px leaves 0%"),
        ((0.1001, 0.1002), 0, "no whole number of 64x64 pixels"),
    ],
)
def test_what_cannot_be_had_is_refused(ratio, border, message):
    with pytest.raises(InputError, match=message):
        irregular_hole(64, 64, ratio, border=border, generator=np.random.default_rng(0))
