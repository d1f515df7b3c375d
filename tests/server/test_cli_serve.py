"""``pconv serve`` as it is typed, in a process of its own."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from harness import block, noise, parts, pixels
from PIL import Image

from pconv.cli import main

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "examples" / "photos"


class Process:
    """``pconv serve`` that has said where it is; ``said`` is its stderr, from a file, so that it never has to wait."""

    def __init__(self, log, *arguments, env=None):
        command = [sys.executable, "-m", "pconv", "serve", *arguments]
        self._log = log
        with log.open("w") as stderr:
            self.process = subprocess.Popen(command, stderr=stderr, env={**os.environ, **(env or {})})
        while not (found := re.search(r"pconv is at (\S+).*\n", self.said)):
            assert self.process.poll() is None, self.said
            time.sleep(0.02)
        self.page = found[1]
        self.url = self.page.partition("/#")[0].rstrip("/")

    @property
    def said(self):
        return self._log.read_text()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def started(tmp_path):
    processes = []

    def start(*arguments, **more):
        processes.append(Process(tmp_path / f"stderr-{len(processes)}", *arguments, **more))
        return processes[-1]

    yield start
    for each in processes:
        each.process.kill()
        each.process.wait()


def get(url, headers=None):
    return httpx.get(url, headers=headers, verify=False)  # no certificates to load


def said_of(*arguments, env=None):
    done = CliRunner(env=env).invoke(main, ["serve", *arguments])
    return done.exit_code, done.output


def test_help_loads_nothing_heavy():
    code = """
