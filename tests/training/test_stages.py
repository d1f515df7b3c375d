"""Stages with networks, optimisers and mixtures of their own."""

import math
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import save_file

from pconv import PRESETS, PConvUNet, UNetConfig, load_network, save_network
from pconv.errors import InputError, TrainingError
from pconv.training import machines
from pconv.training.checkpoint import load_state
from pconv.training.config import Stage, TrainConfig, read_config, write_config
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


def test_a_stage_that_goes_on_has_its_own_rates_and_resumes_exactly(config, tmp_path):
    first, _ = config.stages
    second = first.model_copy(update={"lr": 1e-3, "adamw_lr": 1e-3, "size": 48})
    config = config.model_copy(update={"stages": (first, second)})
    run = Run(config, tmp_path, machines.start_fabric(config))
    optimizers = run.optimizers
    run.begin(1)
    assert run.optimizers is optimizers
    run.set_lr(1.0)
    assert [group["lr"] for each in run.optimizers for group in each.param_groups] == [1e-3, 1e-3]
    whole, *_ = train(config, tmp_path / "whole")
    stopped_at(config, tmp_path / "part", 6)
    resumed, *_ = train(config, tmp_path / "part", resume=True)
    for (name, a), b in zip(weights(whole).items(), weights(resumed).values(), strict=True):
        assert torch.equal(a, b), name


def test_an_earlier_stage_cannot_be_made_longer(config, tmp_path):
    stopped_at(config, tmp_path / "run", 6)
    longer = config.model_copy(update={"stages": (config.stages[0].model_copy(update={"steps": 9}), config.stages[1])})
    with pytest.raises(TrainingError, match="is in stage 1, and step 6 now lies in stage 0"):
        train(longer, tmp_path / "run", resume=True)


def test_all_gradients_are_clipped_and_one_that_is_not_finite_skips_the_step(config, tmp_path, capfd):
    fabric = machines.start_fabric(config)
    first = config.stages[0].model_copy(update={"clip_norm": 0.5})
    run = Run(config.model_copy(update={"stages": (first,)}), tmp_path, fabric)
    for parameter in run.net.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    count = sum(parameter.numel() for parameter in run.net.parameters())
    assert run.clip_gradients().item() == pytest.approx(3 * count**0.5, rel=1e-4)
    inner = dict(run.net.named_parameters())["encoder.1.conv.weight"]
    assert inner.grad.abs().max().item() == pytest.approx(0.5 / count**0.5, rel=1e-3)
    inner.grad[0] = torch.inf
    assert not run.clip_gradients().isfinite()


def test_the_surface_stays_in_float32_where_the_network_computes_in_bf16():
    net = PConvUNet(UNetConfig((8, 12), (3, 3), mean=0.5, std=0.25, surface="correction", surface_skip=True)).train()
    torch.nn.init.zeros_(net.decoder[-1].conv.weight)
    image, valid = 0.6 + 0.3 * torch.rand(1, 3, 32, 32), torch.rand(1, 1, 32, 32) < 0.5
    plain = net(image, valid)
    fabric = Fabric(accelerator="cpu", plugins=[machines.Autocast("bf16-mixed", "cpu")])
    mixed = fabric.setup_module(net)(image, valid)
    assert mixed.dtype == torch.float32
    assert torch.allclose(mixed, plain, atol=1e-5)


def test_texture_trains_in_bf16(config, tmp_path):
    short = until(config, 1, 2).model_copy(update={"precision": "bf16"})
    model, steps, _ = train(short, tmp_path / "run")
    assert steps == 3
    assert load_state(tmp_path / "run")["skipped"] == 0
    assert all(value.isfinite().all() for value in weights(model).values())


