"""A socket, a uvicorn on it, and the sentences that say where it is."""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Callable, Sequence
from types import FrameType

import uvicorn

from pconv.errors import InputError, PconvError
from pconv.server.app import create_app
from pconv.server.protocol import PatientProtocol
from pconv.server.service import Service

DEFAULT_PORT = 8000
PORTS_TRIED = 20
FINISHING = 5.0
"""Seconds that a shutdown gives a running request beyond its time limit."""


class ServeError(PconvError):
    """The server cannot start."""


def open_socket(host: str, port: int | None) -> socket.socket:
    """A listening socket's beginnings: bound, so that nobody else takes the port any more.

    Args:
        port: this one; 0: any free one; None: the first free one from :data:`DEFAULT_PORT` on.

    Raises:
        InputError: no such host.
        ServeError: the port is taken or not allowed.
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
            sock.listen()  # two servers could bind one port; only one can listen
            return sock
        except OSError as error:
            sock.close()
            reason = error
    what = f"port {port}" if port is not None else f"none of the ports {DEFAULT_PORT} to {candidates[-1]}"
    raise ServeError(f"cannot listen on {host}, {what}: {reason.strerror}; give another with --port") from reason


def make_server(service: Service) -> Server:
    """A uvicorn for one service, with its own limits for connections; ``run(sockets=[...])`` starts it."""
    config = uvicorn.Config(
        create_app(service),
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        access_log=False,  # it would log what is in the address; our guard logs what may be logged
        log_config=None,
        log_level=logging.WARNING,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(service.settings.seconds + FINISHING),
    )
    return Server(config, service)


class Server(uvicorn.Server):
    """Says when it listens, and lets the queue go as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self.on_start: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # a stop that was asked for is no failure: nothing is to be raised again

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.jobs.stop()
        await super().shutdown(sockets)


def addresses(sock: socket.socket, host: str) -> list[str]:
    """Where a browser finds the page."""
    port = sock.getsockname()[1]
    names: Sequence[str] = [host]
    if host in ("0.0.0.0", "::", ""):
        names = ["127.0.0.1", socket.gethostname()]
    return [f"http://{f'[{name}]' if ':' in name else name}:{port}/" for name in names]


def set_up_logging(verbose: bool) -> None:
    """One line for each request on stderr; the parsers' own warnings, which quote what came, stay out."""
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
