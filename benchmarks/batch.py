"""How much faster is a folder run than a loop over the photos, and how busy does it keep the network?

    python benchmarks/batch.py              # 200 JPEGs of 512 px
    python benchmarks/batch.py --quick      # 40
    python benchmarks/batch.py --device cuda --backend torch --workers 8

The same photos, pieces of the three in examples/photos, are filled by a plain loop (read, fill, write) and by what
``pconv batch`` runs, in turn, twice each. Busy is the part of the time from the network's first start to its
last end in which it computed at least one photo: decoding, colours, encoding and files do not count. Medians; a
JSON line comes last.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import finish, machine, show
from PIL import Image

from pconv import Inpainter, irregular_hole
from pconv.batch.job import Job, default_workers, make_plan, run
from pconv.batch.storage import open_folder
from pconv.images.reading import read_photo
from pconv.images.writing import write_photo
from pconv.masks.reader import MaskFile
from pconv.masks.sources import hole_of

PHOTOS = Path(__file__).parent.parent / "examples" / "photos"


class TimedBackend:
    """A backend that notes how long at least one run of it was going on.

    Attributes:
        busy: that time, in seconds.
        span: from the first run's start to the last one's end, in seconds.
    """

    def __init__(self, backend: Any) -> None:
        self._backend, self._lock = backend, threading.Lock()
        self._running, self._began, self._first = 0, 0.0, 0.0
        self.busy = self.span = 0.0

    def fill(self, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            self._running += 1
            if self._running == 1:
                self._began = time.perf_counter()
                self._first = self._first or self._began
        try:
            return self._backend.fill(*arguments, **options)
        finally:
            with self._lock:
                self._running -= 1
                end = time.perf_counter()
                self.span = end - self._first
                if not self._running:
                    self.busy += end - self._began

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def make_photos(folder: Path, count: int, size: int) -> None:
    sources = [Image.open(PHOTOS / f"{name}.jpg").convert("RGB") for name in ("astronaut", "cat", "coffee")]
    generator = np.random.default_rng(0)
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    for i in range(count):
        source = sources[i % 3]
        side = int(generator.integers(200, min(source.size)))
        left, top = (int(generator.integers(0, length - side + 1)) for length in source.size)
        piece = source.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
        piece.save(folder / "photos" / f"{i:04d}.jpg", quality=92)
        hole = irregular_hole(size, size, (0.05, 0.2), generator=generator)
        Image.fromarray(hole).save(folder / "masks" / f"{i:04d}.png")


def one_by_one(folder: Path, out: Path, fill: Inpainter) -> None:
    out.mkdir()
    for path in sorted((folder / "photos").iterdir()):
        photo = read_photo(path)
        hole = hole_of(photo, [MaskFile(folder / "masks" / f"{path.stem}.png")])
        write_photo(fill(photo, hole), out / path.name)


def beside_each_other(folder: Path, out: Path, fill: Inpainter, workers: int) -> None:
    job = Job(open_folder(folder / "photos"), open_folder(folder / "masks"), open_folder(out))
    summary = run(make_plan(job), lambda _: None, fill, workers)
    assert summary.failed == summary.left == 0


@click.command()
@click.option("--quick", is_flag=True, help="40 photos.")
@click.option("--count", type=int, help="Photos: 200, or 40 with --quick.")
@click.option("--size", default=512, show_default=True)
@click.option("--workers", type=int)
@click.option("--repeats", default=2, show_default=True)
@click.option("--model", default="default", show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--backend", default="auto", show_default=True)
def main(
    quick: bool,
    count: int | None,
    size: int,
    workers: int | None,
    repeats: int,
    model: str,
    device: str,
    backend: str,
) -> None:
    count, workers = count or (40 if quick else 200), workers or default_workers()
    computes = Inpainter(model, device, backend).backend
    fill = Inpainter(backend=computes)
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photos(folder, count, size)
        read = read_photo(folder / "photos" / "0000.jpg")
        fill(read, hole_of(read, [MaskFile(folder / "masks" / "0000.png")]))
        for number in range(repeats):
            for way in ("one by one", "folder run"):
                clock = TimedBackend(computes)
                fill = Inpainter(backend=clock)
                out, start = folder / f"{way} {number}", time.perf_counter()
                if way == "one by one":
                    one_by_one(folder, out, fill)
                else:
                    beside_each_other(folder, out, fill, workers)
                seconds = time.perf_counter() - start
                values = found.setdefault(way, {"seconds": [], "busy": [], "network": []})
                for key, value in (
                    ("seconds", seconds),
                    ("busy", clock.busy / clock.span),
                    ("network", clock.busy / count),
                ):
                    values[key].append(value)
    medians = {way: {key: statistics.median(v) for key, v in values.items()} for way, values in found.items()}
    rows = {
        way: {
            "photos/s": f"{count / values['seconds']:.2f}",
            "network busy": f"{values['busy']:.1%}",
            "network, ms a photo": f"{values['network'] * 1000:.0f}",
        }
        for way, values in medians.items()
    }
    what = f"{computes.name} on {computes.device} in {computes.precision}"
    show(rows, f"{count} JPEGs of {size} px, {workers} workers, {what}, {machine()}")
    gain = medians["one by one"]["seconds"] / medians["folder run"]["seconds"]
    print(f"\nthe folder run takes 1/{gain:.2f} of the time")
    finish({"count": count, "size": size, "workers": workers, "computes": what, "gain": gain, "medians": medians})


if __name__ == "__main__":
    main()
