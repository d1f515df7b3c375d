"""Training in one process, or in many that ``torchrun`` started, with Lightning Fabric."""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor, nn

from pconv.errors import InputError, TrainingError
from pconv.nn.devices import computes_bf16, resolve_device
from pconv.nn.unet import PConvUNet
from pconv.training.config import TrainConfig

LEAST_SPEEDUP = 1.25
"""Of bf16 over fp32, to be worth its rounding."""

_MIXED: dict[str, Any] = {"bf16": "bf16-mixed", "fp16": "16-mixed"}


class Autocast(MixedPrecision):
    """Fabric's mixed precision whose inputs stay in float32: the smooth surface and the known pixels need it."""

    def convert_input(self, data: Any) -> Any:
        return data


def start_fabric(config: TrainConfig) -> Fabric:
    """Join the processes that ``torchrun`` has started, or be the only one.

    With precision "auto" it computes in fp32, until ``settled_precision`` has said what the run takes.

    Raises:
        InputError: no such device, too few of them for the processes on this machine, or batches that do
            not split evenly.
    """
    device = resolve_device(config.device)
    processes = int(os.environ.get("WORLD_SIZE", 1))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    if device.type == "cuda" and here > torch.cuda.device_count():
        raise InputError(f"{here} processes need as many GPUs, and this machine has {torch.cuda.device_count()}")
    try:
        config.check_split(processes)
    except ValueError as error:
        raise InputError(str(error)) from error
    fabric = Fabric(
        accelerator=device.type,
        devices=here if processes > 1 else [device.index or 0] if device.type == "cuda" else 1,
        num_nodes=processes // here,
        strategy="ddp" if processes > 1 else "auto",
        plugins=[Autocast(_MIXED[config.precision], device.type)] if config.precision in _MIXED else [],
    )
    fabric.launch()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    return fabric


@cache
def bf16_speedup(device: torch.device) -> float:
    """How many times as fast as in fp32 ``device`` computes a convolution in bf16.

    Processors are measured: many emulate bf16, and some compute in it without being faster. GPUs that have it are
    faster, and count as 2.
    """
    # Filling asks computes_bf16 alone: it cannot wait for a measurement, and the same photo must have the same fill.
    if device.type != "cpu":
        return 2.0 if computes_bf16(device) else 0.0
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        features, weight = torch.randn(8, 64, 64, 64, dtype=dtype), torch.randn(64, 64, 3, 3, dtype=dtype)
        features, weight = (t.contiguous(memory_format=torch.channels_last) for t in (features, weight))
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            nn.functional.conv2d(features, weight, padding=1)
            times.append(time.perf_counter() - begun)
        seconds[dtype] = min(times)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def settled_precision(config: TrainConfig, fabric: Fabric, before: str) -> tuple[TrainConfig, str]:
    """``config`` with the precision that "auto" takes in all processes of a run, and a sentence that says which.

    The first process measures, since another may measure otherwise while the machine is busy.

    Args:
        before: the precision that a resumed run began in; "auto" where it is not known.
    """
    precision, note = before, f"precision {before}, in which the run began"
    if before == "auto":
        precision, note = fabric.broadcast(_measured(fabric.device) if fabric.is_global_zero else ("", ""))
    return config.model_copy(update={"precision": precision}), note


def _measured(device: torch.device) -> tuple[str, str]:
    speedup = bf16_speedup(device)
    precision = "bf16" if speedup > LEAST_SPEEDUP else "fp32"
    why = f": a convolution in bf16 is {speedup:.2g} times as fast as in fp32 on this processor"
    return precision, f"precision {precision}{why if device.type == 'cpu' else ''}"


def leave(fabric: Fabric) -> None:
    """End what ``start_fabric`` joined, when every process has come here.

    Without this the process group's threads end with the process, and now and then abort it after its work is done.
    """
    if fabric.world_size > 1:
        fabric.barrier()
        torch.distributed.destroy_process_group()


def synchronized(net: PConvUNet, device: torch.device) -> PConvUNet:
    """Batch-norm statistics over all processes.

    Raises:
        TrainingError: on CPUs, for which PyTorch has none.
    """
    if device.type != "cuda":
        raise TrainingError("sync_batch_norm needs GPUs: PyTorch's SyncBatchNorm has no form for the CPU")
    return nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-any-return, no-untyped-call]


def reduced(fabric: Fabric, value: Tensor, how: str = "mean") -> Tensor:
    """``value``'s mean or sum over all processes."""
    return cast(Tensor, fabric.all_reduce(value, reduce_op=how))


def gathered(fabric: Fabric, value: Any) -> list[Any]:
    """Each process's ``value``, a plain object, on every process."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values
