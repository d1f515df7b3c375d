"""Waiting, filling together, giving up, running out of time, and stopping."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from harness import Grey, block, encoded, filler, noise, parts, pixels
from PIL import Image
from test_hostile import END, part, read_answer, request

from pconv import Inpainter, irregular_hole
from pconv.errors import DeviceMemoryError, ModelError
from pconv.photos.photo import Photo, from_pil
from pconv.serve.filler import Filler, Job, StoppedError
from pconv.serve.pictures import Task


class Spy:
    """A backend that remembers the shapes it was asked for."""

    def __init__(self, backend, after_first=lambda: None):
        self._backend, self._after_first, self.seen = backend, after_first, []

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def fill(self, pictures, holes):
        self.seen.append(pictures.shape)
        filled = self._backend.fill(pictures, holes)
        if len(self.seen) == 1:
            self._after_first()
        return filled


def body(width=40, height=30, seed=0):
    image, mask = encoded(noise(width, height, seed=seed)), encoded(block(width, height))
    return request(part("image", image) + part("mask", mask) + END)


def held(serving, **settings):
    """A server whose worker is busy with one picture until ``go`` is set."""
    server = serving(**settings)
    server.backend.go.clear()
    first = server.connect()
    first.sendall(body())
    server.until(lambda: server.running == 1 and len(server.backend.seen) == 1)
    return server, first


def counted(server, name):
    return server.service.metrics.registry.get_sample_value(*name)


class TestBatches:
    def test_pictures_of_one_size_that_wait_are_filled_together(self, serving):
        server, first = held(serving, batch=3)
        others = [server.connect() for _ in range(5)]
        for n, (connection, size) in enumerate(zip(others, [40, 40, 64, 40, 40], strict=True)):
            connection.sendall(body(size, seed=n))
            server.until(lambda n=n: server.waiting == n + 1)
        server.backend.go.set()
        for n, (connection, size) in enumerate(zip(others, [40, 40, 64, 40, 40], strict=True)):
            status, _, answer = read_answer(connection)
            assert status == 200
            assert_filled(answer, noise(size, seed=n), block(size))
        assert read_answer(first)[0] == 200
        assert server.backend.seen == [(1, 3, 30, 40), (3, 3, 30, 40), (1, 3, 30, 64), (1, 3, 30, 40)]

    def test_large_ones_go_alone(self):
        photo = from_pil(noise())
        assert Job(Task(photo, np.asarray(block()) > 0, ())).size == (30, 40)
        assert Job(Task(photo, np.zeros((1024, 1025), bool), ())).size is None

    def test_batched_answers_equal_unbatched_ones(self):
        """Of the bundled model, bit for bit, with holes of all kinds: wide (filled in several calls of the network, of
        several sizes), small and far apart, feathered, and one where nothing goes together."""
        inpainter = Inpainter(backend="onnxruntime")
        holes = np.zeros((5, 256, 288), bool)
        holes[0, 20:-20, 30:-30] = holes[1, 20:-20, 40:-30] = True
        holes[2, 100:110, 100:110] = holes[2, 200:210, 20:30] = True
        holes[3] = irregular_hole(256, 288, (0.2, 0.3), generator=np.random.default_rng(0))
        holes[4] = irregular_hole(256, 288, (0.2, 0.3), generator=np.random.default_rng(1))
        photos = [from_pil(noise(288, 256, seed=seed)) for seed in range(5)]
        inpainter.backend = Spy(inpainter.backend)
        jobs = [
            Job(Task(photo, hole, ()), feather=5 if n == 1 else 0)
            for n, (photo, hole) in enumerate(zip(photos, holes, strict=True))
        ]
        together = Filler(inpainter).fill(jobs)
        batches = inpainter.backend.seen
        alone = Inpainter(backend="onnxruntime")
        alone.backend = Spy(alone.backend)
        for job, photo in zip(jobs, together, strict=True):
            expected = alone(job.task.photo, job.task.hole, feather=job.feather)
            assert (photo.pixels == expected.pixels).all()
            assert (photo.pixels[~job.task.hole] == job.task.photo.pixels[~job.task.hole]).all()
        assert sum(shape[0] for shape in batches) == len(alone.backend.seen)
        assert len(batches) < len(alone.backend.seen) - 3
        assert len({shape[2:] for shape in batches}) > 3

    def test_one_that_is_dropped_leaves_the_others(self):
        """Between two calls of the network; the others' next call has one picture less."""
        holes = np.zeros((3, 256, 288), bool)
        holes[:, 20:-20, 30:-30] = True
        inpainter = Inpainter(backend="onnxruntime")
        alone = inpainter(from_pil(noise(288, 256)), holes[0])
        jobs = [Job(Task(from_pil(noise(288, 256)), hole, ())) for hole in holes]
        spy = inpainter.backend = Spy(inpainter.backend, after_first=jobs[1].dropped.set)
        first, dropped, last = Filler(inpainter).fill(jobs)
        assert isinstance(dropped, StoppedError)
        assert (first.pixels == alone.pixels).all()
        assert (last.pixels == alone.pixels).all()
        assert [shape[0] for shape in spy.seen][:2] == [3, 2]

    def test_a_batch_that_does_not_fit_is_done_one_by_one(self):
        class Small(Grey):
            def fill(self, pictures, holes):
                if len(pictures) > 1:
                    raise DeviceMemoryError("too much at once")
                return super().fill(pictures, holes)

        hole = np.asarray(block()) > 0
        small = Small()
        photos = filler(small).fill([Job(Task(from_pil(noise(seed=n)), hole, ())) for n in range(3)])
        assert [type(photo) for photo in photos] == [Photo] * 3
        assert small.seen == [(1, 3, 30, 40)] * 3

    def test_one_that_breaks_does_not_break_the_others(self):
        class Brittle(Grey):
            def fill(self, pictures, holes):
                filled, reached = super().fill(pictures, holes)
                white = (pictures[:, :, :1, :1] == 1).all(axis=1, keepdims=True)
                return np.where(white, np.float32(np.nan), filled), reached

        white = noise()
        white.putpixel((0, 0), (255, 255, 255))
        hole = np.asarray(block()) > 0
        jobs = [Job(Task(from_pil(image), hole, ())) for image in (noise(seed=1), white, noise(seed=2))]
        good, bad, other = filler(Brittle()).fill(jobs)
        assert isinstance(bad, ModelError)
        assert "not finite" in str(bad)
        for photo, job in ((good, jobs[0]), (other, jobs[2])):
            assert (photo.pixels[~hole] == job.task.photo.pixels[~hole]).all()
            assert np.abs(photo.pixels[hole].astype(int) - 127.5).max() < 1


