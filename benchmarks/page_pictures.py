"""The pictures of the page in docs/guides/page.md: it starts `pconv serve` and works on a scratched photo.

    python benchmarks/page_pictures.py --out docs/images        needs chromium, and pip install 'pconv[dev]'

page-desktop.png: one scratch is filled, and the others are painted over. page-phone.png: all scratches are filled, and
the line compares before and after. The photo is examples/photos/cat.jpg with scratches that are drawn here.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
from page import served
from PIL import Image, ImageDraw
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "page"))

from desk import Desk  # noqa: E402

PHOTO = ROOT / "examples" / "photos" / "cat.jpg"
SCRATCHES = (
    ((300, 52), (345, 95), (380, 60)),
    ((108, 30), (110, 150), (2, 280)),
    ((220, 116), (120, 205), (2, 288)),
    ((332, 56), (360, 92), (449, 162)),
    ((389, 2), (400, 110), (449, 252)),
)
"""Start, control point and end of curves, in pixels of the photo; the first is filled in both pictures."""
PALE = (236, 228, 218)
FINE = 4
"""Scratches are drawn at this multiple of the photo's size, so that their edges are smooth."""
BRUSH = 14


def curve(scratch: tuple[tuple[int, int], ...]) -> list[tuple[float, float]]:
    start, control, end = np.array(scratch, float)
    t = np.linspace(0, 1, 16)[:, None]
    return [tuple(point) for point in ((1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end).tolist()]


def scratched(path: Path) -> None:
    with Image.open(PHOTO) as image:
        photo = image.convert("RGB")
    drawn = Image.new("L", (photo.width * FINE, photo.height * FINE))
    for scratch in SCRATCHES:
        points = [(x * FINE, y * FINE) for x, y in curve(scratch)]
        ImageDraw.Draw(drawn).line(points, fill=235, width=2 * FINE, joint="curve")
    photo.paste(PALE, mask=drawn.resize(photo.size, Image.Resampling.BOX))
    photo.save(path, quality=95)


def save(desk: Desk, path: Path) -> None:
    with Image.open(io.BytesIO(desk.page.screenshot())) as image:
        image = image.convert("RGB")
        palette = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1)  # keeps rare colours, as of eyes
        image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(path)


@click.command()
@click.option("--out", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
def main(out: Path) -> None:
    """Write page-desktop.png and page-phone.png."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, served() as address, sync_playwright() as playwright:
        photo = Path(folder) / PHOTO.name
        scratched(photo)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

        def opened(**options: object) -> Desk:
            desk = Desk(browser.new_context(reduced_motion="reduce", **options), address)
            desk.open(photo)
            desk.size(BRUSH)
            desk.stroke(*curve(SCRATCHES[0]))
            return desk

        desk = opened(viewport={"width": 1100, "height": 720}, color_scheme="light")
        desk.fill()
        for scratch in SCRATCHES[1:-1]:
            desk.stroke(*curve(scratch))
        desk.stroke(*curve(SCRATCHES[-1])[:7])
        save(desk, out / "page-desktop.png")

        desk = opened(viewport={"width": 390, "height": 760}, device_scale_factor=1.5, color_scheme="dark")
        for scratch in SCRATCHES[1:]:
            desk.stroke(*curve(scratch))
        desk.fill()
        desk.page.wait_for_function("() => !document.getElementById('status').textContent")
        desk.page.click("#compare-button")
        desk.frame()
        save(desk, out / "page-phone.png")
        browser.close()


if __name__ == "__main__":
    main()
