"""Does the server stay right, quick and small under load? Many clients at once, on loopback, each with its own photo.

    python benchmarks/serve.py              # 50 clients, 512 px, 45 s
    python benchmarks/serve.py --quick      # 10 clients, 256 px, 8 s
    python benchmarks/serve.py --large      # one client: memory after a photo of 24 megapixels

Starts `pconv serve` in a process of its own. Each client checks each answer: the pixels outside its hole must be its
own, bit for bit, and those inside must have changed. Where the queue is full (503), it comes again after Retry-After.
Clients run on the same cores as the server. A JSON line comes last.

With `--large`, one client sends a photo of 24 megapixels with a hole of 600 x 600 px. The server's memory is
read before it, after it, and some seconds later. Then the first fill after such a pause is compared with the next one,
in processor seconds of the server.
"""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import click
import httpx
import numpy as np
from common import finish, machine, show
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import pconv
from pconv.evaluation.protocol import bundled_photos
from pconv.images.reading import find_photos

PATIENCE = 120.0
"""Seconds until a client gives up on one request."""
PAUSE = 8.0
"""Seconds; the server returns free memory after five without a fill."""
PAUSES = 5


@dataclass
class Client:
    """A photo, its hole, both as files, and what came of them."""

    photo: NDArray[np.uint8]
    hole: NDArray[np.bool_]
    seconds: list[float] = field(default_factory=list)
    with_waiting: list[float] = field(default_factory=list)
    busy: int = 0
    wrong: list[str] = field(default_factory=list)

    def files(self) -> dict[str, tuple[str, bytes, str]]:
        pictures = {"image": Image.fromarray(self.photo), "mask": Image.fromarray(self.hole)}
        return {name: (name, png(picture), "image/png") for name, picture in pictures.items()}

    def check(self, answer: bytes) -> None:
        result = np.asarray(Image.open(io.BytesIO(answer)))
        if result.shape != self.photo.shape:
            self.wrong.append(f"a picture of {result.shape}")
        elif (result[~self.hole] != self.photo[~self.hole]).any():
            self.wrong.append("known pixels that are not this client's")
        elif (result[self.hole] == self.photo[self.hole]).all():
            self.wrong.append("a hole that is not filled")


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


def make_clients(count: int, side: int) -> list[Client]:
    """Parts of the bundled photos, each shifted and turned another way, so that no two clients' pixels agree."""
    photos = [Image.open(path).convert("RGB") for path in find_photos(bundled_photos())]
    clients = []
    for number in range(count):
        rng = np.random.default_rng(number)
        photo = photos[number % len(photos)].resize((side + 40, side + 40)).rotate(90 * (number % 4))
        left, top = rng.integers(0, 40, 2)
        pixels = np.asarray(photo.crop((left, top, left + side, top + side))).copy()
        pixels[..., 0] ^= np.uint8(number % 8)
        clients.append(Client(pixels, pconv.irregular_hole(side, side, (0.1, 0.2), generator=rng)))
    return clients


@contextmanager
def server(queue: int) -> Iterator[str]:
    limit = str(round(10 * PATIENCE))
    command = [sys.executable, "-m", "pconv", "serve", "--port", "0", "--queue", str(queue), "--time-limit", limit]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        for line in process.stderr:
            if found := re.search(r"pconv is at (http://[^/]+)/", line):
                break
        else:
            raise SystemExit("the server did not start")
        drained = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        yield found[1]
        process.terminate()
        if process.wait(60):
            raise SystemExit(f"the server ended with exit code {process.returncode}")
        drained.wait(10)
    finally:
        process.kill()


async def ask(client: Client, http: httpx.AsyncClient, until: float, most: int) -> None:
    files = client.files()
    while time.perf_counter() < until and len(client.seconds) < most:
        first = time.perf_counter()
        while True:
            start = time.perf_counter()
            answer = await http.post("/api/v1/inpaint", files=files)
            if answer.status_code != 503:
                break
            client.busy += 1
            await asyncio.sleep(float(answer.headers.get("retry-after", "1")))
        if answer.status_code != 200:
            client.wrong.append(f"status {answer.status_code}: {answer.text[:200]}")
            continue
        client.seconds.append(time.perf_counter() - start)
        client.with_waiting.append(time.perf_counter() - first)
        await asyncio.to_thread(client.check, answer.content)


async def watch(http: httpx.AsyncClient, every: float) -> list[float]:
    """The server's resident memory in MB, until cancelled."""
    seen: list[float] = []
    try:
        while True:
            seen.append(await resident(http))
            await asyncio.sleep(every)
    except asyncio.CancelledError:
        return seen


async def resident(http: httpx.AsyncClient) -> float:
    return await metric(http, "process_resident_memory_bytes") / 1e6


