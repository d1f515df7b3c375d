"""uvicorn's HTTP/1.1 connection with the patience of a server that strangers may reach.

uvicorn bounds headers (16 KiB) and idle keep-alive; it waits for ever for a first request, for the rest of a header,
for a body that nobody reads any more, and for a client that does not take its answer.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pconv.server.refusals import error_body
from pconv.server.settings import seconds_allowed

MAX_CONNECTIONS = 512
"""At one time; more are closed at once, before they cost anything."""
TICK = 1.0


class PatientProtocol(H11Protocol):
    """Looks at itself once a second, and ends what takes too long."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle: tuple[float, object] | None = None
        self._unread_since: float | None = None
        self._unsent: tuple[float, int] | None = None
        self._tick: asyncio.TimerHandle | None = None
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._tick = self.loop.call_later(TICK, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._tick:
            self._tick.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        error = sys.exception()
        hint = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if hint == 431:
            self._refuse(431, "headers", "the request's headers are too long")
        else:
            self._refuse(400, "http", "this is not a well-formed HTTP/1.1 request")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer outside of any request, and close; an app that is at one hears that its client is gone."""
        body = error_body(code, message)
        headers: list[tuple[Any, Any]] = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        try:
            output = self.conn.send(h11.Response(status_code=status, headers=headers, reason=b""))
            output = (output or b"") + (self.conn.send(h11.Data(data=body)) or b"")
            self.transport.write(output)
        except h11.LocalProtocolError:  # an answer is on its way already
            pass
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _look(self) -> None:
        now = self.loop.time()
        self._tick = self.loop.call_later(TICK, self._look)
        if self._stays_unread(now) or self._stays_unsent(now):
            self.transport.abort()
        elif self._stays_idle(now) and not self.transport.is_closing():
            if self.conn.trailing_data[0]:
                self._refuse(408, "too_slow", "the request's header came too slowly")
            else:
                self.transport.close()

    def _stays_idle(self, now: float) -> bool:
        """Whether a header, the first or the next, has been awaited for too long; uvicorn closes some sooner."""
        if self.conn.their_state is not h11.IDLE:
            self._idle = None
        elif self._idle is None or self._idle[1] is not self.cycle:  # a whole request came between two looks
            self._idle = (now, self.cycle)
        return self._idle is not None and now - self._idle[0] > seconds_allowed(0)

    def _stays_unread(self, now: float) -> bool:
        """Whether the rest of a body that was answered already has been coming for too long."""
        rest = self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY
        self._unread_since = (self._unread_since or now) if rest else None
        return self._unread_since is not None and now - self._unread_since > seconds_allowed(0)

    def _stays_unsent(self, now: float) -> bool:
        """Whether the client takes its answer more slowly than it must."""
        left = self.transport.get_write_buffer_size()
        if not left:
            self._unsent = None
            return False
        since, size = self._unsent or (now, left)
        self._unsent = (since, max(size, left))
        return now - since > seconds_allowed(self._unsent[1] - left)
