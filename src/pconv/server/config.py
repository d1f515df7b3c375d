"""What a server allows: its secrets, its limits, and how much memory its requests may take together."""

from __future__ import annotations

from dataclasses import dataclass

from pconv.server.errors import unavailable

MB = 1_000_000
GRACE_SECONDS = 10.0
"""For so long a client need not have sent or received anything."""
MIN_BYTES_PER_SECOND = 16_384
"""After that, the average speed that a client must have reached; slower ones would hold memory for nothing."""


@dataclass(frozen=True)
class ServerConfig:
    """Secrets and limits of one server.

    Attributes:
        token: what clients must send as ``Authorization: Bearer``; None: no token is needed.
        hosts: names that the Host header may have, without port; None: any (a server on the network has a token).
        max_bytes: of one request's body.
        max_pixels: of one image.
        time_limit: seconds that one request may take after its last byte has arrived.
        max_queued: requests that may wait for a worker.
        max_requests: requests that may be open at one time, in whatever state.
    """

    token: str | None = None
    hosts: frozenset[str] | None = frozenset({"localhost", "127.0.0.1", "::1"})
    max_bytes: int = 200 * MB
    max_pixels: int = 100 * MB
    time_limit: float = 300.0
    max_queued: int = 32
    max_requests: int = 128


class MemoryBudget:
    """Counts what all requests together hold in memory (bytes or pixels), and refuses more than ``limit``.

    Attributes:
        used: what is held now.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    def reserve(self, amount: int) -> None:
        """Count ``amount``. A single request may always have what it needs.

        Raises:
            ApiError: others hold so much that this would be above the limit.
        """
        if self.used and self.used + amount > self.limit:
            raise unavailable("memory", "the server has no memory left for more images; try again soon", 2)
        self.used += amount

    def add(self, amount: int) -> None:
        """Count ``amount`` even above the limit: a finished answer is kept, but new requests are refused."""
        self.used += amount

    def release(self, amount: int) -> None:
        self.used -= amount


def seconds_allowed(transferred: int) -> float:
    """How long a client may take for so many bytes."""
    return GRACE_SECONDS + transferred / MIN_BYTES_PER_SECOND
