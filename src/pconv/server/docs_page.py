"""``/docs``: Swagger UI, its files from the package fastapi-swagger; FastAPI's own page would load a CDN's."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import fastapi_swagger
from fastapi import FastAPI, Response

from pconv.server.guard import DOCS_POLICY
from pconv.server.openapi import TOKEN_SCHEME

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pconv: HTTP interface</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", validatorUrl: null});\n'
_TYPES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


def add_docs(app: FastAPI) -> None:
    """The page, its assets, and a scheme for the token in the schema."""
    assets = files(fastapi_swagger) / "resources"

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(_PAGE, media_type="text/html", headers={"Content-Security-Policy": DOCS_POLICY})

    @app.get("/docs/start.js", include_in_schema=False)
    async def start() -> Response:
        return Response(_START, media_type="text/javascript")

    for name, kind in _TYPES.items():
        app.get(f"/docs/{name}", include_in_schema=False)(_asset((assets / name).read_bytes(), kind))

    def described() -> dict[str, Any]:
        schema = plain()
        schema.setdefault("components", {})["securitySchemes"] = TOKEN_SCHEME
        return schema

    plain = app.openapi
    app.openapi = described  # type: ignore[method-assign]


def _asset(data: bytes, kind: str) -> Any:
    async def asset() -> Response:
        return Response(data, media_type=kind)

    return asset
