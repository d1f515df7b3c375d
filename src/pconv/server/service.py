"""One request from its body to its answer: read, decode, fill, encode."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from pconv.errors import DeviceMemoryError, InputError, ModelError
from pconv.server.config import ServerConfig
from pconv.server.errors import ApiError, unavailable
from pconv.server.form import FILES, check_headers, read_form
from pconv.server.images import (
    check_sizes,
    copy_changes,
    decode_image_and_mask,
    decode_original,
    encode_answer,
    read_size,
)
from pconv.server.memory import RequestMemory, return_free_memory
from pconv.server.metrics import Metrics
from pconv.server.options import parse_options
from pconv.server.queue import FillJob, FillQueue, Worker

LARGE_PIXELS = 4_000_000
"""Above this, a request leaves enough free memory behind that giving it back is worth some milliseconds."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class FilledImage:
    """An answer: the bytes of an image file, its media type, its headers, and what to call once it is sent."""

    body: bytes
    media_type: str
    headers: dict[str, str]
    on_sent: Callable[[], None]


class InpaintService:
    """What all requests of one server share. The event loop starts its queue and closes it."""

    def __init__(self, workers: Sequence[Worker], config: ServerConfig, metrics: Metrics | None = None) -> None:
        self.config, self.workers = config, workers
        self.metrics = metrics or Metrics()
        self.queue = FillQueue(workers, config, self.metrics)
        self._bytes, self._pixels = RequestMemory(2 * config.max_bytes), RequestMemory(2 * config.max_pixels)
        self._threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1) + 1, "pconv-codec")
        self.metrics.held_bytes.set_function(lambda: self._bytes.used)
        self.metrics.held_pixels.set_function(lambda: self._pixels.used)

    @property
    def model(self) -> str:
        return self.workers[0].backend.path.stem

    async def close(self) -> None:
        await self.queue.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def inpaint(self, receive: Receive, headers: Mapping[str, str]) -> FilledImage:
        """Serve one request.

        Raises:
            ApiError: the request is refused or has failed; the reason is for the client.
            ClientDisconnect: the client has closed the connection.
        """
        check_headers(headers, self.config)
        self.queue.check_room()
        form = await read_form(receive, headers, self.config, self._bytes)
        size = sum(map(len, form.values()))
        try:
            return await _while_connected(receive, self._within_time_limit(form))
        finally:
            self._bytes.release(size)

    async def _within_time_limit(self, form: dict[str, bytearray]) -> FilledImage:
        limit = self.config.time_limit
        try:
            async with asyncio.timeout(limit):
                return await self._fill(form, time.perf_counter())
        except TimeoutError as error:
            message = f"the fill took longer than the {limit:g} seconds it may take"
            raise ApiError(503, "time_limit", message) from error

    async def _fill(self, form: dict[str, bytearray], start: float) -> FilledImage:
        files = {name: await self._in_thread(bytes, form.pop(name)) for name in FILES if name in form}
        image, mask, original = files["image"], files["mask"], files.get("original")
        options = parse_options(form)
        sizes = [await self._in_thread(read_size, data, f"the {name}", self.config) for name, data in files.items()]
        check_sizes(sizes[0], sizes[1])
        with self._pixels_reserved(math.prod(sizes[0]) * (1 if original is None else 2)):
            photo, hole, notes = await self._in_thread(decode_image_and_mask, image, mask, options, self.config)
            ratio, source = float(await self._in_thread(hole.mean)), None
            if original is not None:
                source = await self._in_thread(decode_original, original, photo, options, self.config)
            if ratio:
                notes += self.workers[0].notes(options.fill)
                job = FillJob(photo, hole, options.fill)
                del photo, hole
                with _errors_of_a_fill():
                    photo = await self.queue.fill(job)
                del job
            if source is not None:
                photo = await self._in_thread(copy_changes, photo, source)
            body, media_type = await self._in_thread(encode_answer, photo, options)
        headers = {
            "X-Pconv-Seconds": f"{time.perf_counter() - start:.3f}",
            "X-Pconv-Model": quote(self.model),
            "X-Pconv-Hole-Ratio": f"{ratio:.6f}",
            **({"X-Pconv-Notes": "; ".join(quote(note, safe=" ,:()'") for note in notes)} if notes else {}),
        }
        self._bytes.add(len(body))
        return FilledImage(body, media_type, headers, partial(self._bytes.release, len(body)))

    @contextmanager
    def _pixels_reserved(self, pixels: int) -> Iterator[None]:
        self._pixels.reserve(pixels)
        try:
            yield
        finally:
            self._pixels.release(pixels)
            if pixels > LARGE_PIXELS:
                with suppress(RuntimeError):  # the server closes
                    self._threads.submit(return_free_memory)

    async def _in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


@contextmanager
def _errors_of_a_fill() -> Iterator[None]:
    """Errors of the Inpainter become errors for the client."""
    try:
        yield
    except ApiError:
        raise
    except InputError as error:
        raise ApiError(422, "image", str(error)) from error
    except DeviceMemoryError as error:
        raise unavailable("memory", str(error), 30) from error
    except ModelError as error:
        raise ApiError(500, "model", str(error)) from error


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """The work's result. The work is cancelled when the client closes the connection.

    Raises:
        ClientDisconnect: the client has closed the connection.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.gather(watching, working, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
