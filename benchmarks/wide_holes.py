"""Wide holes in large photos: from which depth a fill of a smaller image helps, and how it is used best.

    python benchmarks/wide_holes.py PHOTO ... --vgg FILE
    python benchmarks/wide_holes.py PHOTO ... --vgg FILE --picture docs/images/wide-holes.jpg
    python benchmarks/wide_holes.py PHOTO ... --vgg FILE --radius 70 --only "one pass" --only "WIDE 33"

Each photo is shrunk to a long side of 1920 px (`--side`) and gets one round hole. Per variant: Gram distance inside
the hole at the photo's size and at half of it, and PSNR over the hole; lower Gram distance and higher PSNR are better.
"one pass" is the network alone. The others change one of the constants of the module. The picture shows some of them
at twice the size.
A JSON line comes last.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import torch
from common import finish, machine, show
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pconv import Inpainter, load_vgg
from pconv.evaluation.metrics import gram_distance, vgg_features
from pconv.images.psnr import psnr
from pconv.inpainting import scales as wide

LONG_SIDE = 1920
RADII = (0.08, 0.12, 0.16)
"""Of the holes, as parts of the photo's height; the first photo has the first, and so on in turn."""
CENTRE = (0.62, 0.4)
"""Of the holes, as parts of height and width."""

CHOSEN = "chosen"
VARIANTS = {
    "one pass": {"WIDE": None},
    CHOSEN: {},
    "WIDE 33": {"WIDE": 33},
    "NARROW 64": {"NARROW": 64},
    "NARROW 16": {"NARROW": 16},
    "DEEP 64": {"DEEP": 64},
    "DEEP 16": {"DEEP": 16},
    "CELL 1": {"CELL": 1, "_REACH": 4},
    "CELL 4": {"CELL": 4, "_REACH": 16},
    "CELL 8": {"CELL": 8, "_REACH": 32},
}
"""What each changes of pconv.inpainting.scales; WIDE None: one run at full size."""
SHOWN = ("one pass", CHOSEN, "CELL 1", "CELL 8")

Pixels = NDArray[np.uint8]
Hole = NDArray[np.bool_]


def with_hole(path: Path, side: int, radius: int | None, part: float) -> tuple[Pixels, Hole]:
    with Image.open(path) as image:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        photo = np.asarray(image.convert("RGB"))
    height, width = photo.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    return photo, np.hypot(rows - CENTRE[0] * height, columns - CENTRE[1] * width) < (radius or part * height)


def filled_as(variant: str, fill: Inpainter, photo: Pixels, hole: Hole) -> Pixels:
    changes = {name: sum(photo.shape) if value is None else value for name, value in VARIANTS[variant].items()}
    with patch.multiple(wide, **changes) if changes else nullcontext():
        return fill(photo, hole)


def around(hole: Hole, margin: int) -> tuple[slice, slice]:
    rows, columns = np.nonzero(hole)
    return (
        slice(max(rows.min() - margin, 0), rows.max() + margin),
        slice(max(columns.min() - margin, 0), columns.max() + margin),
    )


def halved(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = (length // 2 * 2 for length in picture.shape[:2])
    return picture[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).mean(axis=(1, 3))


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--vgg", type=click.Path(path_type=Path, exists=True), help="VGG-16 weights; else they are downloaded.")
@click.option("--picture", type=click.Path(path_type=Path), help="Where to write some fills at twice the size.")
@click.option("--shown", default="0", show_default=True, help="Numbers of the photos in the picture, from 0: 0,3.")
@click.option("--side", default=LONG_SIDE, show_default=True, help="Long side of the photos, in pixels.")
@click.option("--radius", type=int, help="Of every hole, in pixels; else 8, 12 or 16 % of the height, in turn.")
@click.option("--only", multiple=True, type=click.Choice(list(VARIANTS)), help="Variants to run; all by default.")
@click.option("--times", default=2.0, show_default=True, help="Size of the picture beside that of the photos.")
def main(
    photos: tuple[Path, ...],
    vgg: Path | None,
    picture: Path | None,
    shown: str,
    side: int,
    radius: int | None,
    only: tuple[str, ...],
    times: float,
) -> None:
    features = load_vgg(vgg, blocks=2)
    fill = Inpainter()
    scores: dict[str, list[tuple[float, float, float]]] = {variant: [] for variant in only or VARIANTS}
    rows: list[list[Image.Image]] = []
    for number, path in enumerate(photos):
        photo, hole = with_hole(path, side, radius, RADII[number % len(RADII)])
        window = around(hole, 128)
        truth, marked = photo[window], hole[window]
        half_hole = halved(marked[..., None].astype(float))[..., 0] > 0.5
        half_truth = halved(truth.astype(float)).round().astype(np.uint8)
        tiles = [np.where(marked[..., None], np.uint8(128), truth)]
        for variant in scores:
            result = filled_as(variant, fill, photo, hole)[window]
            half = halved(result.astype(float)).round().astype(np.uint8)
            with torch.inference_mode():
                full_size = gram_distance(vgg_features(features, result), vgg_features(features, truth), marked)
                half_size = gram_distance(vgg_features(features, half), vgg_features(features, half_truth), half_hole)
            scores[variant].append((full_size, half_size, psnr(result, truth, marked)))
            if variant in (only or SHOWN):
                tiles.append(result)
        if str(number) in shown.split(","):
            close = around(marked, 48)
            rows.append([Image.fromarray(tile[close]) for tile in [*tiles, truth]])
    table = {
        variant: {
            name: f"{value:.3f}" for name, value in zip(("Gram", "Gram, half", "PSNR"), np.mean(each, 0), strict=True)
        }
        for variant, each in scores.items()
    }
    show(table, f"{len(photos)} photos, {machine()}")
    if picture:
        save(rows, ("hole", *(only or SHOWN), "truth"), picture, times)
    finish({"photos": [path.name for path in photos], "scores": table})


def save(rows: list[list[Image.Image]], names: tuple[str, ...], path: Path, times: float) -> None:
    """The tiles at ``times`` their size, with their names."""
    resized = [
        [
            tile.resize((round(times * tile.width), round(times * tile.height)), Image.Resampling.BICUBIC)
            for tile in row
        ]
        for row in rows
    ]
    width = max(tile.width for row in resized for tile in row)
    sheet = Image.new(
        "RGB", (3 * (width + 4), sum(-(-len(names) // 3) * (row[0].height + 24) for row in resized)), "white"
    )
    pen, top = ImageDraw.Draw(sheet), 0
    for row in resized:
        for place, (tile, name) in enumerate(zip(row, names, strict=True)):
            left, down = place % 3 * (width + 4), top + place // 3 * (tile.height + 24)
            pen.text((left + 4, down + 6), name, fill="black")
            sheet.paste(tile, (left, down + 20))
        top += -(-len(names) // 3) * (row[0].height + 24)
    sheet.save(path, quality=85)


if __name__ == "__main__":
    main()
