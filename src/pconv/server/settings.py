"""What a server allows: one frozen object, made once from the command line."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True)
class Settings:
    """Limits and secrets of one server.

    Attributes:
        token: what clients must send as ``Authorization: Bearer``; None: no token is asked for.
        hosts: names that the Host header may have, without port; None: any (a server on the network has a token).
        max_bytes: of one request's body.
        max_pixels: of one photo.
        seconds: that one request may take from its last byte on.
        queue: requests that may wait for a worker.
        uploads: requests that may be under way at one time, in whatever state.
    """

    token: str | None = None
    hosts: frozenset[str] | None = frozenset({"localhost", "127.0.0.1", "::1"})
    max_bytes: int = 200 * MB
    max_pixels: int = 100 * MB
    seconds: float = 300.0
    queue: int = 32
    uploads: int = 128

    @property
    def held_bytes(self) -> int:
        """Of all bodies in memory together."""
        return 2 * self.max_bytes

    @property
    def held_pixels(self) -> int:
        """Of all decoded photos in memory together."""
        return 2 * self.max_pixels


GRACE = 10.0
"""Seconds in which a client need not have sent, or taken, anything yet."""
MIN_RATE = 16_384
"""Bytes per second that a client must then have kept up since the start: slower ones hold memory for nothing."""


def seconds_allowed(moved: int) -> float:
    """How long it may take at most to move so many bytes."""
    return GRACE + moved / MIN_RATE
