"""The photos, shards, masks and validation photos that a configuration names, and loaders of batches from them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from pconv.errors import InputError, PconvError, TrainingError
from pconv.images.reading import find_photos
from pconv.masks.strokes import irregular_hole
from pconv.signals import STOP_SIGNALS, signals_blocked
from pconv.training.checkpoint import HOW_TO_GO_ON
from pconv.training.config import Stage, TrainConfig
from pconv.training.data import (
    Batch,
    BatchSplit,
    DrawHole,
    HoledPhotos,
    Sample,
    ShardPosition,
    fingerprint,
    stack,
)
from pconv.training.holes import MixedHoles, rectangle_hole
from pconv.training.validation import hold_out

logger = logging.getLogger(__name__)

PREFETCH = 4
"""Batches that each worker prepares ahead."""

LONG_WAIT = 60
"""Seconds without a batch after which the user is told."""


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from.

    Attributes:
        photos: files to train on, none where shards are.
        shards: WebDataset shards, none where photos are.
        validation: photos to validate with.
        masks: where holes come from; None for each stage's synthetic ones.
        notes: what the user should know about the choices made.
    """

    config: TrainConfig
    split: BatchSplit
    photos: list[Path]
    shards: list[str]
    validation: list[Path]
    masks: DrawHole | None
    notes: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """A hash of the photos' names in their folder, or of the shards'; the folder may have moved meanwhile."""
        folder = self.config.photos
        return fingerprint([path.relative_to(folder) for path in self.photos] if folder else self.shards)

    def loader(self, stage_number: int, first: int, steps: int, positions: Sequence[Any] | None) -> Loader:
        """Micro-batches for this process.

        Args:
            first: number of the first sample, counted from the run's start.
            positions: each process's ``Loader.positions`` where the stage is resumed, else None.
        """
        stage, config = self.config.stages[stage_number], self.config
        draw_hole = self.masks or synthetic_holes(stage, config.seed)
        common: dict[str, Any] = {
            "num_workers": config.workers,
            "collate_fn": packed,
            "prefetch_factor": PREFETCH if config.workers else None,
            "worker_init_fn": start_worker,
            "timeout": LONG_WAIT if config.workers else 0,
        }
        if self.photos:
            cache = int(config.cache_gb * 2**30 / max(config.workers, 1))
            data = HoledPhotos(self.photos, stage, config.seed, cache, draw_hole)
            numbers = self.split.sample_numbers(first, steps, stage.batch_size)
            return Loader(DataLoader(data, batch_sampler=numbers, **common), ())  # type: ignore[arg-type]

        from pconv.training.shards import ShardedPhotos

        workers = max(config.workers, 1)
        readers = workers * self.split.processes
        start = [ShardPosition(self.split.rank * workers + worker) for worker in range(workers)]
        if positions is not None:
            if (len(positions), len(positions[0])) != (self.split.processes, workers):
                raise TrainingError(
                    f"the shards were read by {len(positions)} processes with {len(positions[0])} workers each: "
                    f"resume with as many, not {self.split.processes} and {workers}"
                )
            start = [ShardPosition(*position) for position in positions[self.split.rank]]
        stream = ShardedPhotos(self.shards, stage, (config.seed, stage_number), start, readers, draw_hole)
        size = self.split.micro_batch_size(stage.batch_size)
        return Loader(DataLoader(stream, batch_size=size, **common), start)  # type: ignore[arg-type]


def packed(samples: Sequence[Sample]) -> tuple[list[NDArray[Any] | None], tuple[str, ...], ShardPosition | None]:
    """A batch as arrays, which reach the training process through a pipe.

    Tensors would go through files in /dev/shm, which is small in containers: a batch that does not fit is lost there,
    and the training process waits for it for ever.
    """
    batch = stack(samples)
    tensors = *batch[:3], batch.seen
    return [None if tensor is None else tensor.numpy() for tensor in tensors], batch.unreadable, batch.position


def start_worker(worker: int) -> None:
    """A loader worker ends when the training process has gone, or when a batch cannot be delivered.

    Without that it would wait for ever for the end of a pipe that nobody reads, or be waited for.
    """

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent:
            parent.join()
            os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    Queue._on_queue_feeder_error = staticmethod(lambda *_: os._exit(1))  # type: ignore[attr-defined]


