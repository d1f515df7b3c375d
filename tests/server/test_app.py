"""What the routes answer, over a real connection."""

import io
import re
from dataclasses import fields
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
from harness import Grey, block, encoded, noise, parts, pixels
from PIL import Image

from pconv import InpaintOptions, __version__
from pconv.server.app import STATIC
from pconv.server.middleware import DOCS_POLICY, PAGE_POLICY


def error(response):
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    return body["error"]


def test_the_hole_is_filled_and_the_rest_stays(grey_server):
    photo, mask = noise(), block()
    answer = grey_server.post(parts(photo, mask))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    hole = np.asarray(mask) > 0
    result = pixels(answer.content)
    assert (result[~hole] == np.asarray(photo)[~hole]).all()
    assert np.abs(result[hole].astype(int) - 127.5).max() <= 1
    assert float(answer.headers["x-pconv-hole-ratio"]) == pytest.approx(hole.mean(), abs=1e-6)
    assert 0 < float(answer.headers["x-pconv-seconds"]) < 20
    assert answer.headers["x-pconv-model"] == "grey"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("form", "kind", "suffix"),
    [("JPEG", "image/jpeg", ""), ("WEBP", "image/webp", ""), ("TIFF", "image/tiff", ""), ("BMP", "image/bmp", "")],
)
def test_the_answer_has_the_photos_format(grey_server, form, kind, suffix):
    answer = grey_server.post(parts(encoded(noise(), form)))
    assert answer.headers["content-type"] == kind
    assert Image.open(io.BytesIO(answer.content)).format == form


def test_or_the_one_asked_for(grey_server):
    answer = grey_server.post(format="jpeg", quality="40")
    assert answer.headers["content-type"] == "image/jpeg"
    assert len(answer.content) < len(grey_server.post(format="jpeg", quality="95").content)


def test_invert_and_grow(grey_server):
    hole = np.asarray(block()) > 0
    inverted = grey_server.post(parts(mask=Image.fromarray(~hole)), invert="true")
    assert (pixels(inverted.content) == pixels(grey_server.post().content)).all()
    grown = grey_server.post(grow="2")
    changed = (pixels(grown.content) != np.asarray(noise())).any(axis=2)
    assert changed[6, 15]
    assert not changed[4, 15]
    assert float(grown.headers["x-pconv-hole-ratio"]) > hole.mean()


class TestSeed:
    def test_chooses_the_fill(self, serving):
        server, hole = serving(Grey(noise=True)), np.asarray(block()) > 0
        plain, zero, other = (server.post(**fields) for fields in ({}, {"seed": "0"}, {"seed": "63"}))
        assert plain.content == zero.content
        assert np.abs(pixels(zero.content)[hole].astype(int) - 255 * 0.5).max() <= 1
        assert np.abs(pixels(other.content)[hole].astype(int) - 255 * (0.5 + 63 / 256)).max() <= 1
        assert (pixels(other.content)[~hole] == np.asarray(noise())[~hole]).all()
        assert "x-pconv-notes" not in other.headers
        assert server.client.get("/api/v1/info").json()["seeds"] == 64

    def test_is_ignored_with_a_note_by_a_network_without_noise_inputs(self, serving):
        server = serving(Grey())
        zero, other = server.post(seed="0"), server.post(seed="7")
        assert other.content == zero.content
        assert [seed for seed, _ in server.backend.placed] == [0, 0]
        assert "x-pconv-notes" not in zero.headers
        assert "no noise inputs, so seed 7" in unquote(other.headers["x-pconv-notes"])
        assert server.client.get("/api/v1/info").json()["seeds"] == 1

    def test_means_nothing_where_nothing_is_filled(self, grey_server):
        answer = grey_server.post(parts(mask=Image.new("L", (40, 30))), seed="7")
        assert "seed" not in unquote(answer.headers["x-pconv-notes"])

    @pytest.mark.parametrize("seed", ["64", "-1", "1.5", "", "x", "0x1"])
    def test_is_a_whole_number_from_0_to_63(self, grey_server, seed):
        answer = grey_server.post(seed=seed)
        assert answer.status_code == 422
        assert error(answer)["code"] == "bad_field"
        assert "whole number from 0 to 63" in error(answer)["message"]


