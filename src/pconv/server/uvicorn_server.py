"""The HTTP server: uvicorn with time limits for every connection, its socket and its log.

uvicorn limits the length of headers and the idle time between requests. It waits without limit for a first request,
for the rest of a header, for a body that is not read any more, and for a client that does not read its answer. The
servers that have some of these limits lack others: see `docs/lab/decisions/0013-server-limits.md`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import warnings
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pconv.errors import InputError, PconvError
from pconv.server.app import create_app
from pconv.server.config import seconds_allowed
from pconv.server.errors import ApiError
from pconv.server.service import InpaintService

DEFAULT_PORT = 8000
PORTS_TRIED = 20
MAX_CONNECTIONS = 512
"""At one time; further ones are closed at once."""
CHECK_SECONDS = 1.0
"""How often each connection checks its time limits."""
SHUTDOWN_SECONDS = 5.0
"""Added to the time limit of a running request when the server shuts down."""


class ServeError(PconvError):
    """The server cannot start."""


class TimeLimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 connection, closed when one of its steps takes too long."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle: tuple[float, object] | None = None
        self._unread_since: float | None = None
        self._unsent: tuple[float, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._timer = self.loop.call_later(CHECK_SECONDS, self._check_time)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        error = sys.exception()
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            self._refuse(ApiError(431, "headers", "the request's headers are too long"))
        else:
            self._refuse(ApiError(400, "http", "this is not a well-formed HTTP/1.1 request"))

    def _refuse(self, error: ApiError) -> None:
        """Answer outside of any request, and close. An app that runs for this client sees a disconnect."""
        headers: list[tuple[Any, Any]] = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(error.body)).encode()),
            (b"connection", b"close"),
        ]
        try:
            output = self.conn.send(h11.Response(status_code=error.status, headers=headers, reason=b""))
            output = (output or b"") + (self.conn.send(h11.Data(data=error.body)) or b"")
            self.transport.write(output)
        except h11.LocalProtocolError:  # another answer is being sent
            pass
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _check_time(self) -> None:
        now = self.loop.time()
        self._timer = self.loop.call_later(CHECK_SECONDS, self._check_time)
        if self._rest_is_late(now) or self._answer_is_late(now):
            self.transport.abort()
        elif self._header_is_late(now) and not self.transport.is_closing():
            if self.conn.trailing_data[0]:
                self._refuse(ApiError(408, "too_slow", "the request's header came too slowly"))
            else:
                self.transport.close()

    def _header_is_late(self, now: float) -> bool:
        """Whether the first or the next request's header is not complete in time."""
        if self.conn.their_state is not h11.IDLE:
            self._idle = None
        elif self._idle is None or self._idle[1] is not self.cycle:  # a whole request came between two checks
            self._idle = (now, self.cycle)
        return self._idle is not None and now - self._idle[0] > seconds_allowed(0)

    def _rest_is_late(self, now: float) -> bool:
        """Whether the rest of a body, whose request is answered already, does not come in time."""
        rest = self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY
        self._unread_since = (self._unread_since or now) if rest else None
        return self._unread_since is not None and now - self._unread_since > seconds_allowed(0)

    def _answer_is_late(self, now: float) -> bool:
        """Whether the client reads its answer more slowly than it must."""
        left = self.transport.get_write_buffer_size()
        if not left:
            self._unsent = None
            return False
        since, size = self._unsent or (now, left)
        self._unsent = (since, max(size, left))
        return now - since > seconds_allowed(self._unsent[1] - left)


class Server(uvicorn.Server):
    """Calls `on_start` when it listens, and empties the queue as soon as it is stopped."""

    def __init__(self, config: uvicorn.Config, service: InpaintService) -> None:
        super().__init__(config)
        self._service = service
        self.on_start: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.queue.stop()
        await super().shutdown(sockets)


def make_server(service: InpaintService) -> Server:
    """A server for one service; `run(sockets=[...])` starts it."""
    config = uvicorn.Config(
        create_app(service),
        http=TimeLimitedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,  # it has whole addresses, which may be private; the middleware logs known routes
        log_config=None,
        log_level=logging.WARNING,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(service.config.time_limit + SHUTDOWN_SECONDS),
    )
    return Server(config, service)


def open_socket(host: str, port: int | None) -> socket.socket:
    """A listening socket.

    Args:
        port: this one; 0: any free one; None: the first free one from `DEFAULT_PORT` on.

    Raises:
        InputError: there is no such host.
        ServeError: the port is in use or not allowed.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise InputError(f"there is no address {host!r} to listen on ({error.strerror})") from error
    candidates = [port] if port is not None else range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED)
    for candidate in candidates:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address[0], candidate))
            sock.listen()  # two servers can bind one port, but only one can listen
            return sock
        except OSError as error:
            sock.close()
            reason = error
    what = f"port {port}" if port is not None else f"none of the ports {DEFAULT_PORT} to {candidates[-1]}"
    raise ServeError(f"cannot listen on {host}, {what}: {reason.strerror}; give another with --port") from reason


def page_addresses(sock: socket.socket, host: str) -> list[str]:
    """Where a browser finds the page."""
    port = sock.getsockname()[1]
    names = ["127.0.0.1", socket.gethostname()] if host in ("0.0.0.0", "::", "") else [host]
    return [f"http://{f'[{name}]' if ':' in name else name}:{port}/" for name in names]


def set_up_logging(verbose: bool) -> None:
    """Log one line for each request to stderr. The decoders' own warnings, which may quote a file, are not logged."""
    warnings.filterwarnings("ignore", module=r"PIL\.|tifffile")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    for name, level in (
        ("pconv", logging.DEBUG if verbose else logging.INFO),
        ("uvicorn.error", logging.ERROR),
        ("python_multipart", logging.CRITICAL),
        ("PIL", logging.CRITICAL),
        ("tifffile", logging.CRITICAL),
    ):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.addHandler(handler)
        logger.propagate = False
