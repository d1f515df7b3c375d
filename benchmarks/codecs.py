"""What reading and writing a photo cost: processor seconds and peak memory, by format, at 24 megapixels.

    python benchmarks/codecs.py
    python benchmarks/codecs.py --quick    # 1.5 megapixels

The photo is examples/photos/astronaut.jpg, enlarged; "noisy" rows have grain. Every row is a process of its own, which
reads a file and writes it again in the same format. Memory is its highest resident memory less that before reading
(Linux only). Processor seconds change less than seconds on a busy machine. The row "level 6" writes PNG with zlib's
usual level; photos of many megapixels get level 4. "--grow 20" is the time to enlarge irregular holes by 20 px.
A JSON line comes last.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
from common import finish, processor, resident_mb, show
from numpy.typing import NDArray
from PIL import Image

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.jpg"
SIZE, QUICK = (6000, 4000), (1500, 1000)
GRAIN = 4.0
"""Standard deviation, in levels of 255."""
ROTATED = 6
"""EXIF orientation: the photo is shown turned by a quarter."""
USUAL_LEVEL = "PNG, 8 bits, level 6"
KINDS = {
    "JPEG, turned": "jpg",
    "PNG, 8 bits": "png",
    USUAL_LEVEL: "png",
    "TIFF, LZW, 8 bits": "tif",
    "WebP, lossy": "webp",
    "PNG, 16 bits RGB, noisy": "png",
    "TIFF, 16 bits RGB, noisy": "tif",
}
GROWN = 20


def enlarged(size: tuple[int, int]) -> NDArray[np.uint8]:
    with Image.open(PHOTO) as image:
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def make(kind: str, photo: NDArray[np.uint8], path: Path) -> None:
    """A file of a kind."""
    if "16 bits" in kind:
        grain = GRAIN * np.random.default_rng(0).standard_normal(photo.shape, dtype=np.float32)
        deep: NDArray[np.uint16] = ((photo + grain) * 257).clip(0, 65535).astype(np.uint16)
        if path.suffix == ".tif":
            import tifffile

            tifffile.imwrite(path, deep, photometric="rgb", compression="zlib")
        else:
            import cv2

            cv2.imwrite(str(path), deep[..., ::-1])
        return
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    options = {
        "jpg": {"quality": 92, "exif": exif},
        "tif": {"compression": "tiff_lzw"},
        "webp": {"quality": 90},
    }
    Image.fromarray(photo).save(path, **options.get(KINDS[kind], {}))


def measure(kind: str, source: Path, out: Path) -> dict[str, float]:
    """Read and write once; in a process of its own."""
    from pconv.images.codecs import png
    from pconv.images.reading import read_photo
    from pconv.images.writing import write_photo

    before = resident_mb()
    times = [time.process_time()]
    photo = read_photo(source)
    times.append(time.process_time())
    level = 6 if kind == USUAL_LEVEL else png.deflate_level(*photo.pixels.shape[:2])
    with patch.object(png, "deflate_level", lambda *_: level):
        write_photo(photo, out)
    times.append(time.process_time())
    read, wrote = np.diff(times).tolist()
    return {"decode": read, "encode": wrote, "mb": resident_mb("VmHWM") - before, "file_mb": out.stat().st_size / 1e6}


def grow(size: tuple[int, int]) -> float:
    """Processor seconds of enlarging irregular holes."""
    from pconv.masks.morphology import dilate
    from pconv.masks.strokes import irregular_hole

    small = irregular_hole(size[1] // 8, size[0] // 8, (0.1, 0.2), generator=np.random.default_rng(0))
    hole = small.repeat(8, 0).repeat(8, 1)
    start = time.process_time()
    dilate(hole, GROWN)
    return time.process_time() - start


@click.command()
@click.option("--quick", is_flag=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--one", nargs=3, type=click.Path(path_type=Path), hidden=True)
def main(quick: bool, repeats: int, one: tuple[Path, Path, Path] | None) -> None:
    if one:
        print(json.dumps(measure(str(one[0]), one[1], one[2])))
        return
    size = QUICK if quick else SIZE
    photo = enlarged(size)
    rows: dict[str, dict[str, str]] = {}
    measured: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, suffix in KINDS.items():
            source, out = Path(folder) / f"photo.{suffix}", Path(folder) / f"out.{suffix}"
            make(kind, photo, source)
            runs = []
            for _ in range(1 if quick else repeats):
                command = [sys.executable, __file__, "--one", kind, str(source), str(out)]
                runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
            row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            measured[kind] = row
            rows[kind] = {key: f"{row[key]:.1f} s" for key in ("decode", "encode")}
            rows[kind] |= {"memory": f"{row['mb']:.0f} MB", "file": f"{row['file_mb']:.1f} MB"}
            print(kind, rows[kind], file=sys.stderr)
    grown = statistics.median(grow(size) for _ in range(repeats))
    show(rows, f"{size[0]} x {size[1]} px, processor seconds, {processor()}")
    print(f"\n--grow {GROWN}: {grown:.2f} s")
    finish({"rows": measured, "grow": grown})


if __name__ == "__main__":
    main()
