"""Hostile requests to a real server: each gets a 4xx and a sentence, no traceback, and its memory is released."""

import contextlib
import gc
import io
import json
import os
import resource
import socket
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from harness import Grey, block, encoded, noise, parts, pixels, running_server
from PIL import Image, PngImagePlugin

BOUNDARY = "xyz"
LIMITS = {"max_bytes": 3_000_000, "max_pixels": 1_000_000}


@pytest.fixture(scope="module")
def server():
    with running_server(Grey(), **LIMITS) as running:
        yield running


def part(name, data, *headers, filename=None):
    disposition = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    head = "\r\n".join([f"--{BOUNDARY}", disposition, *headers])
    return head.encode("latin-1") + b"\r\n\r\n" + (data if isinstance(data, bytes) else data.encode()) + b"\r\n"


IMAGE, MASK = encoded(noise()), encoded(block())
GOOD = part("image", IMAGE, filename="a.png") + part("mask", MASK, filename="b.png")
END = f"--{BOUNDARY}--\r\n".encode()
TYPE = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"


def request(body, *headers, kind=TYPE, target="/api/v1/inpaint", method="POST", length=True):
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", kind, *headers]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join(line for line in lines if line).encode("latin-1") + b"\r\n\r\n" + body


def with_image(image, **more):
    return part("image", image, filename="a.png", **more) + part("mask", MASK, filename="b.png") + END


def with_field(name, value):
    return GOOD + part(name, value) + END


def png_of(width, height, data=b"", chunks=()):
    """A PNG that says it has this size, whatever is in it."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    inner = b"".join(chunk(*each) for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + inner + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif_of(width, height):
    image = bytearray(encoded(Image.new("P", (4, 4)), "GIF"))
    image[6:10] = struct.pack("<HH", width, height)
    return bytes(image)


def bmp_of(width, height):
    image = bytearray(encoded(Image.new("RGB", (4, 4)), "BMP"))
    image[18:26] = struct.pack("<ii", width, height)
    return bytes(image)


def tiff_of(width, height):
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
               (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 16)]  # fmt: skip
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", *e) for e in entries)
        + bytes(4)
    )


def webp_of(width, height):
    payload = b"\x10\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", len(payload)) + payload + b"ALPH\x00\x00\x00\x00"
    return b"RIFF" + struct.pack("<I", len(body)) + body


def text_bomb():
    """A text chunk that is 100 MB once inflated."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "A" * 100_000_000, zip=True)
    return encoded(noise(), pnginfo=info)


def zip_of_images():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.png", IMAGE)
    return out.getvalue()


DEEP = b"[" * 100_000 + b"]" * 100_000
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n"
HUGE_IFD = b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 2000

