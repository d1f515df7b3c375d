"""A training run's changing state: network, average, optimiser, counters; how it is saved and validated."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricOptimizer
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter

from pconv.errors import TrainingError
from pconv.files import replacing, replacing_together
from pconv.masks.strokes import RATIO_BINS
from pconv.models import find_model
from pconv.nn.checkpoint import load_network, save_network, save_state
from pconv.nn.plain import FILLS, PlainConfig, PlainUNet
from pconv.nn.unet import PRESETS, PConvUNet, UNetConfig
from pconv.training.checkpoint import MODEL_FILE, STATE_FILE, writing_run
from pconv.training.config import TrainConfig
from pconv.training.data import Batch
from pconv.training.machines import synchronized
from pconv.training.sheet import contact_sheet
from pconv.training.validation import psnr_by_bin

BEST_FILE = "best.safetensors"


class Run:
    """The network that is trained, its average, its optimiser and the counters.

    Raises:
        TrainingError: ``config.init`` is another network.
    """

    def __init__(self, config: TrainConfig, out: Path, fabric: Fabric) -> None:
        torch.manual_seed(config.seed)
        net = new_network(config)
        if config.init:
            start_from, _ = load_network(find_model(config.init))
            if start_from.config != net.config:
                raise TrainingError(
                    f"{config.init} is another network than model {config.model!r}: {start_from.config}"
                )
            net.load_state_dict(start_from.state_dict())
        self.config, self.out, self.fabric = config, out, fabric
        self.net = synchronized(net, fabric.device) if config.sync_batch_norm else net
        self.net.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = AveragedModel(self.net, multi_avg_fn=ema_update(config.ema), use_buffers=True)
        # Fused optimisers unscale fp16's gradients themselves, which Fabric cannot combine with clipping.
        self._optimizer = torch.optim.AdamW(
            self.net.parameters(), weight_decay=config.weight_decay, fused=not self.scaled
        )
        self.optimizer = cast(_FabricOptimizer, fabric.setup_optimizers(self._optimizer))
        self.step = 0
        self.skipped = 0
        self.best = -math.inf

    @property
    def scaled(self) -> bool:
        """Whether gradients are scaled up until the optimiser's step, as in fp16."""
        return getattr(self.fabric.strategy.precision, "scaler", None) is not None

    def restore(self, state: dict[str, Any]) -> None:
        """Become what ``save`` saved.

        Raises:
            TrainingError: it is the state of another network.
        """
        if state["config"]["model"] != self.config.model:
            raise TrainingError(
                f"{self.out / STATE_FILE} is the state of model {state['config']['model']!r}, and the configuration "
                f"says {self.config.model!r}"
            )
        try:
            self.net.load_state_dict(state["net"])
            self.averaged.load_state_dict(state["averaged"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.fabric.strategy.precision.load_state_dict(state["precision"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(f"{self.out / STATE_FILE} is the state of a network of another shape") from error
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
                f"the weights are no longer finite at step {self.step}: the training diverged; lower lr or set "
                f"clip_norm, and --resume from what was saved before in {self.out}"
            )
        state = {
            "net": self.net.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "step": self.step,
            "skipped": self.skipped,
            "best": self.best,
            "photos": photos,
            "places": positions,
            "config": self.config.model_dump(mode="json"),
        }
        files = [self.out / MODEL_FILE, self.out / STATE_FILE]
        with writing_run(self.out), replacing_together(files) as (model_file, state_file):
            self.save_average(model_file)
            save_state(state, state_file)

    def save_average(self, path: Path) -> None:
        """Write the averaged weights, for use."""
        average: PConvUNet = self.averaged.module  # type: ignore[assignment]
        save_network(average, path, {"config": self.config.model_dump(mode="json"), "step": self.step})

    def set_lr(self, lr: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = lr

    def clip_gradients(self) -> Tensor:
        """Limit the gradient's norm, if the configuration has a limit, and return its value before that."""
        norm = self.fabric.clip_gradients(
            self.net, self._optimizer, max_norm=self.config.clip_norm or math.inf, error_if_nonfinite=False
        )
        assert norm is not None
        return norm

    def validate(self, batches: list[Batch], writer: SummaryWriter) -> str:
        """Log PSNR for each bin of hole ratios and a contact sheet, keep the best average; return a line."""
        average: PConvUNet = self.averaged.module  # type: ignore[assignment]
        levels = psnr_by_bin(average, batches, self.fabric.device)
        mean = sum(levels) / len(levels)
        sheet = contact_sheet(
            average,
            torch.stack([batch.images[0] for batch in batches]),
            torch.stack([batch.valid[0] for batch in batches]),
            self.fabric.device,
        )
        with writing_run(self.out):
            for (low, high), level in zip(RATIO_BINS, levels, strict=True):
                writer.add_scalar(f"psnr/{low:g}-{high:g}", level, self.step)
            writer.add_scalar("psnr/mean", mean, self.step)
            with replacing(self.out / f"step-{self.step:07d}.png") as temporary:
                sheet.save(temporary)
            writer.add_image("sheet", np.asarray(sheet), self.step, dataformats="HWC")
            if mean > self.best:
                self.best = mean
                self.save_average(self.out / BEST_FILE)
        return "validation PSNR  " + "  ".join(f"{level:.2f}" for level in levels) + f"  mean {mean:.2f} dB"


def new_network(config: TrainConfig) -> PConvUNet:
    """The preset's network with fresh weights; a plain one is trained in the same way, by the same calls."""
    preset = PRESETS[config.model]
    if config.convolution == "partial":
        return PConvUNet(preset)
    fill = FILLS[config.convolution.removeprefix("plain-")]
    return cast(PConvUNet, PlainUNet(plain_config(preset, fill)))


def plain_config(preset: UNetConfig, fill: tuple[float, ...]) -> PlainConfig:
    """The configuration of a plain network with the channels, kernels and activations of ``preset``."""
    paper = replace(preset, surface="none", surface_skip=False, surface_levels=(), blocks=(), noise_levels=0)
    return PlainConfig(**vars(paper), fill=fill)


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
