"""What a server allows: its secrets and its limits."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1_000_000
GRACE_SECONDS = 10.0
"""For so long a client need not have sent or received anything."""
MIN_BYTES_PER_SECOND = 16_384
"""After that, the average speed that a client must have reached; slower ones would hold memory for nothing."""


@dataclass(frozen=True)
class ServerConfig:
    """Secrets and limits of one server.

    Attributes:
        token: what clients must send as `Authorization: Bearer`; None: no token is needed.
        hosts: names that the headers Host and Origin may have, without port; None: any Host, and an Origin of the same
            name (a server on the network has a token).
        max_bytes: of one request's body.
        max_pixels: of one image.
        time_limit: seconds that one request may take after its last byte has arrived.
        max_queued: requests that may wait for a worker.
        max_requests: requests that may be open at one time, in whatever state.
        idle_seconds: without a fill, after which free memory is returned to the system.
    """

    token: str | None = None
    hosts: frozenset[str] | None = frozenset({"localhost", "127.0.0.1", "::1"})
    max_bytes: int = 200 * MB
    max_pixels: int = 100 * MB
    time_limit: float = 300.0
    max_queued: int = 32
    max_requests: int = 128
    idle_seconds: float = 5.0


def seconds_allowed(transferred: int) -> float:
    """How long a client may take for so many bytes."""
    return GRACE_SECONDS + transferred / MIN_BYTES_PER_SECOND