# What is sent, and the status and code that must come back.
HOSTILE = {
    "no body": (request(b"", kind=""), 415, "content_type"),
    "json": (request(b"{}", kind="Content-Type: application/json"), 415, "content_type"),
    "deep json": (request(DEEP, kind="Content-Type: application/json"), 415, "content_type"),
    "url-encoded": (request(b"image=1", kind="Content-Type: application/x-www-form-urlencoded"), 415, "content_type"),
    "multipart of another kind": (request(GOOD + END, kind=TYPE.replace("form-data", "mixed")), 415, "content_type"),
    "no boundary": (request(GOOD + END, kind="Content-Type: multipart/form-data"), 400, "multipart"),
    "another boundary": (request(GOOD + END, kind=TYPE + "other"), 400, "multipart"),
    "a boundary of 5,000 letters": (request(GOOD + END, kind=TYPE + "x" * 5000), 400, "multipart"),
    "no closing boundary": (request(GOOD), 400, "multipart"),
    "cut in a part": (request(GOOD[:-300]), 400, "multipart"),
    "nothing but the end": (request(END), 422, "missing_field"),
    "not multipart at all": (request(os.urandom(5000)), 400, "multipart"),
    "a part without a name": (request(b"--xyz\r\nX: y\r\n\r\nz\r\n" + END), 400, "multipart"),
    "a hundred headers in a part": (request(part("image", IMAGE, *["X: y"] * 100) + END), 400, "multipart"),
    "a header of 10 kB in a part": (request(part("image", IMAGE, "X: " + "y" * 10_000) + END), 400, "multipart"),
    "a base64 part": (
        request(part("image", b"QQ==", "Content-Transfer-Encoding: base64") + END),
        415,
        "content_encoding",
    ),
    "a zipped body": (request(GOOD + END, "Content-Encoding: gzip"), 415, "content_encoding"),
    "no mask": (request(part("image", IMAGE) + END), 422, "missing_field"),
    "no image": (request(part("mask", MASK) + END), 422, "missing_field"),
    "empty image": (request(with_image(b"")), 422, "empty_file"),
    "image twice": (request(GOOD + part("image", IMAGE) + END), 422, "repeated_field"),
    "a field twice": (request(GOOD + part("grow", "1") + part("grow", "2") + END), 422, "repeated_field"),
    "a thousand fields": (
        request(GOOD + b"".join(part(f"f{n}", "1") for n in range(1000)) + END),
        422,
        "unknown_field",
    ),
    "an unknown field": (request(with_field("path", "/etc/passwd")), 422, "unknown_field"),
    "a misspelt field": (request(with_field("grwo", "1")), 422, "unknown_field"),
    "a path as a field": (request(with_field("../../image", "x")), 422, "unknown_field"),
    "NaN": (request(with_field("grow", "NaN")), 422, "bad_field"),
    "infinity": (request(with_field("feather", "1e999")), 422, "bad_field"),
    "minus one": (request(with_field("grow", "-1")), 422, "bad_field"),
    "a number of 60 digits": (request(with_field("grow", "9" * 60)), 422, "bad_field"),
    "a number of a million digits": (request(with_field("grow", "9" * 1_000_000)), 422, "bad_field"),
    "Arabic digits": (request(with_field("grow", "٣")), 422, "bad_field"),
    "a null byte": (request(with_field("format", b"png\0.php")), 422, "bad_field"),
    "a path as format": (request(with_field("format", "../../etc/passwd")), 422, "bad_field"),
    "a seed too many": (request(with_field("seed", "64")), 422, "bad_field"),
    "quality 0": (request(with_field("quality", "0")), 422, "bad_field"),
    "maybe inverted": (request(with_field("invert", "maybe")), 422, "bad_field"),
    "text as image": (request(with_image(b"hello")), 415, "format"),
    "html said to be an image": (request(with_image(b"<script>alert(1)</script>")), 415, "format"),
    "an image said to be html": (
        request(part("image", IMAGE, "Content-Type: text/html") + part("mask", MASK) + END),
        415,
        "content_type",
    ),
    "svg": (request(with_image(SVG)), 415, "format"),
    "postscript": (request(with_image(POSTSCRIPT)), 415, "format"),
    "pdf": (request(with_image(b"%PDF-1.7\n" + IMAGE)), 415, "format"),
    "a zip of images": (request(with_image(zip_of_images())), 415, "format"),
    "a python pickle": (request(with_image(b"\x80\x04\x95cos\nsystem\n(S'id'\ntR.")), 415, "format"),
    "gif that is a script": (request(with_image(b"GIF89a/*\0\0*/=1;alert(1)//")), 422, "unreadable"),
    "truncated png": (request(with_image(IMAGE[:-200])), 422, "unreadable"),
    "truncated jpeg": (request(with_image(encoded(noise(), "JPEG")[:700])), 422, "unreadable"),
    "png header only": (request(with_image(b"\x89PNG\r\n\x1a\n")), 422, "unreadable"),
    "png of noise": (request(with_image(png_of(40, 30, os.urandom(500)))), 422, "unreadable"),
    "png bomb": (request(with_image(png_of(30_000, 30_000, zlib.compress(bytes(90_000), 9)))), 413, "too_many_pixels"),
    "png of four billion rows": (request(with_image(png_of(2**31 - 1, 2**31 - 1))), 413, "too_many_pixels"),
    "png without width": (request(with_image(png_of(0, 30))), 422, "unreadable"),
    "gif bomb": (request(with_image(gif_of(65_000, 65_000))), 413, "too_many_pixels"),
    "bmp bomb": (request(with_image(bmp_of(60_000, 60_000))), 413, "too_many_pixels"),
    "bmp of negative width": (request(with_image(bmp_of(-60_000, 60_000))), 413, "too_many_pixels"),
    "tiff bomb": (request(with_image(tiff_of(100_000, 100_000))), 413, "too_many_pixels"),
    "tiff of noise": (request(with_image(HUGE_IFD)), 422, "unreadable"),
    "webp bomb": (request(with_image(webp_of(16_384, 16_384))), 422, "unreadable"),
    "a bomb as mask": (
        request(part("image", IMAGE) + part("mask", png_of(30_000, 30_000)) + END),
        413,
        "too_many_pixels",
    ),
    "mask of another size": (
        request(part("image", IMAGE) + part("mask", encoded(block(41, 30))) + END),
        422,
        "mask_size",
    ),
    "a bomb as original": (request(GOOD + part("original", png_of(30_000, 30_000)) + END), 413, "too_many_pixels"),
    "text as original": (request(GOOD + part("original", "hello") + END), 415, "format"),
    "broken original": (request(GOOD + part("original", IMAGE[:-200]) + END), 422, "unreadable"),
    "empty original": (request(GOOD + part("original", b"") + END), 422, "empty_file"),
    "mask on its side": (request(part("image", IMAGE) + part("mask", encoded(block(30, 40))) + END), 422, "mask_size"),
    "mask of noise": (request(part("image", IMAGE) + part("mask", os.urandom(200)) + END), 415, "format"),
    "all is hole": (
        request(part("image", IMAGE) + part("mask", encoded(Image.new("L", (40, 30), 255))) + END),
        422,
        "all_hole",
    ),
    "too many bytes": (request(bytes(3_000_001)), 413, "too_many_bytes"),
    "too many bytes, only said": (
        request(b"", "Content-Length: 99999999999999999999", length=False),
        413,
        "too_many_bytes",
    ),
    "chunked": (
        request(b"5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=False),
        411,
        "length_required",
    ),
    "no length": (request(b"", length=False), 411, "length_required"),
    "a length that is none": (request(b"", "Content-Length: 1e3", length=False), 400, "http"),
    "two lengths": (request(GOOD + END, "Content-Length: 5"), 400, "http"),
    "smuggled": (request(b"0\r\n\r\nGET /x HTTP/1.1\r\n\r\n", "Transfer-Encoding: chunked"), 411, "length_required"),
    "a coding nobody knows": (request(b"", "Transfer-Encoding: cow", length=False), 400, "http"),
    "headers of 100 kB": (request(b"", "X: " + "y" * 100_000), 431, "headers"),
    "ten thousand headers": (request(b"", *["X: y"] * 10_000), 431, "headers"),
    "an address of 100 kB": (request(b"", target="/" + "x" * 100_000), 431, "headers"),
    "two hosts": (request(b"", "Host: evil.example"), 400, "http"),
    "a header with a null byte": (request(b"", "X: a\0b"), 400, "http"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300) + b"\r\n\r\n", 400, "http"),
    "no HTTP": (b"HELO there\r\n\r\n", 400, "http"),
    "HTTP/2 at once": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 421, "host"),
    "out of the folder": (request(b"", target="/../../../../etc/passwd", method="GET", kind=""), 404, "not_found"),
    "out of the folder, encoded": (
        request(b"", target="/%2e%2e/%2e%2e/etc/passwd", method="GET", kind=""),
        404,
        "not_found",
    ),
    "out of the folder, from docs": (
        request(b"", target="/docs/../../app.py", method="GET", kind=""),
        404,
        "not_found",
    ),
    "an address with a null byte": (request(b"", target="/a%00b", method="GET", kind=""), 404, "not_found"),
    "a proxy's request": (request(b"", target="http://evil.example/", method="GET", kind=""), 404, "not_found"),
    "a method nobody knows": (request(b"", method="BREW", kind=""), 405, "method"),
    "websocket": (request(b"", "Connection: Upgrade", "Upgrade: websocket", method="GET", kind=""), 405, "method"),
}