def assert_filled(answer, photo, mask):
    hole = np.asarray(mask) > 0
    result = pixels(answer)
    assert (result[~hole] == np.asarray(photo)[~hole]).all()
    assert np.abs(result[hole].astype(int) - 127.5).max() < 1


class TestFull:
    def test_503_and_when_to_come_again(self, serving):
        server, _ = held(serving, queue=2)
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

    def test_decoded_pictures_are_bounded_too(self, serving):
        """At most twice the largest picture's pixels, whatever the queue would take."""
        server = serving(queue=10, max_pixels=1300)
        server.backend.go.clear()
        connections = [server.connect() for _ in range(2)]
        for connection in connections:
            connection.sendall(body())
        server.until(lambda: server.service._pixels.now == 2400)
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
        server.until(lambda: server.service._bytes.now > 9000)
        answer = server.post()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "memory")
        for connection in connections:
            connection.close()
        server.until(lambda: server.service._bytes.now == 0)
        assert server.post().status_code == 200

    def test_requests_at_a_time_are_bounded(self, serving):
        server, _ = held(serving, uploads=1)
        answer = server.client.get("/healthz")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")


class TestGone:
    def test_a_client_that_leaves_while_waiting_frees_its_place(self, serving):
        server, first = held(serving, queue=1)
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
        server.until(lambda: server.service._pixels.now == server.service._bytes.now == 0)

    def test_one_that_leaves_while_being_filled_frees_the_worker_at_the_next_call(self, serving):
        """A wide hole is several calls of the network; only the first of them is made."""
        mask = encoded(block(400, 300, 20, 20, 380, 280))
        wide = part("image", encoded(noise(400, 300))) + part("mask", mask)
        server = serving()
        server.backend.go.clear()
        leaves = server.connect()
        leaves.sendall(request(wide + END))
        server.until(lambda: len(server.backend.seen) == 1)
        leaves.close()
        server.until(lambda: server.running == 1 and next(iter(server.service.jobs._running)).dropped.is_set())
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
        server.until(lambda: server.service._bytes.now == 0)
        assert not [r for r in caplog.records if r.levelname == "ERROR"]


class TestTime:
    def test_a_fill_that_takes_too_long_is_answered(self, serving):
        server = serving(seconds=0.3)
        server.backend.go.clear()
        start = time.monotonic()
        answer = server.post()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "time_limit")
        assert 0.2 < time.monotonic() - start < 3
        server.backend.go.set()
        assert server.post().status_code == 200

    def test_waiting_counts(self, serving):
        server, _ = held(serving, seconds=0.5)
        assert server.post().json()["error"]["code"] == "time_limit"
        assert server.waiting == 0


class TestStopping:
    def test_what_runs_is_finished_and_what_waits_is_told(self, serving):
        server, first = held(serving)
        second = server.connect()
        second.sendall(body(64))
        server.until(lambda: server.waiting == 1)
        jobs = server.service.jobs
        jobs._workers[0].get_loop().call_soon_threadsafe(jobs.stop)
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


def test_many_clients_get_their_own_picture(serving):
    server = serving(queue=64)

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
        def fill(self, pictures, holes):
            return np.full_like(pictures, np.nan), np.ones_like(holes)

    answer = serving(Diverged()).post()
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "code": "model",
        "message": "the model's output is not finite: its training diverged; use another checkpoint",
    }


def test_too_little_memory_on_the_device_is_said(serving):
    class Small(Grey):
        def fill(self, *_):
            raise DeviceMemoryError("the cpu has too little memory for this")

    server = serving(Small())
    answer = server.post()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "memory")
    assert int(answer.headers["retry-after"]) > 1


def test_a_worker_outlives_whatever_happens(serving, monkeypatch):
    server = serving()
    monkeypatch.setattr(Filler, "fill", lambda *_: 1 / 0)
    answer = server.post()
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "division" not in answer.text
    monkeypatch.undo()
    assert server.post().status_code == 200


def test_a_16_bit_photo_stays_one(serving):
    deep = Image.fromarray(np.linspace(0, 65535, 1200).reshape(30, 40).astype(np.uint16))
    result = pixels(serving().post(parts(deep)).content)
    hole = np.asarray(block()) > 0
    assert result.dtype == np.uint16
    assert (result[~hole] == np.asarray(deep)[~hole]).all()
