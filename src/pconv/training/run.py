"""A training run's changing state: network, average, optimisers, counters; how it is saved and validated."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricOptimizer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter

from pconv.errors import TrainingError, is_out_of_memory
from pconv.files import replacing, replacing_together
from pconv.masks.strokes import RATIO_BINS
from pconv.masks.superres import FACTORS
from pconv.models import find_model
from pconv.nn.checkpoint import load_network, save_network, save_state
from pconv.nn.plain import FILLS, PlainConfig, PlainUNet
from pconv.nn.unet import PConvUNet, UNetConfig
from pconv.training.checkpoint import HOW_TO_GO_ON, MODEL_FILE, STATE_FILE, writing_run
from pconv.training.config import Stage, TrainConfig
from pconv.training.data import Batch
from pconv.training.features import VGG16Features
from pconv.training.machines import reduced, synchronized
from pconv.training.muon import Muon
from pconv.training.sheet import contact_sheet
from pconv.training.texture import TextureLoss
from pconv.training.validation import measured_by_bin

BEST_FILE = "best.safetensors"

BATCH_NORMS = nn.BatchNorm2d, nn.SyncBatchNorm

NOISE_RATE = 5.0
"""Noise strengths learn this many times as fast as other parameters: their gradients are small."""

LAST_DISCRIMINATOR_RATE = 0.3
"""The discriminators' rate at a stage's end, as a share of their highest."""


class Run:
    """The network that is trained, its average, its optimisers and the counters; ``begin`` starts a stage.

    Args:
        vgg: VGG-16, where a stage needs it.

    Raises:
        TrainingError: ``config.init`` is another network.
    """

    net: nn.Module
    averaged: AveragedModel
    texture: TextureLoss | None

    def __init__(self, config: TrainConfig, out: Path, fabric: Fabric, vgg: VGG16Features | None = None) -> None:
        self.config, self.out, self.fabric, self.vgg = config, out, fabric, vgg
        self.stage_number = -1
        self.begun_from: dict[str, Tensor] | None = None
        self.optimizers: list[_FabricOptimizer] = []
        self.step = 0
        self.skipped = 0
        self.best = -math.inf
        self.begin(0)

    @property
    def stage(self) -> Stage:
        return self.config.stages[self.stage_number]

    def begin(self, number: int) -> None:
        """Begin stage ``number``: its network, optimisers, average and discriminators.

        The network and the optimisers of the stage before go on where they are those of this one too. Otherwise the
        stage starts from the averaged weights, as a run of its own with ``init`` would.
        """
        before = self.config.stages[self.stage_number] if self.stage_number >= 0 else None
        self.stage_number, stage = number, self.config.stages[number]
        self.best = -math.inf
        torch.manual_seed(self.config.seed + number)
        goes_on = before is not None and self._goes_on(before, stage)
        average = self._average.state_dict() if before else None
        if not goes_on:
            self.net = self._new_net(stage, average)
            self.averaged = AveragedModel(self.net, multi_avg_fn=ema_update(self.config.ema), use_buffers=True)
            self._optimizers = self._new_optimizers(stage)
            self.optimizers = [cast(_FabricOptimizer, self.fabric.setup_optimizers(each)) for each in self._optimizers]
        self.begun_from = None
        if stage.mixture < 1:
            start = average if average is not None else self._average.state_dict()
            self.begun_from = {name: value.clone() for name, value in start.items()}
        self.texture = None
        if stage.texture:
            mean = partial(reduced, self.fabric) if self.fabric.world_size > 1 else None
            self.texture = TextureLoss(stage.texture, self.vgg, mean).to(self.fabric.device)

    def _new_net(self, stage: Stage, average: dict[str, Tensor] | None) -> nn.Module:
        """The stage's network, with fresh weights where there are no others, on the device."""
        config = self.config
        net = new_network(config, stage)
        if average is None and config.init:
            start_from, _ = load_network(find_model(config.init))
            levels = len(net.config.channels)
            if len(start_from.config.channels) > levels and start_from.config.outer(levels) == net.config:
                start_from = start_from.outer(levels)
            if not start_from.config.fits_into(net.config):
                raise TrainingError(
                    f"{config.init} is another network than model {config.model!r}: {start_from.config}"
                )
            average = start_from.state_dict()
        if average is not None:
            net.load_state_dict({**net.state_dict(), **average})
        trained = synchronized(net, self.fabric.device) if config.sync_batch_norm else net
        for module in trained.modules():
            if isinstance(module, BATCH_NORMS):
                module.momentum = config.batch_norm_momentum
        trained.to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return trained

    def _goes_on(self, before: Stage, stage: Stage) -> bool:
        """Whether the network and the optimisers of ``before`` go on in ``stage``."""
        same = (before.optimizer, before.betas) == (stage.optimizer, stage.betas)
        return same and self.config.network(before) == self.config.network(stage)

    def _new_optimizers(self, stage: Stage) -> list[torch.optim.Optimizer]:
        """AdamW, with the noise strengths as a second group where there are any; then Muon, if the stage has it."""
        parameters = dict(self.net.named_parameters())
        inner = inner_convolutions(self.net) if stage.optimizer == "muon" else set()
        strengths = {name for name in parameters if name.endswith("noise.strength")}
        rest = [parameter for name, parameter in parameters.items() if name not in inner | strengths]
        groups: list[dict[str, Any]] = [{"params": rest}]
        if strengths:
            noise = [parameters[name] for name in parameters if name in strengths]
            groups.append({"params": noise, "weight_decay": 0.0})
        # Fused optimisers unscale fp16's gradients themselves, which Fabric cannot combine with clipping.
        adamw = torch.optim.AdamW(
            groups, betas=stage.betas, weight_decay=self.config.weight_decay, fused=not self.scaled
        )
        if not inner:
            return [adamw]
        return [adamw, Muon([parameters[name] for name in parameters if name in inner], stage.lr)]

    @property
    def _average(self) -> PConvUNet:
        return cast(PConvUNet, self.averaged.module)

    @property
    def scaled(self) -> bool:
        """Whether gradients are scaled up until the optimiser's step, as in fp16."""
        return getattr(self.fabric.strategy.precision, "scaler", None) is not None

    def restore(self, state: dict[str, Any]) -> None:
        """Become what ``save`` saved.

        Raises:
            TrainingError: it is the state of another network, or of a stage that the configuration has not.
        """
        if state["config"]["model"] != self.config.model:
            raise TrainingError(
                f"{self.out / STATE_FILE} is the state of model {state['config']['model']!r}, and the configuration "
                f"says {self.config.model!r}"
            )
        if state["stage"] >= len(self.config.stages):
            raise TrainingError(
                f"{self.out / STATE_FILE} is in stage {state['stage']}, and the configuration has stages 0 to "
                f"{len(self.config.stages) - 1}"
            )
        self.stage_number = -1
        self.begin(state["stage"])
        try:
            self.net.load_state_dict(state["net"])
            self.averaged.load_state_dict(state["averaged"])
            for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.fabric.strategy.precision.load_state_dict(state["precision"])
            if self.texture and state["texture"]:
                self.texture.restore(state["texture"])
        except (RuntimeError, ValueError, KeyError) as error:
            if is_out_of_memory(error):
                raise
            raise TrainingError(
                f"{self.out / STATE_FILE} is the state of a network of another shape, or of other optimisers"
            ) from error
        if self.stage.mixture < 1:
            if state["begun_from"] is None:
                raise TrainingError(
                    f"{self.out / STATE_FILE} has no weights to mix with: its stage began with mixture = 1; keep that"
                )
            self.begun_from = state["begun_from"]
        self.step, self.skipped, self.best = state["step"], state["skipped"], state["best"]

    def save(self, photos: str, positions: list[Any]) -> None:
        """Write ``model.safetensors`` and ``state.pt``, both or neither.

        Args:
            photos: fingerprint of what the run learns from.
            positions: where each process's readers of shards are.

        Raises:
            TrainingError: the weights are not finite, or the files cannot be written; what was saved before stays.
        """
        if not all(p.isfinite().all() for p in self.net.parameters()):
            raise TrainingError(
                f"the weights are no longer finite at step {self.step}: the training in {self.out} diverged; lower lr "
                f"or set clip_norm, and {HOW_TO_GO_ON}"
            )
        state = {
            "net": self.net.state_dict(),
            "averaged": self.averaged.state_dict(),
            "begun_from": self.begun_from,
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "texture": self.texture.saved_state() if self.texture else None,
            "precision": self.fabric.strategy.precision.state_dict(),
            "stage": self.stage_number,
            "step": self.step,
            "skipped": self.skipped,
            "best": self.best,
            "photos": photos,
            "places": positions,
            "config": self.config.model_dump(mode="json"),
        }
        files = [self.out / MODEL_FILE, self.out / STATE_FILE]
        with writing_run(self.out), replacing_together(files) as (model_file, state_file):
            self.save_model(model_file)
            save_state(state, state_file)

    def model(self) -> PConvUNet:
        """The network for use: the averaged weights, mixed with those that the stage began with if it says so."""
        if self.begun_from is None:
            return self._average
        mixed = copy.deepcopy(self._average)
        mixed.load_state_dict(mixture(mixed.state_dict(), self.begun_from, self.stage.mixture))
        return mixed

    def save_model(self, path: Path) -> None:
        """Write the network for use."""
        self._write(self.model(), path)

    def _write(self, model: PConvUNet, path: Path) -> None:
        save_network(model, path, {"config": self.config.model_dump(mode="json"), "step": self.step})

    def set_lr(self, factor: float) -> None:
        """Set all learning rates to ``factor``, 0 to 1, times the stage's highest values."""
        adamw, *muon = self._optimizers
        for group, times in zip(adamw.param_groups, (1, NOISE_RATE), strict=False):
            group["lr"] = (self.stage.adamw_lr or self.stage.lr) * times * factor
        for group in (group for optimizer in muon for group in optimizer.param_groups):
            group["lr"] = self.stage.lr * factor
        if self.texture:
            # At the end of a stage the discriminators go on learning, so that they follow the network.
            self.texture.set_lr(self.stage.discriminator_lr * min(factor + LAST_DISCRIMINATOR_RATE, 1))

    def clip_gradients(self) -> Tensor:
        """Limit the norm of all gradients, if the stage has a limit, and return its value before that."""
        # Fabric's own clipping looks at one optimiser's parameters alone.
        self.fabric.strategy.precision.unscale_gradients(self._optimizers[0])
        return nn.utils.clip_grad_norm_(self.net.parameters(), self.stage.clip_norm or math.inf)

    def validate(self, batches: list[Batch], writer: SummaryWriter) -> str:
        """Log PSNR for each bin of hole ratios or factor, the Gram distance if VGG-16 is there, and a contact sheet.

        Keeps the model with the best mean PSNR of the stage; returns a line.
        """
        model = self.model()
        figures = measured_by_bin(model, batches, self.fabric.device, self.vgg)
        mean = sum(figures.psnr) / len(figures.psnr)
        sheet = contact_sheet(
            model,
            torch.stack([batch.images[0] for batch in batches]),
            torch.stack([batch.valid[0] for batch in batches]),
            self.fabric.device,
            torch.stack([batch.shown[0] for batch in batches]),
        )
        superres = self.stage.holes == "superres"
        names = [f"x{factor}" for factor in FACTORS] if superres else [f"{low:g}-{high:g}" for low, high in RATIO_BINS]
        line = "validation PSNR  " + "  ".join(f"{level:.2f}" for level in figures.psnr) + f"  mean {mean:.2f} dB"
        with writing_run(self.out):
            for name, level in zip(names, figures.psnr, strict=True):
                writer.add_scalar(f"psnr/{name}", level, self.step)
            writer.add_scalar("psnr/mean", mean, self.step)
            if figures.gram is not None:
                writer.add_scalar("gram_distance", figures.gram, self.step)
                line += f"  Gram distance {figures.gram:.3f}"
            with replacing(self.out / f"step-{self.step:07d}.png") as temporary:
                sheet.save(temporary)
            writer.add_image("sheet", np.asarray(sheet), self.step, dataformats="HWC")
            if mean > self.best:
                self.best = mean
                self._write(model, self.out / BEST_FILE)
        return line


