"""A loaded model on one device, and what its worker thread does with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pconv.images.photo import Photo
from pconv.inpainting.backends import Backend
from pconv.inpainting.inpainter import Inpainter, usable_seed
from pconv.server.pictures import Task


class StoppedError(Exception):
    """Nobody waits for this fill any more."""


@dataclass(eq=False)
class Job:
    """One fill, between the event loop and a worker thread.

    Attributes:
        feather: pixels inside the hole's edge over which the fill is blended with what was there.
        seed: 0 to 63, chooses the fill's texture; 0 for a network without noise inputs.
        dropped: set by the event loop when nobody waits any more.
    """

    task: Task
    feather: int = 0
    seed: int = 0
    dropped: threading.Event = field(default_factory=threading.Event)


class Filler:
    """Fills jobs, in a thread of its own.

    Args:
        inpainter: this filler's own; while a job is filled, its backend is one that can be stopped.

    Attributes:
        thread: the one to call :meth:`fill` in.
    """

    def __init__(self, inpainter: Inpainter) -> None:
        self._inpainter = inpainter
        self.thread = ThreadPoolExecutor(1, f"pconv-{inpainter.backend.device}")

    @property
    def about(self) -> Backend:
        """What computes: its name, device, precision and path."""
        return self._inpainter.backend

    def usable_seed(self, seed: int, note: Callable[[str], object]) -> int:
        """``seed``; for a network without noise inputs 0, and ``note`` gets the sentence that says so."""
        return usable_seed(self._inpainter, seed, note)

    def warm_up(self) -> None:
        """The first fill takes longer than others: let no client wait for that."""
        image = np.zeros((1, self.about.channels, 64, 64), np.float32)
        self.about.fill(image, np.eye(64, dtype=bool)[None, None])

    def fill(self, job: Job) -> Photo:
        """The filled photo.

        Raises:
            StoppedError: the job was dropped.
            PconvError: what :meth:`pconv.Inpainter.__call__` raises.
        """
        backend = self._inpainter.backend
        gate = cast(Backend, _Gate(backend, job.dropped))
        self._inpainter.backend = gate
        try:
            return self._inpainter(job.task.photo, job.task.hole, feather=job.feather, seed=job.seed)
        finally:
            if self._inpainter.backend is gate:  # else a GPU had too little memory, and another one stays in its place
                self._inpainter.backend = backend


class _Gate:
    """A backend that asks before each call whether the job is still wanted: a large photo is many calls."""

    def __init__(self, backend: Backend, dropped: threading.Event) -> None:
        self._backend, self._dropped = backend, dropped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def fill(self, *arguments: Any, **options: Any) -> NDArray[np.float32]:
        if self._dropped.is_set():
            raise StoppedError
        return self._backend.fill(*arguments, **options)
