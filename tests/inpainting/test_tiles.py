"""Filling by regions and tiles: nothing is seen of how it was cut up."""

import logging
from pathlib import Path

import numpy as np
import pytest

from pconv import DeviceMemoryError, Inpainter, InputError
from pconv.images.reading import read_photo
from pconv.inpainting import scales as filling_wide
from pconv.inpainting import tiles as filling
from pconv.inpainting.regions import Box
from pconv.inpainting.tiles import BYTES_PER_PIXEL, NetworkRunner, fill_holes
from pconv.inpainting.windows import ArrayImage
from pconv.masks.reader import MaskFile
from pconv.masks.sources import hole_of

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
MIB = 2**20


class Surroundings:
    """A backend that fills with the mean of what is known, and remembers what it was asked."""

    name, device, precision, path, recipe = "surroundings", "cuda", "fp32", Path("none"), {}
    channels, multiple, noise, estimates = 3, 128, True, False

    def __init__(self, most=np.inf):
        self.most = most
        self.seen = []

    def fill(self, pictures, holes, **_):
        self.seen.append(pictures.shape)
        if pictures[0, 0].size > self.most:
            raise DeviceMemoryError("too little memory")
        known = ~np.broadcast_to(holes, pictures.shape)
        means = [
            [plane[there].mean() for plane, there in zip(*pair, strict=True)]
            for pair in zip(pictures, known, strict=True)
        ]
        return np.where(known, pictures, np.float32(means)[..., None, None])


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def filled(backend, pixels, hole, memory=2**30, **options):
    result = pixels.copy()
    fill_holes(NetworkRunner(backend, memory), ArrayImage(result, 3), hole, **options)
    assert np.array_equal(result[~hole], pixels[~hole])
    return result


def test_tiles_that_agree_give_back_the_picture():
    picture = np.random.default_rng(0).random((2, 1100, 900), dtype=np.float32)
    wanted = np.ones((1100, 900), bool)
    wanted[:, 500:] = False
    rows = list(filling._by_tiles(lambda tile: picture[:, *tile.slices].copy(), wanted, 256, 2))
    assert [(part.start, part.stop) for part, _ in rows][-1] == (896, 1100)
    joined = np.concatenate([colours for _, colours in rows], axis=1)
    assert np.abs(joined - picture)[:, wanted].max() < 1e-6


def test_tiles_that_differ_are_blended_without_a_step():
    """Tiles of random constant colours: between neighbouring pixels nothing changes faster than a ramp does."""
    generator = np.random.default_rng(0)

    def constant(tile: Box):
        return np.full((1, tile.bottom - tile.top, tile.right - tile.left), generator.random(), np.float32)

    rows = filling._by_tiles(constant, np.ones((1500, 1300), bool), 512, 1)
    joined = np.concatenate([colours for _, colours in rows], axis=1)[0]
    assert joined.shape == (1500, 1300)
    assert joined.std() > 0.1
    assert max(np.abs(np.diff(joined, axis=axis)).max() for axis in (0, 1)) < 0.03


@pytest.mark.parametrize("name", ["astronaut", "cat"])
def test_a_photo_filled_in_tiles_looks_as_if_filled_whole(name):
    photo = read_photo(PHOTOS / f"{name}.jpg")
    hole = hole_of(photo, [MaskFile(PHOTOS / f"{name}-mask.png")])
    fill = Inpainter(device="cpu")
    whole = fill(photo.pixels, hole).astype(float)
    tiles_of_256 = 45 * MIB
    tiled = filled(fill.backend, photo.pixels, hole, tiles_of_256).astype(float)
    assert not np.array_equal(whole, tiled)
    truth = photo.pixels.astype(float)
    errors = [np.abs(each - truth)[hole].mean() for each in (whole, tiled)]
    assert abs(errors[0] - errors[1]) < 0.05 * errors[0]
    assert np.abs(whole - tiled)[hole].mean() < 3  # levels, of 255: what moving the photo a little changes
    borders = np.zeros_like(hole)  # where tiles begin or end
    borders[127::128] = borders[:, 127::128] = True
    for axis in (0, 1):
        steps = np.abs(np.diff(tiled - whole, axis=axis)).mean(axis=2)
        here = np.delete(hole & borders, -1, axis=axis)
        elsewhere = np.delete(hole & ~borders, -1, axis=axis)
        assert steps[here].mean() < 1.25 * steps[elsewhere].mean() + 0.05


def test_only_surroundings_of_holes_are_computed():
    backend = Surroundings()
    hole = np.zeros((2000, 3000), bool)
    hole[1000:1020, 2000:2040] = hole[1990:, 2990:] = True
    filled(backend, np.full((2000, 3000, 3), 100, np.uint8), hole)
    assert len(backend.seen) == 2
    assert sum(shape[2] * shape[3] for shape in backend.seen) < 2 * 384 * 384


def test_far_holes_do_not_know_of_each_other():
    fill = Inpainter(device="cpu")
    pixels = noise(300, 900)
    left, right = np.zeros((300, 900), bool), np.zeros((300, 900), bool)
    left[100:130, 100:120] = right[150:160, 800:850] = True
    both = filled(fill.backend, pixels, left | right)
    assert np.array_equal(both[left], filled(fill.backend, pixels, left)[left])
    assert np.array_equal(both[right], filled(fill.backend, pixels, right)[right])


