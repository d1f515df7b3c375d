"""Dense thin holes, thin strokes and blobs: shares, widths, sizes and reproducibility."""

import numpy as np
import pytest

from pconv import InputError, blob_hole, dense_thin_hole, thin_strokes_hole
from pconv.masks.morphology import dilate

KINDS = [dense_thin_hole, thin_strokes_hole, blob_hole]


def holes(kind, count=12, height=256, width=320):
    return [kind(height, width, generator=np.random.default_rng(seed)) for seed in range(count)]


def eroded(hole, radius):
    return ~dilate(~hole, radius)


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides_everything(kind):
    first, again, other = (kind(64, 80, generator=np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.shape == (64, 80)
    assert first.dtype == bool
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_dense_thin_holes_reach_their_ratio_with_thin_lines():
    for hole in holes(dense_thin_hole):
        assert 0.25 <= hole.mean() <= 0.75
        assert eroded(hole, 24).mean() < 0.02  # the widest line is 13 px here, and lines cross
    narrow = dense_thin_hole(256, 256, (0.1, 0.12), generator=np.random.default_rng(0))
    assert 0.1 <= narrow.mean() <= 0.2


def test_thin_strokes_leave_most_of_the_image_and_are_thin():
    for hole in holes(thin_strokes_hole):
        assert 0 < hole.mean() < 0.3
        assert eroded(hole, 6).mean() < 0.01


def test_blobs_are_wide():
    found = holes(blob_hole, 30)
    assert all(hole.any() for hole in found)
    assert np.mean([eroded(hole, 8).any() for hole in found]) > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_scale_with_the_image(kind):
    small = np.mean([hole.mean() for hole in holes(kind, 20, 128, 128)])
    large = np.mean([hole.mean() for hole in holes(kind, 20, 512, 512)])
    assert small == pytest.approx(large, rel=0.4)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_without_pixels_are_refused(kind):
    with pytest.raises(InputError, match="at least one pixel; got 5x0"):
        kind(0, 5, generator=np.random.default_rng(0))
    assert kind(1, 1, generator=np.random.default_rng(0)).shape == (1, 1)


@pytest.mark.parametrize("ratio", [(0, 0.5), (0.5, 0.4), (0.5, 1)])
def test_ratios_out_of_range_are_refused(ratio):
    with pytest.raises(InputError, match="a hole ratio needs"):
        dense_thin_hole(64, 64, ratio, generator=np.random.default_rng(0))