@pytest.mark.slow
def test_texture_in_two_processes_keeps_the_discriminators_equal(config, tmp_path, monkeypatch):
    """``default`` itself, small crops of which one process gets the first and one the second."""
    stage = config.stages[1].model_copy(update={"size": 128, "steps": 2, "batch_size": 4})
    config = config.model_copy(update={"model": "default", "stages": (stage,), "save_every": 2, "validate_every": 99})
    write_config(config, tmp_path / "run.toml")
    call = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "pconv", "train"]
    done = subprocess.run(
        [*call, tmp_path / "run.toml", "--out", tmp_path / "run"], capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    state = load_state(tmp_path / "run")
    assert (state["step"], state["skipped"]) == (2, 0)
    assert state["texture"]["optimizer"]["state"][0]["step"] == 2


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
    fabric = machines.start_fabric(auto)
    for speedup, precision, plugin in (
        (1.9, "bf16", "bf16-mixed"),
        (1.1, "fp32", "32-true"),
        (0.1, "fp32", "32-true"),
    ):
        monkeypatch.setattr(machines, "bf16_speedup", lambda _device, speedup=speedup: speedup)
        settled, note = machines.settled_precision(auto, fabric, "auto")
        assert settled.precision == precision
        assert machines.start_fabric(settled).strategy.precision.precision == plugin
        assert note.startswith(f"precision {precision}: ")
        assert f"{speedup:.2g} times" in note


def test_a_processors_speed_in_bf16_is_measured_once(monkeypatch):
    machines.bf16_speedup.cache_clear()
    speedup = machines.bf16_speedup(torch.device("cpu"))
    assert 0 < speedup < math.inf
    monkeypatch.setattr(machines.nn.functional, "conv2d", lambda *_, **__: pytest.fail("it was measured again"))
    assert machines.bf16_speedup(torch.device("cpu")) is speedup


class SecondProcess:
    """Of two, where the first has measured that bf16 is faster."""

    device, is_global_zero = torch.device("cpu"), False

    def broadcast(self, _value):
        return "bf16", "precision bf16: measured by the first process"


def test_all_processes_take_the_precision_that_the_first_has_measured(config, monkeypatch):
    monkeypatch.setattr(machines, "bf16_speedup", lambda _device: pytest.fail("the second process measured"))
    auto = config.model_copy(update={"precision": "auto"})
    settled, note = machines.settled_precision(auto, SecondProcess(), "auto")
    assert (settled.precision, note) == ("bf16", "precision bf16: measured by the first process")


def test_a_resumed_run_keeps_the_precision_that_was_measured(config, tmp_path, monkeypatch, capfd):
    auto = config.model_copy(update={"precision": "auto"})
    monkeypatch.setattr(machines, "bf16_speedup", lambda _device: 1.9)
    train(until(auto, 1), tmp_path / "run")
    assert load_state(tmp_path / "run")["config"]["precision"] == "bf16"
    monkeypatch.setattr(machines, "bf16_speedup", lambda _device: 0.1)
    train(until(auto, 2), tmp_path / "run", resume=True)
    assert "precision bf16, in which the run began" in capfd.readouterr().err
    assert load_state(tmp_path / "run")["config"]["precision"] == "bf16"
    assert read_config(tmp_path / "run" / "config.toml").precision == "auto"


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
    missing = config.model_copy(update={"vgg": tmp_path / "none.safetensors"})
    with pytest.raises(TrainingError, match=r"give a file with --vgg PATH.*stages\.N\.texture=false"):
        train(missing, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    write_config(missing, tmp_path / "run.toml")
    without = read_config(tmp_path / "run.toml", ["stages.0.steps=1", "stages.1.steps=1", "stages.1.texture=false"])
    assert train(without, tmp_path / "run").steps == 2


def test_short_memory_names_no_accumulate_where_texture_refuses_it(config, tmp_path, monkeypatch):
    def short(*_args):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("pconv.training.loop.train_step", short)
    for stages in (config.stages, config.stages[1:]):  # texture in a later stage, in this one
        with pytest.raises(TrainingError, match=r"lower stage 0's batch_size \(2\) or size \(32\); then go on"):
            train(config.model_copy(update={"stages": stages}), tmp_path / "run")


def test_unknown_devices_are_refused(config):
    with pytest.raises(InputError, match="no device 'cuda:77'"):
        machines.start_fabric(config.model_copy(update={"device": "cuda:77"}))