@pytest.mark.parametrize("memory", [48, 100, 400])
def test_the_network_never_sees_more_than_memory_allows(memory):
    backend = Surroundings()
    pixels, hole = noise(1500, 1700), np.random.default_rng(0).random((1500, 1700)) < 0.2
    result = filled(backend, pixels, hole, memory * MIB)
    most = max(shape[2] * shape[3] for shape in backend.seen)
    assert most <= max(memory * MIB / BYTES_PER_PIXEL, 256 * 256)
    assert np.abs(result[hole].astype(float) - 127.5).max() < 5


def test_wide_holes_start_from_a_fill_of_a_smaller_image():
    """A network that knows only its window's mean leaves a hole grey; here the sides stay apart."""
    backend = Surroundings()
    pixels = np.zeros((700, 900, 3), np.uint8)
    pixels[:, 450:] = 200
    hole = np.zeros((700, 900), bool)
    hole[50:650, 100:800] = True
    filled(backend, pixels, hole)
    sides = [min(shape[2:]) for shape in backend.seen]
    assert sides[:3] == sorted(sides[:3])
    assert sides[0] < 200  # 600 pixels become less than 200
    assert max(sides) > 512
    fill = Inpainter(device="cpu")
    result = filled(fill.backend, pixels, hole).astype(int)
    assert result[250:450, 170:220].mean() < 60 < 140 < result[250:450, 680:730].mean()


class Estimates(Surroundings):
    """Fills with the estimate where there is one, as a network that corrects its surface by nothing."""

    estimates = True

    def __init__(self):
        super().__init__()
        self.given = []

    def fill(self, pictures, holes, *, estimate=None, **more):
        self.given.append(estimate)
        result = super().fill(pictures, holes, **more)
        return result if estimate is None else np.where(estimate, pictures, result)


def test_only_the_deep_inside_of_wide_holes_holds_estimates():
    pixels = np.full((600, 600, 3), 60, np.uint8)
    pixels[:, 300:] = 180
    rows, columns = np.mgrid[:600, :600] - 300
    hole = np.hypot(rows, columns) < 150
    backend = Estimates()
    filled(backend, pixels, hole)
    assert [given is not None for given in backend.given] == [False, True]  # the smaller image first
    expected = (np.hypot(rows, columns) < 150 - filling_wide.DEEP).sum()
    assert abs(backend.given[-1].sum() - expected) < 0.02 * expected
    backend = Estimates()
    filled(backend, pixels, np.hypot(rows, columns) < 95)  # 190 pixels wide: the network's own scale
    assert backend.given == [None]


def test_feather_blends_with_what_was_there_inside_the_hole_only():
    backend = Surroundings()
    pixels, hole = np.full((200, 200, 3), 100, np.uint8), np.zeros((200, 200), bool)
    hole[50:150, 50:150] = True
    pixels[hole] = 200  # what was there; the fill is 100
    result = filled(backend, pixels, hole, feather=10)[100, :, 0].astype(int)
    assert result[:50].tolist() == [100] * 50
    assert result[62:138].tolist() == [100] * 76
    edge = result[50:62]
    assert edge[0] > 185
    assert (np.diff(edge) <= 0).all()
    assert np.abs(np.diff(edge, n=2)).max() <= 10  # even, without a step
    far = filled(backend, pixels, hole, feather=500)
    assert len(np.unique(far)) > 2


class TestLittleMemory:
    """A device that runs out of memory is asked for less, and then the CPU is."""

    pixels = noise(700, 700)
    hole = np.random.default_rng(1).random((700, 700)) < 0.1

    def inpainter(self, most):
        fill = Inpainter(device="cpu")
        fill.backend = Surroundings(most)
        return fill

    def test_smaller_pieces_then_all_goes_well(self, caplog):
        fill = self.inpainter(most=300 * 300)
        result = fill(self.pixels, self.hole)
        assert np.array_equal(result[~self.hole], self.pixels[~self.hole])
        assert caplog.messages[0] == "cuda is out of memory; going on in smaller tiles"
        assert fill.backend.name == "surroundings"
        asked = len(fill.backend.seen)
        assert np.array_equal(fill(self.pixels, self.hole), result)  # it remembers
        assert max(shape[2] for shape in fill.backend.seen[asked:]) <= 300

    def test_at_last_the_cpu(self, caplog, monkeypatch):
        monkeypatch.setattr("pconv.inpainting.inpainter.open_backend", lambda *_: on_cpu)
        on_cpu = Surroundings()
        on_cpu.device = "cpu"
        fill = self.inpainter(most=1)
        with caplog.at_level(logging.WARNING):
            result = fill(self.pixels, self.hole, feather=3)
        assert "going on on the CPU" in caplog.messages[-1]
        assert np.array_equal(result, self.inpainter(np.inf)(self.pixels, self.hole, feather=3))

    def test_then_an_error(self):
        fill = self.inpainter(most=1)
        fill.backend.device = "cpu"
        with pytest.raises(DeviceMemoryError, match="too little memory"):
            fill(self.pixels, self.hole)

    def test_limits_that_nothing_fits_into(self):
        with pytest.raises(InputError, match="at least 44 MiB of memory; max_memory is 1000 bytes"):
            Inpainter(max_memory=1000)
