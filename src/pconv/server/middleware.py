"""What every request passes on its way in and out: access checks, methods, security headers, metrics, the log.

Plain ASGI, since Starlette's BaseHTTPMiddleware hides from the app that a client has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import time
from collections.abc import Mapping, Set

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pconv.server.config import ServerConfig
from pconv.server.errors import CODE_HEADER, ApiError, internal_error, unavailable
from pconv.server.metrics import Metrics

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of the page: everything it loads comes from this server."""
DOCS_POLICY = PAGE_POLICY.replace("img-src 'self'", "img-src 'self' blob: data:")
"""The one of /docs: Swagger UI has icons in its style sheet, and shows a filled photo from memory."""
SECURITY_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
ROUTES = frozenset({"/", "/api/v1/inpaint", "/api/v1/info", "/healthz", "/metrics", "/docs", "/openapi.json"})
"""The addresses that logs and metrics name. Any other one counts as "other", since it may hold private words."""
TOKEN_ROUTES = ("/api/", "/metrics")
"""They need the token, if there is one. The page, its documentation and /healthz tell nothing private."""
MAX_HEADER_BYTES = 16_384
"""Of address and headers. h11 has the same limit, but accepts more when it comes in one read."""
CHUNK_BYTES = 262_144
"""An answer is sent in chunks; the next one waits until the client has taken most of the last one."""
MAX_DRAINED_BYTES = 1_000_000
DRAIN_SECONDS = 1.0
_LOG = logging.getLogger("pconv.server")


class RequestMiddleware:
    """Checks Host, Origin, token, address and method; counts and logs; answers every failure as JSON.

    Args:
        methods: of each address that `app` has.
    """

    def __init__(
        self, app: ASGIApp, config: ServerConfig, metrics: Metrics, methods: Mapping[str, frozenset[str]]
    ) -> None:
        self._app, self._config, self._metrics = app, config, metrics
        self._methods = {"*": frozenset({"OPTIONS"}.union(*methods.values())), **methods}
        self._open_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, body = time.perf_counter(), _RequestBody(scope, receive)
        response = _Response(send, body, has_body=scope["method"] != "HEAD")
        self._open_requests += 1
        try:
            self._check(scope)
            await self._answer(scope, body.receive, response.send)
        except ApiError as error:
            await error.response()(scope, receive, response.send)
        except Exception:
            _LOG.exception("a request failed")
            if not response.status:
                await internal_error().response()(scope, receive, response.send)
        finally:
            self._open_requests -= 1
            self._record(scope, response, time.perf_counter() - start)

    def _check(self, scope: Scope) -> None:
        headers, config = Headers(scope=scope), self._config
        close = {"Connection": "close"}
        if _header_bytes(scope) > MAX_HEADER_BYTES:
            raise ApiError(431, "headers", "the request's headers are too long", close)
        host = _host_name(headers.get("host", ""))
        # Against DNS rebinding: a foreign page, whose own name was made to point here, sends that name as Host.
        if config.hosts is not None and host not in config.hosts:
            raise ApiError(421, "host", "this server does not have that name; see --allow-host", close)
        if _is_cross_site(scope["method"], headers, config.hosts or {host}):
            message = "requests from pages of other sites are not served; behind a proxy, see --allow-host"
            raise ApiError(403, "cross_site", message)
        if config.token and scope["path"].startswith(TOKEN_ROUTES) and not _has_token(headers, config.token):
            ask = {"WWW-Authenticate": "Bearer"}
            raise ApiError(401, "token", "send the server's token: Authorization: Bearer TOKEN", ask)
        if self._open_requests > config.max_requests:
            raise unavailable("busy", "too many requests at a time; try again soon", 2)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the app if its address has its method, HEAD as GET; answer OPTIONS."""
        methods, method = self._methods.get(scope["path"]), scope["method"]
        if methods is None or (scope["path"] == "*" and method != "OPTIONS"):
            raise ApiError(404, "not_found", "there is nothing at this address")
        allow = {"Allow": ", ".join(sorted(methods))}
        if method not in methods:
            raise ApiError(405, "method", f"this address accepts {allow['Allow']}", allow)
        if method == "OPTIONS":
            await Response(status_code=204, headers=allow)(scope, receive, send)
            return
        if method == "HEAD":  # GET without the body (see _Response); RFC 9110 defines ranges for GET alone
            headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
            scope = {**scope, "method": "GET", "headers": headers}
        await self._app(scope, receive, send)

    def _record(self, scope: Scope, response: _Response, seconds: float) -> None:
        route = scope["path"] if scope["path"] in ROUTES else "other"
        status = str(response.status or 499)
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if response.error_code:
            self._metrics.refusals.labels(response.error_code).inc()
        client = (scope.get("client") or ["-"])[0]
        level = logging.DEBUG if route in ("/healthz", "/metrics") else logging.INFO
        method = scope["method"] if scope["method"].isalpha() and len(scope["method"]) < 8 else "other"
        code = f" {response.error_code}" if response.error_code else ""
        _LOG.log(
            level, "%s %s %s %s %.0f ms %d bytes%s", client, method, route, status, 1000 * seconds, response.size, code
        )


class _RequestBody:
    """Passes the request's messages on, and knows whether a part of the body is still unread."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers, self._receive = Headers(scope=scope), receive
        length = headers.get("content-length", "0")
        self._length = int(length) if length.isdigit() else 0
        self._expects_continue = "expect" in headers
        self._unread = self._length > 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._unread = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read the rest of a small body before the answer to it.

        A client that sends its whole request before it reads would otherwise see a reset connection, and not the
        answer. A large rest is not worth it, and after `Expect: 100-continue` nothing was sent yet.
        """
        if self._length > MAX_DRAINED_BYTES or self._expects_continue:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._unread:
                    await self.receive()


class _Response:
    """Adds the security headers to a response, sends it in chunks, and keeps its status, size and error code."""

    def __init__(self, send: Send, body: _RequestBody, *, has_body: bool) -> None:
        self._send, self._body, self._has_body = send, body, has_body
        self.status, self.size, self.error_code = 0, 0, ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status >= 400 and self.status != 408:
                await self._body.drain()
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-cache")
            self.error_code = headers.get(CODE_HEADER, "")
            del headers[CODE_HEADER]
            await self._send(message)
            return
        data = memoryview(message.get("body", b"") if self._has_body else b"")
        self.size += len(data)
        for at in range(0, len(data) or 1, CHUNK_BYTES):
            end = at + CHUNK_BYTES
            more = end < len(data) or message.get("more_body", False)
            await self._send({"type": "http.response.body", "body": bytes(data[at:end]), "more_body": more})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _header_bytes(scope: Scope) -> int:
    return len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(k) + len(v) for k, v in scope["headers"])


def _host_name(authority: str) -> str:
    """The name in `name:port`, in lower case; empty where that is not well-formed."""
    name, port = authority.lower(), ""
    if name.startswith("["):
        name, _, port = name[1:].partition("]")
        port = port.removeprefix(":")
    elif ":" in name:
        name, _, port = name.rpartition(":")
    return name if port.isdigit() or not port else ""


def _is_cross_site(method: str, headers: Headers, own_names: Set[str]) -> bool:
    """Whether a page of another site sent the request.

    A browser that sends Sec-Fetch-Site has compared the addresses as it sees them. Otherwise only the names count:
    behind a proxy, scheme and port of the page are not the server's own.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site in ("cross-site", "same-site") and method == "POST":
        return True
    if origin is None or site == "same-origin":
        return False
    name = _host_name(origin.partition("://")[2])
    return not name or name not in own_names


def _has_token(headers: Headers, token: str) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