async def metric(http: httpx.AsyncClient, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", (await http.get("/metrics")).text, re.M)
    return float(found[1]) if found else 0.0


def large_files() -> dict[str, tuple[str, bytes, str]]:
    """A photo of 24 megapixels and a hole of 600 x 600 px."""
    size = 6000, 4000
    photo, mask = io.BytesIO(), Image.new("1", size)
    with Image.open(find_photos(bundled_photos())[0]) as image:
        image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(photo, "JPEG", quality=90)
    ImageDraw.Draw(mask).rectangle([2000, 1500, 2599, 2099], fill=1)
    return {"image": ("image", photo.getvalue(), "image/jpeg"), "mask": ("mask", png(mask), "image/png")}


async def large(url: str, side: int) -> tuple[dict[str, float], list[float]]:
    """The server's memory in MB around a large photo; a pause's cost for the fill after it, as ratios."""
    small = make_clients(1, side)[0].files()
    limits = httpx.Limits(max_keepalive_connections=0)  # the server closes connections during the pauses
    async with httpx.AsyncClient(base_url=url, timeout=10 * PATIENCE, limits=limits) as http:

        async def cost(files: dict[str, tuple[str, bytes, str]]) -> float:
            start = await metric(http, "process_cpu_seconds_total")
            (await http.post("/api/v1/inpaint", files=files)).raise_for_status()
            return await metric(http, "process_cpu_seconds_total") - start

        memory = {"before": await resident(http)}
        await cost(large_files())
        memory["after"] = await resident(http)
        await asyncio.sleep(PAUSE)
        memory["later"] = await resident(http)
        ratios = []
        for _ in range(PAUSES):
            first = await cost(small)
            ratios.append(first / np.median([await cost(small) for _ in range(2)]))
            await asyncio.sleep(PAUSE)
    return memory, ratios


async def load(url: str, clients: list[Client], seconds: float) -> dict[str, float]:
    limits = httpx.Limits(max_connections=len(clients) + 2)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits) as http:
        before = await resident(http)
        warm = make_clients(len(clients), clients[0].photo.shape[0])
        await asyncio.gather(*(ask(client, http, time.perf_counter() + seconds, 1) for client in warm))
        watching = asyncio.create_task(watch(http, max(seconds / 30, 0.2)))
        start = time.perf_counter()
        await asyncio.gather(*(ask(client, http, start + seconds, 10**9) for client in clients))
        wall = time.perf_counter() - start
        await asyncio.sleep(0.3)
        after = await resident(http)
        watching.cancel()
        memory = await watching
    third = max(len(memory) // 3, 1)
    return {
        "wall": wall,
        "memory_before": before,
        "memory_first_third": float(np.median(memory[:third])),
        "memory_last_third": float(np.median(memory[-third:])),
        "memory_highest": max(memory),
        "memory_after": after,
    }


@click.command()
@click.option("--quick", is_flag=True, help="10 clients, 256 px, 8 seconds.")
@click.option("--large", "large_photo", is_flag=True, help="One client with a photo of 24 megapixels.")
@click.option("--clients", default=50, show_default=True)
@click.option("--side", default=512, show_default=True, help="Pixels.")
@click.option("--seconds", default=45.0, show_default=True)
@click.option("--queue", default=32, show_default=True)
def main(quick: bool, large_photo: bool, clients: int, side: int, seconds: float, queue: int) -> None:
    if quick:
        clients, side, seconds = 10, 256, 8.0
    if large_photo:
        with server(queue) as url:
            memory, ratios = asyncio.run(large(url, side))
        show({"a photo of 24 megapixels": {name: f"{mb:.0f} MB" for name, mb in memory.items()}}, machine())
        print(f"\nthe first fill after a pause takes {np.median(ratios):.2f} times the processor seconds of the next")
        finish({"memory": memory, "first_after_pause": ratios})
        return
    everyone = make_clients(clients, side)
    with server(queue) as url:
        about = asyncio.run(load(url, everyone, seconds))
    plain = np.array([s for client in everyone for s in client.seconds])
    waited = np.array([s for client in everyone for s in client.with_waiting])
    wrong = [each for client in everyone for each in client.wrong]
    busy = sum(client.busy for client in everyone)
    if not len(plain):
        raise SystemExit(f"no answer came: {wrong[:3]}")

    def row(values: NDArray[np.float64]) -> dict[str, str]:
        return {f"p{p}": f"{np.percentile(values, p):.2f} s" for p in (50, 95, 99)}

    show(
        {"the request that was served": row(plain), "with all 503s before it": row(waited)},
        f"{clients} clients, {side} px, {about['wall']:.0f} s, {machine()}",
    )
    print(f"\n{len(plain)} answers, {len(plain) / about['wall']:.1f} per second, {len(wrong)} wrong, {busy} times 503")
    print(
        f"server's memory: {about['memory_before']:.0f} MB before the first request, "
        f"{about['memory_first_third']:.0f} MB in the first third, "
        f"{about['memory_last_third']:.0f} MB in the last, {about['memory_highest']:.0f} MB at most, "
        f"{about['memory_after']:.0f} MB after"
    )
    for each in wrong[:5]:
        print(f"wrong: {each}", file=sys.stderr)
    percentiles = {f"p{p}": float(np.percentile(plain, p)) for p in (50, 95, 99)}
    finish(
        {
            "clients": clients,
            "side": side,
            "answers": len(plain),
            "wrong": len(wrong),
            "busy": busy,
            **percentiles,
            **about,
        }
    )
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
