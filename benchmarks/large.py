"""Large photos: seconds and peak memory of the whole command, from file to file, and of its parts.

    python benchmarks/large.py            # a small photo, then 24 megapixels with small, many and wide holes
    python benchmarks/large.py --quick    # 512 px and 6 megapixels
    python benchmarks/large.py --largest  # 100 megapixels too

The photo is examples/photos/astronaut.jpg, enlarged, a JPEG. Every row is a process of its own, like `pconv inpaint`;
"beyond the photo" is its highest resident memory less that of a process which reads and writes the same photo and
fills nothing. A JSON line comes last.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from common import finish, machine, resident_mb, show
from PIL import Image, ImageDraw

from pconv.masks.strokes import irregular_hole

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.jpg"
HOLES = ("none", "small", "specks", "scratch", "20 %", "wide")
SMALL = 40
SPECKS = 200


def hole_map(kind: str, width: int, height: int) -> Image.Image:
    """What is to be filled: a spot, 200 specks, a scratch from corner to corner, 20 % strokes, or a disc of half the
    height."""
    if kind == "20 %":
        scale = max(height // 500, 1)
        strokes = irregular_hole(height // scale, width // scale, (0.2, 0.21), generator=np.random.default_rng(0))
        return Image.fromarray(strokes).resize((width, height))
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    if kind == "small":
        draw.ellipse([width // 2, height // 2, width // 2 + SMALL, height // 2 + SMALL], fill=1)
    elif kind == "specks":
        for x, y in np.random.default_rng(0).integers(0, [width, height], (SPECKS, 2)).tolist():
            draw.ellipse([x, y, x + 12, y + 12], fill=1)
    elif kind == "scratch":
        draw.line([0, 0, width, height], fill=1, width=12)
    elif kind == "wide":
        draw.ellipse([width // 3, height // 4, width // 3 + height // 2, height // 4 + height // 2], fill=1)
    return image


def fill_file(photo: Path, mask: Path, out: Path) -> dict[str, float]:
    """What the command does, timed; in a process of its own."""
    times = [time.perf_counter()]
    from pconv.images.reading import read_photo
    from pconv.images.writing import write_photo
    from pconv.masks.reader import MaskFile
    from pconv.masks.sources import hole_of

    picture = read_photo(photo)
    hole = hole_of(picture, [MaskFile(mask)])
    times.append(time.perf_counter())
    if hole.any():
        from pconv import Inpainter

        fill = Inpainter()
        times.append(time.perf_counter())
        picture = fill(picture, hole)
    else:
        times.append(times[-1])
    times.append(time.perf_counter())
    write_photo(picture, out)
    times.append(time.perf_counter())
    read, load, filled, wrote = np.diff(times).tolist()
    peak = resident_mb("VmHWM")
    return {"read": read, "load": load, "fill": filled, "write": wrote, "mb": peak}


@click.command()
@click.option("--quick", is_flag=True)
@click.option("--largest", is_flag=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--one", nargs=3, type=click.Path(path_type=Path), hidden=True)
def main(quick: bool, largest: bool, repeats: int, one: tuple[Path, Path, Path] | None) -> None:
    if one:
        print(json.dumps(fill_file(*one)))
        return
    sizes = [(512, 512), (3000, 2000)] if quick else [(512, 512), (6000, 4000), *([(12000, 8400)] if largest else [])]
    rows: dict[str, dict[str, str]] = {}
    measured: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for width, height in sizes:
            photo = Path(folder) / "photo.jpg"
            Image.open(PHOTO).convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(photo, quality=90)
            nothing = 0.0
            for kind in HOLES if width > 512 else ("none", "small"):
                mask = Path(folder) / "mask.png"
                hole_map(kind, width, height).save(mask)
                command = [sys.executable, __file__, "--one", photo, mask, Path(folder) / "out.jpg"]
                runs, walls = [], []
                for _ in range(1 if quick else repeats):
                    start = time.perf_counter()
                    said = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
                    walls.append(time.perf_counter() - start)
                    runs.append(json.loads(said))
                row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                nothing = nothing or row["mb"]
                name = f"{width}x{height}, {kind}"
                measured[name] = {**row, "beyond": row["mb"] - nothing, "whole": statistics.median(walls)}
                rows[name] = {key: f"{row[key]:.2f} s" for key in ("read", "load", "fill", "write")}
                rows[name] |= {"whole": f"{measured[name]['whole']:.2f} s"}
                rows[name] |= {"beyond the photo": f"{measured[name]['beyond']:.0f} MB"}
                print(name, rows[name], file=sys.stderr)
    show(rows, f"Photos from file to file, {machine()}")
    finish({"rows": measured})


if __name__ == "__main__":
    main()