class Loader:
    """Batches, and where the readers of shards are in them."""

    def __init__(self, batches: DataLoader[Any], positions: Sequence[ShardPosition]) -> None:
        self._batches = batches
        self._positions = deque(positions)

    def __iter__(self) -> Iterator[Batch]:
        with self.started() as batches:
            yield from batches

    @contextmanager
    def started(self, note: Callable[[str], None] = logger.warning) -> Iterator[Iterator[Batch]]:
        """The batches; loader workers live as long as the block.

        Args:
            note: called with a sentence where the workers are slow.

        Raises:
            TrainingError: a worker died or could not start, or found no photo.
        """
        others = set(multiprocessing.active_children())
        try:
            try:
                # Signals are for the training process: it stops when its step is done, and ends the workers then.
                with signals_blocked(*STOP_SIGNALS):
                    batches = iter(self._batches)
            except OSError as error:
                raise TrainingError(
                    f"cannot start the loader workers: {error.strerror}; make room in /dev/shm, or set workers=0"
                ) from error
            try:
                yield self._received(batches, note)
            finally:
                # PyTorch does it when the last reference is gone, but an error's traceback holds one.
                getattr(batches, "_shutdown_workers", lambda: None)()
        except PconvError as error:
            # From a worker it comes with the worker's traceback as its text, whose last line is the error.
            last = str(error).rstrip().rpartition("\n")[2]
            raise type(error)(last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")) from error
        except RuntimeError as error:
            # A signal handler of PyTorch's raises this at any point of the training process when a worker has died.
            if not str(error).startswith("DataLoader worker"):
                raise
            raise TrainingError(
                f"{str(error).splitlines()[0].rstrip(' .')}, often for lack of memory: lower workers or cache_gb, and "
                f"{HOW_TO_GO_ON}"
            ) from error
        finally:  # a worker in the middle of a long read goes on, since SIGTERM is blocked in it
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()
                worker.join()

    def _received(self, batches: Iterator[Any], note: Callable[[str], None]) -> Iterator[Batch]:
        waited = False
        while True:
            try:
                arrays, unreadable, position = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "timed out" not in str(error):
                    raise
                if not waited:
                    note(f"no batch for {LONG_WAIT} s: the loader workers are slow, or their files cannot be reached")
                waited = True
                continue
            images, valid, distance = map(torch.from_numpy, arrays[:3])
            seen = None if arrays[3] is None else torch.from_numpy(arrays[3])
            yield Batch(images, valid, distance, unreadable, position, seen)

    def used(self, batch: Batch) -> None:
        """Note that ``batch`` was trained on; the batch after it may have been received already."""
        if batch.position:
            # Workers give batches in turn, so the one that gave this batch is the last to give another.
            self._positions.popleft()
            self._positions.append(batch.position)

    @property
    def positions(self) -> list[list[int]]:
        """Where each worker's reader goes on, the next one's first; empty where photos are read from a folder."""
        return [list(position) for position in self._positions]


class Feed:
    """The micro-batches of each step, on the device.

    Args:
        batches: a started loader's.
        micro_batches: in each step.
        steps: how many steps there are.
        ahead: whether ``fetch`` gets the next step's, which hides the wait for them behind a GPU's work.
    """

    def __init__(
        self, batches: Iterator[Batch], micro_batches: int, steps: int, device: torch.device, ahead: bool
    ) -> None:
        self._batches, self._micro_batches, self._steps = batches, micro_batches, steps
        self._device, self._ahead = device, ahead
        self._fetched: list[Batch] = []

    def take(self) -> list[Batch]:
        """The next step's micro-batches."""
        if not self._fetched:
            self._fetch()
        taken, self._fetched = self._fetched, []
        return taken

    def fetch(self) -> None:
        """Have the following step's ready, if there is such a step and batches are fetched ahead."""
        if self._ahead and self._steps:
            self._fetch()

    def _fetch(self) -> None:
        self._steps -= 1
        for _ in range(self._micro_batches):
            batch = next(self._batches)
            images, valid, distance = (self._moved(tensor) for tensor in batch[:3])
            seen = None if batch.seen is None else self._moved(batch.seen)
            self._fetched.append(Batch(images, valid, distance, batch.unreadable, batch.position, seen))

    def _moved(self, tensor: Tensor) -> Tensor:
        if self._device.type == "cuda":  # only from pinned memory does the copy not hold this process up
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)


def open_data(config: TrainConfig, out: Path, rank: int, processes: int) -> TrainingData:
    """Find the photos or shards, and the masks.

    Raises:
        InputError: there are no photos or masks, or the masks' polarity is unclear.
        TrainingError: there are no shards.
    """
    split = BatchSplit(rank, processes, config.accumulate)
    notes: list[str] = []
    photos: list[Path] = []
    shards: list[str] = []
    if config.photos is not None:
        found_photos = _photos(config.photos, "photos", notes)
        photos = [path for path in found_photos if out.resolve() not in path.resolve().parents]
    else:
        from pconv.training.shards import find_shards

        shards = find_shards(config.shards)
    if config.validation is not None:
        validation = _photos(config.validation, "validation", notes)
    elif photos:
        found = len(photos)
        photos, validation = hold_out(photos)
        notes.append(
            f"{len(photos)} photos to train on, {len(validation)} held out for validation"
            if len(photos) < found
            else f"{found} photos, too few to hold any out: validation shows photos that are trained on"
        )
    else:
        validation = []
        notes.append("no validation: with shards it needs validation=FOLDER")
    return TrainingData(config, split, photos, shards, validation, _masks(config, notes), notes)


def _photos(folder: Path, key: str, notes: list[str]) -> list[Path]:
    try:
        return find_photos(folder, note=notes.append)
    except InputError as error:
        raise TrainingError(f"{error}; set {key}=FOLDER") from error


def _masks(config: TrainConfig, notes: list[str]) -> DrawHole | None:
    if config.masks is None:
        return None
    from pconv.masks.augment import MaskFolder
    from pconv.masks.reader import find_masks, resolve_polarity

    paths = find_masks(config.masks)
    white_is_hole, note = resolve_polarity(paths, config.mask_polarity)
    notes.append(note)
    return MaskFolder(paths, white_is_hole).draw


def synthetic_holes(stage: Stage, seed: int) -> DrawHole:
    """What draws the holes that ``stage`` names."""
    if stage.holes == "mixed":
        return MixedHoles(seed, stage.dense_thin_share, stage.size, stage.hole_ratio)
    return rectangle_hole if stage.holes == "rectangle" else irregular_hole
