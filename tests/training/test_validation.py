import pytest
import torch
from PIL import Image

from pconv.errors import TrainingError
from pconv.masks.strokes import RATIO_BINS
from pconv.training.features import VGG16Features
from pconv.training.validation import PER_BIN, hold_out, measured_by_bin, validation_set


@pytest.fixture
def photos(tmp_path):
    for i in range(60):
        Image.new("RGB", (40, 30), (4 * i, 0, 0)).save(tmp_path / f"{i:02d}.png")
    (tmp_path / "000.png").write_bytes(b"nothing")
    return sorted(tmp_path.glob("*.png"))


def test_one_photo_in_fifty_is_held_out(photos):
    train, held_out = hold_out(photos)
    assert held_out == [photos[0], photos[50]]
    assert sorted(train + held_out) == photos
    assert hold_out(photos[:49]) == (photos[:49], photos[:49])


def test_a_validation_set_has_every_bin_and_stays_the_same(photos):
    batches, again = (validation_set(photos, 32, 1) for _ in range(2))
    assert len(batches) == len(RATIO_BINS)
    for (low, high), batch, same in zip(RATIO_BINS, batches, again, strict=True):
        ratios = (~batch.valid).float().mean(dim=(1, 2, 3))
        assert batch.images.shape == (PER_BIN, 3, 32, 32)
        assert ((ratios >= low) & (ratios <= high)).all()
        assert torch.equal(batch.images, same.images)
        assert torch.equal(batch.valid, same.valid)
    reds = {int(p[0, 0, 0]) for batch in batches for p in batch.images}
    assert len(reds) == PER_BIN * len(RATIO_BINS)  # as many photos as there are samples


def test_without_a_readable_photo_there_is_no_validation(photos):
    with pytest.raises(TrainingError, match="none of the 1 photos for validation can be read"):
        validation_set(photos[1:2], 32, 1)


def test_psnr_is_of_the_composite_and_of_clipped_values(photos):
    class White(torch.nn.Module):
        def forward(self, image, _valid):
            return torch.full_like(image, 7.0)

    batches = validation_set(photos[:1], 32, 1)  # one black photo
    # The error is 1 in the hole and 0 elsewhere: its mean square is the hole ratio.
    expected = [(-10 * (~b.valid).float().mean(dim=(1, 2, 3)).log10()).mean().item() for b in batches]
    figures = measured_by_bin(White(), batches, torch.device("cpu"))
    assert figures.psnr == pytest.approx(expected, rel=1e-5)
    assert figures.gram is None


def test_the_gram_distance_is_measured_where_vgg_is_there(photos):
    class Truth(torch.nn.Module):
        def forward(self, image, _valid):
            return image + self.error

    batches, network = validation_set(photos[1:], 32, 1), Truth()
    vgg = VGG16Features(2)
    network.error = 0.0
    assert measured_by_bin(network, batches, torch.device("cpu"), vgg).gram == pytest.approx(0, abs=1e-5)
    network.error = 0.3
    assert measured_by_bin(network, batches, torch.device("cpu"), vgg).gram > 0.01