import sys, pconv.cli
try: pconv.cli.main(["serve", "--help"])
except SystemExit: pass
print([m for m in ("fastapi", "uvicorn", "starlette", "numpy", "PIL", "onnxruntime", "pydantic") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--open" in done.stdout


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "fastapi_swagger", "prometheus_client"])
def test_without_the_extra_it_says_what_to_install(module):
    code = f"""
import sys; sys.modules[{module!r}] = None
import pconv.cli; pconv.cli.main(["serve", "--port", "0"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"Error: this needs {module}: pip install '.[serve]' in a clone of pconv\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "70000"], "70000"),
        (["--port", "x"], "not a valid integer"),
        (["--token", "short"], "at least 12 characters"),
        (["--token", "with spaces in it"], "no spaces"),
        (["--host", "no-such-host.invalid"], "no address"),
        (["--queue", "0"], "--queue"),
        (["--time-limit", "-1"], "--time-limit"),
        (["--model", "nothing.onnx", "--port", "0"], "nothing.onnx"),
        (["--backend", "abacus", "--port", "0"], "abacus"),
        (["--frobnicate"], "No such option"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, sentence):
    code, said = said_of(*arguments)
    assert code == 2, said
    assert sentence in said
    assert "Traceback" not in said


def test_a_port_that_is_taken_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = said_of("--port", str(port))
    assert code == 1
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use; give another with --port" in said


def test_without_a_port_the_next_free_one_is_taken(monkeypatch):
    from pconv.server import uvicorn_server as server

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(server, "DEFAULT_PORT", taken.getsockname()[1])
        with server.open_socket("127.0.0.1", None) as found:
            assert 0 < found.getsockname()[1] - taken.getsockname()[1] < server.PORTS_TRIED


def test_what_the_pages_show_works_as_it_is_written(started, tmp_path, monkeypatch):
    """End to end, with the bundled model: the curl line of the README and of docs/guides/http.md, and its Python."""
    server = started("--port", "0")
    assert server.url.startswith("http://127.0.0.1:")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    guide = (ROOT / "docs/guides/http.md").read_text()
    lines = [line for page in (guide, (ROOT / "README.md").read_text()) for line in page.splitlines()]
    commands = {line for line in lines if line.startswith("curl ")}
    assert len(commands) == 1
    command = shlex.split(commands.pop().replace("http://127.0.0.1:8000", server.url))
    subprocess.run(command, check=True, timeout=60)
    names = {}
    exec(re.search(r"```python\n(.*?)```", guide, re.S)[1], names)
    data = names["fill"](PHOTOS / "astronaut.jpg", PHOTOS / "astronaut-mask.png", server.url)
    assert data == (tmp_path / "filled.jpg").read_bytes()
    result = Image.open(tmp_path / "filled.jpg")
    photo = Image.open(PHOTOS / "astronaut.jpg")
    assert (result.format, result.size) == ("JPEG", photo.size)
    hole = np.asarray(Image.open(PHOTOS / "astronaut-mask.png").convert("L")) > 127
    difference = np.abs(np.asarray(result).astype(int) - np.asarray(photo)).mean(axis=2)
    assert difference[hole].mean() > 5
    assert difference[~hole].mean() < 2  # the edges of JPEG's blocks
    info = get(server.url + "/api/v1/info").json()
    assert info["model"] == "default"
    assert server.stop() == 0
    assert "POST /api/v1/inpaint 200" in server.said
    assert "Traceback" not in server.said
    assert server.said.rstrip().endswith("stopped")


def test_on_the_network_a_token_is_made_and_the_reason_said(started):
    server = started("--host", "0.0.0.0", "--port", "0")
    assert "can be reached from other machines, so clients need a token" in server.said
    token = server.page.partition("#token=")[2]
    assert len(token) >= 24
    assert get(server.url + "/api/v1/info").status_code == 401
    headers = {"Authorization": f"Bearer {token}", "Host": "photos.example"}
    assert get(server.url + "/api/v1/info", headers=headers).status_code == 200
    server.stop()
    assert server.said.count(token) == len(re.findall(r"#token=", server.said))


def test_the_token_may_come_from_the_environment(started):
    server = started("--port", "0", env={"PCONV_TOKEN": "from-the-environment"})
    assert get(server.url + "/api/v1/info").status_code == 401
    headers = {"Authorization": "Bearer from-the-environment"}
    assert get(server.url + "/api/v1/info", headers=headers).status_code == 200
    server.stop()
    assert "add #token=YOUR_TOKEN" in server.said
    assert "from-the-environment" not in server.said  # only a token that was made here is shown


def test_a_name_that_is_allowed(started):
    server = started("--port", "0", "--allow-host", "photos.example")
    for host, status in (("photos.example", 200), ("other.example", 421)):
        assert get(server.url + "/healthz", headers={"Host": host}).status_code == status


@pytest.mark.skipif(sys.platform != "linux", reason="xdg-open is Linux's way to open a browser")
def test_open_opens_the_page(started, tmp_path):
    opener = tmp_path / "xdg-open"
    opener.write_text(f'#!/bin/sh\necho "$1" > {tmp_path / "opened"}\n')
    opener.chmod(0o755)
    token = "a-token-of-some-length"
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    server = started("--port", "0", "--open", "--token", token, env={"PATH": path})
    end = time.monotonic() + 10
    while not (tmp_path / "opened").exists() or not (tmp_path / "opened").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (tmp_path / "opened").read_text().strip() == f"{server.url}/#token={token}"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_finishes_what_runs(started, number):
    server = started("--port", "0")
    photo, mask = noise(1000, 1000), block(1000, 1000, 200, 200, 800, 800)
    files, answers = parts(photo, mask), []
    with httpx.Client(base_url=server.url, timeout=60, verify=False) as client:
        asking = threading.Thread(target=lambda: answers.append(client.post("/api/v1/inpaint", files=files)))
        asking.start()
        end = time.monotonic() + 20
        while "pconv_running 1.0" not in client.get("/metrics").text:
            assert time.monotonic() < end
            assert not answers, "it was too fast to be interrupted"
            time.sleep(0.02)
        assert server.stop(number) == 0
        asking.join(30)
    assert answers[0].status_code == 200
    hole = np.asarray(mask) > 0
    assert (pixels(answers[0].content)[~hole] == np.asarray(photo)[~hole]).all()
    assert "Traceback" not in server.said
    with pytest.raises(httpx.ConnectError):
        get(server.url + "/healthz")
