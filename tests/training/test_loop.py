import errno
import math
import os
import shutil
import signal
import subprocess
import sys
import traceback
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pconv import PRESETS, PConvUNet, UNetConfig, load_network, save_network
from pconv.errors import TrainingError
from pconv.training import run as run_module
from pconv.training.checkpoint import load_state
from pconv.training.config import Stage, TrainConfig, read_config, write_config
from pconv.training.features import load_vgg
from pconv.training.loop import BAD_IN_A_ROW, rate_factor, set_train, train
from pconv.training.losses import LossWeights
from pconv.training.run import ema_update

PIXELS_ONLY = LossWeights(perceptual=0, style=0)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "photos").mkdir()
    x = np.linspace(0, 255, 48, dtype=np.uint8)
    for i, pixels in enumerate((np.tile(x, (48, 1)), np.tile(x[:, None], (1, 48)), np.tile(x[::-1], (48, 1)))):
        Image.fromarray(pixels).convert("RGB").save(tmp_path / "photos" / f"{i}.png")
    first = Stage(steps=5, size=32, batch_size=2, lr=2e-3, warmup_steps=1, loss=PIXELS_ONLY)
    second = Stage(
        steps=4, size=48, batch_size=2, lr=1e-3, schedule="cosine", freeze_encoder_norm=True, loss=PIXELS_ONLY
    )
    return TrainConfig(
        photos=tmp_path / "photos", model="tiny", stages=(first, second), workers=0, log_every=2, validate_every=4,
        save_every=3, precision="fp32", device="cpu", ema=0.999,
    )  # fmt: skip


def longer(config, steps):
    stages = (config.stages[0].model_copy(update={"steps": steps}),)
    return config.model_copy(update={"stages": stages})


def weights(path):
    return load_network(path)[0].state_dict()


def test_a_run_leaves_model_state_sheets_and_scalars(config, tmp_path):
    model, steps, stopped_by = train(config, tmp_path / "run")
    assert (steps, stopped_by) == (9, 0)
    network, recipe = load_network(model)
    assert network.config == PRESETS["tiny"]
    assert recipe["step"] == 9
    assert recipe["config"]["stages"][1]["schedule"] == "cosine"
    sheet = Image.open(tmp_path / "run" / "step-0000004.png")
    assert sheet.size == (4 * 52, 6 * 52)  # hole, output, composite, truth; one of each bin; 48 px and a gap
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [e.step for e in events.Scalars("loss/hole")] == [2, 4, 6, 8]
    for name in ("loss/loss", "loss/valid", "loss/tv", "lr", "images_per_s", "hole_ratio", "grad_norm"):
        assert all(math.isfinite(e.value) for e in events.Scalars(name)), name
    assert [e.step for e in events.Scalars("psnr/0.5-0.6")] == [4, 8, 9]
    assert events.Histograms("hole_ratios")
    assert events.Images("sheet")
    assert load_network(tmp_path / "run" / "best.safetensors")[1]["step"] in (4, 8, 9)
    assert read_config(tmp_path / "run" / "config.toml") == config
    assert TrainConfig.model_validate(recipe["config"]) == config


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
    whole, *_ = train(config, tmp_path / "whole")
    cut = {3: (3,), 5: (5,), 7: (5, 2)}[stop]
    stages = tuple(s.model_copy(update={"steps": n}) for s, n in zip(config.stages, cut, strict=False))
    if stop == 7:  # stop inside the cosine without shortening it
        train_until(config, tmp_path / "part", 7)
    else:
        train(config.model_copy(update={"stages": stages}), tmp_path / "part")
    assert load_state(tmp_path / "part")["step"] == stop
    resumed, steps, _ = train(config, tmp_path / "part", resume=True)
    assert steps == 9
    for (name, a), b in zip(weights(whole).items(), weights(resumed).values(), strict=True):
        assert torch.equal(a, b), name


def test_resuming_is_exact_with_workers_and_in_bf16_too(config, tmp_path):
    config = longer(config, 4).model_copy(update={"workers": 1, "precision": "bf16"})
    whole, *_ = train(config, tmp_path / "whole")
    train(longer(config, 2), tmp_path / "part")
    resumed, *_ = train(config, tmp_path / "part", resume=True)
    for (name, a), b in zip(weights(whole).items(), weights(resumed).values(), strict=True):
        assert torch.equal(a, b), name


