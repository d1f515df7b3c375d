"""What is answered instead of a picture: a status, a code for programs, one sentence for people."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pconv.errors import PconvError


class RefusedError(PconvError):
    """A request that is not served.

    Attributes:
        status: of HTTP.
        code: a word that stays the same, whatever the sentence becomes.
        headers: that go with it.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, dict(headers or {})

    @property
    def body(self) -> bytes:
        return error_body(self.code, str(self))


def error_body(code: str, message: str) -> bytes:
    """``{"error": {"code", "message"}}``."""
    return json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False).encode()


def busy(code: str, message: str, seconds: int) -> RefusedError:
    """503, to be tried again after so many seconds."""
    return RefusedError(503, code, message, {"Retry-After": str(seconds)})
