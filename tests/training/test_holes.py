import errno
import os
import tempfile

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pconv.errors import TrainingError
from pconv.training import holes
from pconv.training.holes import MixedHoles, PreparedHoles, rectangle_hole

RATIO = (0.02, 0.6)


@pytest.fixture(autouse=True)
def _few_prepared(monkeypatch):
    holes.prepared_holes.cache_clear()  # what a test draws, it draws itself
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
    masks = drawn(MixedHoles(0, 0.5, size, RATIO), size, 12 if size < 600 else 4)
    assert all(m.shape == (size, size) and m.dtype == bool for m in masks)
    assert all(0.004 <= m.mean() <= 0.9 for m in masks)
    assert len({m.tobytes() for m in masks}) == len(masks)


def test_a_hole_is_a_function_of_the_seed_and_the_generator():
    first, again, other = (drawn(MixedHoles(seed, 0.5, 128, RATIO), 128, 6) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    late = MixedHoles(1, 0.5, 128, RATIO)
    drawn(late, 128, 20, seed=9)  # what was prepared before, and in which order, must not matter
    assert all(np.array_equal(a, b) for a, b in zip(first, drawn(late, 128, 6), strict=True))


class Draws(Dataset):
    """Hole number i, which is drawn where it is not there yet; and in which process that was."""

    def __init__(self):
        self.holes = PreparedHoles(7, 64, RATIO)

    def __len__(self):
        return 24

    def __getitem__(self, index):
        drawn_here = []
        draw = holes._draw
        holes._draw = lambda *args: drawn_here.append(index) or draw(*args)
        try:
            hole = self.holes.hole(holes._MIXED, index)
        finally:
            holes._draw = draw
        return torch.from_numpy(hole.copy()), len(drawn_here)


@pytest.mark.parametrize("start_method", ["fork", "forkserver"])
def test_a_hole_is_drawn_once_for_all_workers_and_loaders(start_method):
    """As for two stages: workers that come later find what those before have drawn, and all see the same holes."""
    data = Draws()
    found = []
    for workers in (2, 1):
        loader = DataLoader(data, num_workers=workers, batch_size=3, multiprocessing_context=start_method)
        found.append([torch.cat(parts) for parts in zip(*loader, strict=True)])
    (first, drawn_first), (second, drawn_second) = found
    assert drawn_first.sum() == 24
    assert drawn_second.sum() == 0
    assert torch.equal(first, second)
    assert torch.equal(first[5], torch.from_numpy(PreparedHoles(7, 64, RATIO).hole(holes._MIXED, 5).copy()))


def test_kinds_and_numbers_have_places_of_their_own():
    prepared = PreparedHoles(7, 63, RATIO)
    places = [(kind, number) for number in range(6) for kind in (holes._MIXED, holes._DENSE)]
    drawn_first = [prepared.hole(*place) for place in places]
    assert len({hole.tobytes() for hole in drawn_first}) == len(places)
    assert all(np.array_equal(prepared.hole(*place), hole) for place, hole in zip(places, drawn_first, strict=True))


def test_holes_of_stages_with_other_ratios_or_sizes_are_kept_apart():
    assert holes.prepared_holes(1, 512, RATIO) is holes.prepared_holes(1, 512, RATIO)
    assert holes.prepared_holes(1, 512, RATIO) is not holes.prepared_holes(1, 512, (0.1, 0.2))


def test_a_full_disk_costs_time_and_no_hole(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = PreparedHoles(7, 64, RATIO).hole(holes._DENSE, 3)
    monkeypatch.setattr(os, "pwrite", full)
    prepared = PreparedHoles(7, 64, RATIO)
    assert all(np.array_equal(prepared.hole(holes._DENSE, 3), kept) for _ in range(2))


def test_no_place_for_a_temporary_file_is_one_sentence(monkeypatch):
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(TrainingError, match=r"cannot make a temporary file for the holes: No usable.*; set TMPDIR"):
        PreparedHoles(7, 64, RATIO)


def test_dense_thin_holes_are_thin_and_many():
    thin, mixed = (drawn(MixedHoles(3, share, 128, RATIO), 128, 30) for share in (1.0, 0.0))
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