def test_a_resumed_run_says_when_the_photos_are_others(config, tmp_path, capfd, monkeypatch):
    train(longer(config, 1), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    train(longer(config, 2).model_copy(update={"photos": Path("photos")}), tmp_path / "run", resume=True)
    assert "not those" not in capfd.readouterr().err
    (tmp_path / "photos" / "0.png").rename(tmp_path / "photos" / "new.png")
    train(longer(config, 3), tmp_path / "run", resume=True)
    assert "the photos are not those that the run began with" in capfd.readouterr().err


def test_fp16_with_its_scaler_resumes_exactly_too(config, tmp_path, monkeypatch):
    """Fabric offers fp16 on GPUs only; its plugin runs on the CPU as well."""

    def fp16_fabric(config):
        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=2))
        return Fabric(accelerator="cpu", devices=1, plugins=[plugin])

    monkeypatch.setattr("pconv.training.loop.start_fabric", fp16_fabric)
    config = longer(config, 4)
    config = config.model_copy(update={"stages": (config.stages[0].model_copy(update={"clip_norm": 0.1}),)})
    whole, *_ = train(config, tmp_path / "whole")
    train(longer(config, 3), tmp_path / "part")
    assert load_state(tmp_path / "part")["precision"]["scale"] == 512.0
    resumed, *_ = train(config, tmp_path / "part", resume=True)
    for (name, a), b in zip(weights(whole).items(), weights(resumed).values(), strict=True):
        assert torch.equal(a, b), name


def test_a_resumed_run_keeps_the_scalars_it_had(config, tmp_path):
    config = config.model_copy(update={"log_every": 1})
    train(longer(config, 2), tmp_path / "run")
    train(longer(config, 4), tmp_path / "run", resume=True)
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [e.step for e in events.Scalars("lr")] == [1, 2, 3, 4]


def test_a_diverged_run_keeps_its_last_good_state(config, tmp_path):
    model, *_ = train(longer(config, 2), tmp_path / "run")
    stages = (config.stages[0].model_copy(update={"steps": 20, "lr": 1e30, "warmup_steps": 0}),)
    diverging = config.model_copy(update={"stages": stages, "save_every": 5})
    with pytest.raises(TrainingError, match="the loss was not finite 10 steps in a row, up to step 13: lower lr"):
        train(diverging, tmp_path / "run", resume=True)
    assert load_state(tmp_path / "run")["step"] == 2
    assert all(value.isfinite().all() for value in weights(model).values())


def test_memory_that_is_short_ends_the_run_with_what_to_lower(config, tmp_path, monkeypatch):
    class Large(PConvUNet):
        def forward(self, image, valid):
            if self.training and Large.calls == 3:
                torch.empty(2**60, dtype=torch.uint8)
            Large.calls += self.training
            return super().forward(image, valid)

    Large.calls = 0
    monkeypatch.setattr("pconv.training.run.PConvUNet", Large)
    lower = r"out of memory: lower stage 0's batch_size \(2\) or size \(32\), or raise accumulate \(1\)"
    with pytest.raises(
        TrainingError, match=f"^{lower}; then go on with --resume, or start again if nothing was saved$"
    ):
        train(config.model_copy(update={"save_every": 2}), tmp_path / "run")
    assert load_state(tmp_path / "run")["step"] == 2
    Large.calls = 3
    stage = config.stages[0].model_copy(update={"size": 64})
    single = config.model_copy(update={"accumulate": 2, "stages": (stage,)})
    with pytest.raises(TrainingError, match=r"^out of memory: lower stage 0's size \(64\); then go on"):
        train(single, tmp_path / "other")


def short_of(error):
    def fails(*_args, **_kwargs):
        raise error

    return fails


NOT_FOR_BATCHES = "^out of memory: end other programs, or take another device or a smaller model; then go on with --"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
@pytest.mark.parametrize(
    ("where", "what_to_do"),
    [
        ("pconv.training.run.PConvUNet", NOT_FOR_BATCHES),
        ("pconv.training.loop.InpaintingLoss", NOT_FOR_BATCHES),
        ("pconv.training.validation.decode", "^out of memory: validation takes crops of the largest stage: lower its"),
        ("pconv.training.run.measured_by_bin", "^out of memory: validation takes crops of the largest stage"),
        ("pconv.training.data.decode", r"^out of memory: lower cache_gb \(2\), or lower stage 0's batch_size"),
    ],
)
def test_memory_that_is_short_is_explained_wherever_it_is(config, tmp_path, monkeypatch, where, what_to_do, error):
    monkeypatch.setattr(where, short_of(error))
    with pytest.raises(TrainingError, match=what_to_do):
        train(config, tmp_path / "run")


