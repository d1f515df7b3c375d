"""What decides how holes are cut up: how much context a hole needs, and how deep a hole is filled from half the size.

    python benchmarks/context.py --photos ../shared/data/photos-dev
    python benchmarks/context.py --photos ../shared/data/photos-dev --count 200    # the figures in docs/performance.md

PSNR over the hole, of the bundled model's fills. "context": windows of so many known pixels around the hole, and how
far their fills are from the whole photo's, in levels of 255; "moved" is the whole photo without its first 5 rows and
7 columns. "deep": photos, also enlarged, whose holes are filled from half the size beyond so many pixels from what is
known.
A JSON line comes last.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from common import finish, machine, show
from numpy.typing import NDArray
from PIL import Image

from pconv import irregular_hole
from pconv.filling import fill as filling
from pconv.filling.backends import Backend, open_backend
from pconv.filling.fill import fill_holes
from pconv.filling.pictures import ArrayPicture

SIZES = (24, 56, 96, 144)
CONTEXTS = (8, 16, 32, 64, 96, 128)
DEPTHS = (12, 16, 24, 32, 48, 400)
HOLES = ((1, 64), (1, 96), (1, 160), (1, 240), (3, 300), (3, 600))
"""How many times a photo is enlarged, and its hole's side."""

Pixels = NDArray[np.float32]
Hole = NDArray[np.bool_]


def psnr(filled: Pixels, truth: Pixels, hole: Hole) -> float:
    return float(-10 * np.log10(max(((filled - truth)[hole] ** 2).mean(), 1e-6)))


def whole(backend: Backend, pixels: Pixels, hole: Hole) -> Pixels:
    """One run of the network over all of it."""
    known = np.where(hole[..., None], 0, pixels).transpose(2, 0, 1)[None].astype(np.float32)
    filled: Pixels = backend.fill(np.ascontiguousarray(known), np.ascontiguousarray(hole[None, None]))[0][0]
    return filled.transpose(1, 2, 0)


def with_hole(photo: Pixels, side: int, generator: np.random.Generator) -> tuple[Hole, int, int]:
    """A hole of at most ``side`` pixels somewhere in the photo, and where it begins."""
    shape = irregular_hole(max(side, 32), max(side, 32), (0.2, 0.6), generator=generator)[:side, :side]
    shape[side // 3 : side // 2, side // 3 : side // 2] = True
    top, left = (int(generator.integers(0, length - side + 1)) for length in photo.shape[:2])
    hole = np.zeros(photo.shape[:2], bool)
    hole[top : top + side, left : left + side] = shape
    return hole, top, left


def contexts(backend: Backend, photos: list[Path], side: int) -> dict[str, str]:
    generator = np.random.default_rng(side)
    quality: dict[str, list[float]] = {}
    change: dict[str, list[float]] = {}
    for path in photos:
        photo = opened(path, 1)
        hole, top, left = with_hole(photo, side, generator)
        reference = whole(backend, photo, hole)
        quality.setdefault("whole", []).append(psnr(reference, photo, hole))
        windows = {
            str(c): (slice(max(top - c, 0), top + side + c), slice(max(left - c, 0), left + side + c))
            for c in CONTEXTS
        }
        windows["moved"] = (slice(5, None), slice(7, None))
        for name, window in windows.items():
            if hole[window].any():
                filled = whole(backend, photo[window], hole[window])
                quality.setdefault(name, []).append(psnr(filled, photo[window], hole[window]))
                change.setdefault(name, []).append(
                    float(np.abs(filled - reference[window])[hole[window]].mean()) * 255
                )
    return {
        name: f"{np.mean(values):.2f}" + (f" ({np.mean(change[name]):.1f})" if name in change else "")
        for name, values in quality.items()
    }


def depths(backend: Backend, photos: list[Path], times: int, side: int) -> dict[str, str]:
    generator = np.random.default_rng(side)
    quality: dict[str, list[float]] = {}
    for path in photos:
        photo = opened(path, times)
        y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
        disc = y**2 + x**2 < 1
        top, left = (int(generator.integers(0, length - side + 1)) for length in photo.shape[:2])
        hole = np.zeros(photo.shape[:2], bool)
        hole[top : top + side, left : left + side] = disc
        for depth in DEPTHS:
            filling.DEEP = depth
            filled = photo.copy()
            fill_holes(backend, ArrayPicture(filled, 3), hole, 2**32, detail=False, texture=False)
            quality.setdefault("never" if 2 * depth > side else str(depth), []).append(psnr(filled, photo, hole))
    return {name: f"{np.mean(values):.2f}" for name, values in quality.items()}


def opened(path: Path, times: int) -> Pixels:
    with Image.open(path) as image:
        size = (image.width * times, image.height * times)
        larger = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    return np.asarray(larger, np.float32) / 255


@click.command()
@click.option("--photos", "folder", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--count", default=12, show_default=True)
def main(folder: Path, count: int) -> None:
    backend = open_backend()
    every = sorted(folder.iterdir())
    photos = every[:: max(len(every) // count, 1)][:count]
    near = {f"{side} px": contexts(backend, photos, side) for side in SIZES}
    show(near, f"context: PSNR over the hole (levels from the whole photo's fill), {machine()}")
    print()
    deep = {f"{side} px, x{times}": depths(backend, photos[: count // times], times, side) for times, side in HOLES}
    show(deep, "deep: PSNR over the hole")
    finish({"photos": len(photos), "context": near, "deep": deep})


if __name__ == "__main__":
    main()
