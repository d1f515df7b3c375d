"""Who waits, who is filled, and who gave up. All of it lives in the event loop; only fills run in threads."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence

from pconv.images.photo import Photo
from pconv.server.filler import Filler, Job
from pconv.server.metrics import Metrics
from pconv.server.refusals import RefusedError, busy
from pconv.server.settings import Settings

_LOG = logging.getLogger("pconv.server")
_LONGEST_ADVICE = 60
"""Seconds that Retry-After says at most."""


class Jobs:
    """A bounded queue in front of one worker for each filler."""

    def __init__(self, fillers: Sequence[Filler], settings: Settings, metrics: Metrics) -> None:
        self._fillers, self._settings, self._metrics = fillers, settings, metrics
        self._waiting: dict[Job, asyncio.Future[Photo]] = {}
        self._running: dict[Job, asyncio.Future[Photo]] = {}
        self._arrived = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._each = 0.5
        self.stopping = False
        metrics.waiting.set_function(lambda: len(self._waiting))
        metrics.running.set_function(lambda: len(self._running))

    def start(self) -> None:
        self._workers = [asyncio.create_task(self._work(filler)) for filler in self._fillers]

    def stop(self) -> None:
        """Take nothing new and send away who waits; what runs goes on."""
        self.stopping = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_stopping())
        self._waiting.clear()

    async def close(self) -> None:
        """Wait for what runs, and end the workers."""
        self.stop()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for filler in self._fillers:
            filler.thread.shutdown(wait=False, cancel_futures=True)

    def check_room(self) -> None:
        """Raises RefusedError: the queue is full, or the server stops."""
        if self.stopping:
            raise _stopping()
        if len(self._waiting) >= self._settings.queue:
            raise busy("busy", "as many pictures wait as the queue takes; try again soon", self._seconds_of_work())

    def _seconds_of_work(self) -> int:
        ahead = (len(self._waiting) + len(self._running)) / len(self._fillers) * self._each
        return max(1, min(_LONGEST_ADVICE, math.ceil(ahead)))

    async def run(self, job: Job) -> Photo:
        """The filled photo. Who stops waiting for it (is cancelled) gives its place in the queue back.

        Raises:
            RefusedError: no room.
        """
        self.check_room()
        answer: asyncio.Future[Photo] = asyncio.get_running_loop().create_future()
        self._waiting[job] = answer
        self._arrived.set()
        try:
            return await answer
        finally:
            if answer.cancelled():
                job.dropped.set()
                queued = self._waiting.pop(job, None) is not None
                self._metrics.dropped.labels("queued" if queued else "running").inc()

    async def _work(self, filler: Filler) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            job = next(iter(self._waiting))  # the one that has waited longest
            answer = self._running[job] = self._waiting.pop(job)
            start = time.perf_counter()
            filled: Photo | Exception
            try:
                filled = await loop.run_in_executor(filler.thread, filler.fill, job)
            except Exception as error:  # whatever it is: this worker has to live on
                filled = error
            self._count(time.perf_counter() - start)
            del self._running[job]
            if not answer.done():  # done here means that it was cancelled
                if isinstance(filled, Exception):
                    answer.set_exception(filled)
                else:
                    self._metrics.pixels.inc(job.task.hole.size)
                    answer.set_result(filled)
            del job, answer, filled  # or the last photo stays in memory until the next one comes

    def _count(self, seconds: float) -> None:
        self._each += 0.2 * (seconds - self._each)
        self._metrics.fill_seconds.observe(seconds)


def _stopping() -> RefusedError:
    return busy("stopping", "the server is shutting down", 5)
