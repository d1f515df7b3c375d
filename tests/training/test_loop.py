import math
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pconv import PRESETS, PConvUNet, UNetConfig, load_network, save_network
from pconv.errors import TrainingError
from pconv.training.checkpoint import load_state
from pconv.training.config import Stage, TrainConfig
from pconv.training.loop import ema_update, learning_rate, set_train, train


@pytest.fixture
def config(tmp_path):
    (tmp_path / "photos").mkdir()
    x = np.linspace(0, 255, 48, dtype=np.uint8)
    for i, pixels in enumerate((np.tile(x, (48, 1)), np.tile(x[:, None], (1, 48)), np.tile(x[::-1], (48, 1)))):
        Image.fromarray(pixels).convert("RGB").save(tmp_path / "photos" / f"{i}.png")
    first = Stage(steps=5, size=32, batch_size=2, lr=2e-3, warmup_steps=1)
    second = Stage(steps=4, size=48, batch_size=2, lr=1e-3, schedule="cosine", freeze_encoder_norm=True)
    return TrainConfig(
        photos=tmp_path / "photos", model="tiny", stages=(first, second), workers=0, log_every=2, sheet_every=4,
        save_every=3, precision="fp32", device="cpu",
    )  # fmt: skip


def longer(config, steps):
    stages = (config.stages[0].model_copy(update={"steps": steps}),)
    return config.model_copy(update={"stages": stages})


def weights(path):
    return load_network(path)[0].state_dict()


def test_a_run_leaves_model_state_sheets_and_scalars(config, tmp_path):
    model, steps = train(config, tmp_path / "run")
    assert steps == 9
    network, recipe = load_network(model)
    assert network.config == PRESETS["tiny"]
    assert recipe["step"] == 9
    assert recipe["config"]["stages"][1]["schedule"] == "cosine"
    sheet = Image.open(tmp_path / "run" / "step-0000004.png")
    assert sheet.size == (4 * 36, 6 * 36)  # hole, output, composite, truth; six photos; 32 px and a gap
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [e.step for e in events.Scalars("loss/hole")] == [2, 4, 6, 8]
    assert all(math.isfinite(e.value) for e in events.Scalars("loss/valid"))
    assert events.Images("sheet")


def test_training_learns(config, tmp_path):
    """On gradients, and with holes of nearly one size, so that the loss falls although the samples vary."""
    steady = longer(config, 60)
    stages = (steady.stages[0].model_copy(update={"hole_ratio": (0.2, 0.22)}),)
    train(steady.model_copy(update={"stages": stages}), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    for term in ("loss/hole", "loss/valid"):
        losses = [e.value for e in events.Scalars(term)]
        assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:3]), term


@pytest.mark.parametrize("stop", [3, 5, 7])
def test_a_resumed_run_ends_with_the_same_weights(config, tmp_path, stop):
    whole, _ = train(config, tmp_path / "whole")
    cut = {3: (3,), 5: (5,), 7: (5, 2)}[stop]
    stages = tuple(s.model_copy(update={"steps": n}) for s, n in zip(config.stages, cut, strict=False))
    if stop == 7:  # stop inside the cosine without shortening it
        train_until(config, tmp_path / "part", 7)
    else:
        train(config.model_copy(update={"stages": stages}), tmp_path / "part")
    assert load_state(tmp_path / "part")["step"] == stop
    resumed, steps = train(config, tmp_path / "part", resume=True)
    assert steps == 9
    for (name, a), b in zip(weights(whole).items(), weights(resumed).values(), strict=True):
        assert torch.equal(a, b), name


def test_resuming_is_exact_with_workers_and_in_bf16_too(config, tmp_path):
    config = longer(config, 4).model_copy(update={"workers": 1, "precision": "bf16"})
    whole, _ = train(config, tmp_path / "whole")
    train(longer(config, 2), tmp_path / "part")
    resumed, _ = train(config, tmp_path / "part", resume=True)
    for (name, a), b in zip(weights(whole).items(), weights(resumed).values(), strict=True):
        assert torch.equal(a, b), name


def test_a_resumed_run_keeps_the_scalars_it_had(config, tmp_path):
    config = config.model_copy(update={"log_every": 1})
    train(longer(config, 2), tmp_path / "run")
    train(longer(config, 4), tmp_path / "run", resume=True)
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [e.step for e in events.Scalars("lr")] == [1, 2, 3, 4]


def test_a_diverged_run_keeps_its_last_good_state(config, tmp_path):
    model, _ = train(longer(config, 2), tmp_path / "run")
    stages = (config.stages[0].model_copy(update={"steps": 6, "lr": 1e30, "warmup_steps": 0}),)
    diverging = config.model_copy(update={"stages": stages, "save_every": 5})
    with pytest.raises(TrainingError, match="no longer finite at step 5: the training diverged; lower lr"):
        train(diverging, tmp_path / "run", resume=True)
    assert load_state(tmp_path / "run")["step"] == 2
    assert all(value.isfinite().all() for value in weights(model).values())


