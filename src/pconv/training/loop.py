"""The training loop (Liu et al., section 4; SPEC section 4), to be read straight down."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from pconv.errors import TrainingError
from pconv.nn.checkpoint import load_network, save_network
from pconv.nn.devices import computes_bf16, resolve_device
from pconv.nn.unet import PRESETS, PConvUNet
from pconv.training.checkpoint import STATE_FILE, load_state, save_state
from pconv.training.config import Stage, TrainConfig
from pconv.training.data import HoledPhotos, find_photos, loader
from pconv.training.losses import hole_loss, valid_loss
from pconv.training.sheet import contact_sheet

MODEL_FILE = "model.safetensors"
SHEET_PHOTOS = 6


def train(config: TrainConfig, out: Path, resume: bool = False) -> tuple[Path, int]:
    """Run ``config`` into the folder ``out`` and return the trained model's path and the steps done.

    ``out`` gets ``model.safetensors`` (the averaged weights, for use), ``state.pt`` (for ``resume``), contact sheets
    and TensorBoard's scalars. Ctrl-C ends the run after the step at hand, with everything saved; a second one at
    once. With ``resume`` the run goes on after its last saved step; stages may have been lengthened meanwhile.

    Raises:
        TrainingError: ``out`` holds a run already, there is nothing to resume, or the photos cannot be read.
    """
    if (out / STATE_FILE).exists() and not resume:
        raise TrainingError(f"{out} holds a run already: go on with --resume, or choose another --out")
    state = load_state(out) if resume else None
    photos = [path for path in find_photos(config.photos) if out.resolve() not in path.resolve().parents]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot make the folder {out}: {error.strerror}") from error
    device = resolve_device(config.device)
    bf16 = computes_bf16(device) if config.precision == "auto" else config.precision == "bf16"
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)

    torch.manual_seed(config.seed)
    net = PConvUNet(PRESETS[config.model])
    if config.init:
        start_from, _ = load_network(config.init)
        if start_from.config != net.config:
            raise TrainingError(f"{config.init} is another network than model {config.model!r}: {start_from.config}")
        net.load_state_dict(start_from.state_dict())
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = AveragedModel(net, multi_avg_fn=ema_update(config.ema), use_buffers=True)
    average: PConvUNet = averaged.module  # type: ignore[assignment]
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=config.weight_decay, fused=True)
    step = 0
    if state:
        if state["config"]["model"] != config.model:
            raise TrainingError(
                f"{out / STATE_FILE} is the state of model {state['config']['model']!r}, and the configuration says "
                f"{config.model!r}"
            )
        try:
            net.load_state_dict(state["net"])
            averaged.load_state_dict(state["averaged"])
            optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise TrainingError(f"{out / STATE_FILE} is the state of a network of another shape") from error
        torch.set_rng_state(state["rng"])
        step = state["step"]

    def save() -> None:
        if not all(p.isfinite().all() for p in net.parameters()):
            raise TrainingError(
                f"the weights are no longer finite at step {step}: the training diverged; lower lr or set clip_norm, "
                f"and --resume from what was saved before in {out}"
            )
        recipe = {"config": config.model_dump(mode="json"), "step": step, "photos": len(photos)}
        save_network(average, out / MODEL_FILE, recipe)
        save_state(
            {
                "net": net.state_dict(),
                "averaged": averaged.state_dict(),
                "optimizer": optimizer.state_dict(),
                "rng": torch.get_rng_state(),
                "step": step,
                "config": config.model_dump(mode="json"),
            },
            out,
        )

    images = sum(min(max(step - start, 0), s.steps) * s.batch_size for start, s in stage_starts(config))
    total = sum(s.steps * s.batch_size for s in config.stages)
    with (
        SummaryWriter(str(out), purge_step=step + 1 if state else None) as writer,
        tqdm(total=total, initial=images, unit="img", unit_scale=True, smoothing=0.05) as bar,
        stop_after_step() as stopping,
    ):
        for start, stage in stage_starts(config):
            done = max(step - start, 0)
            if done >= stage.steps or stopping:
                continue
            rest = stage.model_copy(update={"steps": stage.steps - done})
            batches = loader(photos, rest, images, config.seed, config.workers, config.cache_gb)
            sheet_batch = fixed_samples(photos, stage, config.seed)
            set_train(net, stage.freeze_encoder_norm)
            for truth, valid in batches:
                truth, valid = to_network(truth, device), valid.to(device)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(stage, step - start)
                with autocast:
                    output = net(truth, valid).float()
                losses = {"valid": valid_loss(output, truth, valid), "hole": hole_loss(output, truth, valid)}
                loss = config.valid_weight * losses["valid"] + config.hole_weight * losses["hole"]
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                if config.clip_norm:
                    torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip_norm)
                optimizer.step()
                averaged.update_parameters(net)
                step += 1
                images += stage.batch_size
                bar.update(stage.batch_size)

                if step % config.log_every == 0:
                    scalars = {name: value.item() for name, value in losses.items()}
                    for name, value in scalars.items():
                        writer.add_scalar(f"loss/{name}", value, step)
                    writer.add_scalar("lr", optimizer.param_groups[0]["lr"], step)
                    bar.set_postfix({name: f"{value:.4f}" for name, value in scalars.items()})
                if step % config.sheet_every == 0:
                    sheet = contact_sheet(average, *sheet_batch, device)
                    sheet.save(out / f"step-{step:07d}.png")
                    writer.add_image("sheet", np.asarray(sheet), step, dataformats="HWC")
                if step % config.save_every == 0:
                    save()
                if stopping:
                    break
        if step % config.save_every:
            save()
    return out / MODEL_FILE, step


def stage_starts(config: TrainConfig) -> Iterator[tuple[int, Stage]]:
    """Each stage with the number of its first step."""
    start = 0
    for stage in config.stages:
        yield start, stage
        start += stage.steps


def learning_rate(stage: Stage, step: int) -> float:
    """Of step number ``step`` within the stage: a linear warm-up, then constant or a half cosine down to 0."""
    if step < stage.warmup_steps:
        return stage.lr * (step + 1) / (stage.warmup_steps + 1)
    if stage.schedule == "constant":
        return stage.lr
    progress = (step - stage.warmup_steps) / max(stage.steps - stage.warmup_steps, 1)
    return stage.lr * 0.5 * (1 + math.cos(math.pi * progress))


def ema_update(decay: float) -> Any:
    """Exponential moving average whose decay grows to ``decay``, so that early averages forget the random start."""

    @torch.no_grad()
    def update(averaged: Any, current: Any, count: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        floating = [(a, c) for a, c in zip(averaged, current, strict=True) if a.is_floating_point()]
        if floating:
            torch._foreach_lerp_([a for a, _ in floating], [c for _, c in floating], weight)
        for a, c in zip(averaged, current, strict=True):
            if not a.is_floating_point():
                a.copy_(c)

    return update


def set_train(net: PConvUNet, freeze_encoder_norm: bool) -> None:
    """Training mode; with ``freeze_encoder_norm`` the encoder's batch norms keep statistics and affine parameters."""
    net.train()
    for module in net.encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train(not freeze_encoder_norm)
            module.requires_grad_(not freeze_encoder_norm)


def to_network(pictures: Tensor, device: torch.device) -> Tensor:
    """uint8 ``(B, 3, H, W)`` to float 0..1, channels last, on ``device``."""
    pictures = pictures.to(device, non_blocking=True).float() / 255
    return pictures.contiguous(memory_format=torch.channels_last)


def fixed_samples(photos: list[Path], stage: Stage, seed: int) -> tuple[Tensor, Tensor]:
    """The samples that every contact sheet of a stage shows: the same crops with the same holes."""
    data = HoledPhotos(photos, stage, seed + 1, cache_bytes=0)
    pictures, valid = zip(*(data[i] for i in range(SHEET_PHOTOS)), strict=True)
    return torch.stack(pictures), torch.stack(valid)


@contextmanager
def stop_after_step() -> Iterator[list[int]]:
    """A list that is filled when Ctrl-C or a termination signal asks to stop; a second signal acts at once."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {each: signal.signal(each, ask) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