def test_a_mask_that_marks_nothing_gives_the_photo_back_and_says_so(grey_server):
    answer = grey_server.post(parts(mask=Image.new("L", (40, 30))))
    assert (pixels(answer.content) == np.asarray(noise())).all()
    assert "marks nothing" in unquote(answer.headers["x-pconv-notes"])


def test_info_says_what_fills_and_the_limits(grey_server):
    info = grey_server.client.get("/api/v1/info").json()
    assert info["name"] == "pconv"
    assert info["version"] == __version__
    assert (info["model"], info["backend"], info["device"], info["precision"]) == ("grey", "grey", "cpu", "fp32")
    assert ".png" in info["formats"]
    assert ".jpg" in info["formats"]
    assert set(info["limits"]) == {"bytes", "pixels", "seconds", "queue"}
    assert set(info["options"]) == {each.name for each in fields(InpaintOptions)}
    assert info["options"]["seed"]["maximum"] == 63


def test_health(grey_server):
    assert grey_server.client.get("/healthz").json() == {"status": "ok"}


def test_metrics_count(grey_server):
    def total(name):
        page = grey_server.client.get("/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.M)
        return float(found[1]) if found else 0.0

    done = 'pconv_requests_total{route="/api/v1/inpaint",status="200"}'
    refused = 'pconv_refusals_total{code="bad_field"}'
    grey_server.until(lambda: grey_server.service._bytes.used == 0)
    before = total(done), total(refused), total("pconv_pixels_total")
    grey_server.post()
    grey_server.post(grow="x")
    assert (total(done), total(refused), total("pconv_pixels_total")) == (
        before[0] + 1,
        before[1] + 1,
        before[2] + 1200,
    )
    grey_server.until(lambda: grey_server.service._bytes.used == 0)
    assert total("pconv_held_bytes") == total("pconv_held_pixels") == total("pconv_queue_length") == 0


def test_an_address_of_nobodys_choosing_is_no_label(grey_server):
    grey_server.client.get("/secret-file-name.jpg")
    assert "secret" not in grey_server.client.get("/metrics").text


def test_openapi_describes_the_form(grey_server):
    schema = grey_server.client.get("/openapi.json").json()
    post = schema["paths"]["/api/v1/inpaint"]["post"]
    form = post["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["image", "mask"]
    texts = {*(each.name for each in fields(InpaintOptions)), "format", "quality"}
    assert set(form["properties"]) == {"image", "mask", "original", *texts}
    seed = form["properties"]["seed"]
    assert (seed["type"], seed["minimum"], seed["maximum"], seed["default"]) == ("integer", 0, 63, 0)
    assert {"200", "413", "503"} <= set(post["responses"])


def test_the_documentation_loads_nothing_from_elsewhere(grey_server):
    page = grey_server.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == 4
    for link in links:
        if link != "data:,":
            assert link.startswith("docs/")  # relative, so that a proxy may serve it under any path
            assert grey_server.client.get(link).status_code == 200
    assert "<script>" not in page.text


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/info", "/docs", "/nothing", "/"])
def test_every_answer_has_the_security_headers(grey_server, path):
    headers = grey_server.client.get(path).headers
    assert headers["content-security-policy"] == (DOCS_POLICY if path == "/docs" else PAGE_POLICY)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_the_policies_allow_nothing_from_elsewhere():
    for policy in (PAGE_POLICY, DOCS_POLICY):
        assert policy.startswith("default-src 'none';")
        for never in ("unsafe-inline", "unsafe-eval", "http:", "https:", "*"):
            assert never not in policy
    assert "blob:" not in PAGE_POLICY
    assert "data:" not in PAGE_POLICY
    assert "img-src 'self' blob: data:;" in DOCS_POLICY


READABLE = [
    *(f"/{path.relative_to(STATIC).as_posix()}" for path in sorted(STATIC.rglob("*")) if path.is_file()),
    *("/", "/healthz", "/metrics", "/api/v1/info", "/openapi.json"),
    *("/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"),
]
UNKNOWN = [
    "/nothing",
    "/api",
    "/api/v1/nothing",
    "/api/v1/inpaint/",
    "/docs/",
    "/healthz/x",
    "/index.html/",
    "/..%2fapp.py",
]
ALLOWED = {**dict.fromkeys(READABLE, "GET, HEAD, OPTIONS"), "/api/v1/inpaint": "OPTIONS, POST"}


class TestMethods:
    """As RFC 9110 has them, on a connection that stays open: a wrong length would break the request after it."""

    @pytest.mark.parametrize("path", READABLE)
    def test_head_is_get_without_the_body(self, grey_server, path):
        get, head = (grey_server.client.request(method, path) for method in ("GET", "HEAD"))
        assert (get.status_code, head.status_code, head.content) == (200, 200, b"")
        changing = {"date", *(["content-length"] if path == "/metrics" else [])}
        assert [each for each in get.headers.items() if each[0] not in changing] == [
            each for each in head.headers.items() if each[0] not in changing
        ]

    @pytest.mark.parametrize(("path", "allow"), ALLOWED.items())
    def test_others_are_405_with_those_that_there_are(self, grey_server, path, allow):
        options = grey_server.client.options(path)
        assert (options.status_code, options.headers["allow"], options.content) == (204, allow, b"")
        assert "content-length" not in options.headers
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - set(allow.split(", ")):
            refused = grey_server.client.request(method, path)
            assert (refused.status_code, refused.headers["allow"]) == (405, allow)
            if method != "HEAD":
                assert error(refused)["code"] == "method"

    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
    @pytest.mark.parametrize("path", UNKNOWN)
    def test_unknown_addresses_are_404_for_all(self, grey_server, method, path):
        response = grey_server.client.request(method, path)
        assert response.status_code == 404
        assert "allow" not in response.headers
        if method != "HEAD":
            assert error(response)["code"] == "not_found"

    @pytest.mark.parametrize(("method", "status"), [("OPTIONS", 204), ("GET", 404), ("HEAD", 404)])
    def test_an_asterisk_is_the_whole_server_and_only_for_options(self, grey_server, method, status):
        with grey_server.connect() as connection:
            connection.sendall(f"{method} * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            head = b"".join(iter(lambda: connection.recv(65536), b"")).decode().split("\r\n\r\n")[0].lower()
        assert head.startswith(f"http/1.1 {status} ")
        assert ("allow: get, head, options, post" in head) == (status == 204)

    def test_ranges_are_for_get_alone(self, grey_server):
        get, head = (
            grey_server.client.request(m, "/sample.jpg", headers={"Range": "bytes=0-9"}) for m in ("GET", "HEAD")
        )
        assert (get.status_code, len(get.content)) == (206, 10)
        assert head.status_code == 200
        assert int(head.headers["content-length"]) > 10

    def test_a_body_that_is_not_wanted_leaves_the_connection_in_order(self, grey_server):
        for method, path, status in (("OPTIONS", "/", 204), ("GET", "/healthz", 200), ("PUT", "/healthz", 405)):
            assert grey_server.client.request(method, path, content=b"x" * 100_000).status_code == status


class TestToken:
    TOKEN = "a-token-of-some-length"

    def test_is_needed_for_what_computes_or_tells(self, serving):
        server = serving(token=self.TOKEN)
        assert server.post().status_code == 200
        assert server.client.get("/metrics").status_code == 200
        stranger = httpx.Client(base_url=server.url, verify=False)
        for path in ("/api/v1/info", "/metrics"):
            response = stranger.get(path)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert error(response)["code"] == "token"
        assert stranger.post("/api/v1/inpaint", files=parts()).status_code == 401
        for path in ("/healthz", "/docs", "/openapi.json"):
            assert stranger.get(path).status_code == 200
        assert server.backend.seen == [(1, 3, 30, 40)]

    @pytest.mark.parametrize("said", ["", "Bearer", "Bearer a-token-of-some-lengt", "Basic {}", "{}"])
    def test_must_be_right(self, serving, said):
        server = serving(token=self.TOKEN)
        headers = {"Authorization": said.format(self.TOKEN)}
        assert server.client.get("/api/v1/info", headers=headers).status_code == 401

    def test_may_not_be_ascii_in_a_request(self, serving):
        server = serving(token=self.TOKEN)
        headers = {"Authorization": "Bearer tökén".encode("latin-1")}
        assert server.client.get("/api/v1/info", headers=headers).status_code == 401

    def test_is_never_logged(self, serving, caplog):
        caplog.set_level("DEBUG")
        server = serving(token=self.TOKEN)
        server.client.get(f"/api/v1/info?token={self.TOKEN}")
        server.client.get(f"/{self.TOKEN}")
        ours = [r.getMessage() for r in caplog.records if r.name.startswith(("pconv", "uvicorn"))]
        assert ours
        assert not any(self.TOKEN in line for line in ours)


class TestWhoAsks:
    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "[::1]"])
    def test_loopback_has_these_names(self, grey_server, host):
        assert grey_server.client.get("/healthz", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "", "localhost:x"],
    )
    def test_a_name_that_was_made_to_point_here_is_refused(self, grey_server, host):
        response = grey_server.client.get("/healthz", headers={"Host": host})
        assert response.status_code == 421
        assert error(response)["code"] == "host"

    def test_on_the_network_any_name_will_do_but_the_token_is_needed(self, serving):
        server = serving(hosts=None, token=TestToken.TOKEN)
        assert server.client.get("/api/v1/info", headers={"Host": "anything.example"}).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost.evil.example"},
            {"Origin": "http://localhost:x"},
            {"Origin": "http://"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://localhost:1", "Sec-Fetch-Site": "same-site"},
            {"Origin": "http://evil.example", "Sec-Fetch-Site": "none"},
        ],
    )
    def test_pages_of_other_sites_are_refused(self, grey_server, headers):
        response = grey_server.client.post("/api/v1/inpaint", files=parts(), headers=headers)
        assert response.status_code == 403
        assert error(response)["code"] == "cross_site"

    def test_our_own_page_is_not(self, grey_server):
        response = grey_server.client.post("/api/v1/inpaint", files=parts(), headers={"Origin": grey_server.url})
        assert response.status_code == 200

    @pytest.mark.parametrize("origin", ["https://photos.example", "https://PHOTOS.example:8443", "http://localhost:1"])
    def test_nor_is_one_that_a_proxy_serves_under_an_allowed_name(self, serving, origin):
        server = serving(hosts=frozenset({"127.0.0.1", "localhost", "photos.example"}))
        assert server.client.post("/api/v1/inpaint", files=parts(), headers={"Origin": origin}).status_code == 200

    def test_nor_one_of_which_the_browser_says_so(self, serving):
        server = serving(hosts=None, token=TestToken.TOKEN)
        for host, origin, site, status in (
            ("pconv:8000", "https://photos.example", "same-origin", 200),
            ("photos.example", "https://photos.example", None, 200),
            ("pconv:8000", "https://photos.example", None, 403),
            ("", "null", None, 403),
        ):
            headers = {"Host": host, "Origin": origin, **({"Sec-Fetch-Site": site} if site else {})}
            assert server.client.post("/api/v1/inpaint", files=parts(), headers=headers).status_code == status

    def test_no_cors(self, grey_server):
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        response = grey_server.client.options("/api/v1/inpaint", headers=preflight)
        assert response.status_code == 403
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_one_line_for_each_request_without_what_came(grey_server, caplog):
    caplog.set_level("INFO", "pconv.server")
    files = parts()
    files["image"] = ("my-secret-holiday.png", *files["image"][1:])
    grey_server.post(files)
    grey_server.client.get("/my-secret-album?x=secret")
    lines = [r.getMessage() for r in caplog.records if r.name == "pconv.server"]
    assert re.fullmatch(r"127\.0\.0\.1 POST /api/v1/inpaint 200 \d+ ms \d+ bytes", lines[0])
    assert re.fullmatch(r"127\.0\.0\.1 GET other 404 \d+ ms \d+ bytes not_found", lines[1])
    assert len(lines) == 2
