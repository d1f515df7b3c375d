"""The page in a real Chromium, served by a real ``pconv serve``."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from desk import Desk
from PIL import Image

STUB = Path(__file__).with_name("stub_server.py")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    # The address bar's lists are two pages that each new window loads: half of what a short test computes.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup",
]
INSTALL = "Debian: apt-get install chromium; and pip install playwright, or name another with PCONV_CHROMIUM"
PROXY_PREFIX = "/tools/pconv/"
NGINX = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""


def missing(what: str) -> None:
    """Skip, but not on the machine that is there to run everything."""
    if os.environ.get("CI"):
        pytest.fail(f"the page was not tested, and CI must: {what}", pytrace=False)
    pytest.skip(f"the page is not tested: {what}")


@pytest.fixture(scope="session")
def browser():
    path = os.environ.get("PCONV_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        missing(f"no playwright ({INSTALL})")
    if path is None:
        missing(f"no chromium ({INSTALL})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address(browser) -> Iterator[str]:
    with serving("-m", "pconv", "serve", "--backend", "onnxruntime") as address:
        yield address


@pytest.fixture(scope="session")
def stub_address(browser) -> Iterator[str]:
    """A server whose fill of a hole is one grey per seed."""
    with serving(STUB, "1") as address:
        yield address


@pytest.fixture(scope="session")
def one_seed_address(browser) -> Iterator[str]:
    """A server whose network has no noise inputs."""
    with serving(STUB, "0") as address:
        yield address


@pytest.fixture(scope="session")
def proxy_address(tmp_path_factory) -> Iterator[str]:
    """The page's address at nginx, where the server behind it knows that name."""
    with serving(STUB, "1", "--allow-host", "photos.localhost") as server:
        location = f"location {PROXY_PREFIX} {{ proxy_pass {server}; }}"
        with nginx(location, tmp_path_factory.mktemp("nginx")) as port:
            yield f"http://photos.localhost:{port}{PROXY_PREFIX}"


@contextmanager
def nginx(locations: str, folder: Path) -> Iterator[int]:
    """nginx with some locations, until the block ends; its port."""
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        missing("no nginx (Debian: apt-get install nginx-light)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not open the folder
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(user=user, folder=folder, port=port, locations=locations))
    process = subprocess.Popen([program, "-e", "stderr", "-p", folder, "-c", config])
    try:
        wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int, process: subprocess.Popen) -> None:
    for _ in range(200):
        assert process.poll() is None, "nginx did not start"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    pytest.fail("nginx does not listen")


@contextmanager
def serving(*arguments: str | Path) -> Iterator[str]:
    command = [sys.executable, *arguments, "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = []
        for line in server.stderr:
            said.append(line)
            if found := re.search(r"http://\S+", line):
                break
        else:
            pytest.fail("pconv serve did not start: " + "".join(said))
        reader = threading.Thread(target=said.extend, args=(server.stderr,))  # it would wait for ever with a full pipe
        reader.start()
        yield found[0].rstrip("/") + "/"
    finally:
        server.terminate()
        server.wait(30)
    reader.join()
    server.stderr.close()


@pytest.fixture
def desks(browser, request):
    """Makes tabs; checks when the test is over that none of them had anything to complain about."""
    opened = []

    def make(server: str = "address", **options) -> Desk:
        size = {} if "viewport" in options else {"viewport": {"width": 900, "height": 620}}
        desk = Desk(browser.new_context(**{**size, **options}), request.getfixturevalue(server))
        opened.append(desk)
        return desk

    yield make
    complaints = [each for desk in opened for each in desk.complaints]
    for desk in opened:
        desk.context.close()
    assert not complaints


@pytest.fixture
def desk(desks) -> Desk:
    return desks()


@pytest.fixture(scope="session")
def photo(tmp_path_factory) -> Path:
    """Colours that differ everywhere and compress badly: a pixel that moved or was rounded shows."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:120, :180]
    smooth = np.stack([rows * 1.5, columns, 200 - rows], axis=-1)
    pixels = (smooth + rng.integers(0, 40, smooth.shape)).clip(0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("photos") / "field.png"
    Image.fromarray(pixels).save(path)
    return path
