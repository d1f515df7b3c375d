"""Does the time of a fill depend on the hole? One photo of 512 x 512 px, over hole ratio and number of holes.

    python benchmarks/holes.py --picture docs/images/time-and-holes.svg
    python benchmarks/holes.py --quick

Four things are timed: one run of the network over the whole photo (ONNX Runtime), a fill from Python, the whole
command `pconv inpaint`, and PatchMatch. Each round times everything once, in turn. A ratio is a time over the median
time of the network in the same round, so that a machine that becomes slower changes none. Seconds and ratios are
medians over the rounds. The load of the machine, at start and end, is printed: seconds of a busy machine mean little.

The holes are rectangles, as many as the cells of a grid. A JSON line comes last. It needs pip install 'pconv[bench]'.
"""

from __future__ import annotations

import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from common import PAUSE, finish, machine, save_figure, show
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from pconv import Inpainter
from pconv.evaluation.baselines import patchmatch

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.jpg"
SIDE = 512
RATIOS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.9)
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
FEW, SHARE = 10, 0.1
"""How many holes there are while the ratio changes, and the ratio while their number changes."""
QUICK = {0.001, 0.1, 0.9}, {1, 20, 500}
NETWORK = "network"

Hole = NDArray[np.bool_]


class Case(NamedTuple):
    """How many holes there are, and which part of the photo they take."""

    count: int
    ratio: float


def holes(case: Case) -> Hole:
    """``case.count`` rectangles, each in the middle of a cell of its own; True = hole."""
    rows = max(int(case.count**0.5), 1)
    hole = np.zeros((SIDE, SIDE), bool)
    for row, cells in enumerate(np.array_split(np.arange(case.count), rows)):
        cell_height, cell_width = SIDE / rows, SIDE / len(cells)
        height = max(round(cell_height * case.ratio**0.5), 1)
        width = max(round(case.ratio * cell_height * cell_width / height), 1)
        top = round((row + 0.5) * cell_height - height / 2)
        for column in range(len(cells)):
            left = round((column + 0.5) * cell_width - width / 2)
            hole[top : top + height, left : left + width] = True
    return hole


def run_command(photo: Path, mask: Path, out: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pconv", "inpaint", str(photo), str(mask), "-o", str(out)], check=True, timeout=600
    )


def candidates(case: Case, inpainter: Inpainter, folder: Path, peers: bool) -> dict[str, Callable[[], object]]:
    photo, hole = np.asarray(Image.open(folder / "photo.png")), holes(case)
    mask = folder / f"mask-{case.count}-{case.ratio}.png"
    Image.fromarray(hole).save(mask)
    image = np.ascontiguousarray(photo.transpose(2, 0, 1)[None], dtype=np.float32) / 255
    found: dict[str, Callable[[], object]] = {
        NETWORK: partial(inpainter.backend.fill, image, hole[None, None]),
        "fill from Python": partial(inpainter, photo, hole),
        "pconv inpaint": partial(run_command, folder / "photo.png", mask, folder / "out.png"),
    }
    return {**found, "PatchMatch": partial(patchmatch, photo, hole)} if peers else found


def rounds(runs: Mapping[tuple[Case, str], Callable[[], object]], repeats: int) -> list[dict[tuple[Case, str], float]]:
    """Seconds of each, a dictionary for each round, after one round to warm up."""
    every = []
    for number in range(repeats + 1):
        seconds = {}
        for key, run in runs.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            run()
            seconds[key] = time.perf_counter() - start
            print(
                f"\rround {number} of {repeats}, {len(seconds)} of {len(runs)} ", end="", file=sys.stderr, flush=True
            )
        every.append(seconds)
    print(file=sys.stderr)
    return every[1:]


@click.command()
@click.option("--quick", is_flag=True, help="Fewer holes and one round.")
@click.option("--repeats", type=click.IntRange(min=1), help="Rounds: 7, or 1 with --quick.")
@click.option(
    "--peers/--no-peers", default=True, show_default=True, help="PatchMatch too, which takes most of the time."
)
@click.option("--picture", type=click.Path(path_type=Path), help="Where to write the curves, such as holes.svg.")
def main(quick: bool, repeats: int | None, peers: bool, picture: Path | None) -> None:
    logging.getLogger("patchmatch").setLevel(logging.ERROR)
    ratios, counts = (sorted(part) for part in QUICK) if quick else (RATIOS, COUNTS)
    series = {
        "one hole": [Case(1, ratio) for ratio in ratios],
        f"{FEW} holes": [Case(FEW, ratio) for ratio in ratios],
        f"{SHARE:.0%} hole": [Case(count, SHARE) for count in counts],
    }
    cases = list(dict.fromkeys(case for part in series.values() for case in part))
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Image.open(PHOTO) as image:
            image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(folder / "photo.png")
        inpainter = Inpainter(backend="onnxruntime", precision="fp32")
        runs = {
            (case, what): run for case in cases for what, run in candidates(case, inpainter, folder, peers).items()
        }
        every = rounds(runs, repeats or (1 if quick else 7))
    base = [statistics.median(each[case, NETWORK] for case in cases) for each in every]
    seconds = {key: statistics.median(each[key] for each in every) for key in runs}
    relative = {key: statistics.median(each[key] / b for each, b in zip(every, base, strict=True)) for key in runs}
    names = list(dict.fromkeys(what for _, what in runs))
    for title, part in series.items():
        table = {
            (f"{case.count} holes" if "%" in title else f"{case.ratio:.1%}"): {
                what: f"{seconds[case, what]:.3f} s ({relative[case, what]:.2f})" for what in names
            }
            for case in part
        }
        show(table, f"\n{title}: median seconds (over the network's median)")
    spread = {
        what: max(relative[case, what] for case in cases) / min(relative[case, what] for case in cases)
        for what in names
    }
    show({"slowest / fastest": {what: f"{value:.2f}" for what, value in spread.items()}}, "\nover all holes")
    loads = f"load {load:.1f} at the start and {os.getloadavg()[0]:.1f} at the end"
    print(f"\n{SIDE} x {SIDE}, fp32, {len(every)} rounds, {machine()}, {loads}")
    if picture:
        draw(series, seconds, names, picture)
    finish(
        {
            "load": loads,
            "seconds": {f"{c.count}|{c.ratio}|{what}": round(s, 4) for (c, what), s in seconds.items()},
            "relative": {f"{c.count}|{c.ratio}|{what}": round(s, 4) for (c, what), s in relative.items()},
            "slowest_over_fastest": spread,
        }
    )


def draw(
    series: Mapping[str, list[Case]], seconds: Mapping[tuple[Case, str], float], names: list[str], path: Path
) -> None:
    """Left, over the ratio, with one hole dashed; right, over the number of holes."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for number, what in enumerate(names):
        for title, part in series.items():
            over_count = "%" in title
            axis = right if over_count else left
            places = [case.count if over_count else 100 * case.ratio for case in part]
            style = "o--" if title == "one hole" else "o-"
            label = what if style == "o-" else None
            axis.plot(places, [seconds[case, what] for case in part], style, color=f"C{number}", ms=3, label=label)
    left.set(xlabel=f"hole, % of the photo (solid: {FEW} holes, dashed: one)", ylabel="seconds", xscale="log")
    right.set(xlabel=f"holes of {SHARE:.0%} of the photo together", xscale="log", yscale="log")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    right.legend(fontsize=8)
    save_figure(figure, path, "holes")


if __name__ == "__main__":
    main()
