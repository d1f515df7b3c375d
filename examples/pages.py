"""Make scans of printed pages to fine-tune on: a narrow domain of pictures that anyone can make again, bit for bit.

    python examples/pages.py pages            # pages/train and pages/test

See docs/finetuning.md for what to do with them.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from pconv import irregular_hole

WORDS = (Path(__file__).parents[1] / "LICENSE").read_text(encoding="utf-8").split()
SIZE = 320


def page(generator: np.random.Generator) -> Image.Image:
    """A piece of a page: tinted paper that darkens to one side, lines of text, a little skew, blur and grain."""
    paper = np.array([245, 240, 228]) + generator.integers(-18, 10, 3)
    ink = generator.integers(10, 70, 3)
    big = round(SIZE * 1.5)
    canvas = Image.new("L", (big, big))
    draw = ImageDraw.Draw(canvas)
    height = int(generator.integers(15, 27))
    font = ImageFont.load_default(height)
    y = int(generator.integers(0, height))
    while y < big:
        start = int(generator.integers(len(WORDS)))
        line = " ".join(WORDS[(start + i) % len(WORDS)] for i in range(16))
        if generator.random() > 0.12:  # now and then a paragraph ends
            draw.text((int(generator.integers(0, 30)), y), line, fill=255, font=font)
        y += round(height * 1.45)
    canvas = canvas.rotate(generator.uniform(-4, 4), Image.Resampling.BICUBIC)
    edge = (big - SIZE) // 2
    canvas = canvas.crop((edge, edge, edge + SIZE, edge + SIZE)).filter(ImageFilter.GaussianBlur(0.6))
    amount = np.asarray(canvas)[..., None] / 255
    shade = 1 - 0.15 * generator.random() * np.linspace(0, 1, SIZE)[None, :, None]
    colours = (paper * (1 - amount) + ink * amount) * shade + generator.normal(0, 2, (SIZE, SIZE, 1))
    return Image.fromarray(colours.clip(0, 255).round().astype(np.uint8))


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--train", "train_number", default=120, show_default=True)
@click.option("--test", "test_number", default=12, show_default=True)
def main(out: Path, train_number: int, test_number: int) -> None:
    """Write pages to OUT/train, and others with hole maps to OUT/test."""
    for folder, number in (("train", train_number), ("test", test_number)):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for i in range(number):
            generator = np.random.default_rng([folder == "test", i])
            page(generator).save(out / folder / f"page-{i:03d}.png")
            if folder == "test":
                hole = irregular_hole(SIZE, SIZE, (0.05, 0.15), generator=generator)
                Image.fromarray(hole).save(out / folder / f"page-{i:03d}-mask.png")
    click.echo(f"{train_number} pages in {out / 'train'}, {test_number} with masks in {out / 'test'}")


if __name__ == "__main__":
    main()
