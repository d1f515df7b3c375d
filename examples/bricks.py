"""Make pictures of brick walls to fine-tune on: a narrow domain that anyone can make again, bit for bit.

    python examples/bricks.py bricks            # bricks/train and bricks/test

See docs/guides/fine-tuning.md for what to do with them.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pconv import irregular_hole

SIZE = 320


def noise(generator: np.random.Generator, grain: float) -> NDArray[np.float64]:
    """Smooth noise around 0 with structures of about ``grain`` px."""
    small = max(round(SIZE / grain), 2)
    values = Image.fromarray(generator.normal(0, 1, (small, small)).astype(np.float32))
    return np.asarray(values.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float64)


def wall(generator: np.random.Generator) -> Image.Image:
    """Rows of bricks, each row shifted by half a brick, slightly turned; bricks and mortar vary in colour."""
    row, aspect, mortar = generator.uniform(22, 40), generator.uniform(2.0, 3.2), generator.uniform(3, 6)
    angle, shift = np.radians(generator.uniform(-6, 6)), generator.uniform(0, 200, 2)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.0
    along, up = x * np.cos(angle) + y * np.sin(angle) + shift[0], y * np.cos(angle) - x * np.sin(angle) + shift[1] + 50
    rough = 0.8 * noise(generator, 6)
    course = np.floor((up + rough) / row).astype(int)
    along = along + row * aspect / 2 * (course % 2) + 0.8 * noise(generator, 6) + 400
    brick = np.floor(along / (row * aspect)).astype(int)
    joint = (up + rough) % row < mortar
    joint |= along % (row * aspect) < mortar
    own = generator.normal(0, 1, (64, 64, 3)) * 8 + generator.normal(0, 14, (64, 64, 1))
    clay = np.array([150, 82, 62]) + generator.normal(0, 16, 3) + own[course % 64, brick % 64]
    lime = np.array([190, 184, 172]) + generator.normal(0, 12, 3)
    grain = (6 * noise(generator, 2.5) + 5 * noise(generator, 12))[..., None]
    light = 1 + 0.12 * noise(generator, SIZE)[..., None]
    colours = (np.where(joint[..., None], lime, clay) + grain) * light
    return Image.fromarray(colours.clip(0, 255).round().astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.7))


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--train", "train_number", default=150, show_default=True)
@click.option("--test", "test_number", default=12, show_default=True)
def main(out: Path, train_number: int, test_number: int) -> None:
    """Write walls to OUT/train, and others with masks to OUT/test."""
    for folder, number in (("train", train_number), ("test", test_number)):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for i in range(number):
            generator = np.random.default_rng([folder == "test", i])
            wall(generator).save(out / folder / f"wall-{i:03d}.png")
            if folder == "test":
                hole = irregular_hole(SIZE, SIZE, (0.1, 0.2), generator=generator)
                Image.fromarray(hole).save(out / folder / f"wall-{i:03d}-mask.png")
    click.echo(f"{train_number} walls in {out / 'train'}, {test_number} with masks in {out / 'test'}")


if __name__ == "__main__":
    main()
