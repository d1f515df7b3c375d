"""Seeds reach the network with the place of each tile; neither changes what is known, nor lets the hole be read."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pconv
from pconv import Inpainter, InpaintOptions, InputError
from pconv.cli.inpaint import inpaint as command
from pconv.images.pillow import from_pil
from pconv.inpainting.tiles import NetworkRunner, fill_holes
from pconv.inpainting.windows import ArrayImage
from pconv.models import SEEDS

MIB = 2**20
NOISE = 16  # pixels of one value of the coarsest noise input


class Fake:
    """A backend that remembers the seeds and origins it was given."""

    name, device, precision, path, recipe = "fake", "cpu", "fp32", Path("none"), {}

    def __init__(self, channels=3, multiple=128, noise=True):
        self.channels, self.multiple, self.noise, self.estimates = channels, multiple, noise, False
        self.seeds, self.origins = [], []

    def fill(self, images, holes, *, seed=0, origin=(0, 0), **_):
        self.seeds.append(seed)
        self.origins.append(origin)
        return np.where(holes, self.paint(images, seed, origin), images).astype(np.float32)

    def paint(self, images, seed, origin):
        raise NotImplementedError


class Coordinates(Fake):
    """Fills with row, column and seed."""

    def paint(self, images, seed, origin):
        height, width = images.shape[2:]
        rows, columns = np.mgrid[origin[0] : origin[0] + height, origin[1] : origin[1] + width]
        return np.stack([rows / 4096, columns / 4096, np.full((height, width), seed / SEEDS)])[None]


class Nosy(Fake):
    """Fills with noise that is another one as soon as one value that it was given differs, in the hole too."""

    def paint(self, images, seed, origin):
        given = np.frombuffer(images.tobytes(), np.uint8).astype(np.uint64)
        total = int((given * np.arange(1, len(given) + 1, dtype=np.uint64)).sum())
        return np.random.default_rng([total, seed, *origin]).random(images.shape)


@pytest.fixture(scope="module")
def nosy():
    return Inpainter(backend=Nosy())


def lines(height, width, seed):
    """A hole of three lines of 1 to 8 pixels: also side by side they are not wide enough for a smaller picture."""
    generator = np.random.default_rng(seed)
    hole = np.zeros((height, width), bool)
    for _ in range(3):
        row, column, thick = generator.integers(0, height), generator.integers(0, width), generator.integers(1, 9)
        if generator.random() < 0.5:
            hole[row : row + thick, column : column + generator.integers(1, width + 1)] = True
        else:
            hole[row : row + generator.integers(1, height + 1), column : column + thick] = True
    return hole


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(32, 1200),
    width=st.integers(32, 1200),
    layout=st.integers(0, 2**32 - 1),
    multiple=st.sampled_from([2, 8, 128, 256]),
    memory=st.sampled_from([48 * MIB, 150 * MIB, 1024 * MIB]),
    seed=st.integers(0, SEEDS - 1),
)
def test_every_tile_knows_its_place_in_the_photo(height, width, layout, multiple, memory, seed):
    hole, photo = lines(height, width, layout), np.full((height, width, 3), 0.5, np.float32)
    backend = Coordinates(multiple=multiple)
    fill_holes(NetworkRunner(backend, memory, seed), ArrayImage(photo, 3), hole)
    rows, columns = np.nonzero(hole)
    expected = np.stack([rows / 4096, columns / 4096, np.full(len(rows), seed / SEEDS)], axis=1)
    assert np.abs(photo[hole] - expected).max() < 1e-6
    assert (photo[~hole] == 0.5).all()
    assert all(row % NOISE == column % NOISE == 0 for row, column in backend.origins)


def test_smaller_pictures_of_wide_holes_get_the_seed_and_begin_on_the_grid_too():
    hole = np.zeros((900, 1100), bool)
    hole[130:800, 200:1000] = True
    backend = Coordinates(multiple=2)
    fill_holes(NetworkRunner(backend, 48 * MIB, 5), ArrayImage(np.full((900, 1100, 3), 0.5, np.float32), 3), hole)
    assert len(backend.origins) > 5
    assert set(backend.seeds) == {5}
    assert all(row % NOISE == column % NOISE == 0 for row, column in backend.origins)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(2, 150),
    width=st.integers(2, 150),
    layout=st.integers(0, 2**32 - 1),
    wide=st.booleans(),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    seed=st.integers(0, SEEDS - 1),
)
def test_what_is_known_stays_and_what_lies_in_the_hole_is_never_read(nosy, height, width, layout, wide, dtype, seed):
    generator = np.random.default_rng(layout)
    hole = lines(height, width, layout)
    if wide:
        hole[1:-1, 1:-1] = True
    hole[0, 0], hole[-1, -1] = True, False
    photo = generator.random((height, width, 3))
    most = 1 if dtype == np.float32 else np.iinfo(dtype).max
    photo = (photo * most).astype(dtype)
    other = photo.copy()
    other[hole] = np.nan if dtype == np.float32 else generator.integers(0, most + 1, (np.count_nonzero(hole), 3))
    filled = nosy(photo, hole, seed=seed)
    assert np.array_equal(nosy(other, hole, seed=seed), filled)
    assert np.array_equal(filled[~hole], photo[~hole])
    assert not np.array_equal(nosy(photo, hole, seed=(seed + 1) % SEEDS), filled)


PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
HOLE = np.zeros((40, 50), bool)
HOLE[10:20, 15:30] = True
KINDS = {
    "array": PIXELS,
    "grey array": PIXELS[..., 0],
    "tensor": torch.from_numpy(PIXELS.transpose(2, 0, 1).copy()),
    "PIL image": Image.fromarray(PIXELS),
    "photo": from_pil(Image.fromarray(PIXELS)),
    "list": [PIXELS, Image.fromarray(PIXELS)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_takes_a_seed(kind):
    fill = Inpainter(backend=Coordinates())
    fill(KINDS[kind], HOLE, seed=7)
    fill(KINDS[kind], HOLE)
    assert set(fill.backend.seeds) == {0, 7}
    assert fill.backend.seeds == sorted(fill.backend.seeds, reverse=True)


def test_single_calls_take_a_seed(monkeypatch, tmp_path):
    backend = Coordinates()
    monkeypatch.setattr("pconv.inpainting.inpainter.open_backend", lambda *_: backend)
    (tmp_path / "model.onnx").write_bytes(b"")
    pconv.inpaint(PIXELS, HOLE, model=tmp_path / "model.onnx", seed=63)
    assert set(backend.seeds) == {63}


@pytest.mark.parametrize("seed", [7, np.int64(7), np.uint8(7), np.array(7), torch.tensor(7)])
def test_whole_numbers_of_any_kind_are_seeds(seed):
    fill = Inpainter(backend=Coordinates())
    fill(PIXELS, HOLE, seed=seed)
    assert fill.backend.seeds == [7]
    assert type(fill.backend.seeds[0]) is int
    assert InpaintOptions(seed=seed).seed == 7


@pytest.mark.parametrize("noise", [True, False])
@pytest.mark.parametrize(
    ("seed", "shown"),
    [
        (-1, "-1"), (64, "64"), (1.5, r"1\.5"), (2.0, r"2\.0"), (True, "True"), (np.True_, ".*True.*"), ("a", "'a'"),
        ("3", "'3'"), (None, "None"),
    ],
)  # fmt: skip
def test_other_seeds_are_refused_in_a_sentence(noise, seed, shown):
    fill = Inpainter(backend=Coordinates(noise=noise))
    for image in (PIXELS, []):
        with pytest.raises(InputError, match=f"^seed is {shown}; give a whole number from 0 to 63$"):
            fill(image, HOLE, seed=seed)
    assert not fill.backend.seeds
    with pytest.raises(InputError, match=f"^seed is {shown}; "):
        InpaintOptions(seed=seed)


def test_a_network_without_noise_inputs_ignores_the_seed_and_says_so(caplog):
    fill = Inpainter(backend=Coordinates(noise=False))
    with caplog.at_level(logging.INFO):
        first = fill([PIXELS, PIXELS], HOLE, seed=9)
    assert caplog.messages == ["the model has no noise inputs, so seed 9 gives the same fill as seed 0"]
    caplog.clear()
    assert np.array_equal(fill(PIXELS, HOLE), first[0])
    assert not caplog.messages


def test_the_command_takes_the_seeds_that_there_are():
    (option,) = [each for each in command.params if each.name == "seed"]
    assert (option.type.min, option.type.max, option.default) == (0, SEEDS - 1, 0)
