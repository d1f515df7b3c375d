"""A loaded model on one device, and what its worker thread does with it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pconv.errors import ModelError
from pconv.filling.backends import Backend
from pconv.filling.predictor import Inpainter
from pconv.photos.photo import Photo
from pconv.serve.batches import WHOLE_SIDE, fill_together
from pconv.serve.pictures import Task


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
    def size(self) -> tuple[int, int] | None:
        height, width = self.task.hole.shape
        alone = self.feather or max(height, width) > WHOLE_SIDE
        return None if alone else (height, width)


class Filler:
    """Fills jobs, one call at a time, in a thread of its own.

    Args:
        inpainter: this filler's own; its backend is replaced by one that can be stopped.

    Attributes:
        about: what computes: its name, device, precision and path.
        thread: the one to call :meth:`fill` in.
    """

    def __init__(self, inpainter: Inpainter) -> None:
        self._inpainter = inpainter
        self._stoppable = _Stoppable(inpainter.backend)
        self.about = cast(Backend, self._stoppable)
        self._inpainter.backend = self.about
        self.thread = ThreadPoolExecutor(1, f"pconv-{self.about.device}")

    def warm_up(self) -> None:
        """The first fill takes longer than others: let no client wait for that."""
        self._stoppable.fill(
            np.zeros((1, self.about.channels, 64, 64), np.float32), np.eye(64, dtype=bool)[None, None]
        )

    def fill(self, jobs: Sequence[Job]) -> list[Photo | Exception]:
        """The filled photo of each job, or what went wrong with it.

        Several jobs have one ``size``. What one of them breaks, the others do not get to feel: they are filled alone.
        """
        try:
            return list(self._fill(jobs))
        except Exception as error:
            if len(jobs) == 1:
                return [error]
            return [answer for job in jobs for answer in self.fill([job])]

    def _fill(self, jobs: Sequence[Job]) -> list[Photo]:
        self._stoppable.jobs = jobs
        if jobs[0].size is None:
            (job,) = jobs
            return [self._alone(job)]
        photos = [job.task.photo for job in jobs]
        holes = np.stack([job.task.hole for job in jobs])
        pictures = np.stack([photo.read(_ALL, _ALL) for photo in photos])
        pictures = np.where(holes[:, None], np.float32(0), pictures)
        if self.about.channels == 1:
            pictures = pictures.mean(axis=1, keepdims=True)
        filled = np.broadcast_to(fill_together(self.about, pictures, holes), (len(jobs), 3, *holes.shape[1:]))
        if not np.isfinite(filled).all():
            raise ModelError("the model's output is not finite: its training diverged; use another checkpoint")
        return [_put(*each) for each in zip(photos, filled, holes, strict=True)]

    def _alone(self, job: Job) -> Photo:
        return self._inpainter(job.task.photo, job.task.hole, feather=job.feather)


_ALL = slice(None)


def _put(photo: Photo, filled: NDArray[np.float32], hole: NDArray[np.bool_]) -> Photo:
    result = photo.copy()
    result.write(_ALL, _ALL, filled, hole.astype(np.float32))
    return result


class _Stoppable:
    """A backend that refuses to go on when all its jobs are dropped: a large photo is many calls of ``fill``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.jobs: Sequence[Job] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def fill(
        self, pictures: NDArray[np.float32], holes: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        if self.jobs and all(job.dropped.is_set() for job in self.jobs):
            raise StoppedError
        return self._backend.fill(pictures, holes)
