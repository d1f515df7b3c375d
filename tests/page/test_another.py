"""The button "Another fill": the same hole, filled again with the next seed, in the place of the last fill.

The server's network is a stand-in whose fill is one grey per seed (stub_server.py), so that each fill is told apart.
"""

import re
import urllib.request

import numpy as np
import pytest
from desk import pixels_of

pytestmark = pytest.mark.slow

INPAINT = re.compile("/api/v1/inpaint$")
ANOTHER = "#another-button"


def grey(seed: int) -> int:
    return 60 + 2 * seed


@pytest.fixture
def painted(desks, photo):
    desk = desks("stub_address")
    desk.page.wait_for_selector("#about:not(:empty)", state="attached")  # the page knows how many seeds there are
    desk.open(photo)
    desk.stroke((30, 30), (60, 40), (90, 80))
    return desk


def another(desk, version: int) -> None:
    desk.page.click(ANOTHER)
    desk.ready(version)


def filled_with(desk, hole: np.ndarray) -> int:
    """The seed that a hole is filled with; nothing else may be in it."""
    values = np.unique(pixels_of(desk.download()[1])[hole])
    assert len(values) == 1
    return (int(values[0]) - 60) // 2


def test_it_takes_the_place_of_the_last_fill_and_undo_gives_that_back(painted, photo):
    hole = painted.mask()
    painted.fill(1)
    _, first = painted.download()
    another(painted, 2)
    painted.expect_said("Another fill (2 of 64)")
    _, second = painted.download()
    before, one, two = pixels_of(photo), pixels_of(first), pixels_of(second)
    assert (one[hole] == grey(0)).all()
    assert (two[hole] == grey(1)).all()
    assert np.array_equal(two[~hole], before[~hole])
    assert not painted.mask().any()
    painted.page.keyboard.press("Control+z")
    painted.ready(1)
    painted.expect_said("Undone: another fill")
    assert painted.download()[1] == first
    assert not painted.mask().any()
    painted.page.keyboard.press("Control+z")
    painted.ready(0)
    assert np.array_equal(painted.mask(), hole)
    assert painted.download() == ("field.png", photo.read_bytes())
    painted.page.keyboard.press("Control+Shift+z")
    painted.page.keyboard.press("Control+Shift+z")
    painted.ready(2)
    assert painted.download()[1] == second
    assert not painted.mask().any()


def test_it_shows_what_it_has_done(painted):
    painted.fill(1)
    assert painted.shown(60, 40) == (grey(0),) * 3
    another(painted, 2)
    assert painted.shown(60, 40) == (grey(1),) * 3


def set_feather(desk, pixels: int) -> None:
    desk.page.click("#more-button")
    desk.page.fill("#feather", str(pixels))
    desk.page.keyboard.press("Enter")
    desk.page.keyboard.press("Escape")


def test_it_fills_the_photo_and_not_the_last_fill(painted, photo, stub_address):
    """With a soft edge what lies in the hole shows: the answer must be the one for the photo as it was opened."""
    set_feather(painted, 6)
    with painted.page.expect_download() as mask:
        painted.page.keyboard.press("m")
    painted.fill(1)
    set_feather(painted, 0)  # this is for later fills: another fill repeats the feather of the first one
    another(painted, 2)
    parts = {"image": photo.read_bytes(), "mask": mask.value.path().read_bytes(), "feather": b"6", "seed": b"1"}
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), data)
        for name, data in parts.items()
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(stub_address + "api/v1/inpaint", body + b"--x--\r\n", headers)
    with urllib.request.urlopen(request) as answer:
        assert painted.download()[1] == answer.read()


def test_several_times_in_a_row_and_each_time_a_new_one(painted):
    hole = painted.mask()
    painted.fill(1)
    for seed in (1, 2, 3):
        another(painted, seed + 1)
        assert filled_with(painted, hole) == seed
    for _ in range(2):
        painted.page.keyboard.press("Control+z")
    painted.ready(2)
    assert filled_with(painted, hole) == 1
    another(painted, 5)  # what was undone has been seen
    assert filled_with(painted, hole) == 4
    painted.page.keyboard.press("Control+z")
    painted.ready(2)
    assert filled_with(painted, hole) == 1


def test_after_the_last_seed_comes_the_first(desks, photo):
    desk = desks("stub_address")
    desk.page.route("**/api/v1/info", lambda route: route.fulfill(json={**route.fetch().json(), "seeds": 3}))
    desk.page.reload()
    desk.started()
    desk.page.wait_for_selector("#about:not(:empty)", state="attached")
    desk.open(photo)
    desk.stroke((30, 30), (60, 40))
    hole = desk.mask()
    desk.fill(1)
    seeds = []
    for version in (2, 3, 4):
        another(desk, version)
        seeds.append(filled_with(desk, hole))
    assert seeds == [1, 2, 0]


def test_it_is_the_last_hole_that_is_filled_again_and_new_marks_stay(painted):
    first = painted.mask()
    painted.fill(1)
    painted.stroke((120, 90), (150, 90))
    second = painted.mask()
    painted.fill(2)
    painted.stroke((150, 20))
    marked = painted.mask()
    another(painted, 3)
    assert filled_with(painted, first) == 0
    assert filled_with(painted, second) == 1
    assert np.array_equal(painted.mask(), marked)
    painted.page.click("#fill-button")
    painted.ready(4)
    assert filled_with(painted, second) == 1
    assert filled_with(painted, marked) == 0
    another(painted, 5)
    assert filled_with(painted, marked) == 1
    assert filled_with(painted, second) == 1


