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
    assert grey_server.client.head("/healthz").status_code == 200


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
            assert link.startswith("/docs/")
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


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/inpaint", 405, "method"),
        ("PUT", "/api/v1/inpaint", 405, "method"),
        ("POST", "/healthz", 405, "method"),
        ("POST", "/", 405, "method"),
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/api/v1/nothing", 404, "not_found"),
    ],
)
def test_wrong_addresses_and_methods(grey_server, method, path, status, code):
    response = grey_server.client.request(method, path)
    assert response.status_code == status
    assert error(response)["code"] == code


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
            {"Origin": "http://localhost:1"},
            {"Sec-Fetch-Site": "cross-site"},
        ],
    )
    def test_pages_of_other_sites_are_refused(self, grey_server, headers):
        response = grey_server.client.post("/api/v1/inpaint", files=parts(), headers=headers)
        assert response.status_code == 403
        assert error(response)["code"] == "cross_site"

    def test_our_own_page_is_not(self, grey_server):
        response = grey_server.client.post("/api/v1/inpaint", files=parts(), headers={"Origin": grey_server.url})
        assert response.status_code == 200

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
