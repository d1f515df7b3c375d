"""Filling and measuring every pair with every method, in parallel processes.

A result is a file that is named by the SHA-256 of its inputs: the photo's pixels, the hole, the method. Files appear
as a whole or not at all. A run that was killed at any moment can be started again, and does only what is left.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import EvaluationError, PconvError
from pconv.evaluation import metrics
from pconv.evaluation.methods import Method
from pconv.evaluation.protocol import Pair, fit_photo, hole_of
from pconv.files import replacing, sha256_of
from pconv.images.psnr import psnr
from pconv.signals import STOP_SIGNALS, signals_blocked

if TYPE_CHECKING:
    from torch import Tensor

    from pconv.evaluation.baselines import Fill
    from pconv.training.features import VGG16Features

METRICS_VERSION = 2
"""Goes up when a metric changes, so that fills are measured again."""

GREY = 127
"""The value of the hole's pixels in the photo that a method gets."""

VGG_BLOCKS = 2
"""Blocks of VGG-16 in whose pools the VGG and Gram distances compare images."""


class Score(NamedTuple):
    """A method's result for a pair: metrics by name, and the seconds that the fill took."""

    values: dict[str, float]
    seconds: float


class Failure(NamedTuple):
    """Why there is no score."""

    reason: str


class FillTask(NamedTuple):
    """A pair for a method; ``key`` names its files."""

    pair: Pair
    method: Method
    key: str


@dataclass(frozen=True)
class WorkerSettings:
    """What the worker processes need.

    Attributes:
        folder: where results are kept.
        white_is_hole: polarity of mask files.
        vgg: weights for the VGG and Gram distances; None leaves them out.
        time_limit: seconds for one fill.
        grace: seconds that a worker may take beyond that, to load a model and to measure.
        jobs: processes at a time.
    """

    folder: Path
    white_is_hole: bool = True
    vgg: Path | None = None
    time_limit: float = 300.0
    grace: float = 60.0
    jobs: int = 1

    @property
    def fills(self) -> Path:
        return self.folder / "fills"

    @property
    def scores(self) -> Path:
        return self.folder / "scores"


def pair_digest(photo: NDArray[np.uint8], hole: NDArray[np.bool_]) -> str:
    """SHA-256 of a pair's pixels."""
    digest = hashlib.sha256(np.array(photo.shape, dtype="<u4").tobytes())
    digest.update(photo.tobytes())
    digest.update(np.packbits(hole).tobytes())
    return digest.hexdigest()


def make_tasks(pairs: Sequence[Pair], digests: Sequence[str], methods: Sequence[Method]) -> list[FillTask]:
    """Every pair for every method (as far as its cap goes), pair after pair."""
    return [
        FillTask(
            pair, method, hashlib.sha256(f"{digest}\n{method.name}\n{method.fingerprint}".encode()).hexdigest()[:32]
        )
        for pair, digest in zip(pairs, digests, strict=True)
        for method in methods
        if method.cap is None or pair.mask.number < method.cap
    ]


def run_tasks(tasks: Sequence[FillTask], settings: WorkerSettings) -> Iterator[tuple[FillTask, Score | Failure]]:
    """Each task with its result, finished ones first. A failure does not end the run.

    A fill fails if it takes longer than the limit, in which case its process is ended, or if its process crashes. The
    next run tries failed fills again, except those that were too slow for the same limit.
    """
    for folder in (settings.fills, settings.scores):
        folder.mkdir(parents=True, exist_ok=True)
    measured_by = _measured_by(settings.vgg)
    left = []
    for task in tasks:
        known = _finished(task, settings, measured_by)
        if known:
            yield task, known
        else:
            left.append(task)
    if left:
        yield from _in_processes(left, settings, measured_by)


def read_fill(task: FillTask, settings: WorkerSettings) -> NDArray[np.uint8]:
    """The composite ``(H, W, 3)`` uint8 that a finished task made: the photo, its hole filled."""
    truth, hole = _truth_and_hole(task.pair, settings.white_is_hole)
    with Image.open(settings.fills / f"{task.key}.png") as image:
        return np.where(hole[..., None], np.array(image.convert("RGB")), truth)


def _in_processes(
    tasks: Sequence[FillTask], settings: WorkerSettings, measured_by: str
) -> Iterator[tuple[FillTask, Score | Failure]]:
    from pebble import ProcessPool

    context = multiprocessing.get_context("spawn")
    limit = settings.time_limit + settings.grace
    with ProcessPool(max_workers=settings.jobs, context=context, initializer=_start_worker) as pool:
        try:
            futures: dict[Future[Score], FillTask] = {}
            # What comes from the terminal is for this process, which ends the others with SIGTERM.
            with signals_blocked(*STOP_SIGNALS):
                resource_tracker.ensure_running()  # it would unblock SIGINT and SIGTERM
                with signals_blocked(signal.SIGINT):
                    for task in tasks:
                        job = pool.schedule(fill_and_measure, args=[task, settings, measured_by], timeout=limit)
                        futures[job] = task
            for future in as_completed(futures):
                task = futures[future]
                yield task, _outcome(future, task, settings)
        except BaseException:
            pool.stop()  # type: ignore[no-untyped-call]
            raise