def test_after_the_last_fill_is_undone_the_one_before_is_filled_again(painted):
    first = painted.mask()
    painted.fill(1)
    painted.stroke((120, 90), (150, 90))
    second = painted.mask()
    painted.fill(2)
    painted.page.keyboard.press("Control+z")
    painted.ready(1)
    another(painted, 3)
    assert filled_with(painted, first) == 1
    assert np.array_equal(painted.mask(), second)


def test_it_can_be_pressed_only_where_there_is_a_last_fill(painted, photo, tmp_path):
    assert painted.page.is_disabled(ANOTHER)
    painted.page.keyboard.press("a")
    painted.expect_said("Nothing is filled yet")
    held = []
    painted.page.route(INPAINT, lambda route: held.append(route))
    with painted.page.expect_request(INPAINT):
        painted.page.click("#fill-button")
    painted.page.wait_for_selector("#busy:not([hidden])")
    assert painted.page.is_disabled(ANOTHER)
    held[0].continue_()
    painted.ready(1)
    assert painted.page.is_enabled(ANOTHER)
    painted.page.keyboard.press("Control+z")
    painted.ready(0)
    assert painted.page.is_disabled(ANOTHER)
    painted.page.keyboard.press("Control+y")
    painted.ready(1)
    assert painted.page.is_enabled(ANOTHER)
    other = tmp_path / "other.png"
    other.write_bytes(photo.read_bytes())
    painted.open(other)
    assert painted.page.is_disabled(ANOTHER)


def test_it_is_off_where_the_network_has_one_seed(desks, photo):
    desk = desks("one_seed_address")
    desk.page.wait_for_selector("#about:not(:empty)", state="attached")
    desk.open(photo)
    desk.stroke((30, 30))
    desk.fill(1)
    assert desk.page.is_disabled(ANOTHER)
    desk.page.keyboard.press("a")
    desk.expect_said("in one way only")
    desk.ready(1)


def test_the_key_does_what_the_button_does(painted):
    hole = painted.mask()
    painted.page.keyboard.press("f")
    painted.ready(1)
    painted.page.keyboard.press("a")
    painted.ready(2)
    assert filled_with(painted, hole) == 1


def test_it_can_be_cancelled_and_the_last_fill_stays(painted):
    hole = painted.mask()
    painted.fill(1)
    painted.page.route(INPAINT, lambda _: None)
    painted.page.click(ANOTHER)
    painted.page.wait_for_selector("#busy:not([hidden])")
    assert painted.page.is_disabled(ANOTHER)
    painted.page.click("#cancel-button")
    painted.expect_said("Cancelled")
    painted.ready(1)
    painted.page.unroute(INPAINT)
    assert filled_with(painted, hole) == 0
    another(painted, 2)
    assert filled_with(painted, hole) == 1


def test_a_busy_server_can_be_tried_again(painted):
    hole = painted.mask()
    painted.fill(1)
    error = '{"error": {"code": "busy", "message": "as many pictures wait as the queue takes"}}'
    headers = {"Retry-After": "1", "Content-Type": "application/json"}
    painted.page.route(INPAINT, lambda route: route.fulfill(status=503, body=error, headers=headers))
    painted.page.click(ANOTHER)
    assert painted.warned() == "As many pictures wait as the queue takes."
    painted.page.unroute(INPAINT)
    painted.page.click("#alert-action")
    painted.ready(2)
    assert filled_with(painted, hole) == 1
    painted.complaints.clear()  # the browser's own note about the 503


def test_a_reload_brings_back_what_it_needs(painted):
    hole = painted.mask()
    painted.fill(1)
    another(painted, 2)
    painted.stroke((150, 20))
    marked = painted.mask()
    painted.reload()
    painted.ready(2)
    assert np.array_equal(painted.mask(), marked)
    painted.page.wait_for_selector(f"{ANOTHER}:enabled")
    another(painted, 3)
    assert filled_with(painted, hole) == 2
    painted.page.keyboard.press("Control+z")
    painted.ready(2)
    assert filled_with(painted, hole) == 1
    painted.reload()
    for version in (2, 1, 0):
        painted.page.keyboard.press("Control+z")
        painted.ready(version)
    assert np.array_equal(painted.mask(), hole)


def test_the_history_counts_a_hole_once_and_keeps_the_photo_that_was_filled(painted):
    left = painted.page.evaluate(
        """async () => {
          const { History } = await import("/history.js");
          const history = new History();
          const hole = new Map([[0, new Uint32Array(1000)]]);
          const fill = { from: 7, hole, seed: 0, feather: 3 };
          history.push({ what: "fill", changes: hole, from: 7, to: 8, fill });
          history.push({ what: "another fill", changes: new Map(), from: 8, to: 9, fill: { ...fill, seed: 1 } });
          const bytes = history.bytes;
          history.steps.shift();  // as if there were too many
          history.position--;
          return [bytes, [...history.versions], history.lastFill.from, history.lastFill.seed];
        }"""
    )
    assert left == [4000, [8, 9, 7], 7, 1]


def test_it_has_a_name_at_every_width(painted):
    for width in (1440, 960, 390):
        painted.page.set_viewport_size({"width": width, "height": 800})
        assert painted.page.get_by_role("button", name="Another fill", exact=True).is_visible()