def ask(server, data):
    """Send bytes, read one whole answer."""
    with server.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # answered already
            connection.sendall(data)
        return read_answer(connection)


def read_answer(connection):
    got = b""
    while b"\r\n\r\n" not in got:
        more = connection.recv(65536)
        assert more, f"the connection ended after {got!r}"
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(lines[0].split()[1]), headers, body


def test_a_text_chunk_bomb_costs_the_image_nothing(server):
    status, _, body = ask(server, request(with_image(text_bomb())))
    assert status == 200
    assert pixels(body).shape == (30, 40, 3)


@pytest.mark.usefixtures("no_tracebacks")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(server, name):
    data, status, code = HOSTILE[name]
    got, headers, body = ask(server, data)
    error = json.loads(body)["error"]
    assert (got, error["code"]) == (status, code), error
    assert headers["content-type"] == "application/json"
    message = error["message"]
    assert 10 < len(message) < 200
    assert "Traceback" not in message
    assert "/work" not in message
    assert server.client.get("/healthz").status_code == 200
    assert server.service._bytes.used == 0
    assert server.service._pixels.used == 0


def test_nothing_hostile_came_near_the_network_or_the_disk(server, tmp_path, monkeypatch):
    """Also not for a body above the size at which form parsers begin to use temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    big = noise(900, 700)
    answer = server.post(parts(big, block(900, 700)))
    assert answer.status_code == 200
    assert len(parts(big)["image"][1]) > 1_500_000
    server.backend.seen.clear()
    for data, _, _ in HOSTILE.values():
        ask(server, data)
    assert server.backend.seen == []


@pytest.mark.parametrize(
    "filename", ["../../etc/passwd", "/etc/passwd", "C:\\\\boot.ini", "a\0b.png", "x" * 3000, "..", ""]
)
def test_a_file_name_means_nothing(server, filename):
    body = part("image", IMAGE, filename=filename or None) + part("mask", MASK, filename=filename or None) + END
    status, headers, body = ask(server, request(body))
    assert status == 200
    assert "passwd" not in str(headers)
    assert pixels(body).shape == (30, 40, 3)


@pytest.mark.parametrize("payload", [b"<script>alert(1)</script>" * 20, zip_of_images(), b"%PDF-1.7 " * 50])
def test_what_hangs_at_the_end_of_an_image_does_not_come_back(server, payload):
    """A polyglot file counts as an image, and what else it holds is dropped."""
    for form in ("PNG", "JPEG", "WEBP"):
        status, headers, body = ask(server, request(with_image(encoded(noise(), form) + payload)))
        assert status == 200
        assert payload[:20] not in body
        assert headers["x-content-type-options"] == "nosniff"


def resident():
    gc.collect()
    return resident_without_collecting()


def resident_without_collecting():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_back_where_it_was(server):
    def once():
        for data, _, _ in HOSTILE.values():
            ask(server, data)

    once()
    before = resident()
    for _ in range(3):
        once()
    assert resident() - before < 15


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_broken_file_is_let_go_at_once(server):
    """Not only when Python looks for circles of references, which may be long after."""
    data = request(with_image(encoded(noise(900, 900))[:-1000]))
    assert ask(server, data)[0] == 422
    gc.collect()
    before = resident()
    gc.disable()
    try:
        for _ in range(30):
            ask(server, data)
        now = resident_without_collecting()
    finally:
        gc.enable()
    assert len(data) > 2_000_000
    assert now - before < 15


def test_the_whole_form_is_needed_before_memory_is_taken(server):
    """A large length alone costs nothing."""
    connections = [server.connect() for _ in range(20)]
    before = resident()
    for connection in connections:
        connection.sendall(request(b"", "Content-Length: 2999999", length=False))
    assert server.client.get("/healthz").status_code == 200
    assert resident() - before < 5
    for connection in connections:
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
