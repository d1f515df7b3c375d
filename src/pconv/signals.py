"""One way to stop a long run on Ctrl-C or a termination signal."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# Windows has no SIGHUP.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
SAME_REQUEST = 2.0
"""Seconds in which a signal that comes again is no second request: ``timeout``, Slurm and ``torchrun`` send one to a
process and also to its group."""


class StopRequest(threading.Event):
    """Set when the user or the system asks the run to stop; ``signal`` is the first signal's number."""

    signal: int | None = None


@contextmanager
def stop_on_signal(message: str, interrupt: bool = False) -> Iterator[StopRequest]:
    """While the block runs, SIGINT (Ctrl-C), SIGTERM and SIGHUP set the request that it gets.

    The same signal again, at least two seconds later, ends the process at once, with exit code 128 + its number. A
    different second signal changes nothing: ``torchrun`` passes on a Ctrl-C, which all its processes received already,
    as SIGTERM. SIGHUP stays ignored where it was, as under ``nohup``. Outside of the main thread no signal can be
    handled, and the request stays unset.

    Args:
        message: what to print to standard error at the first signal; empty prints nothing.
        interrupt: end the block at the first signal, with SystemExit of 128 + its number.
    """
    request = StopRequest()
    received: dict[int, float] = {}
    before = {}

    def handle(number: int, frame: FrameType | None) -> None:
        first = not received
        if time.monotonic() - received.setdefault(number, time.monotonic()) >= SAME_REQUEST:
            os._exit(128 + number)
        if not first:
            return
        request.signal = number
        request.set()
        drop_closed_outputs()
        if message:
            with suppress(OSError):  # print is not safe here: it may be what was interrupted
                os.write(2, f"\n{message}\n".encode())
        if interrupt:
            raise SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_blocked(*numbers: int) -> Iterator[None]:
    """Processes that are started in the block never receive these signals; this one receives them at its end."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def drop_closed_outputs() -> None:
    """Discard what is printed from here on to a terminal or pipe that has gone, instead of failing.

    A signal to a process group also ends the ``tee`` that reads our output. SIGHUP says that the terminal has gone.
    """
    if not hasattr(select, "poll"):  # Windows
        return
    for descriptor in (1, 2):
        poll = select.poll()
        poll.register(descriptor, 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
