"""One request from its body to its answer: read, decode, wait, fill, encode."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from pconv.errors import DeviceMemoryError, InputError, ModelError
from pconv.inpainting.options import InpaintOptions
from pconv.server import memory
from pconv.server.filler import Filler, Job
from pconv.server.form import FILES, ClientGoneError, Held, Receive, boundary_of, check_length, read_form
from pconv.server.jobs import Jobs
from pconv.server.metrics import Metrics
from pconv.server.options import parse_options
from pconv.server.original import as_original
from pconv.server.pictures import check_sizes, encode, look, open_original, open_task
from pconv.server.refusals import RefusedError, busy
from pconv.server.settings import Settings

Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer:
    """A filled picture's bytes, the headers that tell about it, and what to call once it is sent."""

    body: bytes
    kind: str
    headers: dict[str, str]
    sent: Callable[[], None]


class Service:
    """What all requests of one server share. Made before, started in, and closed by the event loop."""

    def __init__(self, fillers: Sequence[Filler], settings: Settings, metrics: Metrics | None = None) -> None:
        self.settings, self.fillers = settings, fillers
        self.metrics = metrics or Metrics()
        self.jobs = Jobs(fillers, settings, self.metrics)
        self._bytes, self._pixels = Held(settings.held_bytes), Held(settings.held_pixels)
        self._threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1) + 1, "pconv-codec")
        self.metrics.held_bytes.set_function(lambda: self._bytes.now)
        self.metrics.held_pixels.set_function(lambda: self._pixels.now)

    @property
    def model(self) -> str:
        return self.fillers[0].about.path.stem

    async def close(self) -> None:
        await self.jobs.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def inpaint(self, receive: Receive, headers: Mapping[str, str]) -> Answer:
        """Serve one request.

        Raises:
            RefusedError: it is not served; the reason is for the client.
            ClientGoneError: there is no client any more.
        """
        boundary_of(headers)
        check_length(headers, self.settings)
        self.jobs.check_room()
        form = await read_form(receive, headers, self.settings, self._bytes)
        size = sum(map(len, form.values()))
        try:
            return await _while_connected(receive, self._answer(form))
        finally:
            self._bytes.give_back(size)

    async def _answer(self, form: dict[str, bytearray]) -> Answer:
        start = time.perf_counter()
        try:
            async with asyncio.timeout(self.settings.seconds):
                return await self._filled(form, start)
        except TimeoutError as error:
            limit = f"{self.settings.seconds:g}"
            raise RefusedError(
                503, "time_limit", f"the fill took longer than the {limit} seconds it may take"
            ) from error

    async def _filled(self, form: dict[str, bytearray], start: float) -> Answer:
        files = {name: await self._in_thread(bytes, form.pop(name)) for name in FILES if name in form}
        image, mask, original = files["image"], files["mask"], files.get("original")
        options = parse_options(form)
        seen = await self._in_thread(look, image, "the image", self.settings)
        check_sizes(seen, await self._in_thread(look, mask, "the mask", self.settings))
        if original is not None:
            kind = (await self._in_thread(look, original, "the original", self.settings)).kind
        with self._holding(seen.pixels * (1 if original is None else 2)):
            task = await self._in_thread(open_task, image, mask, options, self.settings)
            ratio, notes = task.hole_ratio, list(task.notes)
            photo, source = task.photo, None
            if original is not None:
                source = await self._in_thread(open_original, original, photo, options, self.settings)
            if ratio:
                notes += self.fillers[0].notes(InpaintOptions(seed=options.seed))
                job = Job(task, options.feather, options.seed)
                del task, photo
                with _told():
                    photo = await self.jobs.run(job)
                del job
            if source is not None:
                photo = await self._in_thread(as_original, source, photo)
            body, kind = await self._in_thread(encode, photo, seen.kind if original is None else kind, options)
        about = {
            "X-Pconv-Seconds": f"{time.perf_counter() - start:.3f}",
            "X-Pconv-Model": quote(self.model),
            "X-Pconv-Hole-Ratio": f"{ratio:.6f}",
            **({"X-Pconv-Notes": "; ".join(quote(note, safe=" ,:()'") for note in notes)} if notes else {}),
        }
        self._bytes.add(len(body))
        return Answer(body, kind, about, partial(self._bytes.give_back, len(body)))

    @contextmanager
    def _holding(self, pixels: int) -> Iterator[None]:
        self._pixels.take(pixels)
        try:
            yield
        finally:
            self._pixels.give_back(pixels)
            if pixels > memory.LARGE:
                with suppress(RuntimeError):  # the server closes
                    self._threads.submit(memory.give_back)

    async def _in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


@contextmanager
def _told() -> Iterator[None]:
    """What went wrong while filling, as it is told to clients."""
    try:
        yield
    except RefusedError:
        raise
    except InputError as error:
        raise RefusedError(422, "image", str(error)) from error
    except DeviceMemoryError as error:
        raise busy("memory", str(error), 30) from error
    except ModelError as error:
        raise RefusedError(500, "model", str(error)) from error


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """The work's result, unless the client goes away first: then the work is cancelled where it stands."""
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.gather(watching, working, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
