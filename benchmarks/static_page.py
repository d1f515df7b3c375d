"""Times and memory of the page that `pconv page` built, in Chromium; with --sizes the sizes of its files instead.

make page; python benchmarks/static_page.py [--sizes] [page-site]        needs chromium, and pip install 'pconv[dev]'
"""

import argparse
import gzip
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "page"))

from desk import Desk  # noqa: E402
from web import serving_folder  # noqa: E402

PROFILE = "pconv-static-page"
PARTS = (
    ("ONNX Runtime Web", r"runtime/ort\."),
    ("the model", r"model-"),
    ("mozjpeg's decoder", r"runtime/mozjpeg"),
    ("the PNG libraries", r"runtime/\w+_png\."),
    ("the page", ""),
)
"""What is in the site: each file belongs to the first part whose pattern its path holds."""


def photo(height: int, width: int) -> np.ndarray:
    """A bundled photo, enlarged."""
    source = Image.open(ROOT / "src" / "pconv" / "evaluation" / "photos" / "coffee.jpg")
    return np.asarray(source.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))


def strokes(side: int, share: float) -> np.ndarray:
    """Strokes of 9 pixels that cover a share of a square."""
    rng, hole = np.random.default_rng(0), np.zeros((side, side), bool)
    while hole.mean() < share:
        (y0, y1), (x0, x1) = rng.integers(0, side, (2, 2))
        for at in np.linspace(0, 1, 2 * side):
            y, x = int(y0 + (y1 - y0) * at), int(x0 + (x1 - x0) * at)
            hole[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5] = True
    return hole


def memory() -> dict[str, float]:
    """Megabytes of each renderer process of this profile: their peaks."""
    peaks = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            command = (status.parent / "cmdline").read_bytes().decode(errors="replace")
            if PROFILE in command or "--type=renderer" in command:
                peaks[status.parent.name] = int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1000
        except (OSError, TypeError):
            continue
    return peaks


def measure(folder: Path, isolated: bool, pixels: np.ndarray, hole: np.ndarray, again: int) -> None:
    with (
        serving_folder(folder, isolated) as web,
        sync_playwright() as playwright,
        tempfile.TemporaryDirectory() as temporary,
    ):
        path = os.environ.get("PCONV_CHROMIUM", "/usr/bin/chromium")
        before = set(memory())
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        desk = Desk(browser.new_context(viewport={"width": 900, "height": 620}), web.address)
        desk.page.set_default_timeout(300_000)
        Image.fromarray(pixels).save(Path(temporary) / "photo.png")
        Image.fromarray(hole).save(Path(temporary) / "mask.png")
        desk.open(Path(temporary) / "photo.png")
        desk.page.set_input_files("#mask-input", Path(temporary) / "mask.png")
        desk.expect_said("marks")
        time.sleep(5)  # the model is loaded by then
        seconds = []
        for fill in range(1 + again):
            start = time.perf_counter()
            desk.page.click("#another-button" if fill else "#fill-button")
            desk.page.wait_for_selector(f"body[data-state=ready][data-version='{fill + 1}']")
            seconds.append(time.perf_counter() - start)
        peak = max(size for process, size in memory().items() if process not in before)
        browser.close()
    what = f"{pixels.shape[1]} x {pixels.shape[0]}, {'2 threads' if isolated else '1 thread'}"
    shown = ", ".join(f"{each:.2f}" for each in seconds)
    print(f"{what}: {shown} s; peak of the tab {peak:.0f} MB; load {os.getloadavg()[0]:.1f}")


def print_sizes(folder: Path) -> None:
    """Bytes of each part of the site, as they are and with `gzip -9`."""
    sizes = {name: [0, 0] for name, _ in PARTS}
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            part = next(name for name, pattern in PARTS if re.search(pattern, path.relative_to(folder).as_posix()))
            sizes[part][0] += len(data)
            sizes[part][1] += len(gzip.compress(data, 9))
    sizes["together"] = [sum(column) for column in zip(*sizes.values(), strict=True)]
    for name, (plain, compressed) in sizes.items():
        print(f"{name:20} {plain:12,} bytes {compressed:12,} with gzip")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, nargs="?", default="page-site", help="the folder that pconv page wrote")
    parser.add_argument("--sizes", action="store_true", help="print the sizes of the files, and measure nothing")
    arguments = parser.parse_args()
    site = arguments.site
    if not (site / "index.html").is_file():
        parser.error(f"{site} is not a folder that pconv page wrote: build it with `make page`, or name another one")
    if arguments.sizes:
        print_sizes(site)
        sys.exit()
    for isolated in (False, True):
        measure(site, isolated, photo(512, 512), strokes(512, 0.1), again=5)
    large = np.zeros((3000, 4000), bool)
    large[1400:1650, 1800:2200] = True
    measure(site, False, photo(3000, 4000), large, again=1)
