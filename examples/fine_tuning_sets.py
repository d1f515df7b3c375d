"""A folder of photos to fine-tune on and one to test with: squares, with scratches and stains as masks.

    python examples/fine_tuning_sets.py MY_PHOTOS produce
    python examples/fine_tuning_sets.py MY_PHOTOS prints --age

produce/train gets photos without damage. produce/test gets other ones, each NAME.png with its NAME-mask.png.
With --age the photos look like old prints.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageFilter

from pconv import blob_hole, thin_strokes_hole
from pconv.images.reading import find_photos, read_photo

SIDE = 320
SEPIA = np.array([1.0, 0.86, 0.66])


@click.command()
@click.argument("photos", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--train", "train_count", default=50, show_default=True, help="Photos to train on.")
@click.option("--test", "test_count", default=24, show_default=True, help="Photos with masks.")
@click.option("--age", is_flag=True, help="Make the photos look like old prints.")
def main(photos: Path, out: Path, train_count: int, test_count: int, age: bool) -> None:
    """Crop the photos of a folder, age them if that is wanted, and draw masks."""
    paths = find_photos(photos)
    chosen = np.random.default_rng(0).permutation(len(paths))[: train_count + test_count]
    for number, index in enumerate(chosen):
        generator = np.random.default_rng([1, number])
        square = central_square(Image.fromarray(read_photo(paths[index]).rgb()))
        folder = out / ("train" if number < train_count else "test")
        folder.mkdir(parents=True, exist_ok=True)
        (aged(square, generator) if age else square).save(folder / f"{number:03d}.png")
        if folder.name == "test":
            hole = thin_strokes_hole(SIDE, SIDE, generator=generator)
            if number % 2:  # half of them have a torn or stained place too
                hole |= blob_hole(SIDE, SIDE, generator=generator)
            Image.fromarray(hole.astype(np.uint8) * 255).save(folder / f"{number:03d}-mask.png")


def central_square(photo: Image.Image) -> Image.Image:
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.resize((SIDE, SIDE), Image.Resampling.LANCZOS, (left, top, left + side, top + side))


def aged(photo: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Grey with faded blacks, soft, grainy, brown, and darker towards the corners."""
    soft = photo.convert("L").filter(ImageFilter.GaussianBlur(generator.uniform(0.5, 0.9)))
    grain = Image.fromarray(generator.normal(128, 24, (SIDE, SIDE)).clip(0, 255).astype(np.uint8))
    grain_values = np.asarray(grain.filter(ImageFilter.GaussianBlur(0.7)), dtype=float) - 128
    grey = 40 + np.asarray(soft, dtype=float) * generator.uniform(0.65, 0.75) + grain_values
    across = np.linspace(-1, 1, SIDE) ** 2
    grey *= 1 - 0.12 * (across[:, None] + across)
    return Image.fromarray((grey[..., None] * SEPIA).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