def _outcome(future: Future[Score], task: FillTask, settings: WorkerSettings) -> Score | Failure:
    from pebble import ProcessExpired

    try:
        return future.result()
    except TimeoutError:
        reason = f"not done after {settings.time_limit:g} s"
        _write(settings.scores / f"{task.key}.json", {"failed": reason, "time_limit": settings.time_limit})
        return Failure(reason)
    except ProcessExpired as error:
        return Failure(f"its process crashed with exit code {error.exitcode}")
    except PconvError as error:
        return Failure(str(error))
    except Exception as error:  # a method is other people's code and may raise anything
        return Failure(f"{type(error).__name__}: {error}".splitlines()[0])


def _finished(task: FillTask, settings: WorkerSettings, measured_by: str) -> Score | Failure | None:
    try:
        known = json.loads((settings.scores / f"{task.key}.json").read_text())
        if "failed" in known:
            return Failure(known["failed"]) if known["time_limit"] >= settings.time_limit else None
        if known["measured_by"] == measured_by and (settings.fills / f"{task.key}.png").is_file():
            values = {name: float("nan") if value is None else value for name, value in known["values"].items()}
            return Score(values, known["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is no result, or not one of ours: it is computed
    return None


def fill_and_measure(task: FillTask, settings: WorkerSettings, measured_by: str) -> Score:
    """Fill one pair with one method (unless its file is there), measure the composite, and keep both."""
    truth, hole = _truth_and_hole(task.pair, settings.white_is_hole)
    path = settings.fills / f"{task.key}.png"
    seconds = _seconds_of(path)
    if seconds is None:
        fill = _fill_function(task.method)
        holed = np.where(hole[..., None], np.uint8(GREY), truth)
        started = time.perf_counter()
        filled = fill(holed, hole.copy())
        seconds = time.perf_counter() - started
        if filled.shape != truth.shape or filled.dtype != np.uint8:
            raise ValueError(f"it returned {filled.dtype} {filled.shape} for a photo of uint8 {truth.shape}")
        _write_fill(np.where(hole[..., None], filled, np.uint8(0)), path, seconds)
    composite = read_fill(task, settings)
    score = Score(measure(composite, truth, hole), seconds)
    if settings.vgg:
        features = metrics.vgg_features(_vgg(settings.vgg), composite)
        wanted = _truth_features(task.pair, settings)
        score.values["vgg"] = metrics.vgg_distance(features, wanted)
        score.values["gram"] = metrics.gram_distance(features, wanted, hole)
    values = {name: value if np.isfinite(value) else None for name, value in score.values.items()}
    _write(settings.scores / f"{task.key}.json", {"values": values, "seconds": seconds, "measured_by": measured_by})
    return score


def measure(composite: NDArray[np.uint8], truth: NDArray[np.uint8], hole: NDArray[np.bool_]) -> dict[str, float]:
    """All metrics of one composite that need no network, by their names (see ``pconv.evaluation.summary``)."""
    similarity = metrics.ssim_map(composite, truth)
    return {
        "l1": metrics.l1_percent(composite, truth),
        "psnr": psnr(composite, truth),
        "ssim": metrics.mean_ssim(similarity),
        "l1_hole": metrics.l1_percent(composite, truth, hole),
        "psnr_hole": psnr(composite, truth, hole),
        "ssim_hole": metrics.mean_ssim(similarity, hole),
        "sharpness": metrics.sharpness(composite, truth, hole),
    }


def _measured_by(vgg: Path | None) -> str:
    return f"{METRICS_VERSION} {sha256_of(vgg) if vgg else 'no vgg'}"


def _start_worker() -> None:
    """Compute in one thread, since there is a process for each core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is imported, which only some methods do
    logging.disable(logging.WARNING)  # PyPatchMatch logs how it was built, load_vgg which blocks it has
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(1)


@lru_cache(maxsize=1)
def _truth_and_hole(pair: Pair, white_is_hole: bool) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    return fit_photo(pair.photo, pair.mask.size), hole_of(pair.mask, white_is_hole)


@lru_cache(maxsize=1)
def _truth_features(pair: Pair, settings: WorkerSettings) -> list[Tensor]:
    assert settings.vgg is not None
    return metrics.vgg_features(_vgg(settings.vgg), _truth_and_hole(pair, settings.white_is_hole)[0])


_fill_functions: dict[str, Fill] = {}


def _fill_function(method: Method) -> Fill:
    """The method's function, made once in each process."""
    if method.name not in _fill_functions:
        _fill_functions[method.name] = method.make()
    return _fill_functions[method.name]


@lru_cache(maxsize=1)
def _vgg(path: Path) -> VGG16Features:
    from pconv.training.features import load_vgg

    vgg = load_vgg(path, blocks=VGG_BLOCKS)
    if vgg.blocks < VGG_BLOCKS:
        raise EvaluationError(f"{path} holds only the first block of VGG-16; VGG and Gram distance need the first two")
    return vgg


def _write_fill(pixels: NDArray[np.uint8], path: Path, seconds: float) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("seconds", repr(seconds))
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, pnginfo=info)


def _seconds_of(path: Path) -> float | None:
    """How long the fill took that is kept at ``path``; None where there is none."""
    try:
        with Image.open(path) as image:
            return float(image.info["seconds"])
    except (OSError, KeyError, ValueError, SyntaxError):
        return None


def _write(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content))
