"""One thread each for numpy's products, where they are small."""

from __future__ import annotations

import threading
from functools import cache
from types import TracebackType

from threadpoolctl import ThreadpoolController


class _OneThread:
    """While any thread is inside, numpy's products take one thread each.

    They are too small to gain from more, and lose most of their speed where other threads and processes compute too.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._limit = _thread_pools().limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limit.restore_original_limits()


one_thread = _OneThread()


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()
