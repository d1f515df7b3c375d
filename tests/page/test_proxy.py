"""Page and `/docs` behind a real nginx with its defaults, under a path prefix and another name and port."""

import io
from pathlib import Path

import httpx
import pytest
from desk import pixels_of
from PIL import Image

pytestmark = pytest.mark.slow

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def test_a_photo_is_filled(desks, proxy_address, photo):
    desk = desks("proxy_address")
    desk.open(photo)
    desk.stroke((30, 30), (60, 40))
    hole = desk.mask()
    desk.fill()
    before, after = pixels_of(photo), pixels_of(desk.download()[1])
    assert hole.any()
    assert (after[~hole] == before[~hole]).all()
    assert (after[hole] == 60).all()


def test_the_address_without_the_last_slash_leads_to_the_page(desks, proxy_address):
    desk = desks("proxy_address")
    desk.go(proxy_address.rstrip("/"))
    assert desk.page.url == proxy_address


@pytest.mark.parametrize(
    ("origin", "status"), [("https://photos.localhost", 200), ("https://photos.localhost.evil.example", 403)]
)
def test_only_an_allowed_name_is_our_own(proxy_address, origin, status):
    """As from a browser that does not send Sec-Fetch-Site, and from a page with TLS."""
    files = {"image": (PHOTOS / "astronaut.jpg").read_bytes(), "mask": (PHOTOS / "astronaut-mask.png").read_bytes()}
    url = proxy_address.replace("photos.localhost", "127.0.0.1") + "api/v1/inpaint"
    response = httpx.post(url, files=files, headers={"Origin": origin, "Host": "photos.localhost"})
    assert response.status_code == status
    assert status != 200 or Image.open(io.BytesIO(response.content)).size == (512, 512)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("HEAD", "docs", 200, None),
        ("OPTIONS", "api/v1/inpaint", 204, "OPTIONS, POST"),
        ("PUT", "healthz", 405, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "nothing", 404, None),
    ],
)
def test_methods_pass(proxy_address, method, path, status, allow):
    response = httpx.request(method, proxy_address.replace("photos.localhost", "127.0.0.1") + path)
    assert (response.status_code, response.headers.get("allow")) == (status, allow)
