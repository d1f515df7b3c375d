"""What every request passes on its way in and out: who may ask, what the answer's headers say, one line in the log.

Plain ASGI, since Starlette's middleware class hides from the app that a client went away.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders

from pconv.server.form import Receive
from pconv.server.metrics import Metrics
from pconv.server.refusals import RefusedError, busy
from pconv.server.settings import Settings

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load and do (Content-Security-Policy): nothing that does not come from here."""
DOCS_POLICY = PAGE_POLICY.replace("img-src 'self'", "img-src 'self' blob: data:")
"""The same for /docs: Swagger UI has its icons in its style sheet, and shows a filled photo from memory."""
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
SECRET_ROUTES = ("/api/", "/metrics")
"""They need the token where there is one; the page, its documentation and the health tell nothing about anyone."""
_LOG = logging.getLogger("pconv.server")
_MOST_HEADER = 16_384
"""Bytes of address and headers; h11 has the same bound, but lets through what comes in one piece."""
_PIECE = 262_144
"""Bytes that are handed on at a time."""
_SMALL_BODY = 1_000_000
_DRAIN_SECONDS = 1.0


class Guard:
    """Checks Host, Origin and token, counts, logs, and lets nothing but JSON out when something goes wrong."""

    def __init__(self, app: App, settings: Settings, metrics: Metrics, routes: frozenset[str]) -> None:
        self._app, self._settings, self._metrics, self._routes = app, settings, metrics, routes
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, incoming = time.perf_counter(), _Incoming(scope, receive)
        answer = _Answer(send, incoming)
        self._under_way += 1
        try:
            self._check(scope)
            await self._app(scope, incoming.receive, answer.send)
        except RefusedError as refusal:
            await answer.refuse(refusal)
        except Exception:
            _LOG.exception("a request failed")
            if not answer.status:
                await answer.refuse(
                    RefusedError(500, "internal", "something went wrong in the server; its log says what")
                )
        finally:
            self._under_way -= 1
            self._tell(scope, answer, time.perf_counter() - start)

    def _check(self, scope: Scope) -> None:
        headers, settings = Headers(scope=scope), self._settings
        if _header_size(scope) > _MOST_HEADER:
            raise RefusedError(431, "headers", "the request's headers are too long", {"Connection": "close"})
        host = headers.get("host", "")
        if settings.hosts is not None and not _allowed(host, settings.hosts):
            raise RefusedError(
                421, "host", "this server does not go by that name; see --allow-host", {"Connection": "close"}
            )
        origin = headers.get("origin")
        foreign = headers.get("sec-fetch-site") == "cross-site" and scope["method"] == "POST"
        if foreign or (origin is not None and origin.partition("://")[2] != host):
            raise RefusedError(403, "cross_site", "requests from pages of other sites are not served")
        if settings.token and scope["path"].startswith(SECRET_ROUTES) and not _knows(headers, settings.token):
            raise RefusedError(
                401, "token", "send the server's token: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )
        if self._under_way > settings.uploads:
            raise busy("busy", "too many requests at a time; try again soon", 2)

    def _tell(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        route = scope["path"] if scope["path"] in self._routes else "other"  # anything else could be anything
        status = str(answer.status or 499)
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if answer.code:
            self._metrics.refusals.labels(answer.code).inc()
        client = (scope.get("client") or ["-"])[0]
        level = logging.DEBUG if route in ("/healthz", "/metrics") else logging.INFO
        method = scope["method"] if scope["method"].isalpha() and len(scope["method"]) < 8 else "other"
        _LOG.log(
            level, "%s %s %s %s %.0f ms %d bytes%s", client, method, route, status, 1000 * seconds, answer.size,
            f" {answer.code}" if answer.code else "",
        )  # fmt: skip


class _Incoming:
    """The way in: knows whether there is a rest of the body."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers, self._receive = Headers(scope=scope), receive
        length = headers.get("content-length", "0")
        self._length = int(length) if length.isdigit() else 0
        self._waits = "expect" in headers
        self._more = self._length > 0

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read the rest of a small body that nobody asked for: clients that send before they listen then hear why.

        For a large one that is not worth it, and who sent ``Expect: 100-continue`` has not begun.
        """
        if self._length > _SMALL_BODY or self._waits:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._more:
                    await self.receive()


class _Answer:
    """The way out: security headers on, status and size remembered."""

    def __init__(self, send: Send, incoming: _Incoming) -> None:
        self._send, self._incoming = send, incoming
        self.status, self.size, self.code = 0, 0, ""

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status >= 400 and self.status != 408:
                await self._incoming.drain()
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-cache")
            if "x-pconv-error" in headers:
                self.code = headers["x-pconv-error"]
                del headers["x-pconv-error"]
            await self._send(message)
            return
        body = memoryview(message.get("body", b""))
        self.size += len(body)
        for at in range(0, len(body) or 1, _PIECE):  # a piece is only sent when the client has taken most of the last
            more = at + _PIECE < len(body) or message.get("more_body", False)
            await self._send({"type": "http.response.body", "body": bytes(body[at : at + _PIECE]), "more_body": more})

    async def refuse(self, refusal: RefusedError) -> None:
        headers = {"Content-Type": "application/json", "Content-Length": str(len(refusal.body)), **refusal.headers}
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        self.code = refusal.code
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": refusal.body})


def _header_size(scope: Scope) -> int:
    return len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(k) + len(v) for k, v in scope["headers"])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _allowed(host: str, known: frozenset[str]) -> bool:
    """Whether a Host header names one of ``known``: a page of another site, whose name was made to point here (DNS
    rebinding), cannot say so."""
    name, port = host.lower(), ""
    if host.startswith("["):
        name, _, port = name[1:].partition("]")
        port = port.removeprefix(":")
    elif ":" in host:
        name, _, port = name.rpartition(":")
    return name in known and (port.isdigit() or not port)


def _knows(headers: Headers, token: str) -> bool:
    scheme, _, said = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(said.strip().encode("latin-1"), token.encode())
