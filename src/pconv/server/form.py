"""A multipart body into memory, part by part, with every bound checked before anything is kept.

Written on python-multipart's parser and not with Starlette's ``request.form()``, which puts parts above 1 MB into
temporary files, keeps unknown and repeated fields, and hands on file names. Here nothing reaches the disk, and what a
client calls its file is never even kept.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pconv.server.refusals import RefusedError, busy
from pconv.server.settings import Settings, seconds_allowed

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

NEEDED = ("image", "mask")
FILES = (*NEEDED, "original")
TEXTS = ("grow", "feather", "invert", "seed", "format", "quality")
TEXT_BYTES = 64
"""Of an option's value; the longest that means anything has 5."""


class Held:
    """How much of something all requests together have in memory, and its bound."""

    def __init__(self, bound: int) -> None:
        self.bound, self.now = bound, 0

    def take(self, amount: int) -> None:
        if self.now and self.now + amount > self.bound:
            raise busy("memory", "the server holds as many pictures as its memory is meant for; try again soon", 2)
        self.now += amount

    def add(self, amount: int) -> None:
        """Count what is there already, bound or not: an answer is not thrown away, but nothing new comes in."""
        self.now += amount

    def give_back(self, amount: int) -> None:
        self.now -= amount


async def read_form(
    receive: Receive, headers: Mapping[str, str], settings: Settings, held: Held
) -> dict[str, bytearray]:
    """The parts of a request's body by name: :data:`FILES`, and those of :data:`TEXTS` that were sent.

    What is read counts in ``held``; the caller gives it back (the sum of the parts' lengths).

    Raises:
        RefusedError: the body is too long, too slow, not multipart, or has other parts than it should.
    """
    boundary = boundary_of(headers)
    check_length(headers, settings)
    parts = _Parts(held)
    try:
        parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
        async for chunk in _body(receive, settings):
            parser.write(chunk)
        if not parts.ended:
            raise RefusedError(400, "multipart", "the multipart body ends before its closing boundary")
        return parts.complete()
    except FormParserError as error:
        parts.forget()
        raise RefusedError(400, "multipart", "the body is not well-formed multipart/form-data") from error
    except BaseException:
        parts.forget()
        raise


def boundary_of(headers: Mapping[str, str]) -> bytes:
    kind, options = parse_options_header(headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise RefusedError(415, "content_type", "send multipart/form-data with the parts image and mask")
    if not options.get(b"boundary"):
        raise RefusedError(
            400, "multipart", "the Content-Type has no boundary, so the body's parts cannot be told apart"
        )
    if headers.get("content-encoding", "identity") != "identity":
        raise RefusedError(415, "content_encoding", "compressed bodies are not taken; send the files as they are")
    return options[b"boundary"]


def check_length(headers: Mapping[str, str], settings: Settings) -> None:
    """The length must be said before the body: what is too long is then refused before it is sent."""
    length = headers.get("content-length")
    if length is None or "transfer-encoding" in headers:
        close = {"Connection": "close"}  # of two lengths, a proxy in between may have believed the other one
        raise RefusedError(411, "length_required", "send a Content-Length; chunked bodies are not taken", close)
    if not (length.isascii() and length.isdigit()):
        raise RefusedError(400, "length", "the Content-Length is not a number")
    if int(length) > settings.max_bytes:
        raise too_long(settings)


def too_long(settings: Settings) -> RefusedError:
    return RefusedError(
        413, "too_many_bytes", f"image and mask may have {settings.max_bytes / 1e6:.3g} MB together, and have more"
    )


async def _body(receive: Receive, settings: Settings) -> Any:
    loop = asyncio.get_running_loop()
    start, received, more = loop.time(), 0, True
    while more:
        try:
            async with asyncio.timeout_at(start + seconds_allowed(received)):
                message = await receive()
        except TimeoutError as error:
            raise RefusedError(408, "too_slow", "the body came too slowly", {"Connection": "close"}) from error
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        received += len(chunk)
        if received > settings.max_bytes:  # only where a server in between changed the length it was told
            raise too_long(settings)
        more = message.get("more_body", False)
        yield chunk


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class _Parts:
    """What the parser calls back into."""

    def __init__(self, held: Held) -> None:
        self.ended = False
        self._held = held
        self._parts: dict[str, bytearray] = {}
        self._name = ""
        self._header, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_end": self._on_end,
        }

    def complete(self) -> dict[str, bytearray]:
        for name in NEEDED:
            if name not in self._parts:
                raise RefusedError(422, "missing_field", f"the part {name} is missing: send image and mask as files")
        for name in FILES:
            if name in self._parts and not self._parts[name]:
                raise RefusedError(422, "empty_file", f"the part {name} is an empty file")
        return self._parts

    def forget(self) -> None:
        self._held.give_back(sum(map(len, self._parts.values())))
        self._parts.clear()

    def _begin(self) -> None:
        self._headers = {}

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _on_headers(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if disposition != b"form-data" or not name:
            raise RefusedError(
                400, "multipart", "a part has no name: each needs Content-Disposition: form-data; name=..."
            )
        if name not in FILES + TEXTS:
            close = difflib.get_close_matches(name, FILES + TEXTS, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(FILES + TEXTS)}"
            raise RefusedError(422, "unknown_field", f"there is no field {name[:40]!r}; {hint}")
        if name in self._parts:
            raise RefusedError(422, "repeated_field", f"the field {name} came twice; send it once")
        if self._headers.get(b"content-transfer-encoding", b"binary").strip().lower() not in (b"binary", b"8bit"):
            raise RefusedError(415, "content_encoding", f"the part {name} is encoded; send its bytes as they are")
        kind, _ = parse_options_header(self._headers.get(b"content-type", b""))
        if name in FILES and kind and not kind.startswith(b"image/") and kind != b"application/octet-stream":
            said = kind.decode("ascii", "replace")[:40]
            raise RefusedError(415, "content_type", f"the part {name} says it is {said!r}; send an image file")
        self._name = name
        self._parts[name] = bytearray()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        part = self._parts[self._name]
        if self._name in TEXTS and len(part) + end - start > TEXT_BYTES:
            raise RefusedError(422, "bad_field", f"the value of {self._name} is longer than any that means something")
        self._held.take(end - start)
        part += memoryview(data)[start:end]

    def _on_end(self) -> None:
        self.ended = True
