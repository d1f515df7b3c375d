"""Does the cost grow with the pixels and no faster? Seconds and peak memory over the photo's size, ours and others'.

    python benchmarks/sizes.py                                  # our backends
    python benchmarks/sizes.py --peers --plot docs/images/sizes.png
    python benchmarks/sizes.py --peers --lama DIR --port DIR    # networks from checkouts too

Every point is a process of its own: two fills, the second one timed; memory is the process's highest less what it
had before the first. A method stops where --limit is near. A JSON line comes last.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import click
from common import finish, machine, resident_mb, show

from pconv.inpainting.backends import BACKENDS, installed

SIDES = (256, 512, 1024, 2048, 4096)
PATIENCE = 4
"""Limits that a process may take: it loads, and fills twice."""
GROWTH = 4
"""Of the pixels from one side to the next: a method that would then take longer than the limit ends."""


def measure_here(name: str, side: int, lama: Path | None, port: Path | None) -> dict[str, float]:
    from peers import CLASSICAL, networks, ours, photo_and_hole

    logging.getLogger("patchmatch").setLevel(logging.ERROR)
    photo, hole = photo_and_hole(side)
    method = {**CLASSICAL, **networks(lama, port), **(ours() if name.startswith("pconv") else {})}[name]
    before = resident_mb()
    method(photo, hole)
    start = time.perf_counter()
    method(photo, hole)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "mb": resident_mb("VmHWM") - before}


def draw(points: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for name, measured in points.items():
        bold = name.startswith("pconv")
        style = {"linewidth": 2.4 if bold else 1.2, "linestyle": "-" if bold else "--"}
        axes.plot([s * s / 1e6 for s in measured], [p["seconds"] for p in measured.values()], "o", label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="megapixels", ylabel="seconds")
    axes.set_title(f"Filling 10 to 15 % of a photo ({os.cpu_count()} CPU cores)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=120)


@click.command()
@click.option("--quick", is_flag=True, help="256 and 512 px.")
@click.option("--peers", is_flag=True, help="Other methods too.")
@click.option("--limit", default=60.0, show_default=True, help="Seconds.")
@click.option("--lama", type=click.Path(path_type=Path, exists=True), help="A checkout of advimman/lama.")
@click.option("--port", type=click.Path(path_type=Path, exists=True), help="A checkout of naoto0804's port.")
@click.option("--plot", type=click.Path(path_type=Path), help="PNG of time over pixels (needs matplotlib).")
@click.option("--one", nargs=2, type=(str, int), hidden=True)
def main(
    quick: bool, peers: bool, limit: float, lama: Path | None, port: Path | None, plot: Path | None,
    one: tuple[str, int] | None,
) -> None:  # fmt: skip
    if one:
        print(json.dumps(measure_here(*one, lama, port)))
        return
    names = [f"pconv, {name}" for name in BACKENDS if installed(name)]
    if peers:
        names += ["OpenCV Telea", "OpenCV Navier-Stokes", "PatchMatch", "biharmonic"]
        names += [*(["LaMa (big-lama's sizes)"] if lama else []), *(["naoto0804's port"] if port else [])]
    checkouts = [*(["--lama", str(lama)] if lama else []), *(["--port", str(port)] if port else [])]
    points: dict[str, dict[int, dict[str, float]]] = {name: {} for name in names}
    ended: set[str] = set()
    for side in SIDES[:2] if quick else SIDES:
        for name, measured in points.items():
            if name in ended:
                continue
            command = [sys.executable, __file__, "--one", name, str(side), *checkouts]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE * limit)
            except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
                ended.add(name)
                print(f"{name} did not finish at {side} px: {error}", file=sys.stderr)
                continue
            measured[side] = json.loads(done.stdout.splitlines()[-1])
            print(f"{name} at {side} px: {measured[side]['seconds']:.2f} s", file=sys.stderr)
            if measured[side]["seconds"] * GROWTH > limit:
                ended.add(name)
    rows = {
        name: {f"{side} px": f"{p['seconds']:.2f} s {p['mb']:.0f} MB" for side, p in measured.items()}
        for name, measured in points.items()
    }
    show(rows, f"seconds and MB, {machine()}")
    if plot:
        draw(points, plot)
    finish({"points": points})


if __name__ == "__main__":
    main()
