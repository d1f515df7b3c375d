"""What does bf16 cost in quality? The same holes filled in fp32 and in bf16, in PyTorch.

    python benchmarks/precision.py --photos BSDS500_TEST --number 24

For each bin of hole ratios: PSNR of the composite in fp32, the change that bf16 makes, and how far the filled pixels
move in levels of 8 bits. Slow where the CPU only emulates bf16. A JSON line comes last.
"""

from __future__ import annotations

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
def main(photos: Path, number: int, model: str, device: str) -> None:
    exact, rough = (Inpainter(model, device, "torch", precision) for precision in ("fp32", "bf16"))
    found: dict[int, list[tuple[float, float, float, int]]] = {b: [] for b in range(len(RATIO_BINS))}
    for i, path in enumerate(sorted(path for path in photos.iterdir() if path.suffix == ".jpg")[:number]):
        truth = np.asarray(Image.open(path).convert("RGB"))
        b = i % len(RATIO_BINS)
        hole = irregular_hole(*truth.shape[:2], RATIO_BINS[b], generator=np.random.default_rng([9, i]))
        a, z = exact(truth, hole), rough(truth, hole)
        levels = np.abs(a[hole].astype(int) - z[hole])
        found[b].append((psnr(a, truth), psnr(z, truth) - psnr(a, truth), float(levels.mean()), int(levels.max())))
    rows = {}
    for b, values in found.items():
        levels_, change, mean, most = (np.array(column) for column in zip(*values, strict=True))
        rows[f"{RATIO_BINS[b][0]:g}-{RATIO_BINS[b][1]:g}"] = {
            "PSNR, fp32": f"{levels_.mean():.2f} dB",
            "change in bf16": f"{change.mean():+.3f} dB",
            "levels moved, mean": f"{mean.mean():.2f}",
            "most": f"{most.max()}",
        }
    show(rows, f"{model} model, {number} photos of {photos.name}, {machine()}")
    finish({"rows": rows})


if __name__ == "__main__":
    main()
