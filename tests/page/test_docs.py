"""``/docs`` in a browser: Swagger UI with nothing but what this server sends, under its Content-Security-Policy."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def test_a_photo_can_be_filled_and_is_shown(desks, stub_address):
    desk = desks("stub_address")
    page = desk.page
    page.goto(stub_address + "docs")
    page.click(".opblock-post .opblock-summary")
    page.click(".try-out__btn")
    for field, name in enumerate(("astronaut.jpg", "astronaut-mask.png", "astronaut.jpg")):
        page.locator("input[type=file]").nth(field).set_input_files(PHOTOS / name)
    page.click(".execute")
    page.wait_for_selector(".live-responses-table img")
    page.wait_for_function("document.querySelector('.live-responses-table img').naturalWidth === 512")
    assert desk.complaints == []  # what the policy keeps out would be here
