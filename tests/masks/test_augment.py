import pickle

import numpy as np
import pytest
from PIL import Image

from pconv.errors import InputError
from pconv.masks.augment import DILATION, MaskFolder, augmented_mask
from pconv.masks.morphology import dilate


@pytest.fixture
def folder(tmp_path):
    paths = []
    for i in range(4):
        pixels = np.zeros((120, 160), np.uint8)
        pixels[30 : 70 + 5 * i, 40:90] = 255
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def generator(seed=0):
    return np.random.default_rng(seed)


def test_one_pixel_becomes_a_disc_of_9_to_49_px():
    hole = np.zeros((200, 200), bool)
    hole[100, 100] = True
    sides = []
    for seed in range(200):
        piece = augmented_mask(hole, 200, 200, generator=generator(seed))
        rows, columns = np.flatnonzero(piece.any(axis=1)), np.flatnonzero(piece.any(axis=0))
        inside = len(rows) and rows[0] > 0 and rows[-1] < 199 and columns[0] > 0 and columns[-1] < 199
        if inside:
            sides.append((np.ptp(rows) + 1, np.ptp(columns) + 1))
    assert len(sides) > 30
    assert all(abs(h - w) <= 1 for h, w in sides)  # turned, one pixel may show as two
    assert DILATION[0] <= min(sides)[0] <= 13
    assert 45 <= max(sides)[0] <= DILATION[1] + 1


def test_a_hole_just_outside_of_the_piece_grows_into_it():
    """Where everything is hole, cropping before dilating would leave no trace; here half of the map is."""
    hole = np.zeros((400, 400), bool)
    hole[:, 200:] = True
    for seed in range(20):
        piece = augmented_mask(hole, 64, 64, generator=generator(seed))
        assert piece.shape == (64, 64)
        if piece.any() and not piece.all():
            # The edge is straight and dilation keeps it so: no pixel at the rim is missing.
            grown = dilate(piece, 1)
            assert np.count_nonzero(grown & ~piece) <= 2 * 64 * 1.5


def test_turning_and_shifting_keep_the_holes_size():
    """Of a large square, whole within the piece, the area grows by the dilation only: A + perimeter r + pi r^2."""
    hole = np.zeros((300, 300), bool)
    hole[110:190, 110:190] = True
    areas = []
    for seed in range(300):
        piece = augmented_mask(hole, 500, 500, generator=generator(seed))
        rim = piece[0].any() or piece[-1].any() or piece[:, 0].any() or piece[:, -1].any()
        if piece.any() and not rim:
            areas.append(piece.sum())
    enlarged = 80 * 500 / 300  # the map is smaller than the piece, so it is enlarged
    least, most = (enlarged**2 + 4 * enlarged * r + np.pi * r**2 for r in (4, 24))
    assert len(areas) > 50
    assert least * 0.98 <= min(areas)
    assert max(areas) <= most * 1.02


def test_draws_stay_in_the_ratio_and_repeat(folder):
    holes = MaskFolder(folder, white_is_hole=True)
    for seed in range(50):
        hole = holes.draw(96, 128, (0.2, 0.4), generator=generator(seed))
        assert hole.shape == (96, 128)
        assert hole.dtype == bool
        assert 0.2 <= hole.mean() <= 0.4
        again = pickle.loads(pickle.dumps(MaskFolder(folder, True)))
        assert np.array_equal(hole, again.draw(96, 128, (0.2, 0.4), generator=generator(seed)))
    assert len({holes.draw(96, 96, generator=generator(seed)).tobytes() for seed in range(20)}) == 20


def test_files_are_read_once_and_unpacked_as_they_were(folder, monkeypatch):
    holes = MaskFolder(folder, white_is_hole=True)
    first = [holes._read(i) for i in range(4)]
    monkeypatch.setattr("pconv.masks.augment.read_mask", None)
    assert all(np.array_equal(hole, holes._read(i)) for i, hole in enumerate(first))
    assert first[2].sum() == 50 * 50


def test_a_ratio_that_no_mask_has_is_refused_with_what_came(folder):
    with pytest.raises(InputError, match=r"no hole ratio in 0\.5001-0\.5002 among 100 augmented masks"):
        MaskFolder(folder, white_is_hole=True).draw(64, 64, (0.5001, 0.5002), generator=generator())
