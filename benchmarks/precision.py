"""What does bf16 cost in quality? The same holes filled in fp32 and in bf16, in PyTorch.

    python benchmarks/precision.py --photos BSDS500_TEST --number 24
    python benchmarks/precision.py --photos BSDS500_TEST --number 18 --side 320    # their central squares

For each bin of hole ratios: PSNR of the composite in fp32, the change that bf16 makes, and how far the filled pixels
move in levels of 8 bits. Then the median seconds of a fill in both, one after the other in turn. Slow where the CPU
only emulates bf16. A JSON line comes last.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import click
import numpy as np
from common import finish, machine, show
from PIL import Image

from pconv import Inpainter, irregular_hole
from pconv.images.psnr import psnr
from pconv.masks.strokes import RATIO_BINS


@click.command()
@click.option("--photos", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--number", default=24, show_default=True, help="Photos, shared out to the bins.")
@click.option("--model", default="default", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--side", type=int, help="Pixels of a central square; else the whole photo.")
def main(photos: Path, number: int, model: str, device: str, side: int | None) -> None:
    exact, rough = (Inpainter(model, device, "torch", precision) for precision in ("fp32", "bf16"))
    found: dict[int, list[tuple[float, float, float, int]]] = {b: [] for b in range(len(RATIO_BINS))}
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for i, path in enumerate(sorted(path for path in photos.iterdir() if path.suffix == ".jpg")[:number]):
        with Image.open(path) as image:
            left, top = ((image.width - side) // 2, (image.height - side) // 2) if side else (0, 0)
            box = (left, top, left + side, top + side) if side else None
            truth = np.asarray(image.convert("RGB").crop(box))
        b = i % len(RATIO_BINS)
        hole = irregular_hole(*truth.shape[:2], RATIO_BINS[b], generator=np.random.default_rng([9, i]))
        start = time.perf_counter()
        a = exact(truth, hole)
        seconds["fp32"].append(time.perf_counter() - start)
        start = time.perf_counter()
        z = rough(truth, hole)
        seconds["bf16"].append(time.perf_counter() - start)
        levels = np.abs(a[hole].astype(int) - z[hole])
        found[b].append((psnr(a, truth), psnr(z, truth) - psnr(a, truth), float(levels.mean()), int(levels.max())))
    rows = {}
    medians = {precision: statistics.median(each) for precision, each in seconds.items()}
    for b, values in found.items():
        if not values:
            continue
        levels_, change, mean, most = (np.array(column) for column in zip(*values, strict=True))
        rows[f"{RATIO_BINS[b][0]:g}-{RATIO_BINS[b][1]:g}"] = {
            "PSNR, fp32": f"{levels_.mean():.2f} dB",
            "change in bf16": f"{change.mean():+.3f} dB",
            "levels moved, mean": f"{mean.mean():.2f}",
            "most": f"{most.max()}",
        }
    show(rows, f"{model} model, {number} photos of {photos.name}, {machine()}")
    print("\nseconds of a fill: " + ", ".join(f"{each:.3f} in {precision}" for precision, each in medians.items()))
    finish({"rows": rows, "seconds": medians})


if __name__ == "__main__":
    main()
