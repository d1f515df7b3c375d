"""What the bundled model does badly, as a picture: a round hole in each photo; hole, fill and truth side by side.

    python benchmarks/failures.py sign.jpg:30,42 colosseum.jpg:35,55 hallway.jpg:35,50 jumper.jpg --picture OUT.jpg

A photo may be followed by the place of its hole in percent of width and height; else the hole is in the middle. Photos
are reduced to a short side of 352 px. The holes are 90 px wide, and the network sees the whole photo.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv import Inpainter

SHORT_SIDE = 352
RADIUS = 45
WINDOW = (256, 200)
"""Width and height of what the picture shows of each photo."""
GAP = 4


def place(argument: str) -> tuple[Path, tuple[float, float]]:
    """A photo, and the place of its hole as parts of width and height."""
    found = re.fullmatch(r"(.+):(\d+),(\d+)", argument)
    path, centre = (
        (Path(found[1]), (int(found[2]) / 100, int(found[3]) / 100)) if found else (Path(argument), (0.5, 0.5))
    )
    if not path.is_file():
        raise click.BadParameter(f"{path} is not a file: give PHOTO or PHOTO:X,Y with X and Y in percent")
    return path, centre


def row(path: Path, centre: tuple[float, float], fill: Inpainter) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        photo = image.convert("RGB")
    if min(photo.size) > SHORT_SIDE:
        scale = SHORT_SIDE / min(photo.size)
        photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
    if photo.width < WINDOW[0] or photo.height < WINDOW[1]:
        raise click.ClickException(
            f"{path} has {photo.width} x {photo.height} px, and {WINDOW[0]} x {WINDOW[1]} are shown: give a larger one"
        )
    truth = np.asarray(photo)
    x, y = int(centre[0] * photo.width), int(centre[1] * photo.height)
    rows, columns = np.mgrid[: photo.height, : photo.width]
    hole = np.hypot(rows - y, columns - x) < RADIUS
    tiles = np.where(hole[..., None], np.uint8(255), truth), fill(truth, hole, seed=0), truth
    left = int(np.clip(x - WINDOW[0] // 2, 0, photo.width - WINDOW[0]))
    top = int(np.clip(y - WINDOW[1] // 2, 0, photo.height - WINDOW[1]))
    shown = [tile[top : top + WINDOW[1], left : left + WINDOW[0]] for tile in tiles]
    return np.concatenate([np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for tile in shown], axis=1)


@click.command()
@click.argument("photos", nargs=-1, required=True)
@click.option("--picture", type=click.Path(path_type=Path), required=True, help="Where to write it.")
def main(photos: tuple[str, ...], picture: Path) -> None:
    """Fill a round hole in each of PHOTOS, and show hole, fill and truth."""
    places, fill = [place(argument) for argument in photos], Inpainter()
    sheet = np.concatenate([row(path, centre, fill) for path, centre in places])
    Image.fromarray(sheet[:-GAP, :-GAP]).save(picture, quality=85)
    print(f"{picture}: hole, fill, truth of {len(photos)} photos")


if __name__ == "__main__":
    main()
