"""The 60 validation crops of the model card: PSNR of a model's fills per bin, and Gram distance in the hole.

    python benchmarks/validation_crops.py --photos BSDS500_TEST --vgg FILE [--model FILE] [--seed N]
    python benchmarks/validation_crops.py --photos BSDS500_TEST --vgg FILE --noise 25    # what noise changes

Bins of hole ratios have the numbers b = 0..5 (0.01-0.1, 0.1-0.2, ... 0.5-0.6), and their crops i = 0..9. A crop is the
central 320 x 320 pixels of photo number (10 b + i) * 3 of the sorted folder of 200. Its hole is from
`pconv.irregular_hole` with the generator seeded by (5, b, i). PSNR in dB is over all pixels of the 8-bit composite.
With `--noise`, the same fills are also measured with normal noise in their holes. A JSON line comes last.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
from common import finish, machine, show
from numpy.typing import NDArray
from PIL import Image

from pconv import Inpainter, irregular_hole, load_vgg
from pconv.evaluation.metrics import gram_distance, vgg_features
from pconv.images.psnr import psnr
from pconv.masks.strokes import RATIO_BINS

SIDE, PER_BIN = 320, 10


def crops(folder: Path) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.bool_]]]:
    """Bin, photo and hole of each crop."""
    photos = sorted(path for path in folder.iterdir() if path.suffix == ".jpg")
    for bin_number, ratio in enumerate(RATIO_BINS):
        for number in range(PER_BIN):
            with Image.open(photos[(PER_BIN * bin_number + number) * 3 % len(photos)]) as image:
                left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
                photo = np.array(image.convert("RGB").crop((left, top, left + SIDE, top + SIDE)))
            generator = np.random.default_rng([5, bin_number, number])
            yield bin_number, photo, irregular_hole(SIDE, SIDE, ratio, generator=generator)


@click.command()
@click.option("--photos", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--vgg", type=click.Path(path_type=Path, exists=True), help="VGG-16 weights; else they are downloaded.")
@click.option("--model", default="default", show_default=True, help="The bundled one's name, or a checkpoint.")
@click.option("--seed", default=0, show_default=True)
@click.option("--backend", default="auto", show_default=True)
@click.option("--noise", default=0.0, help="Standard deviation of noise that is added to the fills, in levels of 255.")
def main(photos: Path, vgg: Path | None, model: str, seed: int, backend: str, noise: float) -> None:
    features, fill = load_vgg(vgg, blocks=2), Inpainter(model, backend=backend)
    generator = np.random.default_rng(0)
    scores: dict[int, list[list[float]]] = {number: [] for number in range(len(RATIO_BINS))}
    columns = ["PSNR", "Gram", *(["PSNR, noisy", "Gram, noisy"] if noise else [])]
    for number, photo, hole in crops(photos):
        results = [fill(photo, hole, seed=seed)]
        if noise:
            noisy = results[0] + hole[..., None] * generator.normal(0, noise, photo.shape)
            results.append(noisy.round().clip(0, 255).astype(np.uint8))
        measured = []
        with torch.inference_mode():
            wanted = vgg_features(features, photo)
            for result in results:
                measured += [psnr(result, photo), gram_distance(vgg_features(features, result), wanted, hole)]
        scores[number].append(measured)
    means = {number: np.mean(each, axis=0) for number, each in scores.items()}

    def row(values: NDArray[np.float64]) -> dict[str, str]:
        return {name: f"{value:.3f}" for name, value in zip(columns, values, strict=True)}

    table = {f"{RATIO_BINS[number][0]:g}-{RATIO_BINS[number][1]:g}": row(mean) for number, mean in means.items()}
    table["mean"] = row(np.mean(list(means.values()), axis=0))
    show(table, f"{model}, seed {seed}, {fill.backend.name} in {fill.backend.precision}, {machine()}")
    finish({"model": model, "seed": seed, "noise": noise, "scores": table})


if __name__ == "__main__":
    main()
