"""The routes: what is answered at which address, and how OpenAPI describes it."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

import pconv
from pconv.models import SEEDS
from pconv.server.docs_page import add_docs
from pconv.server.form import ClientGoneError
from pconv.server.guard import App, Guard
from pconv.server.openapi import DESCRIPTION, INFO, INPAINT
from pconv.server.options import FORMATS
from pconv.server.refusals import RefusedError, error_body
from pconv.server.service import Answer, Service

STATIC = Path(__file__).parent / "static"
ROUTES = frozenset({"/", "/api/v1/inpaint", "/api/v1/info", "/healthz", "/metrics", "/docs", "/openapi.json"})
"""What logs and metrics tell apart."""

for suffix, kind in {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}.items():
    mimetypes.add_type(kind, suffix)  # some systems' registries say otherwise, and browsers then refuse the scripts


def create_app(service: Service) -> App:
    """The ASGI application of one service; starts and closes it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.jobs.start()
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
        exception_handlers={RefusedError: _refused, HTTPException: _no_route, Exception: _failed},
    )
    _add_routes(app, service)
    add_docs(app)
    if STATIC.is_dir():
        app.mount("/", StaticFiles(directory=STATIC, html=True))
    return Guard(app, service.settings, service.metrics, ROUTES)  # type: ignore[arg-type]


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/api/v1/inpaint", summary="Fill the marked part of a photo", response_class=Response, **INPAINT)
    async def inpaint(request: Request) -> Response:
        try:
            answer = await service.inpaint(request.receive, request.headers)
        except ClientGoneError:
            return Response(status_code=499)  # nobody reads it
        return _Picture(answer)

    @app.get("/api/v1/info", summary="What fills here, and its limits", **INFO)
    async def info() -> dict[str, Any]:
        return about(service)

    @app.api_route("/api/v1/inpaint", methods=["GET", "HEAD", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def not_inpaint() -> Response:
        raise HTTPException(405, headers={"Allow": "POST"})  # else it would count as a file of the page

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", summary="Whether the server takes pictures")
    async def healthz() -> Response:
        stopping = service.jobs.stopping
        return JSONResponse({"status": "stopping" if stopping else "ok"}, 503 if stopping else 200)

    @app.get("/metrics", summary="Counters for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.page(), headers={"Content-Type": service.metrics.content_type})


def about(service: Service) -> dict[str, Any]:
    """What ``/api/v1/info`` says."""
    computes, settings = service.fillers[0].about, service.settings
    return {
        "name": "pconv",
        "version": pconv.__version__,
        "model": service.model,
        "backend": computes.name,
        "device": ", ".join(filler.about.device for filler in service.fillers),
        "precision": computes.precision,
        "seeds": SEEDS if computes.noise else 1,
        "formats": sorted(set(FORMATS.values())),
        "limits": {
            "bytes": settings.max_bytes,
            "pixels": settings.max_pixels,
            "seconds": settings.seconds,
            "queue": settings.queue,
        },
    }


class _Picture(Response):
    """A filled picture, which counts as held in memory until it is sent."""

    def __init__(self, answer: Answer) -> None:
        headers = {**answer.headers, "Cache-Control": "no-store"}
        super().__init__(answer.body, media_type=answer.kind, headers=headers)
        self._sent = answer.sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._sent()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return _answered(error.status, error.code, str(error), error.headers)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {
        404: ("not_found", "there is nothing at this address"),
        405: ("method", "this address takes other methods"),
    }
    code, message = codes.get(error.status_code, ("http", str(error.detail)))
    return _answered(error.status_code, code, message, dict(error.headers or {}))


async def _failed(request: Request, error: Exception) -> Response:
    return _answered(500, "internal", "something went wrong in the server; its log says what", {})


def _answered(status: int, code: str, message: str, headers: dict[str, str]) -> Response:
    return Response(error_body(code, message), status, {**headers, "X-Pconv-Error": code}, "application/json")
