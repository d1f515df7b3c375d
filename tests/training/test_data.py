import numpy as np
import pytest
import torch
from PIL import Image

from pconv.errors import TrainingError
from pconv.training.config import Stage
from pconv.training.data import HoledPhotos, find_photos, loader, random_crop

STAGE = Stage(steps=4, size=24, batch_size=3, lr=1e-3, hole_ratio=(0.2, 0.4))


@pytest.fixture
def photos(tmp_path):
    """Five photos of one colour each, in nested folders, with a broken one and a text among them."""
    for i in range(5):
        folder = tmp_path / f"d{i % 2}"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (40 + i, 30), (50 * i, 0, 0)).save(folder / f"{i}.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (tmp_path / "notes.txt").write_text("no photo")
    return find_photos(tmp_path)


def test_photos_are_found_in_all_folders(photos):
    assert [p.name for p in photos] == ["broken.jpg", "0.png", "2.png", "4.png", "1.png", "3.png"]


def test_a_sample_is_a_function_of_seed_and_number(photos):
    data, again = HoledPhotos(photos, STAGE, 1, 0), HoledPhotos(photos, STAGE, 1, 2**20)
    for i in (13, 2, 7):
        for a, b in zip(data[i], again[i], strict=True):
            assert torch.equal(a, b)
    other = HoledPhotos(photos, STAGE, 2, 0)
    assert not all(torch.equal(data[i][1], other[i][1]) for i in range(3))


def test_samples_have_the_documented_shapes_and_ratio(photos):
    picture, valid = HoledPhotos(photos, STAGE, 1, 0)[0]
    assert picture.shape == (3, 24, 24)
    assert picture.dtype == torch.uint8
    assert valid.shape == (1, 24, 24)
    assert valid.dtype == torch.bool
    assert 0.2 <= (~valid).float().mean() <= 0.4


def test_an_epoch_shows_every_photo_once_and_passes_over_the_broken_one(photos):
    data = HoledPhotos(photos, STAGE, 1, 2**20)
    for epoch in range(3):
        reds = [int(data[epoch * len(photos) + i][0][0, 0, 0]) for i in range(len(photos))]
        assert set(reds) == {0, 50, 100, 150, 200}


def test_a_loader_goes_on_where_another_one_stopped(photos):
    whole = [valid for _, valid in loader(photos, STAGE, 0, 1, 0, 0.1)]
    rest = STAGE.model_copy(update={"steps": 2})
    resumed = [valid for _, valid in loader(photos, rest, 2 * STAGE.batch_size, 1, 0, 0.1)]
    assert len(whole) == 4
    assert torch.equal(torch.stack(whole[2:]), torch.stack(resumed))


def test_crops_zoom_between_the_photos_scale_and_the_smallest(photos):
    photo = np.zeros((200, 100, 3), np.uint8)
    photo[:, ::2] = 255  # stripes of one pixel: they survive only at the photo's own scale
    generator = np.random.default_rng(0)
    assert set(np.unique(random_crop(photo, 50, 1.0, generator))) == {0, 255}
    sharp = [random_crop(photo, 50, 0.5, generator).std() for _ in range(20)]
    assert min(sharp) < 20 < 60 < max(sharp)
    assert random_crop(photo, 150, 1.0, generator).shape == (150, 150, 3)  # too small: enlarged


def test_no_photos_and_only_broken_ones(tmp_path):
    with pytest.raises(TrainingError, match="no folder of photos"):
        find_photos(tmp_path / "none")
    with pytest.raises(TrainingError, match="no photos"):
        find_photos(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="none of the photos can be read"):
        HoledPhotos(find_photos(tmp_path), STAGE, 1, 0)[0]