def new_network(config: TrainConfig, stage: Stage) -> PConvUNet:
    """The stage's network with fresh weights; a plain one is trained in the same way, by the same calls."""
    network = config.network(stage)
    if config.convolution == "partial":
        return PConvUNet(network)
    fill = FILLS[config.convolution.removeprefix("plain-")]
    return cast(PConvUNet, PlainUNet(plain_config(network, fill)))


def plain_config(network: UNetConfig, fill: tuple[float, ...]) -> PlainConfig:
    """The configuration of a plain network with the channels, kernels and activations of ``network``."""
    paper = replace(network, surface="none", surface_skip=False, surface_levels=(), blocks=(), noise_levels=0)
    return PlainConfig(**vars(paper), fill=fill)


def inner_convolutions(net: nn.Module) -> set[str]:
    """The names of the convolution weights that Muon takes: all but the first and the last layer's.

    Those two see or make the image's few channels, and their updates must not be orthogonal.
    """
    weights = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    ends = {weights[0], next(name for name in reversed(weights) if name.startswith("decoder"))}
    return {f"{name}.weight" for name in weights if name not in ends}


def mixture(weights: Mapping[str, Tensor], begun_from: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """``share`` times ``weights`` plus the rest of ``begun_from``.

    What ``begun_from`` has not counts there as a part that changes nothing: a residual block whose second norm is 0,
    a noise input of strength 0.
    """
    mixed = dict(weights)
    for name, value in weights.items():
        if not value.is_floating_point():
            continue
        if name in begun_from:
            mixed[name] = torch.lerp(begun_from[name].to(value), value, share)
        elif name.endswith(("noise.strength", "second_norm.weight", "second_norm.bias")):
            mixed[name] = share * value
    return mixed


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
