"""Nothing painted is lost: failed requests, cancelled fills, reloads; and what the page says meanwhile."""

import re

import numpy as np
import pytest

pytestmark = pytest.mark.slow

INPAINT = re.compile("/api/v1/inpaint$")


@pytest.fixture
def painted(desk, photo):
    desk.open(photo)
    desk.stroke((30, 30), (60, 40), (90, 80))
    return desk


def answer(page, status, body, **headers):
    page.route(INPAINT, lambda route: route.fulfill(status=status, body=body, headers=headers))


def test_a_busy_server_is_said_and_can_be_tried_again(painted):
    marked = painted.mask()
    error = '{"error": {"code": "queue_full", "message": "The queue is full."}}'
    answer(painted.page, 503, error, **{"Retry-After": "1", "Content-Type": "application/json"})
    painted.page.click("#fill-button")
    assert painted.warned() == "The queue is full."
    assert np.array_equal(painted.mask(), marked)
    painted.page.unroute(INPAINT)
    painted.page.click("#alert-action")  # waits until the server's second has passed
    painted.ready(1)
    assert not painted.page.is_visible("#alert")
    painted.complaints.clear()  # the browser's own notes about the 503


ANSWERS = [  # status, body, part of the sentence, whether it can be tried again
    (413, "<h1>Request Entity Too Large</h1>", "larger than the server accepts", False),
    (500, "", "answered with an error (500)", True),
    (503, '{"error": {"code": "time_limit", "message": "It took too long."}}', "It took too long.", False),
    (401, '{"error": {"code": "token", "message": "send it"}}', "wants its token", True),
    (422, '{"error": {"code": "mask_size", "message": "the mask is odd"}}', "The mask is odd.", False),
    (200, "no image", "not an image", False),
]


def test_whatever_the_server_answers_is_a_sentence(painted):
    marked = painted.mask()
    for status, body, said, again in ANSWERS:
        answer(painted.page, status, body)
        painted.page.click("#fill-button")
        assert said in painted.warned()
        assert painted.page.is_visible("#alert-action") == again
        painted.page.click("#alert-close")
        painted.ready(0)
        painted.page.unroute(INPAINT)
    assert np.array_equal(painted.mask(), marked)
    painted.complaints.clear()


def test_a_server_that_is_gone_is_said(painted):
    painted.page.route(INPAINT, lambda route: route.abort("connectionrefused"))
    painted.page.click("#fill-button")
    assert "does not answer" in painted.warned()
    painted.page.unroute(INPAINT)
    painted.page.click("#alert-action")
    painted.ready(1)
    painted.complaints.clear()


def test_a_fill_can_be_cancelled_and_nothing_changes_meanwhile(painted):
    marked = painted.mask()
    held = []
    painted.page.route(INPAINT, lambda route: held.append(route))
    painted.page.click("#fill-button")
    painted.page.wait_for_selector("#busy:not([hidden])")
    painted.page.wait_for_function("() => document.getElementById('busy-text').textContent.includes('1 s')")
    painted.stroke((150, 100))
    assert painted.page.is_disabled("#undo-button")
    painted.page.click("#cancel-button")
    painted.expect_said("Cancelled")
    painted.ready(0)
    assert np.array_equal(painted.mask(), marked)
    painted.page.click("#fill-button")
    painted.page.wait_for_selector("#busy:not([hidden])")
    painted.page.keyboard.press("Escape")
    painted.expect_said("Cancelled")
    assert np.array_equal(painted.mask(), marked)


def test_a_reload_brings_everything_back(painted, photo):
    first = painted.mask()
    painted.fill(1)
    painted.stroke((120, 30))
    painted.stroke((150, 90))
    both = painted.mask()
    painted.page.keyboard.press("Control+z")
    one = painted.mask()
    _, filled = painted.download()
    painted.reload()
    painted.ready(1)
    painted.expect_said("field.png is back")
    assert np.array_equal(painted.mask(), one)
    assert painted.download() == ("field-filled.png", filled)
    painted.page.keyboard.press("Control+y")
    assert np.array_equal(painted.mask(), both)
    for _ in range(3):
        painted.page.keyboard.press("Control+z")
    painted.ready(0)
    assert np.array_equal(painted.mask(), first)
    painted.reload()
    painted.ready(0)
    assert np.array_equal(painted.mask(), first)
    assert painted.download() == ("field.png", photo.read_bytes())


