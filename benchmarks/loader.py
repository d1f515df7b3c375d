"""Does data loading limit training? Images/s of the loader alone, for each number of workers.

    python benchmarks/loader.py --photos ../shared/data/photos-train

One epoch warms the cache of decoded photos; compare the second column with the images/s that `pconv train` shows.
"""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import click
import torch

from pconv.training.config import Stage
from pconv.training.data import find_photos, loader


@click.command()
@click.option("--photos", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--limit", default=320, show_default=True, help="Photos to use.")
@click.option("--size", default=256, show_default=True)
def main(photos: Path, limit: int, size: int) -> None:
    paths = find_photos(photos)[:limit]
    rates: dict[str, list[float]] = {}
    for workers in (1, 2):
        stage = Stage(steps=2 * len(paths) // 8, size=size, batch_size=8, lr=1.0, smallest_zoom=0.8)
        marks = [time.perf_counter()]
        for number, _ in enumerate(loader(paths, stage, 0, 0, workers, 2.0), start=1):
            if number in (stage.steps // 2, stage.steps):
                marks.append(time.perf_counter())
        cold, warm = (len(paths) / (end - start) for start, end in pairwise(marks))
        rates[str(workers)] = [cold, warm]
        print(f"{workers} worker(s), {size} px: {cold:.0f} images/s cold, {warm:.0f} warm")
    print(json.dumps({"size": size, "images_per_s": rates, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
