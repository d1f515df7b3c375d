"""The queue of fills: order, limits, cancelled requests, time limits and shutdown."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from harness import Grey, block, encoded, noise, parts, pixels, worker
from PIL import Image
from test_hostile import END, part, read_answer, request

from pconv import Inpainter
from pconv.errors import DeviceMemoryError
from pconv.images.pillow import from_pil
from pconv.inpainting.options import InpaintOptions
from pconv.server.queue import CancelledFillError, FillJob, Worker


def body(width=40, height=30, seed=0):
    image, mask = encoded(noise(width, height, seed=seed)), encoded(block(width, height))
    return request(part("image", image) + part("mask", mask) + END)


def held(serving, **settings):
    """A server whose worker is busy with one image until ``go`` is set."""
    server = serving(**settings)
    server.backend.go.clear()
    first = server.connect()
    first.sendall(body())
    server.until(lambda: server.running == 1 and len(server.backend.seen) == 1)
    return server, first


def counted(server, name):
    return server.service.metrics.registry.get_sample_value(*name)


class TestWorker:
    def test_photos_are_filled_one_by_one_in_the_order_in_which_they_came(self, serving):
        server, first = held(serving)
        widths = [40, 64, 40, 48]
        others = [server.connect() for _ in widths]
        for n, (connection, width) in enumerate(zip(others, widths, strict=True)):
            connection.sendall(body(width, seed=n))
            server.until(lambda n=n: server.waiting == n + 1)
        server.backend.go.set()
        for n, (connection, width) in enumerate(zip(others, widths, strict=True)):
            status, _, answer = read_answer(connection)
            assert status == 200
            assert_filled(answer, noise(width, seed=n), block(width))
        assert read_answer(first)[0] == 200
        assert server.backend.seen == [(1, 3, 30, width) for width in [40, *widths]]

    def test_feather_seed_and_origin_reach_the_network(self):
        backend, hole = Grey(noise=True), far_apart()
        photo = from_pil(noise(1200, 64))
        filled = worker(backend).fill(FillJob(photo, hole, InpaintOptions(feather=3, seed=9)))
        assert {seed for seed, _ in backend.placed} == {9}
        assert len({origin for _, origin in backend.placed}) == 2
        expected = Inpainter(backend=Grey(noise=True))(photo, hole, feather=3, seed=9)
        assert (filled.pixels == expected.pixels).all()

    def test_a_dropped_job_stops_before_the_networks_next_call_and_the_next_job_is_filled(self):
        class Dropping(Grey):
            def fill(self, images, holes, **more):
                job.cancelled.set()
                return super().fill(images, holes, **more)

        backend = Dropping()
        one, job = worker(backend), FillJob(from_pil(noise(1200, 64)), far_apart())
        with pytest.raises(CancelledFillError):
            one.fill(job)
        assert len(backend.seen) == 1
        hole = np.asarray(block()) > 0
        photo = one.fill(FillJob(from_pil(noise()), hole))
        assert np.abs(photo.pixels[hole].astype(int) - 127.5).max() < 1

    def test_a_backend_that_took_the_place_of_another_stays(self, monkeypatch):
        """Where a GPU has too little memory, the Inpainter goes on with a backend on the CPU; it has its gate too."""

        class Full(Grey):
            device = "cuda"

            def fill(self, *_, **__):
                raise DeviceMemoryError("the GPU has too little memory")

        cpu = Grey()
        one = worker(Full())
        monkeypatch.setattr("pconv.inpainting.inpainter.open_backend", lambda *_: cpu)
        hole = np.asarray(block()) > 0
        one.fill(FillJob(from_pil(noise()), hole))
        assert one.backend is cpu
        cancelled = FillJob(from_pil(noise()), hole)
        cancelled.cancelled.set()
        with pytest.raises(CancelledFillError):
            one.fill(cancelled)
        assert len(cpu.seen) == 1
        assert one.backend is cpu


def far_apart():
    """Two holes in a photo of 1200 x 64 pixels, which are two calls of the network."""
    hole = np.zeros((64, 1200), bool)
    hole[20:40, 20:40] = hole[20:40, 1160:1180] = True
    return hole


def assert_filled(answer, photo, mask):
    hole = np.asarray(mask) > 0
    result = pixels(answer)
    assert (result[~hole] == np.asarray(photo)[~hole]).all()
    assert np.abs(result[hole].astype(int) - 127.5).max() < 1


class TestFull:
    def test_503_and_when_to_come_again(self, serving):
        server, _ = held(serving, max_queued=2)
        waiting = [server.connect() for _ in range(2)]
        for n, connection in enumerate(waiting):
            connection.sendall(body(64))
            server.until(lambda n=n: server.waiting == n + 1)
        answer = server.post()
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "busy"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        server.backend.go.set()
        assert [read_answer(connection)[0] for connection in waiting] == [200, 200]
        assert server.post().status_code == 200

    def test_the_event_loop_answers_meanwhile(self, serving):
        server, _ = held(serving)
        start = time.monotonic()
        assert server.client.get("/healthz").status_code == 200
        assert time.monotonic() - start < 1

    def test_decoded_images_are_bounded_too(self, serving):
        """At most twice the pixels of the largest image, even if the queue has room."""
        server = serving(max_queued=10, max_pixels=1300)
        server.backend.go.clear()
        connections = [server.connect() for _ in range(2)]
        for connection in connections:
            connection.sendall(body())
        server.until(lambda: server.service._pixels.used == 2400)
        answer = server.post()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "memory")
        assert answer.headers["retry-after"]
        server.backend.go.set()
        assert [read_answer(connection)[0] for connection in connections] == [200, 200]
        assert server.post().status_code == 200

    def test_bodies_are_bounded_too(self, serving):
        server = serving(max_bytes=6000)
        half = request(part("image", bytes(5000)) + part("mask", b"") + END)[:-100]
        connections = [server.connect() for _ in range(2)]
        for connection in connections:
            connection.sendall(half)
        server.until(lambda: server.service._bytes.used > 9000)
        answer = server.post()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "memory")
        for connection in connections:
            connection.close()
        server.until(lambda: server.service._bytes.used == 0)
        assert server.post().status_code == 200

    def test_requests_at_a_time_are_bounded(self, serving):
        server, _ = held(serving, max_requests=1)
        answer = server.client.get("/healthz")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")


class TestGone:
    def test_a_client_that_leaves_while_waiting_frees_its_place(self, serving):
        server, first = held(serving, max_queued=1)
        leaves = server.connect()
        leaves.sendall(body(64))
        server.until(lambda: server.waiting == 1)
        assert server.post().status_code == 503
        leaves.close()
        server.until(lambda: server.waiting == 0)
        stays = server.connect()
        stays.sendall(body(48))
        server.until(lambda: server.waiting == 1)
        server.backend.go.set()
        assert read_answer(stays)[0] == read_answer(first)[0] == 200
        assert [shape[3] for shape in server.backend.seen] == [40, 48]
        assert counted(server, ("pconv_dropped_total", {"state": "queued"})) == 1
        server.until(lambda: server.service._pixels.used == server.service._bytes.used == 0)

    def test_one_that_leaves_while_being_filled_frees_the_worker_at_the_next_call(self, serving):
        """Two holes far apart are two calls of the network; only the first of them is made."""
        form = part("image", encoded(noise(1200, 64))) + part("mask", encoded(Image.fromarray(far_apart())))
        server = serving()
        server.backend.go.clear()
        leaves = server.connect()
        leaves.sendall(request(form + END))
        server.until(lambda: len(server.backend.seen) == 1)
        leaves.close()
        server.until(lambda: server.running == 1 and next(iter(server.service.queue._running)).cancelled.is_set())
        server.backend.go.set()
        server.until(lambda: server.running == 0)
        assert len(server.backend.seen) == 1
        assert counted(server, ("pconv_dropped_total", {"state": "running"})) == 1
        assert server.post().status_code == 200

    def test_and_leaves_nothing_behind(self, serving, caplog):
        server, first = held(serving)
        for _ in range(5):
            connection = server.connect()
            connection.sendall(body(64))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not a goodbye
            server.until(lambda: server.waiting == 1)
            connection.close()
            server.until(lambda: server.waiting == 0)
        server.backend.go.set()
        assert read_answer(first)[0] == 200
        server.until(lambda: server.service._bytes.used == 0)
        assert not [r for r in caplog.records if r.levelname == "ERROR"]


class TestTime:
    def test_a_fill_that_takes_too_long_is_answered(self, serving):
        server = serving(time_limit=0.3)
        server.backend.go.clear()
        start = time.monotonic()
        answer = server.post()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "time_limit")
        assert 0.2 < time.monotonic() - start < 3
        server.backend.go.set()
        assert server.post().status_code == 200

    def test_waiting_counts(self, serving):
        server, _ = held(serving, time_limit=0.5)
        assert server.post().json()["error"]["code"] == "time_limit"
        assert server.waiting == 0


class TestStopping:
    def test_what_runs_is_finished_and_what_waits_is_told(self, serving):
        server, first = held(serving)
        second = server.connect()
        second.sendall(body(64))
        server.until(lambda: server.waiting == 1)
        queue = server.service.queue
        queue._tasks[0].get_loop().call_soon_threadsafe(queue.stop)
        status, headers, answer = read_answer(second)
        assert (status, json.loads(answer)["error"]["code"]) == (503, "stopping")
        assert headers["retry-after"]
        health = server.client.get("/healthz")
        assert (health.status_code, health.json()) == (503, {"status": "stopping"})
        assert server.post().json()["error"]["code"] == "stopping"
        server.backend.go.set()
        status, _, answer = read_answer(first)
        assert status == 200
        assert_filled(answer, noise(), block())


def test_many_clients_get_their_own_image(serving):
    server = serving(max_queued=64)

    def one(seed):
        photo, mask = noise(48 + 8 * (seed % 2), seed=seed), block(48 + 8 * (seed % 2), left=seed)
        answer = server.post(parts(photo, mask))
        assert answer.status_code == 200
        assert_filled(answer.content, photo, mask)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, [n % 20 for n in range(60)]))
    assert threading.active_count() < 40


def test_a_model_that_diverged_is_our_fault_and_says_so(serving):
    class Diverged(Grey):
        def fill(self, images, *_, **__):
            return np.full_like(images, np.nan)

    answer = serving(Diverged()).post()
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "code": "model",
        "message": "the model's output is not finite: its training diverged; use another checkpoint",
    }


def test_too_little_memory_on_the_device_is_said(serving):
    class Small(Grey):
        def fill(self, *_, **__):
            raise DeviceMemoryError("the cpu has too little memory for this")

    server = serving(Small())
    answer = server.post()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "memory")
    assert int(answer.headers["retry-after"]) > 1


def test_a_worker_outlives_whatever_happens(serving, monkeypatch):
    server = serving()
    monkeypatch.setattr(Worker, "fill", lambda *_: 1 / 0)
    answer = server.post()
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "division" not in answer.text
    monkeypatch.undo()
    assert server.post().status_code == 200


def test_an_idle_server_returns_the_runtimes_memory_once(serving):
    server = serving(idle_seconds=0.2)
    server.backend.kept.clear()
    assert server.post().status_code == 200
    server.until(lambda: not server.backend.kept[-1])
    time.sleep(0.5)
    assert server.backend.kept in ([True, False], [False, True, False])  # the server may have been idle before
    assert server.backend.keeps_memory
    assert server.post().status_code == 200


def test_a_16_bit_photo_stays_one(serving):
    deep = Image.fromarray(np.linspace(0, 65535, 1200).reshape(30, 40).astype(np.uint16))
    result = pixels(serving().post(parts(deep)).content)
    hole = np.asarray(block()) > 0
    assert result.dtype == np.uint16
    assert (result[~hole] == np.asarray(deep)[~hole]).all()