def test_a_state_that_does_not_fit_into_memory_is_not_called_damaged(config, tmp_path, monkeypatch):
    train(longer(config, 2), tmp_path / "run")
    short = short_of(torch.OutOfMemoryError("CUDA out of memory."))
    for where in ("pconv.nn.checkpoint.torch.load", "torch.optim.Optimizer.load_state_dict"):
        with monkeypatch.context() as patch:
            patch.setattr(where, short)
            with pytest.raises(TrainingError, match=NOT_FOR_BATCHES):
                train(config, tmp_path / "run", resume=True)
    monkeypatch.setattr("pconv.training.features.torch.load", short)
    (tmp_path / "vgg.pth").touch()
    with pytest.raises(torch.OutOfMemoryError):
        load_vgg(tmp_path / "vgg.pth", 3)


def test_memory_that_a_loader_worker_lacks_is_explained_too(config, tmp_path, monkeypatch):
    monkeypatch.setattr("pconv.training.data.decode", lambda *_: np.empty(2**60, dtype=bool))
    with pytest.raises(TrainingError, match=r"^out of memory: lower workers \(1\) or cache_gb \(2\), or lower stage"):
        train(longer(config, 2).model_copy(update={"workers": 1}), tmp_path / "run")


def test_photos_that_cannot_be_read_are_named_and_counted(config, tmp_path, capfd):
    held_out = tmp_path / "held-out"
    shutil.copytree(config.photos, held_out)
    broken, empty = config.photos / "broken.png", held_out / "empty.png"
    broken.write_bytes(b"nothing")
    empty.touch()
    train(longer(config, 4).model_copy(update={"validation": held_out}), tmp_path / "run")  # 8 samples of 4 files
    lines = capfd.readouterr().err.splitlines()
    why = f"{broken} is not an image of a known format"
    assert [line.startswith(f"left out: {why}") for line in lines].count(True) == 1  # although it was met twice
    assert [line for line in lines if line.startswith(f"left out in all, since they could not be read (1): {why}")]
    assert f"left out of the validation (1): {empty} is empty" in lines


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_fewer_photos_than_workers_are_enough(config, tmp_path):
    outcome = train(longer(config, 2).model_copy(update={"workers": 4}), tmp_path / "run")
    assert outcome.steps == 2


