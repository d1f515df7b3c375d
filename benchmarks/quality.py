"""How good are the fills? PSNR and l1 of the composite per hole-ratio bin, ours beside classical methods.

    python benchmarks/quality.py --photos ../shared/data/photos-dev --per-bin 30

The protocol of SPEC section 6 in small: a hole drawn by pconv.holes for each photo (seeded by bin and number, so every
method and every run sees the same pairs), the photo at its own size, known pixels untouched. Prints a table and, last,
one JSON line. Needs: pip install 'pconv[bench]'.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from pconv import Inpainter, irregular_hole
from pconv.holes.ratios import RATIO_BINS
from pconv.training.data import find_photos

Pixels = NDArray[np.uint8]


def opencv(flag: int) -> Callable[[Pixels, NDArray[np.bool_]], Pixels]:
    return lambda photo, hole: cv2.inpaint(photo, hole.astype(np.uint8), 3, flag)


def patchmatch(photo: Pixels, hole: NDArray[np.bool_]) -> Pixels:
    from patchmatch import patch_match

    patch_match.set_random_seed(0)
    return patch_match.inpaint(photo, hole[..., None].astype(np.uint8) * 255, patch_size=5)


def mean_colour(photo: Pixels, hole: NDArray[np.bool_]) -> Pixels:
    return np.where(hole[..., None], photo[~hole].mean(axis=0).round().astype(np.uint8), photo)


CLASSICAL = {
    "mean": mean_colour,
    "telea": opencv(cv2.INPAINT_TELEA),
    "ns": opencv(cv2.INPAINT_NS),
    "patchmatch": patchmatch,
}


def psnr(a: Pixels, b: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def l1_percent(a: Pixels, b: Pixels) -> float:
    return float(np.abs(a.astype(np.float64) - b).mean() / 255 * 100)


def pairs(photos: list[Path], per_bin: int) -> list[tuple[int, Path, NDArray[np.bool_]]]:
    """(bin, photo, hole): photos are walked through in turn, so that all bins together use as many as possible."""
    found = []
    for number in range(per_bin):
        for b, ratio in enumerate(RATIO_BINS):
            path = photos[(number * len(RATIO_BINS) + b) % len(photos)]
            with Image.open(path) as image:
                width, height = image.size
            found.append((b, path, irregular_hole(height, width, ratio, generator=np.random.default_rng([b, number]))))
    return found


@click.command()
@click.option("--photos", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--per-bin", default=30, show_default=True)
@click.option(
    "--model", "models", multiple=True, default=["default"], show_default=True, help="Repeatable; or 'none'."
)
@click.option("--against", default=",".join(CLASSICAL), show_default=True, help="Classical methods, or 'none'.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the filled pictures.")
def main(photos: Path, per_bin: int, models: tuple[str, ...], against: str, keep: Path | None) -> None:
    logging.getLogger("patchmatch").setLevel(logging.ERROR)
    methods: dict[str, Callable[..., Pixels]] = {name: Inpainter(name) for name in models if name != "none"}
    methods |= {name: CLASSICAL[name] for name in against.split(",") if name != "none"}
    scores: dict[str, list[tuple[int, float, float]]] = {name: [] for name in methods}
    for number, (b, path, hole) in enumerate(tqdm(pairs(find_photos(photos), per_bin))):
        truth = np.asarray(Image.open(path).convert("RGB"))
        holed = np.where(hole[..., None], np.uint8(127), truth)  # so that nobody can peek
        for name, method in methods.items():
            filled = np.where(hole[..., None], method(holed, hole), truth)
            scores[name].append((b, psnr(filled, truth), l1_percent(filled, truth)))
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                Image.fromarray(filled).save(keep / f"{number:04d}-{b}-{name.replace('/', '_')}.png")
        if keep:
            Image.fromarray(np.where(hole[..., None], np.uint8(255), truth)).save(
                keep / f"{number:04d}-{b}-0holed.png"
            )

    heads = [f"{low}-{high}" for low, high in RATIO_BINS] + ["<20%", ">20%"]
    groups = [[b] for b in range(len(RATIO_BINS))] + [[0, 1], [2, 3, 4, 5]]
    result = {}
    for metric, column in (("PSNR dB", 1), ("l1 %", 2)):
        print(f"\n{metric:<22}" + "".join(f"{h:>10}" for h in heads))
        for name, rows in scores.items():
            means = [float(np.mean([r[column] for r in rows if r[0] in group])) for group in groups]
            print(f"{name[-21:]:<22}" + "".join(f"{m:>10.2f}" for m in means))
            result[f"{name}/{metric}"] = [round(m, 3) for m in means]
    print(json.dumps({"photos": photos.name, "per_bin": per_bin, "bins": heads, "scores": result}))


if __name__ == "__main__":
    main()
