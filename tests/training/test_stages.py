"""Stages with networks, optimisers and mixtures of their own."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from pconv import PRESETS, PConvUNet, UNetConfig, load_network, save_network
from pconv.errors import InputError, TrainingError
from pconv.training import machines
from pconv.training.checkpoint import load_state
from pconv.training.config import Stage, TrainConfig
from pconv.training.features import VGG16Features
from pconv.training.loop import train
from pconv.training.losses import LossWeights
from pconv.training.run import NOISE_RATE, Run, inner_convolutions, mixture
from pconv.training.texture import TextureWeights

RIM = LossWeights(0, 0, 0, 0, 0, rim=1.0)
FEWER = {"noise_levels": 0, "blocks": (0, 1)}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """As the default's, small: a stage of fidelity with less of a network, then texture and a mixture of both."""
    monkeypatch.setitem(
        PRESETS,
        "mini",
        UNetConfig((8, 12, 16), (3, 3, 3), mean=0.5, std=0.25, surface="correction", surface_skip=True,
                   blocks=(1, 2), noise_levels=2),
    )  # fmt: skip
    (tmp_path / "photos").mkdir()
    generator = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(generator.integers(0, 255, (70, 70, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    vgg = {name: value.contiguous() for name, value in VGG16Features(2).state_dict().items()}
    save_file(vgg, tmp_path / "vgg.safetensors")
    fidelity = Stage(
        steps=4, size=32, batch_size=2, lr=2e-3, optimizer="muon", adamw_lr=1e-3, loss=RIM, network=FEWER,
        turned_share=0.5, recoloured_share=0.5,
    )  # fmt: skip
    texture = Stage(
        steps=4, size=32, batch_size=2, lr=1e-3, schedule="linear", betas=(0.5, 0.99), freeze_norm=True, loss=RIM,
        texture=TextureWeights(), mixture=0.7, warmup_steps=1,
    )  # fmt: skip
    return TrainConfig(
        photos=tmp_path / "photos", model="mini", stages=(fidelity, texture), workers=0, precision="fp32",
        device="cpu", ema=0.5, vgg=tmp_path / "vgg.safetensors", validate_every=4, save_every=2, log_every=2,
    )  # fmt: skip


def weights(path):
    return load_network(path)[0].state_dict()


def until(config, *steps):
    """The configuration with its stages cut to so many steps; those that have none are left out."""
    stages = [stage.model_copy(update={"steps": n}) for stage, n in zip(config.stages, steps, strict=False)]
    return config.model_copy(update={"stages": tuple(stages)})


def test_the_last_stage_has_the_whole_network_and_the_first_one_less(config, tmp_path, capfd):
    first, *_ = train(until(config, 4), tmp_path / "run")
    assert load_network(first)[0].config == config.network(config.stages[0])
    model, steps, _ = train(config, tmp_path / "run", resume=True)
    assert steps == 8
    assert load_network(model)[0].config == PRESETS["mini"]
    assert "Gram distance" in capfd.readouterr().err


@pytest.mark.parametrize("stop", [(2,), (4,), (4, 1), (4, 3)])
def test_a_run_resumed_in_any_stage_ends_with_the_same_weights(config, tmp_path, stop):
    whole, *_ = train(config, tmp_path / "whole")
    if len(stop) == 1:
        train(until(config, *stop), tmp_path / "part")
    else:  # the linear fall belongs to the whole stage, which must not be cut
        state = stopped_at(config, tmp_path / "part", sum(stop))
        assert state["stage"] == 1
        assert state["begun_from"]
    resumed, *_ = train(config, tmp_path / "part", resume=True)
    for (name, a), b in zip(weights(whole).items(), weights(resumed).values(), strict=True):
        assert torch.equal(a, b), name


def stopped_at(config, out, step):
    """Train until the end of ``step``, with everything saved, and go no further."""

    class StoppedError(Exception):
        pass

    save = Run.save

    def save_and_stop(run, *args):
        save(run, *args)
        if run.step == step:
            raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", save_and_stop)
        with pytest.raises(StoppedError):
            train(config.model_copy(update={"save_every": 1}), out)
    return load_state(out)


def test_the_model_is_the_mixture_of_both_stages(config, tmp_path):
    train(config, tmp_path / "run")
    state = load_state(tmp_path / "run")
    average = {name.removeprefix("module."): value for name, value in state["averaged"].items()}
    model, begun = weights(tmp_path / "run" / "model.safetensors"), state["begun_from"]
    shared = "decoder.0.conv.weight"
    expected = 0.7 * average[shared] + 0.3 * begun[shared]
    assert torch.allclose(model[shared], expected, atol=1e-6)
    assert not torch.allclose(model[shared], average[shared], atol=1e-6)
    strength = next(name for name in model if name.endswith("noise.strength"))
    assert strength not in begun
    assert torch.allclose(model[strength], 0.7 * average[strength], atol=1e-6)


def test_a_mixture_takes_missing_parts_as_parts_that_change_nothing():
    weights = {"a": torch.ones(2), "n.noise.strength": torch.ones(2), "b.first.weight": torch.ones(2),
               "b.second_norm.weight": torch.ones(2), "count": torch.tensor(3)}  # fmt: skip
    mixed = mixture(weights, {"a": torch.zeros(2), "count": torch.tensor(1)}, 0.25)
    assert {name: value.tolist() for name, value in mixed.items()} == {
        "a": [0.25, 0.25], "n.noise.strength": [0.25, 0.25], "b.first.weight": [1, 1],
        "b.second_norm.weight": [0.25, 0.25], "count": 3,
    }  # fmt: skip


def test_what_a_stage_adds_changes_nothing_but_the_noise_at_first():
    less = UNetConfig((8, 12), (3, 3), surface="correction", surface_skip=True)
    more = UNetConfig((8, 12), (3, 3), surface="correction", surface_skip=True, blocks=(2,))
    assert less.fits_into(more)
    assert not more.fits_into(less)
    assert not UNetConfig((8, 12), (3, 5)).fits_into(UNetConfig((8, 12), (3, 3)))
    small, large = PConvUNet(less).eval(), PConvUNet(more).eval()
    large.load_state_dict({**large.state_dict(), **small.state_dict()})
    image, valid = torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16) < 0.6
    with torch.no_grad():
        assert torch.allclose(small(image, valid), large(image, valid), atol=1e-6)


def test_muon_takes_the_inner_convolutions():
    names = inner_convolutions(PConvUNet(PRESETS["tiny"]))
    assert "encoder.0.conv.weight" not in names
    assert "encoder.1.conv.weight" in names
    assert "decoder.0.conv.weight" in names
    assert f"decoder.{len(PRESETS['tiny'].channels) - 1}.conv.weight" not in names
    assert len(names) == 2 * len(PRESETS["tiny"].channels) - 2


def test_each_group_has_its_own_learning_rate(config, tmp_path):
    fabric = machines.start_fabric(config)
    run = Run(config, tmp_path, fabric, VGG16Features(2))
    run.set_lr(0.5)
    assert [[group["lr"] for group in each.param_groups] for each in run.optimizers] == [[5e-4], [1e-3]]
    run.begin(1)
    run.set_lr(0.5)
    assert [[group["lr"] for group in each.param_groups] for each in run.optimizers] == [[5e-4, NOISE_RATE * 5e-4]]
    assert [group["lr"] for group in run.texture.optimizer.param_groups] == [0.8 * 4e-4]


def test_a_smaller_network_can_begin_and_another_cannot(config, tmp_path):
    less = tmp_path / "less.safetensors"
    save_network(PConvUNet(config.network(config.stages[0])), less, {})
    late = config.model_copy(update={"stages": config.stages[1:], "init": less})
    train(late.model_copy(update={"stages": (config.stages[1].model_copy(update={"steps": 1}),)}), tmp_path / "run")
    whole = tmp_path / "whole.safetensors"
    save_network(PConvUNet(PRESETS["mini"]), whole, {})
    with pytest.raises(TrainingError, match="is another network than model 'mini'"):
        train(config.model_copy(update={"init": whole}), tmp_path / "other")


def test_a_state_of_a_stage_that_is_gone_is_refused(config, tmp_path):
    train(config, tmp_path / "run")
    with pytest.raises(TrainingError, match="is in stage 1, and the configuration has stages 0 to 0"):
        train(until(config, 8), tmp_path / "run", resume=True)


def test_auto_takes_bf16_where_it_was_measured_to_be_faster(config, monkeypatch):
    auto = config.model_copy(update={"precision": "auto"})
    for speedup, precision in ((1.9, "bf16-mixed"), (1.1, "32-true"), (0.1, "32-true")):
        monkeypatch.setattr(machines, "bf16_speedup", lambda _device, speedup=speedup: speedup)
        assert machines.start_fabric(auto).strategy.precision.precision == precision
        assert f"{speedup:.2g} times" in machines.precision_note(torch.device("cpu"))
    monkeypatch.undo()
    machines.bf16_speedup.cache_clear()
    assert machines.bf16_speedup(torch.device("cpu")) > 0


def test_a_compiled_network_trains_and_saves_under_the_same_names(config, tmp_path, monkeypatch):
    """Captured by TorchDynamo and run eagerly: the same weights as without, and no compiler is needed."""
    short = until(config, 2)
    plain, *_ = train(short, tmp_path / "plain")
    captured = partial(torch.compile, backend="eager")
    monkeypatch.setattr("pconv.training.loop.torch.compile", captured)
    compiled, *_ = train(short.model_copy(update={"compile": True}), tmp_path / "compiled")
    for (name, a), b in zip(weights(plain).items(), weights(compiled).items(), strict=True):
        assert name == b[0]
        assert torch.allclose(a, b[1], atol=1e-5), name


def test_texture_without_vggs_weights_says_what_to_do(config, tmp_path):
    with pytest.raises(TrainingError, match="give a file with --vgg PATH"):
        train(config.model_copy(update={"vgg": tmp_path / "none.safetensors"}), tmp_path / "run")


def test_unknown_devices_are_refused(config):
    with pytest.raises(InputError, match="no device 'cuda:77'"):
        machines.start_fabric(config.model_copy(update={"device": "cuda:77"}))