def test_masks_of_other_sizes_than_the_crops_are_taken(config, tmp_path):
    (tmp_path / "masks").mkdir()
    for number, (width, height) in enumerate(((20, 30), (300, 64), (33, 500))):
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[height // 3 : height // 2, width // 3 : width // 2] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
    masked = longer(config, 3).model_copy(update={"masks": tmp_path / "masks", "mask_polarity": "white-hole"})
    assert train(masked, tmp_path / "run").steps == 3


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
        patch.setattr("pconv.training.run.PConvUNet", Interrupting)
        outcome = train(config, out)
    assert outcome.steps == step
    assert outcome.stopped_by == signal.SIGINT


def test_ctrl_c_saves_and_leaves_the_handlers_as_they_were(config, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    train_until(config, tmp_path / "run", 2)
    assert load_state(tmp_path / "run")["step"] == 2
    assert signal.getsignal(signal.SIGINT) is before


def killed(action):
    """Run ``action`` in a process of its own, which is to die of SIGKILL in it."""
    child = os.fork()
    if not child:
        try:
            action()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)  # it was not killed
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was not killed"
    assert os.WTERMSIG(status) == signal.SIGKILL


def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def dies_in_forward(call):
    class Dying(PConvUNet):
        calls = 0

        def forward(self, image, valid):
            Dying.calls += 1
            return die() if Dying.calls == call else super().forward(image, valid)

    return {"pconv.training.run.PConvUNet": Dying}


def dies_writing_state(state, file):
    file.write(b"PK half a state")
    file.flush()
    die()


def dies_writing_model(tensors, path, metadata):
    path.write_bytes(b"half a model")
    die()


def dies_after(function, call):
    calls = []

    def dying(*args, **kwargs):
        function(*args, **kwargs)
        calls.append(args)
        if len(calls) == call:
            die()

    return dying


KILLS = {
    "before anything was saved": dies_in_forward(2),
    "in the step after a save": dies_in_forward(5),
    "between the model and the state": {"pconv.training.run.save_state": die},
    "between the two renamings": {"pconv.files.Path.replace": dies_after(Path.replace, 3)},
    "while the state is written": {"pconv.nn.checkpoint.torch.save": dies_writing_state},
    "while a model is written": {"pconv.nn.checkpoint.save_file": dies_writing_model},
    "right after a save": {"pconv.training.run.save_state": dies_after(run_module.save_state, 1)},
    "in the second stage": dies_in_forward(2),
}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_killed_at_any_moment_and_resumed_it_ends_with_the_same_weights(config, tmp_path):
    config = config.model_copy(update={"save_every": 2})
    whole, *_ = train(config, tmp_path / "whole")
    out = tmp_path / "part"

    for patches in KILLS.values():

        def go_on_and_die(patches=patches):
            with pytest.MonkeyPatch.context() as patch:
                for target, replacement in patches.items():
                    patch.setattr(target, replacement)
                train(config, out, resume=(out / "state.pt").exists())

        killed(go_on_and_die)
        if (out / "state.pt").exists():
            load_state(out)  # raises if it is not whole
    assert load_state(out)["step"] > 0
    resumed, steps, _ = train(config, out, resume=True)
    assert steps == 9
    for (name, a), b in zip(weights(whole).items(), weights(resumed).values(), strict=True):
        assert torch.equal(a, b), name


class Poisoned(PConvUNet):
    """What is known turns into NaN in some calls: batch norm's statistics are hit as well as the loss."""

    bad_calls: frozenset = frozenset()
    calls = 0

    def forward(self, image, valid):
        Poisoned.calls += self.training
        bad = self.training and Poisoned.calls in self.bad_calls
        return super().forward(image * math.nan if bad else image, valid)


def test_steps_whose_loss_is_not_finite_are_skipped_and_counted(config, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("pconv.training.run.PConvUNet", Poisoned)
    monkeypatch.setattr(Poisoned, "calls", 0)
    monkeypatch.setattr(Poisoned, "bad_calls", frozenset({2, 3, 5}))
    model, steps, _ = train(longer(config, 6), tmp_path / "run")
    assert steps == 6
    assert load_state(tmp_path / "run")["skipped"] == 3
    assert all(value.isfinite().all() for value in weights(model).values())
    optimizer = load_state(tmp_path / "run")["optimizers"][0]
    assert {int(entry["step"]) for entry in optimizer["state"].values()} == {3}  # as if the bad ones had not been
    errors = capfd.readouterr().err
    assert "step 5 skipped, its loss is not finite (3 skipped so far)" in errors
    assert "3 steps were skipped" in errors


def test_ten_bad_steps_in_a_row_end_the_run_and_leave_the_batch(config, tmp_path, monkeypatch):
    monkeypatch.setattr("pconv.training.run.PConvUNet", Poisoned)
    monkeypatch.setattr(Poisoned, "calls", 0)
    monkeypatch.setattr(Poisoned, "bad_calls", frozenset(range(5, 100)))
    config = longer(config, 40).model_copy(update={"save_every": 2})
    with pytest.raises(TrainingError, match=r"10 steps in a row, up to step 14: .*bad-batch-0\.png"):
        train(config, tmp_path / "run")
    assert BAD_IN_A_ROW == 10
    assert load_state(tmp_path / "run")["step"] == 4
    kept = torch.load(tmp_path / "run" / "bad-batch-0.pt", weights_only=True)
    assert kept["images"].shape == (2, 3, 32, 32)
    assert Image.open(tmp_path / "run" / "bad-batch-0.png").size == (2 * 36, 2 * 36)


@pytest.mark.slow
def test_two_processes_train_as_one_does_on_the_same_batches(config, tmp_path):
    """Two processes with half a batch each, and one that computes the same halves one after the other.

    Batch norm sees the same halves in both, so that the weights must agree. Its running statistics need not, as one
    process updates them twice a step: the stage with the frozen encoder, which uses them, comes first.
    """
    changes = {"batch_size": 4, "steps": 3, "clip_norm": 1.0}
    free, frozen = (stage.model_copy(update=changes) for stage in config.stages)
    config = config.model_copy(update={"stages": (frozen, free)})
    write_config(config, tmp_path / "run.toml")
    call = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "pconv", "train"]
    done = subprocess.run(
        [*call, tmp_path / "run.toml", "--out", tmp_path / "two"],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("after 6 of 6 steps") == 1
    assert load_state(tmp_path / "two")["step"] == 6

    one, *_ = train(config.model_copy(update={"accumulate": 2}), tmp_path / "one")
    torch.manual_seed(config.seed)
    start = PConvUNet(PRESETS["tiny"]).state_dict()
    for name, value in weights(tmp_path / "two" / "model.safetensors").items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(value, weights(one)[name], rtol=1e-5, atol=1e-6)
            assert not torch.equal(value, start[name]), name


def test_a_model_that_was_removed_is_written_again(config, tmp_path):
    model, *_ = train(longer(config, 1), tmp_path / "run")
    before = weights(model)
    model.unlink()
    train(longer(config, 1), tmp_path / "run", resume=True)
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


def test_a_folder_with_a_model_alone_says_what_to_do(config, tmp_path):
    train(longer(config, 1), tmp_path / "run")
    (tmp_path / "run" / "state.pt").unlink()
    with pytest.raises(TrainingError, match=r"no state\.pt; start without --resume; .*init=.*model\.safetensors"):
        train(longer(config, 1), tmp_path / "run", resume=True)


def test_a_save_that_fails_leaves_the_one_before(config, tmp_path, monkeypatch):
    model, *_ = train(longer(config, 1), tmp_path / "run")
    before = model.read_bytes(), (tmp_path / "run" / "state.pt").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for target in ("pconv.training.run.save_state", "pconv.files.os.fsync", "pconv.training.run.save_network"):
        with monkeypatch.context() as patch:
            patch.setattr(target, full)
            if target.endswith("fsync"):
                patch.setattr("pconv.training.loop.write_config", lambda *_: None)
            with pytest.raises(TrainingError, match=r"cannot write to .*: No space left on device; .* --resume"):
                train(longer(config, 2), tmp_path / "run", resume=True)
        assert (model.read_bytes(), (tmp_path / "run" / "state.pt").read_bytes()) == before
        assert not list((tmp_path / "run").glob(".*"))
    assert train(longer(config, 2), tmp_path / "run", resume=True).steps == 2


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
    first, *_ = train(longer(config, 3), tmp_path / "first")
    start = longer(config, 1).model_copy(update={"init": first})
    start = start.model_copy(update={"stages": (start.stages[0].model_copy(update={"lr": 1e-12}),)})
    second, *_ = train(start, tmp_path / "second")
    for name, value in weights(second).items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(value, weights(first)[name], rtol=1e-4, atol=1e-6)


def test_a_network_with_noise_inputs_resumes_exactly(config, tmp_path, monkeypatch):
    """Fresh noise is drawn in each step; what was drawn before a stop makes no difference after it."""
    noisy = replace(
        PRESETS["tiny"], surface="correction", surface_skip=True, surface_levels=(1,), blocks=(1,), noise_levels=2
    )
    monkeypatch.setitem(PRESETS, "noisy", noisy)
    config = config.model_copy(update={"model": "noisy"})
    whole, *_ = train(longer(config, 4), tmp_path / "whole")
    train(longer(config, 2), tmp_path / "part")
    torch.manual_seed(77)
    resumed, *_ = train(longer(config, 4), tmp_path / "part", resume=True)
    assert load_network(whole)[0].config == noisy
    for (name, a), b in zip(weights(whole).items(), weights(resumed).values(), strict=True):
        assert torch.equal(a, b), name


def test_each_step_draws_other_noise(config, tmp_path, monkeypatch):
    drawn = []

    class Drawing(PConvUNet):
        def forward(self, image, valid):
            if self.training:
                drawn.append(torch.rand(1).item())
            return super().forward(image, valid)

    monkeypatch.setattr("pconv.training.run.PConvUNet", Drawing)
    train(longer(config, 4), tmp_path / "run")
    assert len(set(drawn)) == 4


def test_init_of_another_network_is_refused(config, tmp_path):
    save_network(PConvUNet(UNetConfig((8, 8), (3, 3))), tmp_path / "other.safetensors", {})
    with pytest.raises(TrainingError, match="is another network than model 'tiny'"):
        train(config.model_copy(update={"init": tmp_path / "other.safetensors"}), tmp_path / "run")


def test_learning_rate_warms_up_and_falls_to_zero():
    stage = Stage(steps=110, size=8, batch_size=1, lr=0.5, schedule="cosine", warmup_steps=10)
    rates = [rate_factor(stage, step) for step in range(111)]
    assert rates[0] == 1 / 11
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0.0)
    assert all(a > b for a, b in pairwise(rates[10:]))
    constant = stage.model_copy(update={"schedule": "constant"})
    assert rate_factor(constant, 99) == 1.0
    linear = stage.model_copy(update={"schedule": "linear", "decay": 0.5})
    assert [rate_factor(linear, step) for step in (20, 55, 82, 110)] == [1.0, 1.0, 28 / 55, 0.0]


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
    set_train(net, Stage(steps=1, size=8, batch_size=1, lr=1.0, freeze_encoder_norm=True))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    net(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64) < 0.5).mean().backward()
    optimizer.step()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("encoder") and "norm" in name for name in changed)
    assert "encoder.1.conv.weight" in changed
    assert "decoder.0.norm.running_mean" in changed
    assert "decoder.0.norm.weight" in changed
    set_train(net, Stage(steps=1, size=8, batch_size=1, lr=1.0, freeze_norm=True))
    assert all(p.requires_grad for p in net.parameters())
    assert not any(m.training for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d))
