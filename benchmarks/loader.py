"""Does data loading limit training? Images/s of the loader alone, by workers, and what reduced-size decoding gives.

    python benchmarks/loader.py --photos MY_PHOTOS
    python benchmarks/loader.py --photos MY_PHOTOS --recipe default --stage 1
    python benchmarks/loader.py --photos MY_PHOTOS --megapixels 12 --smallest-zoom 0.1

One epoch warms the cache of decoded photos; compare with the images/s that `pconv train` shows. Prepared holes are
drawn once for all workers, so a recipe that has them is slower with one worker, which comes first. With --megapixels
the photos are first enlarged to that size, as JPEG; then the same crops are also cut with decoding in full.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import click
import torch
from common import processor
from PIL import Image

from pconv.images.reading import find_photos
from pconv.training.config import Stage, TrainConfig, read_config
from pconv.training.loading import open_data

BATCH = 8
WANTED = 1500
"""Images/s at 256 px that one large GPU is hoped to take."""


def rates(folder: Path, stage: Stage, workers: int, cache_gb: float) -> list[float]:
    """Images/s of the first and the second half of a stage."""
    config = TrainConfig(
        photos=folder, validation=folder, model="tiny", stages=(stage,), workers=workers, cache_gb=cache_gb
    )
    marks = [time.perf_counter()]
    for number, _ in enumerate(open_data(config, Path("none"), 0, 1).loader(0, 0, stage.steps, None), start=1):
        if number in (stage.steps // 2, stage.steps):
            marks.append(time.perf_counter())
    return [stage.steps // 2 * BATCH / (end - start) for start, end in pairwise(marks)]


def enlarged(photos: list[Path], megapixels: float, folder: Path) -> None:
    for number, path in enumerate(photos):
        with Image.open(path) as image:
            scale = math.sqrt(megapixels * 1e6 / (image.width * image.height))
            large = image.convert("RGB").resize((round(image.width * scale), round(image.height * scale)))
        large.save(folder / f"{number:04d}.jpg", quality=90)


@click.command()
@click.option("--photos", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--limit", default=160, show_default=True, help="Photos to use.")
@click.option("--size", default=256, show_default=True)
@click.option("--smallest-zoom", default=0.8, show_default=True)
@click.option("--recipe", help="A configuration whose stage gives size, zoom, holes and colours.")
@click.option("--stage", "number", default=0, show_default=True, help="Number of that stage.")
@click.option("--megapixels", type=float, help="Enlarge the photos to this first.")
def main(
    photos: Path,
    limit: int,
    size: int,
    smallest_zoom: float,
    recipe: str | None,
    number: int,
    megapixels: float | None,
) -> None:
    chosen = find_photos(photos)[:limit]
    stage = Stage(steps=1, size=size, batch_size=BATCH, lr=1.0, smallest_zoom=smallest_zoom)
    if recipe:
        stage = read_config(recipe, [f"photos={photos}"]).stages[number]
        size = stage.size
    stage = stage.model_copy(update={"steps": 2 * (limit // BATCH), "batch_size": BATCH, "network": {}})
    machine = f"{processor()}, {torch.get_num_threads()} threads"
    print(f"{size} px crops of {limit} photos, {machine}; images/s in the first and the second epoch\n")
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if megapixels:
            enlarged(chosen, megapixels, folder)
        else:
            for index, path in enumerate(chosen):
                (folder / f"{index:04d}{path.suffix}").symlink_to(path.resolve())
        for workers in (1, 2):
            found[f"{workers} worker(s)"] = rates(folder, stage, workers, 2.0)
        if megapixels:
            with patch("pconv.training.data.reduction_for", lambda *_: 1):
                found["2 worker(s), decoding in full"] = rates(folder, stage, 2, 0.0)
            found["2 worker(s), nothing kept"] = rates(folder, stage, 2, 0.0)
    for what, (first, second) in found.items():
        print(f"{what:<32}{first:>8.0f}{second:>8.0f}")
    per_core = found["2 worker(s)"][1] / 2  # measured last, when all prepared holes are there
    print(f"\n{WANTED} images/s take {math.ceil(WANTED / per_core)} such cores once photos are decoded")
    print(json.dumps({"machine": machine, "size": size, "megapixels": megapixels, "images_per_s": found}))


if __name__ == "__main__":
    main()
