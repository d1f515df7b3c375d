import numpy as np
import pytest

from pconv.training import holes
from pconv.training.holes import MixedHoles, rectangle_hole

RATIO = (0.02, 0.6)


@pytest.fixture(autouse=True)
def _few_prepared(monkeypatch):
    for name in ("_MIXED", "_DENSE"):
        monkeypatch.setattr(holes, name, getattr(holes, name)._replace(prepared=8))


def drawn(draw, size, count, seed=0):
    generator = np.random.default_rng(seed)
    return [draw(size, size, RATIO, generator=generator) for _ in range(count)]


def thickness(hole):
    """The mean length of the runs of hole along the rows, px."""
    starts = hole & ~np.pad(hole, ((0, 0), (1, 0)))[:, :-1]
    return hole.sum() / max(starts.sum(), 1)


@pytest.mark.parametrize("size", [128, 256, 640])
def test_mixed_holes_fit_the_crop_and_leave_something_known(size):
    masks = drawn(MixedHoles(0, 0.5), size, 12 if size < 600 else 4)
    assert all(m.shape == (size, size) and m.dtype == bool for m in masks)
    assert all(0.004 <= m.mean() <= 0.9 for m in masks)
    assert len({m.tobytes() for m in masks}) == len(masks)


def test_a_hole_is_a_function_of_the_seed_and_the_generator():
    first, again, other = (drawn(MixedHoles(seed, 0.5), 128, 6) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    late = MixedHoles(1, 0.5)
    drawn(late, 128, 20, seed=9)  # what was prepared before, and in which order, must not matter
    assert all(np.array_equal(a, b) for a, b in zip(first, drawn(late, 128, 6), strict=True))


def test_dense_thin_holes_are_thin_and_many():
    thin, mixed = (drawn(MixedHoles(3, share), 128, 30) for share in (1.0, 0.0))
    assert np.median([thickness(m) for m in thin]) < 0.6 * np.median([thickness(m) for m in mixed])
    assert np.mean([m.mean() for m in thin]) > np.mean([m.mean() for m in mixed])


@pytest.mark.parametrize("ratio", [(0.1, 0.3), (0.01, 0.02), (0.8, 0.9)])
def test_a_rectangle_is_one_rectangle_of_the_wanted_ratio(ratio):
    generator = np.random.default_rng(0)
    masks = [rectangle_hole(60, 80, ratio, generator=generator) for _ in range(50)]
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert ratio[0] - 0.004 <= mask.mean() <= ratio[1] + 0.004
    assert len({m.tobytes() for m in masks}) > 40
