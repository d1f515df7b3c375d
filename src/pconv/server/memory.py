"""Memory that is free goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache

LARGE = 4_000_000
"""Pixels or bytes above which a request leaves enough behind to be worth the milliseconds."""


def give_back() -> None:
    """glibc keeps what a thread freed for that thread, up to hundreds of MB after a large photo; ask it to let go."""
    if trim := _trim():
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim if sys.platform == "linux" else None
    except (OSError, AttributeError):  # another C library
        return None
