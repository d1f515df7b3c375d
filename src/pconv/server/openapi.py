"""The description of the HTTP API (OpenAPI), and its page `/docs`: Swagger UI without a CDN."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import fastapi_swagger
from fastapi import FastAPI, Response

from pconv.server.middleware import DOCS_POLICY
from pconv.server.options import TEXT_SCHEMA

DESCRIPTION = """
Fills the hole that a mask marks in a photo. All other pixels come back as they were.

Every refused request is answered by `{"error": {"code": "...", "message": "One sentence."}}`. Codes stay the same,
sentences may change. A server that was started with a token needs `Authorization: Bearer TOKEN`.
"""

_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
_ERRORS = {
    400: "Not a well-formed request",
    401: "The token is missing or wrong",
    408: "The body came too slowly",
    411: "No Content-Length",
    413: "Too many bytes or pixels",
    415: "Not multipart, or not an image of an accepted format",
    422: "A field or file that does not fit",
    503: "Busy or shutting down (Retry-After says when to try again), or the fill took too long",
}
_HEADERS = {
    "X-Pconv-Seconds": ("number", "Seconds that the request took, waiting included"),
    "X-Pconv-Model": ("string", "The model's name"),
    "X-Pconv-Hole-Ratio": ("number", "The hole's share of the pixels, 0 to 1"),
    "X-Pconv-Notes": ("string", "Percent-encoded sentences about the result, joined by '; '"),
}
_FILE = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "required": ["image", "mask"],
    "additionalProperties": False,
    "properties": {
        "image": {**_FILE, "description": "The photo"},
        "mask": {**_FILE, "description": "An image of the photo's size: white is filled"},
        "original": {
            **_FILE,
            "description": "The file that the image, a PNG, was made from by earlier fills. The answer is that file"
            " with the filled pixels, its metadata and its quality",
        },
        **TEXT_SCHEMA,
    },
}
NEEDS_TOKEN: dict[str, Any] = {"security": [{}, {"token": []}]}
INPAINT: dict[str, Any] = {
    "responses": {
        200: {
            "description": "The filled photo, in the photo's format or the one in the field format",
            "content": {"image/*": {"schema": _FILE}},
            "headers": {
                name: {"description": text, "schema": {"type": kind}} for name, (kind, text) in _HEADERS.items()
            },
        },
        **{
            status: {"description": text, "content": {"application/json": {"schema": _ERROR_SCHEMA}}}
            for status, text in _ERRORS.items()
        },
    },
    "openapi_extra": {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}},
        **NEEDS_TOKEN,
    },
}
"""The description of POST /api/v1/inpaint, whose form FastAPI does not parse."""
_TOKEN_SCHEME = {"token": {"type": "http", "scheme": "bearer", "description": "Where the server has a token"}}

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pconv: HTTP interface</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", validatorUrl: null});\n'


def add_docs(app: FastAPI) -> None:
    """Add the page, the files it loads, and the token to the description."""
    swagger = files(fastapi_swagger) / "resources"
    for path, media_type, body in (
        ("/docs", "text/html", _PAGE.encode()),
        ("/docs/start.js", "text/javascript", _START.encode()),
        ("/docs/swagger-ui-bundle.js", "text/javascript", (swagger / "swagger-ui-bundle.js").read_bytes()),
        ("/docs/swagger-ui.css", "text/css", (swagger / "swagger-ui.css").read_bytes()),
    ):
        app.get(path, include_in_schema=False)(_static_route(body, media_type))

    def with_token() -> dict[str, Any]:
        schema = without_token()
        schema.setdefault("components", {})["securitySchemes"] = _TOKEN_SCHEME
        return schema

    without_token = app.openapi
    app.openapi = with_token  # type: ignore[method-assign]


def _static_route(body: bytes, media_type: str) -> Any:
    async def send() -> Response:
        return Response(body, media_type=media_type, headers={"Content-Security-Policy": DOCS_POLICY})

    return send
