"""A loaded model on one device, and what its worker thread does with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pconv.filling.backends import Backend
from pconv.filling.predictor import Inpainter
from pconv.photos.photo import Photo
from pconv.serve.batches import Answer, Together, side_by_side
from pconv.serve.pictures import Task

SMALL = 1024 * 1024
"""Pixels up to which pictures are filled together; larger ones fill the device alone."""


class StoppedError(Exception):
    """Nobody waits for this fill any more."""


@dataclass(eq=False)
class Job:
    """One fill, between the event loop and a worker thread.

    Attributes:
        size: pictures of one size may be filled together; None: this one goes alone.
        dropped: set by the event loop when nobody waits any more.
    """

    task: Task
    feather: int = 0
    dropped: threading.Event = field(default_factory=threading.Event)

    @property
    def size(self) -> tuple[int, ...] | None:
        return self.task.hole.shape if self.task.hole.size <= SMALL else None


class Filler:
    """Fills jobs, in a thread of its own.

    Args:
        inpainter: this filler's own; its backend is replaced by one that can be stopped.

    Attributes:
        thread: the one to call :meth:`fill` in.
    """

    def __init__(self, inpainter: Inpainter) -> None:
        self._inpainter = inpainter
        self._gate = _Gate(inpainter.backend)
        self.thread = ThreadPoolExecutor(1, f"pconv-{inpainter.backend.device}")

    @property
    def about(self) -> Backend:
        """What computes: its name, device, precision and path."""
        return self._inpainter.backend

    def warm_up(self) -> None:
        """The first fill takes longer than others: let no client wait for that."""
        picture = np.zeros((1, self.about.channels, 64, 64), np.float32)
        self._gate.backend.fill(picture, np.eye(64, dtype=bool)[None, None])

    def fill(self, jobs: Sequence[Job]) -> list[Photo | Exception]:
        """The filled photo of each job, or what went wrong with it; what one job breaks, the others do not feel."""
        if self._inpainter.backend is not self._gate.itself:  # at first, and where a GPU's memory did not suffice
            self._gate = _Gate(self._inpainter.backend)
            self._inpainter.backend = self._gate.itself
        if len(jobs) > 1:
            return side_by_side(self._gate.backend, [partial(self._fill, job) for job in jobs])
        try:
            return [self._fill(jobs[0], None)]
        except Exception as error:
            return [error]

    def _fill(self, job: Job, together: Together | None) -> Photo:
        with self._gate.filling(job, together):
            return self._inpainter(job.task.photo, job.task.hole, feather=job.feather)


class _Gate:
    """A backend that asks before each call whether the job is still wanted: a large photo is many calls."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.itself = cast(Backend, self)
        self._of_thread = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    @contextmanager
    def filling(self, job: Job, together: Together | None) -> Iterator[None]:
        """What this thread calls is for this job, and goes with what others call."""
        self._of_thread.job, self._of_thread.together = job, together
        try:
            yield
        finally:
            del self._of_thread.job, self._of_thread.together

    def fill(self, pictures: NDArray[np.float32], holes: NDArray[np.bool_]) -> Answer:
        if self._of_thread.job.dropped.is_set():
            raise StoppedError
        return (self._of_thread.together or self.backend).fill(pictures, holes)
