"""Errors that are answered to HTTP clients: a status, a code for programs, a sentence for people."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

from pconv.errors import PconvError

CODE_HEADER = "X-Pconv-Error"
"""Carries an error's code to the middleware, which removes it."""


class ApiError(PconvError):
    """A request that is refused or has failed.

    Attributes:
        status: of HTTP.
        code: a word for programs. It stays the same when the sentence changes.
        headers: of the answer.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, dict(headers or {})

    @property
    def body(self) -> bytes:
        """`{"error": {"code": ..., "message": ...}}`."""
        return json.dumps({"error": {"code": self.code, "message": str(self)}}, ensure_ascii=False).encode()

    def response(self) -> Response:
        headers = {**self.headers, CODE_HEADER: self.code}
        return Response(self.body, self.status, headers, "application/json")


def unavailable(code: str, message: str, seconds: int) -> ApiError:
    """503, with the seconds after which the client may try again."""
    return ApiError(503, code, message, {"Retry-After": str(seconds)})


def internal_error() -> ApiError:
    """500, without a word about the reason, which may hold private data."""
    return ApiError(500, "internal", "something went wrong in the server; its log says what")
