"""How much memory does a fill of the whole picture take at once?

    python benchmarks/memory.py --size 2048          # the paper network in fp32
    python benchmarks/memory.py --size 2048 --bf16
    python benchmarks/memory.py --model default --backend onnxruntime    # bytes for each pixel, by backend
    MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=1073741824 python benchmarks/memory.py --size 1024

The highest resident memory while the network runs, less what the process had before (Linux only): activations, the
picture and the plan of its holes, not the weights. Seconds and processor seconds are medians of a run. The last form
tells glibc to keep large blocks; compare its seconds with those of the same command without it. A JSON line comes
last.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from common import block_holes, finish, machine, resident_mb, show
from torch import Tensor

from pconv import PRESETS, PConvUNet
from pconv.inpainting.backends import open_backend
from pconv.nn.fused import FusedUNet
from pconv.nn.onnx_export import save_onnx


@click.command()
@click.option("--model", type=click.Choice(list(PRESETS)), default="paper", show_default=True)
@click.option("--size", default=2048, show_default=True)
@click.option("--bf16", is_flag=True)
@click.option("--backend", type=click.Choice(["onnxruntime", "openvino"]), help="Not PyTorch; in fp32.")
@click.option("--repeats", default=1, show_default=True)
def main(model: str, size: int, bf16: bool, backend: str | None, repeats: int) -> None:
    if bf16 and backend:
        raise click.UsageError("--backend computes in fp32: leave --bf16 or --backend out")
    network = PConvUNet(PRESETS[model]).eval()
    with tempfile.TemporaryDirectory() as folder:
        run: Callable[[Tensor, Tensor], object]
        if backend:
            path = Path(folder) / "network.onnx"
            save_onnx(network, path, {})
            graph = open_backend(path, "cpu", backend)
            run = lambda image, valid: graph.fill(image.numpy(), ~valid.numpy())  # noqa: E731
        else:
            run = FusedUNet(network, torch.bfloat16 if bf16 else torch.float32)
        run(torch.rand(1, 3, 256, 256), block_holes(1, 256))
        before = resident_mb()
        image, valid = torch.rand(1, 3, size, size), block_holes(1, size)
        seconds, busy = [], []
        for _ in range(repeats):
            start, start_busy = time.perf_counter(), time.process_time()
            run(image, valid)
            seconds.append(time.perf_counter() - start)
            busy.append(time.process_time() - start_busy)
    peak = resident_mb("VmHWM")
    row = {
        "peak": f"{peak - before:.0f} MB",
        "a pixel": f"{(peak - before) * 2**20 / size**2:.0f} bytes",
        "of the process": f"{peak:.0f} MB",
        "seconds": f"{statistics.median(seconds):.2f}",
        "processor seconds": f"{statistics.median(busy):.2f}",
    }
    precision = "bf16" if bf16 else "fp32"
    show({f"{size} x {size}": row}, f"{model} network in {precision}, {backend or 'PyTorch'}, {machine()}")
    finish(
        {
            "size": size, "bf16": bf16, "backend": backend, "mb": peak - before, "process_mb": peak,
            "seconds": seconds, "processor_seconds": busy,
        }
    )  # fmt: skip


if __name__ == "__main__":
    main()
