"""``/docs`` in a browser: Swagger UI with nothing but what this server sends, under its Content-Security-Policy."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


@pytest.mark.parametrize("server", ["stub_address", "proxy_address"])
def test_a_photo_can_be_filled_and_is_shown(desks, server, request):
    desk, address = desks(server), request.getfixturevalue(server)
    page, asked = desk.page, []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address + "docs")
    page.click(".opblock-post .opblock-summary")
    page.click(".try-out__btn")
    for field, name in enumerate(("astronaut.jpg", "astronaut-mask.png", "astronaut.jpg")):
        page.locator("input[type=file]").nth(field).set_input_files(PHOTOS / name)
    page.click(".execute")
    page.wait_for_selector(".live-responses-table img")
    page.wait_for_function("document.querySelector('.live-responses-table img').naturalWidth === 512")
    assert address + "api/v1/inpaint" in asked
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)
    assert desk.complaints == []  # what the policy keeps out would be here
