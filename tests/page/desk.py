"""A tab with the page, as a person has it before them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


class Desk:
    """A tab with the page, and what a person does there."""

    def __init__(self, context, address: str) -> None:
        self.context = context
        self.page = context.new_page()
        self.page.set_default_timeout(20_000)
        self.complaints: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.go(address)

    def go(self, address: str) -> None:
        self.page.goto(address)
        self.started()

    def reload(self) -> None:
        self.page.wait_for_selector("body[data-saved=true]")
        self.page.reload()
        self.started()

    def started(self) -> None:
        self.page.wait_for_selector("body[data-started=true]")
        self.frame()

    def frame(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def ready(self, version: int | None = None) -> None:
        which = "" if version is None else f"[data-version='{version}']"
        self.page.wait_for_selector(f"body[data-state=ready]{which}")
        self.frame()

    def open(self, path: Path) -> None:
        self.page.set_input_files("#photo-input", path)
        self.page.wait_for_function("name => document.title.startsWith(name)", arg=path.name)
        self.ready()

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the photo is in the window."""
        box = self.page.locator("#stage").bounding_box()
        place = self.page.evaluate("({...document.getElementById('stage').dataset})")
        scale = float(place["scale"])
        return box["x"] + float(place["x"]) + x * scale, box["y"] + float(place["y"]) + y * scale

    def stroke(self, *points: tuple[float, float], button: str = "left") -> None:
        mouse = self.page.mouse
        mouse.move(*self.at(*points[0]))
        mouse.down(button=button)
        for point in points[1:] or points:
            mouse.move(*self.at(*point), steps=3)
        mouse.up(button=button)
        self.frame()

    def tool(self, name: str) -> None:
        self.page.click(f"[data-tool={name}]")

    def size(self, diameter: int) -> None:
        """The slider counts in steps of the logarithm, so go near with it and on with the keys."""
        for _ in range(200):
            now = int(self.page.get_attribute("#size", "aria-valuetext").split()[0])
            if now == diameter:
                return
            self.page.keyboard.press("]" if now < diameter else "[")
        raise AssertionError(f"the brush does not get to {diameter} pixels")

    def fill(self, version: int = 1) -> None:
        self.page.click("#fill-button")
        self.ready(version)

    def saved(self, click: str) -> tuple[str, bytes]:
        with self.page.expect_download() as download:
            self.page.click(click)
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def download(self) -> tuple[str, bytes]:
        return self.saved("#download-button")

    def mask(self) -> np.ndarray:
        """What is marked, as the exported image says it."""
        with self.page.expect_download() as download:
            self.page.keyboard.press("m")
        image = Image.open(download.value.path())
        assert (image.format, image.mode) == ("PNG", "L")
        pixels = np.asarray(image)
        assert set(np.unique(pixels)) <= {0, 255}
        return pixels == 255

    def said(self) -> str:
        return self.page.locator("#status").inner_text()

    def expect_said(self, part: str) -> None:
        self.page.wait_for_function("part => document.getElementById('status').textContent.includes(part)", arg=part)

    def warned(self) -> str:
        self.page.wait_for_selector("#alert:not([hidden])")
        return self.page.locator("#alert-text").inner_text()

    def shown(self, x: float, y: float) -> tuple[int, ...]:
        """The colour on the screen at a point of the photo, without the marking."""
        self.frame()
        return tuple(
            self.page.evaluate(
                """([x, y]) => {
                  const { dataset } = document.getElementById("stage");
                  const canvas = document.getElementById("photo-canvas");
                  const density = canvas.width / canvas.clientWidth;
                  const at = (value, offset) => Math.floor((value * dataset.scale + Number(offset)) * density);
                  const { data } = canvas.getContext("2d").getImageData(at(x, dataset.x), at(y, dataset.y), 1, 1);
                  return [...data.slice(0, 3)];
                }""",
                [x, y],
            )
        )


def pixels_of(data: bytes | Path) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data) if isinstance(data, bytes) else data))
