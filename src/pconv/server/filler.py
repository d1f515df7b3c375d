"""A loaded model on one device, and what its worker thread does with it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from pconv.images.photo import Photo
from pconv.inpainting.backends import Backend
from pconv.inpainting.inpainter import Inpainter
from pconv.inpainting.options import InpaintOptions
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
        inpainter: this filler's own.

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

    def notes(self, options: InpaintOptions) -> list[str]:
        """Sentences for the client on what the model cannot do of ``options``."""
        return self._inpainter.notes(options)

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

        def check() -> None:
            if job.dropped.is_set():
                raise StoppedError

        options = InpaintOptions(feather=job.feather, seed=job.seed)
        return self._inpainter.fill_photo(job.task.photo, job.task.hole, options, check)
