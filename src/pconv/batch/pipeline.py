"""Reading, filling and writing beside each other, so that the network does not wait.

Pillow and the network's runtimes let go of Python's lock while they compute, so threads are enough. Between the steps
are short queues, and a budget bounds the bytes of the photos in memory, however large the single ones are.
"""

from __future__ import annotations

import copy
import errno
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from queue import Queue
from typing import Any

from pconv.batch.manifest import Entry
from pconv.batch.work import Piece, Steps, Task, decoded_bytes
from pconv.errors import ImageFileError, ModelError

_COPIES = 2
"""A photo is in memory as it was and filled."""

_HOPELESS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors of writing that every further photo would have too."""


_FILLERS_CPU, _FILLERS_GPU = 2, 4
"""Threads that fill: a GPU is done before a photo's colours are converted."""

_LARGE = 4_000_000
"""Pixels from which a photo's fill takes memory that matters beside the network's: two such are not filled at once."""


class _End:
    pass


_END = _End()


class Budget:
    """Bytes that may be taken; one that asks for more than all waits until nobody else has any."""

    def __init__(self, total: int) -> None:
        self._total, self._used, self._changed = total, 0, threading.Condition()

    def take(self, wanted: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + wanted <= self._total)
            self._used += wanted

    def give_back(self, taken: int) -> None:
        with self._changed:
            self._used -= taken
            self._changed.notify_all()


class Turns:
    """Stands before a backend: one call at a time, so that the network's memory is taken once, and timed.

    Attributes:
        busy: seconds that it computed.
        span: seconds from the first call's start to the last one's end.
    """

    def __init__(self, backend: Any) -> None:
        self._backend, self._turn = backend, threading.Lock()
        self._began: float | None = None
        self.busy = self.span = 0.0

    def fill(self, *arguments: Any, **options: Any) -> Any:
        with self._turn:
            start = time.perf_counter()
            self._began = self._began or start
            try:
                return self._backend.fill(*arguments, **options)
            finally:
                end = time.perf_counter()
                self.busy += end - start
                self.span = end - self._began

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class Pipeline:
    """Runs tasks through the three steps.

    Args:
        steps: what to do.
        fill: the ``pconv.inpainting.inpainter.Inpainter``.
        workers: threads that read and decode, and as many that encode and write.
        memory: bytes of decoded photos that may wait.
        stop: once it is set, nothing more is begun; what is filled is still written.
        fail_fast: stop at the first failure.

    Several threads fill: one prepares or finishes a photo while another's is in the network.
    """

    def __init__(
        self,
        steps: Steps,
        fill: Any,
        workers: int,
        memory: int,
        stop: threading.Event | None = None,
        fail_fast: bool = False,
    ) -> None:
        self._steps, self._workers, self._fail_fast = steps, workers, fail_fast
        self._fill, self._fillers = fill, 1
        self._network: Turns | None = None
        if hasattr(fill, "backend"):
            self._fill = copy.copy(fill)  # the caller's own stays as it is
            self._fill.backend = self._network = Turns(fill.backend)
            self._fillers = _FILLERS_CPU if fill.backend.device == "cpu" else _FILLERS_GPU
        self._budget = Budget(memory)
        self._stop = stop or threading.Event()
        self._fatal: Exception | None = None
        self._ready: Queue[Piece | _End] = Queue(workers + 1)
        self._filled: Queue[Piece | _End] = Queue(workers + 1)
        self._ended: Queue[Entry | _End] = Queue()
        self._turn, self._large = threading.Lock(), threading.Lock()
        self._threads: list[threading.Thread] = []

    @property
    def busy(self) -> float | None:
        """Part of the time from the network's first start to its last end in which it computed."""
        return self._network.busy / self._network.span if self._network and self._network.span else None

    def run(self, tasks: Iterable[Task]) -> Iterator[Entry]:
        """The entry of each task as it ends, in any order.

        Raises:
            ImageFileError: the place of the results is full or read-only, at the end of what could be done.
            ModelError: the model cannot fill.
        """
        source = iter(tasks)
        self._threads.clear()
        readers = [self._thread(self._read, source) for _ in range(self._workers)]
        fillers = [self._thread(self._fill_each) for _ in range(self._fillers)]
        for _ in range(self._workers):
            self._thread(self._write)
        self._thread(self._end_after, readers, self._ready, self._fillers)
        self._thread(self._end_after, fillers, self._filled, self._workers)
        open_ends = self._workers
        try:
            while open_ends:
                ended = self._ended.get()
                if isinstance(ended, _End):
                    open_ends -= 1
                else:
                    yield ended
        finally:
            self._stop.set()  # whoever asked for the entries may have gone away
            for thread in self._threads:
                thread.join()  # a network that is cut off as Python ends can crash
        if self._fatal:
            raise self._fatal

    def _thread(self, work: Callable[..., None], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True, name=f"pconv{work.__name__}")
        self._threads.append(thread)
        thread.start()
        return thread

    def _next(self, source: Iterator[Task]) -> Task | None:
        with self._turn:
            return None if self._stop.is_set() else next(source, None)

    def _read(self, source: Iterator[Task]) -> None:
        while (task := self._next(source)) is not None:
            held = 0
            try:
                photo_file, mask_file = self._steps.contents(task)
                hashes = self._steps.hashes(photo_file, mask_file)
                if same := self._steps.unchanged(task, hashes):
                    self._ended.put(same)
                    continue
                held = decoded_bytes(photo_file) * _COPIES
                self._budget.take(held)
                piece = self._steps.load(task, photo_file, mask_file, hashes)
            except Exception as error:  # one bad file does not end the others
                self._budget.give_back(held)
                self._failed(task, error)
                continue
            del photo_file, mask_file
            piece.held = held
            self._ready.put(piece)

    def _end_after(self, threads: list[threading.Thread], queue: Queue[Piece | _End], takers: int) -> None:
        for thread in threads:
            thread.join()
        for _ in range(takers):
            queue.put(_END)

    def _fill_each(self) -> None:
        while not isinstance(piece := self._ready.get(), _End):
            if self._stop.is_set():
                self._budget.give_back(piece.held)
                continue
            try:
                with self._large if piece.hole.size > _LARGE else nullcontext():
                    self._steps.fill(piece, self._fill)
            except Exception as error:
                self._budget.give_back(piece.held)
                self._failed(piece.task, error)
            else:
                self._filled.put(piece)

    def _write(self) -> None:
        while not isinstance(piece := self._filled.get(), _End):
            try:
                self._ended.put(self._steps.store(piece))
            except Exception as error:
                self._failed(piece.task, error)
            finally:
                self._budget.give_back(piece.held)
        self._ended.put(_END)

    def _failed(self, task: Task, error: Exception) -> None:
        entry = self._steps.failed(task, error)
        if isinstance(error, OSError) and error.errno in _HOPELESS:
            self._fatal = ImageFileError(f"{entry.error}; stopped at {task.photo}")
        elif isinstance(error, ModelError):
            self._fatal = error
        if self._fatal or self._fail_fast:
            self._stop.set()
        self._ended.put(entry)