def train_until(config, out, step):
    """Train, asked to stop by Ctrl-C during the step that ends as number ``step``."""

    class Interrupting(PConvUNet):
        calls = 0

        def forward(self, image, valid):
            Interrupting.calls += self.training
            if Interrupting.calls == step and self.training:
                os.kill(os.getpid(), signal.SIGINT)
            return super().forward(image, valid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pconv.training.loop.PConvUNet", Interrupting)
        assert train(config, out)[1] == step


def test_ctrl_c_saves_and_leaves_the_handlers_as_they_were(config, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    train_until(config, tmp_path / "run", 2)
    assert load_state(tmp_path / "run")["step"] == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_the_command_stops_cleanly_on_a_signal_and_resumes(config, tmp_path):
    toml = tmp_path / "run.toml"
    toml.write_text(
        f"photos = '{config.photos}'\nmodel = 'tiny'\nworkers = 1\ndevice = 'cpu'\n"
        "[[stages]]\nsteps = 100000\nsize = 32\nbatch_size = 2\nlr = 1e-3\n"
    )
    out = tmp_path / "run"
    call = [sys.executable, "-m", "pconv", "train", toml, "--out", out]
    with subprocess.Popen([*call, "save_every=2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        for _ in range(600):
            if (out / "state.pt").exists() or run.poll() is not None:
                break
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        printed, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    assert "Traceback" not in errors
    assert "img/s" in errors
    done = load_state(out)["step"]
    assert f"after {done} of 100000 steps" in printed
    more = subprocess.run(
        [*call, f"stages.0.steps={done + 2}", "--resume"], capture_output=True, text=True, check=True
    )
    assert f"after {done + 2} of {done + 2} steps" in more.stdout


def test_a_run_is_never_overwritten_by_accident(config, tmp_path):
    train(longer(config, 1), tmp_path / "run")
    with pytest.raises(TrainingError, match="holds a run already: go on with --resume"):
        train(longer(config, 1), tmp_path / "run")


def test_resuming_another_network_or_a_broken_state_is_refused(config, tmp_path):
    train(longer(config, 1), tmp_path / "run")
    other = longer(config, 2).model_copy(update={"model": "small"})
    with pytest.raises(TrainingError, match="is the state of model 'tiny', and the configuration says 'small'"):
        train(other, tmp_path / "run", resume=True)
    (tmp_path / "run" / "state.pt").write_bytes(b"nothing")
    for broken in (b"nothing", None):
        if broken is None:
            torch.save({"a": 1}, tmp_path / "run" / "state.pt")
        with pytest.raises(TrainingError, match="is not the state of a training run"):
            train(longer(config, 2), tmp_path / "run", resume=True)


def test_init_starts_from_given_weights(config, tmp_path):
    first, _ = train(longer(config, 3), tmp_path / "first")
    start = longer(config, 1).model_copy(update={"init": first})
    start = start.model_copy(update={"stages": (start.stages[0].model_copy(update={"lr": 1e-12}),)})
    second, _ = train(start, tmp_path / "second")
    for name, value in weights(second).items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(value, weights(first)[name], rtol=1e-4, atol=1e-6)


def test_init_of_another_network_is_refused(config, tmp_path):
    save_network(PConvUNet(UNetConfig((8, 8), (3, 3))), tmp_path / "other.safetensors", {})
    with pytest.raises(TrainingError, match="is another network than model 'tiny'"):
        train(config.model_copy(update={"init": tmp_path / "other.safetensors"}), tmp_path / "run")


def test_learning_rate_warms_up_and_falls_to_zero():
    stage = Stage(steps=110, size=8, batch_size=1, lr=1.0, schedule="cosine", warmup_steps=10)
    rates = [learning_rate(stage, step) for step in range(111)]
    assert rates[0] == 1 / 11
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0.0)
    assert all(a > b for a, b in pairwise(rates[10:]))
    constant = stage.model_copy(update={"schedule": "constant"})
    assert learning_rate(constant, 99) == 1.0


def test_ema_by_hand():
    update = ema_update(0.5)
    averaged, count = [torch.tensor([1.0]), torch.tensor(3)], [torch.tensor([3.0]), torch.tensor(4)]
    update(averaged, count, 10**6)
    assert averaged[0].item() == 2.0
    assert averaged[1].item() == 4
    averaged = [torch.tensor([1.0])]
    update(averaged, [torch.tensor([12.0])], 1)  # early: decay (1 + 1) / (10 + 1)
    assert averaged[0].item() == pytest.approx(1 * 2 / 11 + 12 * 9 / 11)


def test_stage_2_freezes_the_encoders_batch_norms_only():
    net = PConvUNet(PRESETS["tiny"])
    set_train(net, freeze_encoder_norm=True)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    net(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64) < 0.5).mean().backward()
    optimizer.step()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("encoder") and "norm" in name for name in changed)
    assert "encoder.1.conv.weight" in changed
    assert "decoder.0.norm.running_mean" in changed
    assert "decoder.0.norm.weight" in changed
    set_train(net, freeze_encoder_norm=False)
    assert all(p.requires_grad for p in net.parameters())
