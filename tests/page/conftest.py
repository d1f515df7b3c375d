"""The page in a real Chromium, served by a real ``pconv serve``."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from desk import Desk
from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
INSTALL = "Debian: apt-get install chromium; and pip install 'pconv[dev]', or name another with PCONV_CHROMIUM"


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
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address(browser) -> Iterator[str]:
    command = [sys.executable, "-m", "pconv", "serve", "--port", "0", "--backend", "onnxruntime"]
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
def desks(browser, address):
    """Makes tabs; checks when the test is over that none of them had anything to complain about."""
    opened = []

    def make(**options) -> Desk:
        size = {} if "viewport" in options else {"viewport": {"width": 900, "height": 620}}
        desk = Desk(browser.new_context(**{**size, **options}), address)
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
