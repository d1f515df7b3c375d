"""One way to stop a long run on Ctrl-C or a termination signal."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest(threading.Event):
    """Set when the user or the system asks the run to stop; ``signal`` is the first signal's number."""

    signal: int | None = None


@contextmanager
def stop_on_signal(message: str) -> Iterator[StopRequest]:
    """While the block runs, SIGINT (Ctrl-C) and SIGTERM set the request that it gets.

    The same signal a second time ends the process at once, with exit code 128 + its number. A different second signal
    changes nothing: ``torchrun`` passes on a Ctrl-C, which all its processes received already, as SIGTERM. Outside of
    the main thread no signal can be handled, and the request stays unset.

    Args:
        message: what to print to standard error at the first signal; empty prints nothing.
    """
    request = StopRequest()
    received: set[int] = set()
    before = {}

    def handle(number: int, frame: FrameType | None) -> None:
        if number in received:
            os._exit(128 + number)
        if message and not received:
            os.write(2, f"\n{message}\n".encode())  # print is not safe here: it may be what was interrupted
        received.add(number)
        request.signal = request.signal or number
        request.set()

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
