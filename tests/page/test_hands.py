"""Other ways to work at the page than a mouse: fingers on a phone, a pen, the keyboard; and very large photos."""

import numpy as np
import pytest
from desk import pixels_of
from PIL import Image

pytestmark = pytest.mark.slow

PHONE = {"viewport": {"width": 390, "height": 780}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


class Fingers:
    def __init__(self, desk) -> None:
        self.desk = desk
        self.session = desk.context.new_cdp_session(desk.page)

    def touch(self, kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def path(self, *frames) -> None:
        """Each frame: the places of all fingers. More fingers than before: one more has come down."""
        down = 0
        for places in frames:
            self.touch("touchStart" if len(places) > down else "touchMove", *places)
            down = len(places)
        self.touch("touchEnd")
        self.desk.frame()


def test_one_finger_paints_and_two_move_and_zoom(desks, photo):
    desk = desks(**PHONE)
    desk.open(photo)
    fingers = Fingers(desk)
    fingers.path([desk.at(40, 40)], [desk.at(80, 60)], [desk.at(120, 60)])
    marked = desk.mask()
    assert marked[40, 40]
    assert marked[60, 120]
    assert not marked[100, 40]
    scale = float(desk.page.get_attribute("#stage", "data-scale"))
    (x0, y0), (x1, y1) = desk.at(60, 60), desk.at(120, 60)
    fingers.path(
        [(x0, y0)], [(x0, y0), (x1, y1)], [(x0 - 30, y0 + 20), (x1, y1 + 20)], [(x0 - 60, y0 + 40), (x1 + 60, y1 + 40)]
    )
    assert np.array_equal(desk.mask(), marked)  # the first of two fingers has left no dot
    zoomed = float(desk.page.get_attribute("#stage", "data-scale"))
    assert zoomed == pytest.approx(scale * (x1 - x0 + 120) / (x1 - x0), rel=0.02)
    assert desk.at(90, 60)[1] == pytest.approx(y0 + 40, abs=3)
    desk.page.tap("#fill-button")
    desk.ready(1)
    after = pixels_of(desk.download()[1])
    assert np.array_equal(pixels_of(photo)[~marked], after[~marked])


def test_on_a_phone_everything_is_in_reach_and_nothing_overflows(desks, photo):
    desk = desks(**PHONE)
    width = "document.documentElement.scrollWidth"
    assert desk.page.evaluate(width) <= 390
    desk.open(photo)
    assert desk.page.evaluate(width) <= 390
    for control in ("#fill-button", "#undo-button", "#size", "[data-tool=lasso]", "#more-button", "#download-button"):
        box = desk.page.locator(control).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 780
        assert box["height"] >= 32
    stage = desk.page.locator("#stage").bounding_box()
    assert stage["height"] > 0.6 * 780
    desk.page.tap("#more-button")
    panel = desk.page.locator("#more-panel").bounding_box()
    assert panel["x"] >= 0
    assert panel["x"] + panel["width"] <= 390
    assert panel["y"] >= 0


def test_every_size_of_window_shows_all_of_the_dock_and_the_panel(desk, photo):
    desk.open(photo)
    for width, height in ((1600, 900), (825, 600), (800, 360), (320, 560)):
        desk.page.set_viewport_size({"width": width, "height": height})
        desk.page.click("#more-button")
        for control in ("[data-tool=brush]", "#fill-button", "#more-panel"):
            box = desk.page.locator(control).bounding_box()
            assert box["x"] >= 0, (width, control)
            assert box["x"] + box["width"] <= width, (width, control)
            assert box["y"] >= 0, (width, control)
            assert box["y"] + box["height"] <= height, (width, control)
        desk.page.keyboard.press("Escape")


def test_a_pen_paints_its_eraser_erases_and_a_resting_hand_does_nothing(desk, photo):
    desk.open(photo)
    fire = """([kind, type, x, y, buttons, id]) => {
      const stage = document.getElementById("stage");
      stage.setPointerCapture = () => {};  // there is no such pointer in this browser
      const button = { 1: 0, 2: 2, 32: 5 }[buttons] ?? -1;
      const init = { bubbles: true, pointerType: type, pointerId: id, clientX: x, clientY: y, button, buttons };
      stage.dispatchEvent(new PointerEvent(kind, init));
    }"""

    def draw(buttons, *points):
        for i, point in enumerate(points):
            desk.page.evaluate(fire, ["pointermove" if i else "pointerdown", "pen", *desk.at(*point), buttons, 7])
            if not i:
                desk.page.evaluate(fire, ["pointerdown", "touch", *desk.at(20, 100), 1, 8])
                desk.page.evaluate(fire, ["pointermove", "touch", *desk.at(60, 100), 1, 8])
        desk.page.evaluate(fire, ["pointerup", "pen", *desk.at(*points[-1]), 0, 7])
        desk.page.evaluate(fire, ["pointerup", "touch", *desk.at(60, 100), 0, 8])

    draw(1, (40, 40), (140, 40))
    marked = desk.mask()
    assert marked[40, [40, 90, 140]].all()
    assert not marked[100].any()
    draw(32, (90, 40), (91, 40))
    marked = desk.mask()
    assert marked[40, [40, 140]].all()
    assert not marked[40, 90]


def test_the_keyboard_alone_does_everything(desk):
    press = desk.page.keyboard.press
    for _ in range(12):
        press("Tab")
        if desk.page.evaluate("document.activeElement.id") == "sample-button":
            break
    press("Enter")
    desk.expect_said("cat.jpg, 451")
    desk.ready()
    assert desk.page.evaluate("document.activeElement.id") == "stage"
    press("ArrowLeft")  # the cursor appears in the middle, and moves
    press(" ")
    dot = desk.mask()
    size = int(desk.page.get_attribute("#size", "aria-valuetext").split()[0])
    assert dot.sum() == pytest.approx(np.pi * size**2 / 4, rel=0.1)
    assert dot[150, round(225.5 - size / 4)]
    press("Enter")
    for _ in range(3):
        press("Shift+ArrowDown")
    press("Enter")
    press("Shift+ArrowDown")
    line = desk.mask()
    assert line[150 : 150 + 3 * size, round(225.5 - size / 4)].all()
    assert line.sum() == pytest.approx(dot.sum() + 3 * size * size, rel=0.1)
    press("e")
    press("Shift+ArrowUp")
    press(" ")
    assert desk.mask().sum() < line.sum()
    press("r")
    for _ in range(8):
        press("ArrowRight")
    press("Enter")
    press("Shift+ArrowRight")
    press("Shift+ArrowDown")
    assert desk.page.locator("#outline .over").get_attribute("d")
    press("Escape")
    assert not desk.page.locator("#outline .over").get_attribute("d")
    press("Enter")
    press("Shift+ArrowRight")
    press("Shift+ArrowUp")
    press("Enter")
    hole = desk.mask()
    assert hole.sum() > line.sum()
    press("f")
    desk.ready(1)
    press("w")
    assert desk.page.evaluate("document.activeElement.id") == "wipe"
    press("ArrowLeft")
    assert desk.page.get_attribute("#wipe", "aria-valuenow") == "48"
    press("w")
    press("Control+z")
    desk.ready(0)
    assert np.array_equal(desk.mask(), hole)


def test_every_control_has_a_name_and_shows_its_focus(desk, photo):
    desk.open(photo)
    nameless = desk.page.evaluate(
        """[...document.querySelectorAll("button, input, select, [role=slider], [role=application]")]
          .filter(each => !each.hidden && !each.textContent.trim())
          .filter(each => !each.getAttribute("aria-label") && !each.labels?.length)
          .map(each => each.outerHTML)"""
    )
    assert nameless == []
    desk.page.keyboard.press("Tab")
    assert desk.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """24 megapixels, as a camera has them."""
    rows, columns = np.mgrid[:4000:8, :6000:8]
    small = np.stack([rows / 16, columns / 24, (rows + columns) / 40], axis=-1).astype(np.uint8)
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    Image.fromarray(small).resize((6000, 4000)).save(path, quality=90)
    return path


def test_24_megapixels_are_painted_at_full_size_without_freezing(desk, large):
    desk.open(large)
    desk.page.evaluate(
        """() => {
          window.longest = 0;
          new PerformanceObserver(list => {
            for (const each of list.getEntries()) window.longest = Math.max(window.longest, each.duration);
          }).observe({ type: "longtask" });
        }"""
    )
    desk.stroke((500, 500), (5500, 700), (500, 1500), (5500, 3500))
    desk.page.keyboard.press("1")
    desk.frame()
    desk.page.keyboard.press("0")
    desk.frame()
    assert desk.page.evaluate("window.longest") < 1000  # of the machine's two cores, others may have both
    marked = desk.mask()
    assert marked.shape == (4000, 6000)
    assert marked[500, 500]
    assert marked[3500, 5500]
    assert 0.02 < marked.mean() < 0.3
    desk.page.keyboard.press("Control+z")
    assert not desk.mask().any()
