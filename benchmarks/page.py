"""How the page keeps up with a hand on a photo of 24 megapixels: Chromium without a GPU, so real ones are faster.

    python benchmarks/page.py        needs chromium, and pip install 'pconv[dev]'

Times of the page's own code per event and per frame, and of the frames as they appear. Prints a Markdown table.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

SIZE = (6000, 4000)
TIMED = """
window.timings = { event: [], frame: [], interval: [] };
const listen = EventTarget.prototype.addEventListener;
EventTarget.prototype.addEventListener = function (type, listener, options) {
  if (type !== "pointermove" || typeof listener !== "function") return listen.call(this, type, listener, options);
  return listen.call(this, type, function (event) {
    const start = performance.now();
    listener.call(this, event);
    timings.event.push(performance.now() - start);
  }, options);
};
const request = window.requestAnimationFrame;
let last = 0;
window.requestAnimationFrame = draw => request(now => {
  const start = performance.now();
  draw(now);
  timings.frame.push(performance.now() - start);
  if (last && now - last < 1000) timings.interval.push(now - last);
  last = now;
});
"""


def photo(folder: Path) -> Path:
    """Something smooth with grain, as a camera makes it."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (12, 18, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC)).astype(np.int16)
    pixels = pixels + rng.integers(-6, 7, (*SIZE[::-1], 1), dtype=np.int16)
    path = folder / "large.jpg"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=92)
    return path


class Row:
    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name

    def __enter__(self) -> None:
        self.page.evaluate("timings.event = [], timings.frame = [], timings.interval = []; 0")

    def __exit__(self, *_: object) -> None:
        self.page.evaluate("new Promise(done => setTimeout(done, 300))")
        timings = self.page.evaluate("timings")
        cells = [self.name, str(len(timings["frame"]))]
        for kind in ("event", "frame", "interval"):
            times = timings[kind] or [0.0]
            cells.append(f"{np.median(times):.1f} / {np.percentile(times, 95):.1f} / {max(times):.1f}")
        print("|", " | ".join(cells), "|")


def stroke(page: Page, x0: float, y0: float, x1: float, y1: float, waves: int = 3, steps: int = 40) -> None:
    box = page.locator("#stage").bounding_box()
    assert box is not None
    turn = np.linspace(0, waves * 2 * np.pi, waves * steps)
    xs = box["x"] + box["width"] * np.linspace(x0, x1, len(turn))
    ys = box["y"] + box["height"] * ((y0 + y1) / 2 + (y1 - y0) / 2 * np.sin(turn))
    page.mouse.move(xs[0], ys[0])
    page.mouse.down()
    for x, y in zip(xs, ys, strict=True):
        page.mouse.move(x, y)
    page.mouse.up()


def measure(page: Page, address: str, path: Path) -> None:
    page.add_init_script(TIMED)
    page.goto(address)
    page.wait_for_selector("body[data-started=true]")
    page.evaluate("window.start = performance.now()")
    page.set_input_files("#photo-input", path)
    page.wait_for_selector("body[data-state=ready]")
    print(f"Opened, decoded, reduced: {page.evaluate('(performance.now() - start) / 1000'):.1f} s\n")
    print("| | frames | event, ms | drawing, ms | between frames, ms |")
    print("|---|---|---|---|---|")
    with Row(page, "brush 250 px, whole photo in view"):
        stroke(page, 0.1, 0.2, 0.9, 0.8)
    page.locator("#size").fill("100")
    with Row(page, "brush 2000 px"):
        stroke(page, 0.2, 0.3, 0.8, 0.7)
    page.locator("#size").fill("65")
    with Row(page, "undo, redo"):
        for key in ("Control+z", "Control+z", "Control+y", "Control+y"):
            page.keyboard.press(key)
    page.keyboard.press("h")
    with Row(page, "moved, much of it marked"):
        stroke(page, 0.4, 0.4, 0.6, 0.6)
    with Row(page, "zoomed"):
        for _ in range(15):
            page.mouse.wheel(0, -120)
            page.evaluate("new Promise(requestAnimationFrame)")
    page.keyboard.press("1")
    page.keyboard.press("b")
    with Row(page, "brush 145 px, 100 %"):
        stroke(page, 0.1, 0.2, 0.9, 0.8)
    print()
    code = """async () => {
      const modules = ["/holes.js", "/jobs.js", "/shapes.js"].map(each => import(each));
      const [{ HoleMap }, jobs, { outline }] = await Promise.all(modules);
      const map = new HoleMap(6000, 4000);
      map.begin();
      for (let i = 0; i < 40; i++) {
        map.paint(outline.stroke({ x: 150 * i, y: 200 }, { x: 5900 - 140 * i, y: 3900 }, 90), true);
      }
      map.commit();
      const times = [];
      const { encodeMask, growMask } = jobs;
      for (const task of [() => encodeMask(map, 1), () => encodeMask(map, 8), () => growMask(map, 20)]) {
        const start = performance.now();
        await task();
        times.push((performance.now() - start) / 1000);
      }
      return times;
    }"""
    upload, export, grow = page.evaluate(code)
    print(f"In the worker: the mask for the server {upload:.2f} s, for export {export:.2f} s; grown {grow:.2f} s")


@contextmanager
def served() -> Iterator[str]:
    """The address of a `pconv serve` that runs until the block ends."""
    command = [sys.executable, "-m", "pconv", "serve", "--port", "0", "--backend", "onnxruntime"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        address = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+", line)))
        threading.Thread(target=server.stderr.read, daemon=True).start()
        yield address
    finally:
        server.terminate()
        server.wait(30)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, served() as address:
        path = photo(Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.on("pageerror", lambda error: print(error, file=sys.stderr))
        measure(page, address, path)
        browser.close()


if __name__ == "__main__":
    main()
