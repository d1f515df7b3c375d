"""What OpenAPI says about requests that FastAPI does not parse itself."""

from __future__ import annotations

from typing import Any

from pconv.models import SEEDS
from pconv.server.options import FORMATS, MAX_REACH

DESCRIPTION = """
Fills the marked part of a photo. What is not marked comes back as it was.

Every refused request is answered by `{"error": {"code": "...", "message": "One sentence."}}`: codes stay as they are,
sentences may change. A server that was started with a token asks for `Authorization: Bearer TOKEN`.
"""

_ERROR = {
    "application/json": {
        "schema": {
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
    }
}
_REFUSED = {
    400: "Not a well-formed request",
    401: "The token is missing or wrong",
    408: "The body came too slowly",
    411: "No Content-Length",
    413: "More bytes or pixels than are taken",
    415: "Not multipart, or not an image of a format that is taken",
    422: "A field or file that does not fit",
    503: "Busy or shutting down (Retry-After says when to come again), or the fill took too long",
}
_REACH = {"type": "integer", "minimum": 0, "maximum": MAX_REACH, "default": 0}
_FILE = {"type": "string", "format": "binary"}

INPAINT: dict[str, Any] = {
    "responses": {
        200: {
            "description": "The filled photo, in the photo's format or the one asked for",
            "content": {"image/*": {"schema": _FILE}},
            "headers": {
                name: {"description": text, "schema": {"type": kind}}
                for name, text, kind in (
                    ("X-Pconv-Seconds", "Seconds it took, waiting included", "number"),
                    ("X-Pconv-Model", "The model's name", "string"),
                    ("X-Pconv-Hole-Ratio", "The hole's share of the pixels", "number"),
                    ("X-Pconv-Notes", "Percent-encoded sentences about the result, joined by '; '", "string"),
                )
            },
        },
        **{status: {"description": text, "content": _ERROR} for status, text in _REFUSED.items()},
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image", "mask"],
                        "additionalProperties": False,
                        "properties": {
                            "image": {**_FILE, "description": "The photo"},
                            "mask": {**_FILE, "description": "An image of the photo's size: white is filled"},
                            "original": {
                                **_FILE,
                                "description": "The file that the image, a PNG, was made of by earlier fills: the"
                                " answer is that file with what was filled, with its metadata and its quality",
                            },
                            "grow": {**_REACH, "description": "Pixels by which the hole grows"},
                            "feather": {**_REACH, "description": "Pixels inside the hole's edge that blend"},
                            "invert": {"type": "boolean", "default": False, "description": "Black is filled"},
                            "seed": {
                                "type": "integer",
                                "minimum": 0,
                                "maximum": SEEDS - 1,
                                "default": 0,
                                "description": "Chooses another texture for the same hole; a model whose `seeds` in"
                                " `/api/v1/info` are 1 has only one",
                            },
                            "format": {
                                "type": "string",
                                "enum": ["same", *FORMATS],
                                "default": "same",
                                "description": "Of the answer",
                            },
                            "quality": {"type": "integer", "minimum": 1, "maximum": 100},
                        },
                    }
                }
            },
        },
        "security": [{}, {"token": []}],
    },
}

INFO: dict[str, Any] = {"openapi_extra": {"security": [{}, {"token": []}]}}
TOKEN_SCHEME = {"token": {"type": "http", "scheme": "bearer", "description": "Where the server has a token"}}