def test_a_new_photo_takes_the_place_of_the_old_one_and_a_second_tab_is_its_own(painted, photo, tmp_path, address):
    other = tmp_path / "other.png"
    other.write_bytes(photo.read_bytes())
    painted.open(other)
    painted.reload()
    painted.ready()
    assert painted.page.title().startswith("other.png")
    assert not painted.mask().any()
    second = painted.context.new_page()
    second.goto(address)
    second.wait_for_selector("body[data-started=true][data-state=empty]")
    second.close()


def test_a_browser_that_keeps_nothing_still_works_and_says_so(desks, photo):
    desk = desks()
    forbid = "for (const area of ['localStorage', 'sessionStorage', 'indexedDB'])"
    forbid += " Object.defineProperty(window, area, { get() { throw new DOMException('no', 'SecurityError'); } });"
    desk.context.add_init_script(forbid)
    desk.page.reload()
    desk.started()
    assert "cannot keep your work" in desk.warned()
    desk.open(photo)
    desk.stroke((30, 30))
    desk.fill()
    desk.page.click("#theme-button")
    desk.complaints.clear()  # the page's own note about the storage


def test_steps_are_bounded(desk):
    left = desk.page.evaluate(
        """async () => {
          const { History } = await import("/history.js");
          const history = new History();
          const forgotten = [];
          for (let i = 0; i < 40; i++) {
            const changes = new Map([[0, new Uint32Array(1e6)]]);
            forgotten.push(...history.push({ what: String(i), changes, from: 0, to: 0 }).forgotten);
          }
          return [history.steps.length, history.bytes, history.first, forgotten.length, history.undo().what];
        }"""
    )
    assert left == [16, 64_000_000, 24, 24, "39"]


def test_the_token_leaves_the_address_and_goes_with_every_request(desks, photo, address):
    desk = desks()
    seen = []
    desk.page.on("request", lambda request: seen.append((request.url, request.headers.get("authorization"))))
    desk.go(address + "?once#token=secret%2Bone")  # another fragment alone would not load the page anew
    assert desk.page.url == address + "?once"
    desk.open(photo)
    desk.stroke((30, 30))
    desk.fill()
    asked = [token for url, token in seen if "/api/" in url]
    assert len(asked) > 1
    assert set(asked) == {"Bearer secret+one"}


def test_the_token_can_be_entered(painted):
    marked = painted.mask()
    seen = []

    def check(route):
        seen.append(route.request.headers.get("authorization"))
        if seen[-1] == "Bearer the-right-one":
            route.continue_()
        else:
            route.fulfill(status=401, body="")

    painted.page.route(INPAINT, check)
    painted.page.click("#fill-button")
    assert "wants its token" in painted.warned()
    painted.page.click("#alert-action")
    painted.page.keyboard.type("f")  # into the field: no short cut
    painted.page.keyboard.press("Enter")
    assert "wants its token" in painted.warned()
    assert np.array_equal(painted.mask(), marked)
    painted.page.click("#alert-action")
    painted.page.fill("#token-field", "the-right-one")
    painted.complaints.clear()  # the browser's own notes about the 401
    painted.page.click("#token-dialog .primary")
    painted.ready(1)
    assert seen == [None, "Bearer f", "Bearer the-right-one"]


def test_light_dark_and_help(desks):
    desk = desks(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert desk.page.evaluate(ground) == "rgb(22, 25, 23)"
    desk.page.click("#theme-button")
    assert desk.page.evaluate(ground) == "rgb(244, 243, 239)"
    desk.page.reload()
    desk.started()
    assert desk.page.evaluate(ground) == "rgb(244, 243, 239)"
    desk.page.keyboard.press("?")
    assert desk.page.is_visible("text=Painting without a mouse")
    desk.page.wait_for_selector("#about:not(:empty)", state="attached")
    assert "model default" in desk.page.inner_text("#about")
    desk.page.keyboard.press("Escape")
    assert not desk.page.is_visible("text=Painting without a mouse")
