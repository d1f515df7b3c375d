import errno
import os
import re
import signal
import time
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from PIL import Image

from pconv.errors import TrainingError
from pconv.images.reading import find_photos
from pconv.training.config import Stage, TrainConfig
from pconv.training.data import Batch, BatchSplit, HoledPhotos, ShardPosition, stack
from pconv.training.loading import Feed, Loader, open_data, packed

STAGE = Stage(steps=4, size=24, batch_size=4, lr=1e-3, hole_ratio=(0.2, 0.4))


@pytest.fixture
def folder(tmp_path):
    """Five photos of one colour each, in nested folders, with a broken one and a text among them."""
    for i in range(5):
        folder = tmp_path / f"d{i % 2}"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (40 + i, 30), (50 * i, 0, 0)).save(folder / f"{i}.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (tmp_path / "notes.txt").write_text("no photo")
    return tmp_path


@pytest.fixture
def photos(folder):
    return find_photos(folder)


def config(folder, **settings):
    return TrainConfig(**{"photos": folder, "model": "tiny", "stages": (STAGE,), "workers": 0, **settings})


def batches(config, first=0, steps=4, rank=0, processes=1):
    data = open_data(config, config.photos / "run", rank, processes)
    return list(data.loader(0, first, steps, None))


def test_photos_are_found_in_all_folders(photos):
    assert [p.name for p in photos] == ["broken.jpg", "0.png", "2.png", "4.png", "1.png", "3.png"]


def test_a_sample_is_a_function_of_seed_and_number(photos):
    data, again = HoledPhotos(photos, STAGE, 1, 0), HoledPhotos(photos, STAGE, 1, 2**20)
    for i in (13, 2, 7):
        assert torch.equal(data[i].image, again[i].image)
        assert torch.equal(data[i].valid, again[i].valid)
    other = HoledPhotos(photos, STAGE, 2, 0)
    assert not all(torch.equal(data[i].valid, other[i].valid) for i in range(3))


def test_a_sample_does_not_depend_on_what_is_cached(tmp_path):
    """JPEGs are decoded at the scale a crop needs: the one that lies in the cache must not serve another scale."""
    pixels = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    stage = STAGE.model_copy(update={"smallest_zoom": 0.1})
    photos = find_photos(tmp_path)
    seasoned = HoledPhotos(photos, stage, 1, 2**24)
    for i in range(30):
        assert torch.equal(seasoned[i].image, HoledPhotos(photos, stage, 1, 0)[i].image)
    assert len(seasoned._cache) > 1


def test_samples_have_the_documented_shapes_and_ratio(photos):
    picture, valid, *_ = HoledPhotos(photos, STAGE, 1, 0)[0]
    assert picture.shape == (3, 24, 24)
    assert picture.dtype == torch.uint8
    assert valid.shape == (1, 24, 24)
    assert valid.dtype == torch.bool
    assert 0.2 <= (~valid).float().mean() <= 0.4


def test_an_epoch_shows_every_photo_once_and_names_the_broken_one(photos):
    data = HoledPhotos(photos, STAGE, 1, 2**20)
    for epoch in range(3):
        samples = [data[epoch * len(photos) + i] for i in range(len(photos))]
        assert {int(s.image[0, 0, 0]) for s in samples} == {0, 50, 100, 150, 200}
        assert sum("broken.jpg" in name for s in samples for name in s.unreadable) == 1
    (sentence,) = stack(samples).unreadable
    assert re.search(r"broken\.jpg .*damaged|cannot read .*broken\.jpg", sentence)


def test_a_loader_goes_on_where_another_one_stopped(folder):
    whole = batches(config(folder))
    resumed = batches(config(folder), first=2 * STAGE.batch_size, steps=2)
    assert len(whole) == 4
    assert all(torch.equal(a.valid, b.valid) for a, b in zip(whole[2:], resumed, strict=True))


def test_processes_and_micro_batches_split_a_batch_without_overlap(folder):
    whole = [batch.valid for batch in batches(config(folder))]
    ranks = [[batch.valid for batch in batches(config(folder, accumulate=2), rank=r, processes=2)] for r in range(2)]
    for step in range(4):
        parts = [rank[2 * step + piece] for rank in ranks for piece in range(2)]
        assert torch.equal(torch.cat(parts), whole[step])


def test_a_process_has_consecutive_samples_of_each_batch():
    assert list(BatchSplit(1, 2, 1).sample_numbers(10, 2, 4)) == [range(12, 14), range(16, 18)]


def test_masks_are_drawn_from_a_folder(folder, tmp_path_factory):
    masks = tmp_path_factory.mktemp("masks")
    for i in range(3):
        mask = np.zeros((64, 64), np.uint8)
        mask[20 + i : 44, 20:44] = 255
        Image.fromarray(mask).save(masks / f"{i}.png")
    data = open_data(config(folder, masks=masks), folder / "run", 0, 1)
    assert data.notes[-1] == "3 masks, white = hole (detected)"
    for batch in data.loader(0, 0, 2, None):
        ratios = (~batch.valid).float().mean(dim=(1, 2, 3))
        assert ((ratios >= 0.2) & (ratios <= 0.4)).all()
    given = open_data(config(folder, masks=masks, mask_polarity="white-valid"), folder / "run", 0, 1)
    assert given.notes[-1] == "3 masks, white = valid (as given)"


def test_photos_of_the_run_itself_are_not_trained_on(folder):
    (folder / "run").mkdir()
    Image.new("RGB", (40, 40)).save(folder / "run" / "step-0000100.png")
    data = open_data(config(folder), folder / "run", 0, 1)
    assert len(data.photos) == 6
    assert data.notes == [
        f"left out of {folder} (1): notes.txt; no suffix of an image",
        "6 photos, too few to hold any out: validation shows photos that are trained on",
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_is_one_sentence_still(tmp_path, workers):
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    data = open_data(config(tmp_path, workers=workers), tmp_path / "run", 0, 1)
    with pytest.raises(TrainingError) as caught:
        next(iter(data.loader(0, 0, 1, None)))
    assert re.fullmatch(
        "none of the 1 photos can be read as an image: .*broken.jpg is not an image.*", str(caught.value)
    )


def test_no_photos_and_only_broken_ones(tmp_path):
    with pytest.raises(TrainingError, match=r"no folder of photos.*set photos=FOLDER"):
        open_data(config(tmp_path / "none"), tmp_path / "run", 0, 1)
    with pytest.raises(TrainingError, match="no photos"):
        open_data(config(tmp_path), tmp_path / "run", 0, 1)
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="none of the 1 photos can be read"):
        HoledPhotos(find_photos(tmp_path), STAGE, 1, 0)[0]


def test_batches_are_the_same_from_workers_and_leave_no_process(folder):
    here, there = batches(config(folder)), batches(config(folder, workers=2))
    assert all(
        torch.equal(a.images, b.images) and torch.equal(a.valid, b.valid) for a, b in zip(here, there, strict=True)
    )
    assert there[0].images.dtype == torch.uint8
    assert not active_children()


def test_a_worker_that_dies_is_noticed_in_one_sentence(folder):
    loader = open_data(config(folder, workers=2), folder / "run", 0, 1).loader(0, 0, 10**6, None)
    with loader.started() as batches:
        next(batches)
    assert not active_children()

    def lose_a_worker():
        for _ in loader:
            os.kill(active_children()[0].pid, signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"worker .*lower workers or cache_gb, and go on with --resume") as caught:
        lose_a_worker()
    assert "\n" not in str(caught.value)
    assert not active_children()


def test_a_batch_that_a_worker_cannot_deliver_is_noticed(folder, monkeypatch):
    monkeypatch.setattr("pconv.training.loading.packed", lambda samples: lambda: samples)  # nothing can pickle it
    with pytest.raises(TrainingError, match=r"worker .*often for lack of memory"):
        batches(config(folder, workers=1))


def test_a_wait_for_slow_workers_is_told_once(folder, monkeypatch, caplog):
    monkeypatch.setattr("pconv.training.loading.LONG_WAIT", 1)
    monkeypatch.setattr("pconv.training.loading.packed", slowly)
    assert len(batches(config(folder, workers=1), steps=1)) == 1
    assert caplog.text.count("no batch for 1 s") == 1


def slowly(samples):
    time.sleep(3)
    return packed(samples)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of PyTorch's half-made loader
def test_where_no_worker_can_start_a_sentence_says_why(folder, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("multiprocessing.queues.Queue.__init__", full)
    with pytest.raises(TrainingError, match="No space left on device; make room in /dev/shm, or set workers=0"):
        batches(config(folder, workers=1))


def test_batches_fetched_ahead_are_the_same_and_count_only_when_used(folder):
    data = open_data(config(folder), folder / "run", 0, 1)
    expected = [batch.images for batch in data.loader(0, 0, 4, None)]
    with data.loader(0, 0, 4, None).started() as received:
        feed = Feed(received, 2, 2, torch.device("cpu"), ahead=True)
        taken = feed.take()
        feed.fetch()  # while a GPU would compute
        taken += feed.take()
        feed.fetch()  # there is no further step
    assert all(torch.equal(a, b.images) for a, b in zip(expected, taken, strict=True))


def test_the_position_is_that_of_the_last_batch_used(folder):
    loader = Loader([], [ShardPosition(0), ShardPosition(1)])
    batches = [
        Batch(torch.empty(0), torch.empty(0), torch.empty(0), (), ShardPosition(reader, 3, reader))
        for reader in (0, 1)
    ]
    assert loader.positions == [[0, 0, 0], [1, 0, 0]]
    loader.used(batches[0])
    assert loader.positions == [[1, 0, 0], [0, 3, 0]]
    loader.used(batches[1])
    assert loader.positions == [[0, 3, 0], [1, 3, 1]]
