"""A real server on loopback in a thread, with a network that can be held and asked what it saw."""

import io
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from pconv import Inpainter
from pconv.server.config import ServerConfig
from pconv.server.queue import Worker
from pconv.server.service import InpaintService
from pconv.server.uvicorn_server import make_server, open_socket


class Grey:
    """A backend that fills holes with 0.5, plus the seed's 256th.

    ``go`` holds it; ``seen`` has the shape of each call, ``placed`` its seed and origin, ``kept`` whether it may keep
    its memory.
    """

    name, device, precision, channels = "grey", "cpu", "fp32", 3
    multiple = 8
    path = Path("grey.onnx")
    recipe: dict = {}  # noqa: RUF012
    keeps_memory = True

    def __init__(self, noise=False):
        self.noise = noise
        self.go, self.seen, self.placed, self.kept = threading.Event(), [], [], []
        self.go.set()

    def fill(self, images, holes, *, seed=0, origin=(0, 0), estimate=None, everywhere=False):  # noqa: ARG002
        self.seen.append(images.shape)
        self.placed.append((seed, origin))
        self.kept.append(self.keeps_memory)
        assert self.go.wait(20)
        return np.where(holes, np.float32(0.5 + seed / 256), images)


def worker(backend):
    """A worker that computes with ``backend``: a real model for each server would take most of the tests' time."""
    return Worker(Inpainter(backend=backend))


class Running:
    """A server that runs: where, with what, and a client."""

    def __init__(self, service, port, backend, server, token=None):
        self.service, self.port, self.backend, self.server = service, port, backend, server
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=20, verify=False)
        if token:
            self.client.headers["Authorization"] = f"Bearer {token}"

    def post(self, files=None, **fields):
        return self.client.post("/api/v1/inpaint", files=files or parts(), data=fields)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def until(self, condition, seconds=5):
        """Wait for something that another thread is about to do."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.01)

    @property
    def waiting(self):
        return len(self.service.queue._waiting)

    @property
    def connections(self):
        return len(self.server.server_state.connections)

    @property
    def running(self):
        return len(self.service.queue._running)


@contextmanager
def running_server(backend, **settings):
    service = InpaintService([worker(backend)], ServerConfig(**{"idle_seconds": 3600, **settings}))
    sock = open_socket("127.0.0.1", 0)
    server = make_server(service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    running = Running(service, sock.getsockname()[1], backend, server, settings.get("token"))
    try:
        running.until(lambda: server.started)
        yield running
    finally:
        if hasattr(backend, "go"):
            backend.go.set()
        running.client.close()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def encoded(image, form="PNG", **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def noise(width=40, height=30, mode="RGB", seed=0):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def block(width=40, height=30, left=10, top=8, right=20, bottom=18):
    """A mask with a white block."""
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = 255
    return Image.fromarray(mask)


def parts(image=None, mask=None):
    image = noise() if image is None else image
    mask = block() if mask is None else mask
    return {
        "image": ("photo.png", image if isinstance(image, bytes) else encoded(image), "image/png"),
        "mask": ("mask.png", mask if isinstance(mask, bytes) else encoded(mask), "image/png"),
    }


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))
