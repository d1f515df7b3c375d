"""The routes of the HTTP API and of the page."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

import pconv
from pconv.images.codecs import CODECS
from pconv.models import SEEDS
from pconv.server.errors import ApiError, internal_error
from pconv.server.middleware import RequestMiddleware
from pconv.server.openapi import DESCRIPTION, INPAINT, NEEDS_TOKEN, add_docs
from pconv.server.options import FILL_SCHEMA
from pconv.server.service import FilledImage, InpaintService

STATIC = Path(__file__).parent / "static"

for suffix, media_type in {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}.items():
    mimetypes.add_type(media_type, suffix)  # some systems have other types, with which browsers refuse the scripts


def create_app(service: InpaintService) -> ASGIApp:
    """The ASGI application of one service. It starts the service and closes it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.queue.start()
        yield
        await service.close()

    app = FastAPI(
        title="pconv",
        version=pconv.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": "."}],  # relative to openapi.json, so that /docs works behind a proxy's path prefix
        exception_handlers=dict.fromkeys((ApiError, HTTPException, Exception), _error_response),
    )
    _add_routes(app, service)
    add_docs(app)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return RequestMiddleware(app, service.config, service.metrics, _methods(app))


def _methods(app: FastAPI) -> dict[str, frozenset[str]]:
    """The methods of each address, with HEAD wherever GET is, and with OPTIONS (RFC 9110, section 9)."""
    methods = {route.path: set(route.methods or ()) for route in app.routes if isinstance(route, Route)}
    static = (path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file())
    methods |= {f"/{path}": {"GET"} for path in ("", *static)}
    return {
        path: frozenset({*each, "OPTIONS", *(["HEAD"] if "GET" in each else [])}) for path, each in methods.items()
    }


def _add_routes(app: FastAPI, service: InpaintService) -> None:
    @app.post("/api/v1/inpaint", summary="Fill the hole in a photo", response_class=Response, **INPAINT)
    async def inpaint(request: Request) -> Response:
        try:
            return _ImageResponse(await service.inpaint(request.receive, request.headers))
        except ClientDisconnect:
            return Response(status_code=499)  # nothing is sent any more; the log has the status

    @app.get("/api/v1/info", summary="The model, the options and the limits", openapi_extra=NEEDS_TOKEN)
    async def info() -> dict[str, Any]:
        return server_info(service)

    @app.get("/healthz", summary="Whether the server accepts requests")
    async def healthz() -> Response:
        stopping = service.queue.stopping
        return JSONResponse({"status": "stopping" if stopping else "ok"}, 503 if stopping else 200)

    @app.get("/metrics", summary="Counters for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.page(), headers={"Content-Type": service.metrics.content_type})


def server_info(service: InpaintService) -> dict[str, Any]:
    """The answer of `/api/v1/info`."""
    backend, config = service.workers[0].backend, service.config
    return {
        "name": "pconv",
        "version": pconv.__version__,
        "model": service.model,
        "backend": backend.name,
        "device": ", ".join(worker.backend.device for worker in service.workers),
        "precision": backend.precision,
        "seeds": SEEDS if backend.noise else 1,
        "formats": sorted(codec.suffixes[0] for codec in CODECS),
        "options": FILL_SCHEMA,
        "limits": {
            "bytes": config.max_bytes,
            "pixels": config.max_pixels,
            "seconds": config.time_limit,
            "queue": config.max_queued,
        },
    }


class _ImageResponse(Response):
    """A filled image. It counts as held in memory until it is sent."""

    def __init__(self, image: FilledImage) -> None:
        headers = {**image.headers, "Cache-Control": "no-store"}
        super().__init__(image.body, media_type=image.media_type, headers=headers)
        self._on_sent = image.on_sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_sent()


async def _error_response(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, "http", str(error.detail), error.headers).response()
    return (error if isinstance(error, ApiError) else internal_error()).response()
