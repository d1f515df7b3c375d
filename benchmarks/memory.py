"""How much memory does a fill of the whole picture take at once?

    python benchmarks/memory.py --size 2048          # the paper network in fp32
    python benchmarks/memory.py --size 2048 --bf16

The highest resident memory while the fused network runs once, less what the process had before: activations, the
picture and the plan of its holes, not the weights. A JSON line comes last.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import click
import torch
from common import block_holes, finish, machine, show

from pconv import PRESETS, PConvUNet
from pconv.nn.fused import FusedUNet


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


@click.command()
@click.option("--model", type=click.Choice(list(PRESETS)), default="paper", show_default=True)
@click.option("--size", default=2048, show_default=True)
@click.option("--bf16", is_flag=True)
def main(model: str, size: int, bf16: bool) -> None:
    fused = FusedUNet(PConvUNet(PRESETS[model]).eval(), torch.bfloat16 if bf16 else torch.float32)
    fused(torch.rand(1, 3, 256, 256), block_holes(1, 256))
    before = resident_mb()
    start = time.perf_counter()
    fused(torch.rand(1, 3, size, size), block_holes(1, size))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row = {"peak": f"{peak - before:.0f} MB", "of the process": f"{peak:.0f} MB", "seconds": f"{seconds:.1f}"}
    show({f"{size} x {size}": row}, f"{model} network in {'bf16' if bf16 else 'fp32'}, {machine()}")
    finish({"size": size, "bf16": bf16, "mb": peak - before, "process_mb": peak})


if __name__ == "__main__":
    main()
