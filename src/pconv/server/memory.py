"""How much memory requests may take together, and how free memory is returned to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache

from pconv.server.errors import unavailable


class RequestMemory:
    """Counts what all requests together hold in memory (bytes or pixels), and refuses more than `limit`.

    Attributes:
        used: what is held now.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    def reserve(self, amount: int) -> None:
        """Count `amount`. A single request may always have what it needs.

        Raises:
            ApiError: others hold so much that this would be above the limit.
        """
        if self.used and self.used + amount > self.limit:
            raise unavailable("memory", "the server has no memory left for more images; try again soon", 2)
        self.used += amount

    def add(self, amount: int) -> None:
        """Count `amount` even above the limit: a finished answer is kept, but new requests are refused."""
        self.used += amount

    def release(self, amount: int) -> None:
        self.used -= amount


def return_free_memory() -> None:
    """Return free memory to the system: glibc keeps up to hundreds of MB for each thread after a large photo."""
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim if sys.platform == "linux" else None
    except (OSError, AttributeError):  # another C library
        return None
