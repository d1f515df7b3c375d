"""Training in one process, or in many that ``torchrun`` started, with Lightning Fabric."""

from __future__ import annotations

import os
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pconv.errors import InputError, TrainingError
from pconv.nn.devices import computes_bf16, resolve_device
from pconv.nn.unet import PConvUNet
from pconv.training.config import TrainConfig

_FABRICS_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def start_fabric(config: TrainConfig) -> Fabric:
    """Join the processes that ``torchrun`` has started, or be the only one.

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
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if computes_bf16(device) else "fp32"
    fabric = Fabric(
        accelerator=device.type,
        devices=here if processes > 1 else [device.index or 0] if device.type == "cuda" else 1,
        num_nodes=processes // here,
        strategy="ddp" if processes > 1 else "auto",
        precision=_FABRICS_PRECISION[precision],
    )
    fabric.launch()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    return fabric


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
