"""Training for super-resolution: what the network sees, what counts, and where it starts."""

import numpy as np
import pytest
import torch
from PIL import Image

from pconv import PRESETS, PConvUNet, UNetConfig, load_network, save_network, superres_input
from pconv.errors import InputError, TrainingError
from pconv.training.config import Stage, TrainConfig, read_config
from pconv.training.data import HoledPhotos
from pconv.training.loading import open_data
from pconv.training.loop import train
from pconv.training.losses import LossWeights
from pconv.training.validation import measured_by_bin, superres_set

L1 = LossWeights(1, 1, 0, 0, 0)
STAGE = Stage(steps=2, size=24, batch_size=6, lr=1e-3, loss=L1, holes="superres")


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(generator.integers(0, 255, (30, 30, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def config(photos, monkeypatch):
    monkeypatch.setitem(PRESETS, "mini", UNetConfig((8, 12), (3, 3), surface="correction", surface_skip=True))
    return TrainConfig(
        photos=photos, model="mini", stages=(STAGE,), workers=0, precision="fp32", device="cpu", validate_every=2
    )


def test_the_network_sees_the_small_image_between_holes(photos):
    data = HoledPhotos(sorted(photos.glob("*.png")), STAGE, 1, 0)
    factors = set()
    for number in range(12):
        sample = data[number]
        truth = Image.fromarray(sample.image.permute(1, 2, 0).numpy())
        factor = round((1 / sample.valid.float().mean().item()) ** 0.5)
        factors.add(factor)
        small = truth.resize((24 // factor, 24 // factor), Image.Resampling.BICUBIC)
        seen, hole = superres_input(np.asarray(small), factor)
        assert np.array_equal(sample.seen.permute(1, 2, 0).numpy(), seen)
        assert np.array_equal(~sample.valid[0].numpy(), hole)
    assert factors == {2, 3, 4}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_hold_what_is_seen(config, tmp_path, workers):
    config = config.model_copy(update={"workers": workers})
    data = open_data(config, tmp_path / "run", 0, 1)
    batch = next(iter(data.loader(0, 0, 1, None)))
    assert batch.seen.shape == batch.images.shape == (6, 3, 24, 24)
    assert not batch.seen[(~batch.valid).expand_as(batch.seen)].any()
    assert batch.seen.any()


def test_the_output_counts_everywhere(photos):
    batches = superres_set(sorted(photos.glob("*.png")), 24, 1)
    assert [round((1 / b.valid.float().mean().item()) ** 0.5) for b in batches] == [2, 3, 4]

    class Black(torch.nn.Module):
        def forward(self, image, _valid):
            return torch.zeros_like(image)

    expected = [np.mean([-10 * np.log10(((i / 255.0) ** 2).mean()) for i in b.images.numpy()]) for b in batches]
    assert measured_by_bin(Black(), batches, torch.device("cpu")).psnr == pytest.approx(expected, rel=1e-4)


def test_a_run_learns_from_the_small_image(config, tmp_path):
    out = train(config, tmp_path / "run")
    trained = load_network(out.model)[0]
    torch.manual_seed(config.seed)
    fresh = PConvUNet(PRESETS["mini"]).state_dict()
    assert any(not torch.equal(value, fresh[name]) for name, value in trained.state_dict().items())
    assert (tmp_path / "run" / "step-0000002.png").exists()
    assert (tmp_path / "run" / "best.safetensors").exists()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_network_gets_the_small_image_and_not_the_truth(config, tmp_path, monkeypatch, accumulate):
    images = []

    def forward(self, image, valid, **options):
        if self.training:
            images.append((image.detach().clone(), valid))
        return original(self, image, valid, **options)

    original = PConvUNet.forward
    monkeypatch.setattr(PConvUNet, "forward", forward)
    config = config.model_copy(update={"accumulate": accumulate})
    data = open_data(config, tmp_path / "run", 0, 1)
    batches = list(data.loader(0, 0, STAGE.steps, None))
    train(config, tmp_path / "run")
    assert len(images) == len(batches) == STAGE.steps * accumulate
    for (image, valid), batch in zip(images, batches, strict=True):
        assert torch.equal(image, batch.seen.float() / 255)
        assert torch.equal(valid, batch.valid)


def test_it_starts_from_a_deeper_networks_outer_levels(config, tmp_path):
    deeper = PConvUNet(UNetConfig((8, 12, 16), (3, 3, 3), surface="correction", surface_skip=True, noise_levels=1))
    save_network(deeper, tmp_path / "deeper.safetensors", {})
    stage = STAGE.model_copy(update={"lr": 1e-12, "steps": 1, "freeze_norm": True})
    config = config.model_copy(update={"init": tmp_path / "deeper.safetensors", "stages": (stage,)})
    trained = load_network(train(config, tmp_path / "run").model)[0]
    for ours, theirs in [("encoder.1", "encoder.1"), ("decoder.0", "decoder.1"), ("decoder.1", "decoder.2")]:
        begun = deeper.get_submodule(theirs).state_dict()
        for name, value in trained.get_submodule(ours).state_dict().items():
            if not name.endswith("num_batches_tracked"):
                assert torch.allclose(value, begun[name], atol=1e-6), (ours, name)


def test_another_network_is_still_refused(config, tmp_path):
    other = PConvUNet(UNetConfig((8, 16, 16), (3, 3, 3), surface="correction", surface_skip=True))
    save_network(other, tmp_path / "other.safetensors", {})
    with pytest.raises(TrainingError, match="is another network than model 'mini'"):
        train(config.model_copy(update={"init": tmp_path / "other.safetensors"}), tmp_path / "run")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.0.size=128", "needs a multiple of 12 as size; got 128"),
        ("stages.0.loss={}", "has the loss terms valid and hole alone"),
        ("masks=somewhere", "must be that of all stages, without masks"),
    ],
)
def test_settings_that_do_not_go_together(override, message):
    assert read_config("superres", ["photos=x"]).model == "superres"
    with pytest.raises(InputError, match=message):
        read_config("superres", ["photos=x", override])
