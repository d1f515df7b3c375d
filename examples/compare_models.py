"""Fill the same holes with several models: PSNR and Gram distance in the holes, and a sheet to look at.

    python examples/compare_models.py pages/test default runs/pages/model.safetensors -o compared.png --vgg VGG16

FOLDER holds NAME.png and NAME-mask.png. Each row of the sheet: holed, every model's fill, truth.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image

from pconv import Inpainter, load_vgg
from pconv.evaluation.metrics import gram_distance, vgg_features

ROWS = 4
GAP = 6


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("models", nargs=-1, required=True)
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), required=True)
@click.option("--vgg", type=click.Path(path_type=Path, exists=True), help="VGG-16 weights, for the Gram distance.")
def main(folder: Path, models: tuple[str, ...], out: Path, vgg: Path | None) -> None:
    """Compare MODELS (names or checkpoints) on the pairs in FOLDER."""
    masks = sorted(folder.glob("*-mask.png"))
    fillers = [Inpainter(model) for model in models]
    features = load_vgg(vgg, 2) if vgg else None
    levels: list[list[float]] = []
    grams: list[list[float]] = []
    rows = []
    for mask in masks:
        photo = Image.open(mask.with_name(mask.name.replace("-mask", ""))).convert("RGB")
        hole = np.asarray(Image.open(mask).convert("L")) > 127
        truth = np.array(photo)
        fills = [np.asarray(fill(truth, hole), dtype=np.uint8) for fill in fillers]
        levels.append([10 * np.log10(255**2 / np.square(f[hole] - truth[hole].astype(float)).mean()) for f in fills])
        if features:
            wanted = vgg_features(features, truth)
            grams.append([gram_distance(vgg_features(features, f), wanted, hole) for f in fills])
        holed = np.where(hole[..., None], np.array([255, 0, 255], np.uint8), truth)
        rows.append(np.concatenate([np.pad(p, ((0, GAP), (0, GAP), (0, 0))) for p in (holed, *fills, truth)], axis=1))
    Image.fromarray(np.concatenate(rows[:ROWS])).save(out)
    distances = np.mean(grams, axis=0) if grams else [None] * len(models)
    for model, level, distance in zip(models, np.mean(levels, axis=0), distances, strict=True):
        gram = "" if distance is None else f"  Gram distance {distance:.3f}"
        print(f"{level:6.2f} dB over the hole{gram}  {model}")
    print(f"{len(masks)} pictures; {out} shows {min(ROWS, len(masks))}: holed, {', '.join(models)}, truth")


if __name__ == "__main__":
    main()
