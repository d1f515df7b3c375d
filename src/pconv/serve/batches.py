"""Several pictures through the network at a time, each filled exactly as it would be alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pconv.filling.backends import Backend

Result = TypeVar("Result")
Answer = tuple[NDArray[np.float32], NDArray[np.bool_]]


@dataclass
class _Call:
    pictures: NDArray[np.float32]
    holes: NDArray[np.bool_]
    answered: threading.Event = field(default_factory=threading.Event)
    answer: Answer | Exception | None = None


class Together:
    """The network for several threads in lockstep: once all of them have called it or ended, calls of one shape run
    as one.

    What the network is asked for stays the business of who fills (:mod:`pconv.filling`): its boxes, tiles and smaller
    pictures are the same as for one picture alone.
    """

    def __init__(self, backend: Backend, threads: int) -> None:
        self._backend, self._threads = backend, threads
        self._calls: list[_Call] = []
        self._changed = threading.Condition()

    def fill(self, pictures: NDArray[np.float32], holes: NDArray[np.bool_]) -> Answer:
        """What :meth:`pconv.filling.backends.Backend.fill` says; called by the threads."""
        call = _Call(pictures, holes)
        with self._changed:
            self._calls.append(call)
            self._changed.notify()
        call.answered.wait()
        if isinstance(call.answer, Exception):
            raise call.answer
        assert call.answer is not None
        return call.answer

    def leave(self) -> None:
        """This thread will not call any more."""
        with self._changed:
            self._threads -= 1
            self._changed.notify()

    def serve(self) -> None:
        """Answer until all threads have left; called by who started them."""
        while self._threads:
            with self._changed:
                self._changed.wait_for(lambda: len(self._calls) == self._threads)
                calls, self._calls = self._calls, []
            alike: dict[tuple[int, ...], list[_Call]] = {}
            for call in calls:
                alike.setdefault(call.pictures.shape, []).append(call)
            for group in alike.values():
                self._run(group)

    def _run(self, calls: Sequence[_Call]) -> None:
        try:
            filled, reached = self._backend.fill(
                np.concatenate([call.pictures for call in calls]), np.concatenate([call.holes for call in calls])
            )
        except Exception as error:
            if len(calls) > 1:  # such as too little memory for all at once
                for call in calls:
                    self._run([call])
                return
            calls[0].answer = error
            calls[0].answered.set()
            return
        start = 0
        for call in calls:
            end = start + len(call.pictures)
            call.answer = filled[start:end], reached[start:end]
            call.answered.set()
            start = end


def side_by_side(backend: Backend, works: Sequence[Callable[[Together], Result]]) -> list[Result | Exception]:
    """Do all works, each in a thread of its own, and return what each returned or raised."""
    together = Together(backend, len(works))
    results: dict[int, Result | Exception] = {}

    def do(number: int) -> None:
        try:
            results[number] = works[number](together)
        except Exception as error:
            results[number] = error
        finally:
            together.leave()

    threads = [
        threading.Thread(target=do, args=(number,), name=f"pconv-batch-{number}") for number in range(len(works))
    ]
    for thread in threads:
        thread.start()
    together.serve()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(works))]
