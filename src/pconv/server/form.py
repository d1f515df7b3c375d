"""Reads the multipart form of a request into memory, and checks each limit before anything is kept.

Starlette's `request.form()` is not enough: it writes parts above 1 MB to temporary files, decodes files without a
file name as text, keeps unknown and repeated fields, and accepts a form that is cut short. Here nothing reaches the
disk, and file names are ignored. See `docs/lab/decisions/0013-server-limits.md`.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator, Callable, Mapping

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from pconv.server.config import ServerConfig, seconds_allowed
from pconv.server.errors import ApiError
from pconv.server.memory import RequestMemory
from pconv.server.options import TEXT_SCHEMA

REQUIRED_FILES = ("image", "mask")
FILES = (*REQUIRED_FILES, "original")
FIELDS = (*FILES, *TEXT_SCHEMA)
MAX_TEXT_BYTES = 64
"""Of a text field; the longest useful value has 5."""


def check_headers(headers: Mapping[str, str], config: ServerConfig) -> bytes:
    """Refuse what can be refused before the body is sent; return the boundary of the form's parts.

    Raises:
        ApiError: the body is no form, is compressed, is too long or has no length.
    """
    kind, options = parse_options_header(headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise ApiError(415, "content_type", "send multipart/form-data with the parts image and mask")
    if not options.get(b"boundary"):
        raise ApiError(400, "multipart", "the Content-Type has no boundary, so the body's parts cannot be separated")
    if headers.get("content-encoding", "identity") != "identity":
        raise ApiError(415, "content_encoding", "compressed bodies are not accepted; send the files as they are")
    length = headers.get("content-length")
    if length is None or "transfer-encoding" in headers:
        close = {"Connection": "close"}  # with two lengths, a proxy may have used the other one (request smuggling)
        raise ApiError(411, "length_required", "send a Content-Length; chunked bodies are not accepted", close)
    if not (length.isascii() and length.isdigit()):
        raise ApiError(400, "length", "the Content-Length is not a number")
    _check_length(int(length), config)
    return options[b"boundary"]


async def read_form(
    receive: Receive, headers: Mapping[str, str], config: ServerConfig, budget: RequestMemory
) -> dict[str, bytearray]:
    """The parts of a form by name: `FILES`, and those text fields that were sent.

    Args:
        budget: counts the bytes that are read. The caller releases them (the sum of the parts' lengths).

    Raises:
        ApiError: the form is too long, too slow, malformed, or has other parts than it should.
        ClientDisconnect: the client has closed the connection.
    """
    boundary = check_headers(headers, config)
    form = _FormParts(budget)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for chunk in _body(receive, config):
            parser.write(chunk)
        form.check_complete()
        return form.parts
    except FormParserError as error:
        form.discard()
        raise ApiError(400, "multipart", "the body is not well-formed multipart/form-data") from error
    except BaseException:
        form.discard()
        raise


def _check_length(length: int, config: ServerConfig) -> None:
    if length > config.max_bytes:
        limit = f"{config.max_bytes / 1e6:.3g} MB"
        raise ApiError(413, "too_many_bytes", f"the files may have {limit} together, and have more")


async def _body(receive: Receive, config: ServerConfig) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    start, received, more = loop.time(), 0, True
    while more:
        try:
            async with asyncio.timeout_at(start + seconds_allowed(received)):
                message = await receive()
        except TimeoutError as error:
            raise ApiError(408, "too_slow", "the body came too slowly", {"Connection": "close"}) from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        received += len(chunk)
        _check_length(received, config)  # a proxy may have changed the Content-Length
        more = message.get("more_body", False)
        yield chunk


class _FormParts:
    """The parser's callbacks, and the parts that they have collected."""

    def __init__(self, budget: RequestMemory) -> None:
        self.parts: dict[str, bytearray] = {}
        self._budget = budget
        self._ended = False
        self._name = ""
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }

    def check_complete(self) -> None:
        if not self._ended:
            raise ApiError(400, "multipart", "the multipart body ends before its closing boundary")
        for name in REQUIRED_FILES:
            if name not in self.parts:
                raise ApiError(422, "missing_field", f"the part {name} is missing: send image and mask as files")
        for name in FILES:
            if name in self.parts and not self.parts[name]:
                raise ApiError(422, "empty_file", f"the part {name} is an empty file")

    def discard(self) -> None:
        self._budget.release(sum(map(len, self.parts.values())))
        self.parts.clear()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if disposition != b"form-data" or not name:
            raise ApiError(400, "multipart", "a part has no name: send Content-Disposition: form-data; name=...")
        if name not in FIELDS:
            close = difflib.get_close_matches(name, FIELDS, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(FIELDS)}"
            raise ApiError(422, "unknown_field", f"there is no field {name[:40]!r}; {hint}")
        if name in self.parts:
            raise ApiError(422, "repeated_field", f"the field {name} came twice; send it once")
        if self._headers.get(b"content-transfer-encoding", b"binary").strip().lower() not in (b"binary", b"8bit"):
            raise ApiError(415, "content_encoding", f"the part {name} is encoded; send its bytes as they are")
        kind, _ = parse_options_header(self._headers.get(b"content-type", b""))
        if name in FILES and kind and not kind.startswith(b"image/") and kind != b"application/octet-stream":
            shown = kind.decode("ascii", "replace")[:40]
            raise ApiError(415, "content_type", f"the part {name} has the type {shown!r}; send an image file")
        self._name = name
        self.parts[name] = bytearray()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[self._name]
        if self._name in TEXT_SCHEMA and len(part) + end - start > MAX_TEXT_BYTES:
            raise ApiError(422, "bad_field", f"the value of {self._name} is longer than any useful one")
        self._budget.reserve(end - start)
        part += memoryview(data)[start:end]

    def _on_end(self) -> None:
        self._ended = True
