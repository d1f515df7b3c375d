"""Is super-resolution by holes better than Pillow's BICUBIC and LANCZOS? Photos are shrunk, and enlarged again.

    python benchmarks/upscale.py --photos FOLDER --vgg FILE [--model FILE] [--count N] [--picture FILE]

A photo is cropped to multiples of 12 px, and shrunk by Pillow's BICUBIC, which averages (antialiasing). So factors 2,
3 and 4 have the same truth. These are means over the photos:

* PSNR in dB over R, G and B. PSNR of Y as the literature on super-resolution takes it: luma of ITU-R BT.601 from 16 to
  235, without a border as wide as the factor.
* SSIM and VGG distance as in `pconv evaluate`. Without --vgg, there is no VGG distance.

The last lines look for defects. "shift" is how far the result lies from Pillow's BICUBIC, in px of the large photo: a
wrong grid would show there. "cast" is the largest difference of a channel's mean from the truth's, in levels of 255.
"lattice" is the largest over the smallest root mean square error of the factor x factor places of a pixel.
The tables are Markdown. A JSON line comes last. It needs pip install 'pconv[bench]'.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from common import finish, machine
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pconv import Inpainter, load_vgg
from pconv.evaluation.metrics import mean_ssim, ssim_map, vgg_distance, vgg_features
from pconv.images.psnr import psnr
from pconv.images.reading import find_photos, read_photo
from pconv.masks.superres import FACTORS, MULTIPLE, shrunk
from pconv.training.features import VGG16Features

OURS, BICUBIC, LANCZOS = "pconv", "BICUBIC", "LANCZOS"
HIGHER = {"PSNR": True, "PSNR of Y": True, "SSIM": True, "VGG distance": False}
"""The measures, and whether more of each is better."""
SIDE = 192
"""Of a detail in the picture, in px of the large photo."""

Pixels = NDArray[np.uint8]
Enlarge = Callable[[Pixels, int], Pixels]


def cropped(photo: Pixels) -> Pixels:
    """The photo without the last rows and columns that are too many."""
    height, width = (side // MULTIPLE * MULTIPLE for side in photo.shape[:2])
    return photo[:height, :width]


def by_pillow(filter_: Image.Resampling) -> Enlarge:
    def enlarge(small: Pixels, factor: int) -> Pixels:
        return np.array(Image.fromarray(small).resize((small.shape[1] * factor, small.shape[0] * factor), filter_))

    return enlarge


def luma(image: Pixels) -> NDArray[np.float64]:
    """Y of ITU-R BT.601, ``(H, W)``, 16 (black) to 235 (white), not rounded."""
    return 16 + image @ np.array([65.481, 128.553, 24.966]) / 255


def psnr_of_luma(image: Pixels, truth: Pixels, border: int) -> float:
    """PSNR of Y in dB, without ``border`` px at each side."""
    inner = slice(border, -border)
    return psnr(luma(image)[inner, inner], luma(truth)[inner, inner])


def shift(image: Pixels, other: Pixels) -> float:
    """How many px ``image`` is shifted against ``other``, by least squares over gradients; for up to about 1 px."""
    values, others = luma(image), luma(other)
    slopes = np.stack([each.ravel() for each in np.gradient((values + others) / 2)])
    found = np.linalg.solve(slopes @ slopes.T, slopes @ (others - values).ravel())
    return float(np.abs(found).max())


def lattice(image: Pixels, truth: Pixels, factor: int) -> float:
    """The largest over the smallest root mean square error of the factor x factor places: 1 without any lattice."""
    squared = np.square(image.astype(np.float64) - truth).mean(axis=2)
    height, width = squared.shape
    places = squared.reshape(height // factor, factor, width // factor, factor).mean(axis=(0, 2))
    return float(np.sqrt(places.max() / places.min()))


def measured(
    image: Pixels, truth: Pixels, factor: int, vgg: VGG16Features | None, truth_features: list[Tensor]
) -> dict[str, float]:
    found = {
        "PSNR": psnr(image, truth),
        "PSNR of Y": psnr_of_luma(image, truth, factor),
        "SSIM": mean_ssim(ssim_map(image, truth)),
    }
    if vgg is not None:
        found["VGG distance"] = vgg_distance(vgg_features(vgg, image), truth_features)
    return found


def table(factor: int, means: dict[str, dict[str, float]]) -> list[str]:
    """Rows of Markdown: a row for each method, and whether ours is better than bicubic."""
    measures = list(means[OURS])
    rows = [
        f"| x{factor} | {name} | " + " | ".join(f"{values[each]:.4f}" for each in measures) + " |"
        for name, values in means.items()
    ]
    better = [(means[OURS][each] > means[BICUBIC][each]) == HIGHER[each] for each in measures]
    return [*rows, f"| x{factor} | better than bicubic | " + " | ".join("yes" if b else "no" for b in better) + " |"]


def detail(image: Pixels) -> Pixels:
    """The middle of a photo."""
    top, left = ((side - SIDE) // 2 for side in image.shape[:2])
    return image[max(top, 0) :, max(left, 0) :][:SIDE, :SIDE]


@click.command()
@click.option("--photos", type=click.Path(path_type=Path, exists=True), required=True, help="A folder, or more below.")
@click.option("--model", default="superres", show_default=True, help="superres, or a checkpoint or graph.")
@click.option("--backend", default="auto", show_default=True)
@click.option("--vgg", type=click.Path(path_type=Path, exists=True), help="VGG-16 weights, for the VGG distance.")
@click.option("--count", type=click.IntRange(min=1), help="Photos, evenly from the folder; all if left out.")
@click.option("--picture", type=click.Path(path_type=Path), help="Write the last photo's middle, a row per factor.")
def main(photos: Path, model: str, backend: str, vgg: Path | None, count: int | None, picture: Path | None) -> None:
    inpainter = Inpainter(model, backend=backend)
    for note in inpainter.upscale_notes():
        click.echo(note, err=True)
    features = load_vgg(vgg, blocks=2) if vgg else None
    paths = find_photos(photos)
    if count:
        paths = [paths[i * len(paths) // count] for i in range(min(count, len(paths)))]
    methods: dict[str, Enlarge] = {
        OURS: inpainter.upscale,
        BICUBIC: by_pillow(Image.Resampling.BICUBIC),
        LANCZOS: by_pillow(Image.Resampling.LANCZOS),
    }
    scores: dict[int, dict[str, list[dict[str, float]]]] = {f: {name: [] for name in methods} for f in FACTORS}
    shifts: dict[int, list[float]] = {factor: [] for factor in FACTORS}
    casts: dict[int, list[float]] = {factor: [] for factor in FACTORS}
    lattices: dict[int, list[float]] = {factor: [] for factor in FACTORS}
    for path in paths:
        truth = cropped(read_photo(path).rgb()).copy()
        if not all(np.diff(truth, axis=axis).any() for axis in (0, 1)):
            click.echo(f"{path}: left out, it is flat", err=True)
            continue
        truth_features = vgg_features(features, truth) if features else []
        rows = []
        for factor in FACTORS:
            small = shrunk(truth, factor)
            large = {name: enlarge(small, factor) for name, enlarge in methods.items()}
            for name, image in large.items():
                scores[factor][name].append(measured(image, truth, factor, features, truth_features))
            shifts[factor].append(shift(large[OURS], large[BICUBIC]))
            lattices[factor].append(lattice(large[OURS], truth, factor))
            casts[factor].append(float(np.abs((large[OURS] - truth.astype(np.float64)).mean((0, 1))).max()))
            rows.append(np.hstack([detail(each) for each in (truth, large[BICUBIC], large[LANCZOS], large[OURS])]))
    if not scores[FACTORS[0]][OURS]:
        raise click.ClickException(f"all {len(paths)} photos of {photos} are flat: nothing can be compared")
    if picture:
        Image.fromarray(np.vstack(rows)).save(picture, quality=95)
    means = {
        factor: {name: {m: float(np.mean([each[m] for each in all_])) for m in all_[0]} for name, all_ in each.items()}
        for factor, each in scores.items()
    }
    measures = list(means[FACTORS[0]][OURS])
    print(f"{len(scores[FACTORS[0]][OURS])} photos of {photos}, {model}, {inpainter.backend.name}, {machine()}\n")
    print("| Factor | Method | " + " | ".join(measures) + " |\n|---|---|" + "---|" * len(measures))
    for factor in FACTORS:
        print("\n".join(table(factor, means[factor])))
    for factor in FACTORS:
        most = [max(each[factor]) for each in (shifts, casts, lattices)]
        print("\nx{}: at most: shift {:.2f} px, cast {:.2f} levels, lattice {:.2f}".format(factor, *most))
    beside = {"shifts": shifts, "casts": casts, "lattices": lattices}
    finish({"photos": len(paths), "model": model, "means": means, **beside})


if __name__ == "__main__":
    main()
