"""How many known pixels around a hole its fill needs.

    python benchmarks/context.py --photos PHOTOS               # a folder, such as BSDS500's test photos
    python benchmarks/context.py --photos PHOTOS --count 20    # the figures in docs/performance.md

PSNR over the hole, of the bundled model's fills, for windows with at least so many known pixels around the hole, and
in brackets how far their fills are from the whole photo's, in levels of 255. Windows begin on the network's grid, as
those of `pconv inpaint` do; "moved" is the whole photo without its first 5 rows and 7 columns.
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
from pconv.inpainting.backends import Backend, open_backend

SIZES = (24, 56, 96, 144)
CONTEXTS = (8, 32, 64, 128)
GRID = 128

Pixels = NDArray[np.float32]
Hole = NDArray[np.bool_]


def psnr(filled: Pixels, truth: Pixels, hole: Hole) -> float:
    return float(-10 * np.log10(max(((filled - truth)[hole] ** 2).mean(), 1e-6)))


def whole(backend: Backend, pixels: Pixels, hole: Hole, origin: tuple[int, int] = (0, 0)) -> Pixels:
    """One run of the network over all of it, which begins at ``origin`` in its photo."""
    known = np.where(hole[..., None], 0, pixels).transpose(2, 0, 1)[None].astype(np.float32)
    image, marked = np.ascontiguousarray(known), np.ascontiguousarray(hole[None, None])
    return backend.fill(image, marked, origin=origin)[0].transpose(1, 2, 0)


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
        photo = opened(path)
        hole, top, left = with_hole(photo, side, generator)
        reference = whole(backend, photo, hole)
        quality.setdefault("whole", []).append(psnr(reference, photo, hole))
        windows = {
            str(c): (slice(on_grid(top - c), top + side + c), slice(on_grid(left - c), left + side + c))
            for c in CONTEXTS
        }
        windows["moved"] = (slice(5, None), slice(7, None))
        for name, window in windows.items():
            if hole[window].any():
                rows, columns = window
                origin = (0, 0) if name == "moved" else (rows.start, columns.start)
                filled = whole(backend, photo[window], hole[window], origin)
                quality.setdefault(name, []).append(psnr(filled, photo[window], hole[window]))
                change.setdefault(name, []).append(
                    float(np.abs(filled - reference[window])[hole[window]].mean()) * 255
                )
    return {
        name: f"{np.mean(values):.2f}" + (f" ({np.mean(change[name]):.1f})" if name in change else "")
        for name, values in quality.items()
    }


def on_grid(place: int) -> int:
    return max(place, 0) // GRID * GRID


def opened(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.float32) / 255


@click.command()
@click.option("--photos", "folder", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--count", default=12, show_default=True)
def main(folder: Path, count: int) -> None:
    backend = open_backend()
    every = sorted(folder.iterdir())
    photos = every[:: max(len(every) // count, 1)][:count]
    near = {f"{side} px": contexts(backend, photos, side) for side in SIZES}
    show(near, f"context: PSNR over the hole (levels from the whole photo's fill), {machine()}")
    finish({"photos": len(photos), "context": near})


if __name__ == "__main__":
    main()
