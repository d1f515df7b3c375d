"""Fill the same holes with several models: PSNR over the holes, and a sheet to look at.

    python examples/compare_models.py pages/test default runs/pages/model.safetensors -o compared.png

FOLDER holds NAME.png and NAME-mask.png. Each row of the sheet: holed, every model's fill, truth.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image

from pconv import Inpainter

ROWS = 4
GAP = 6


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("models", nargs=-1, required=True)
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), required=True)
def main(folder: Path, models: tuple[str, ...], out: Path) -> None:
    """Compare MODELS (names or checkpoints) on the pairs in FOLDER."""
    masks = sorted(folder.glob("*-mask.png"))
    fillers = [Inpainter(model) for model in models]
    levels: list[list[float]] = []
    rows = []
    for mask in masks:
        photo = Image.open(mask.with_name(mask.name.replace("-mask", ""))).convert("RGB")
        hole = np.asarray(Image.open(mask).convert("L")) > 127
        truth = np.asarray(photo)
        fills = [fill(truth, hole) for fill in fillers]
        levels.append([10 * np.log10(255**2 / np.square(f[hole] - truth[hole].astype(float)).mean()) for f in fills])
        holed = np.where(hole[..., None], np.array([255, 0, 255], np.uint8), truth)
        rows.append(np.concatenate([np.pad(p, ((0, GAP), (0, GAP), (0, 0))) for p in (holed, *fills, truth)], axis=1))
    Image.fromarray(np.concatenate(rows[:ROWS])).save(out)
    for model, level in zip(models, np.mean(levels, axis=0), strict=True):
        print(f"{level:6.2f} dB over the hole  {model}")
    print(f"{len(masks)} pictures; {out} shows {min(ROWS, len(masks))}: holed, {', '.join(models)}, truth")


if __name__ == "__main__":
    main()
