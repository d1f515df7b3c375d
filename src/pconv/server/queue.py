"""The queue of fills and the workers that compute them.

The queue lives in the event loop. Each worker has one model and one thread, in which alone the network runs.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pconv.images.photo import Photo
from pconv.inpainting.backends import Backend
from pconv.inpainting.inpainter import Inpainter
from pconv.inpainting.options import InpaintOptions
from pconv.server.config import ServerConfig
from pconv.server.errors import ApiError, unavailable
from pconv.server.memory import return_free_memory
from pconv.server.metrics import Metrics

MAX_RETRY_AFTER = 60
"""Seconds."""
_FIRST_GUESS = 0.5
"""Seconds for a fill, before any was measured."""
_LOG = logging.getLogger("pconv.server")


class CancelledFillError(Exception):
    """The client of this fill has gone."""


@dataclass(eq=False)
class FillJob:
    """One fill, which goes from the event loop to a worker's thread.

    Attributes:
        hole: `(H, W)`, True = fill. It is final: `options.invert` and `options.grow` are applied already.
        cancelled: set by the event loop when the client has gone.
    """

    photo: Photo
    hole: NDArray[np.bool_]
    options: InpaintOptions = InpaintOptions()  # noqa: RUF009  # frozen
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise CancelledFillError once the job is cancelled."""
        if self.cancelled.is_set():
            raise CancelledFillError


class Worker:
    """An Inpainter with a thread of its own.

    Attributes:
        thread: where `fill` must be called.
    """

    def __init__(self, inpainter: Inpainter) -> None:
        self._inpainter = inpainter
        self.thread = ThreadPoolExecutor(1, f"pconv-{inpainter.backend.device}")

    @property
    def backend(self) -> Backend:
        """What computes. It changes when a GPU has too little memory and the CPU takes over."""
        return self._inpainter.backend

    def notes(self, options: InpaintOptions) -> list[str]:
        """Sentences for the client on what the model cannot do of `options`."""
        return self._inpainter.notes(options)

    def release_memory(self) -> None:
        """Return the memory that the runtime keeps for its next run; the next fill takes some 8 % longer for it
        (benchmarks/serve.py --large).

        ONNX Runtime returns it at the end of a run, so this takes a small one.
        """
        self.backend.keeps_memory = False
        self.warm_up()
        self.backend.keeps_memory = True
        return_free_memory()

    def warm_up(self) -> None:
        """Fill a small image, since a model's first fill takes longer than others."""
        image = np.zeros((1, self.backend.channels, 64, 64), np.float32)
        self.backend.fill(image, np.eye(64, dtype=bool)[None, None])

    def fill(self, job: FillJob) -> Photo:
        """The filled photo.

        Raises:
            CancelledFillError: the job was cancelled; this is checked before each run of the network.
            PconvError: what `pconv.Inpainter.fill_photo` raises.
        """
        return self._inpainter.fill_photo(job.photo, job.hole, job.options, before_run=job.check)


class FillQueue:
    """A bounded queue in front of the workers; whoever came first is filled first.

    Attributes:
        stopping: True: the server shuts down and accepts no new jobs.
    """

    def __init__(self, workers: Sequence[Worker], config: ServerConfig, metrics: Metrics) -> None:
        self._workers, self._config, self._metrics = workers, config, metrics
        self._waiting: dict[FillJob, asyncio.Future[Photo]] = {}
        self._running: dict[FillJob, asyncio.Future[Photo]] = {}
        self._arrived = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._mean_seconds = _FIRST_GUESS
        self.stopping = False
        metrics.waiting.set_function(lambda: len(self._waiting))
        metrics.running.set_function(lambda: len(self._running))

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work(worker)) for worker in self._workers]

    def stop(self) -> None:
        """Accept no new jobs and refuse those that wait; running fills go on."""
        self.stopping = True
        for result in self._waiting.values():
            if not result.done():
                result.set_exception(_stopping())
        self._waiting.clear()

    async def close(self) -> None:
        """Wait for the running fills, and end the workers."""
        self.stop()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self._workers:
            worker.thread.shutdown(wait=False, cancel_futures=True)

    def check_room(self) -> None:
        """Refuse when the queue is full, or the server stops.

        Raises:
            ApiError: 503, with the seconds after which to try again.
        """
        if self.stopping:
            raise _stopping()
        if len(self._waiting) >= self._config.max_queued:
            raise unavailable("busy", "the queue is full; try again soon", self._seconds_of_work())

    def _seconds_of_work(self) -> int:
        seconds = (len(self._waiting) + len(self._running)) / len(self._workers) * self._mean_seconds
        return max(1, min(MAX_RETRY_AFTER, math.ceil(seconds)))

    async def fill(self, job: FillJob) -> Photo:
        """The filled photo. When the caller is cancelled, so is the job.

        Raises:
            ApiError: no room.
        """
        self.check_room()
        result: asyncio.Future[Photo] = asyncio.get_running_loop().create_future()
        self._waiting[job] = result
        self._arrived.set()
        try:
            return await result
        finally:
            if result.cancelled():
                job.cancelled.set()
                queued = self._waiting.pop(job, None) is not None
                self._metrics.dropped.labels("queued" if queued else "running").inc()

    async def _work(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not await self._has_arrived(self._config.idle_seconds):
                await loop.run_in_executor(worker.thread, worker.release_memory)
                await self._has_arrived(None)
            job = next(iter(self._waiting))
            result = self._running[job] = self._waiting.pop(job)
            start = time.perf_counter()
            filled: Photo | Exception
            try:
                filled = await loop.run_in_executor(worker.thread, worker.fill, job)
            except Exception as error:  # the worker must go on, whatever happens
                filled = error
            self._measured(time.perf_counter() - start)
            del self._running[job]
            if not result.done():  # done here means that it was cancelled
                if isinstance(filled, Exception):
                    result.set_exception(filled)
                else:
                    self._metrics.pixels.inc(job.hole.size)
                    result.set_result(filled)
            del job, result, filled  # or the last photo stays in memory until the next one comes

    async def _has_arrived(self, seconds: float | None) -> bool:
        """Wait for a job, for so many seconds or without limit; whether one waits now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._waiting:
                    self._arrived.clear()
                    await self._arrived.wait()
        return bool(self._waiting)

    def _measured(self, seconds: float) -> None:
        self._mean_seconds += 0.2 * (seconds - self._mean_seconds)
        self._metrics.fill_seconds.observe(seconds)


def _stopping() -> ApiError:
    return unavailable("stopping", "the server is shutting down", 5)
