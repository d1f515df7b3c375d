"""The photos, shards, masks and validation photos that a configuration names, and loaders of batches from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from pconv.errors import InputError, PconvError, TrainingError
from pconv.images.reading import find_photos
from pconv.masks.strokes import irregular_hole
from pconv.training.config import TrainConfig
from pconv.training.data import (
    Batch,
    BatchSplit,
    DrawHole,
    HoledPhotos,
    ShardPosition,
    fingerprint,
    leave_signals_to_the_main_process,
    stack,
)
from pconv.training.validation import hold_out

PREFETCH = 4
"""Batches that each worker prepares ahead."""


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from.

    Attributes:
        photos: files to train on, none where shards are.
        shards: WebDataset shards, none where photos are.
        validation: photos to validate with.
        draw_hole: where holes come from.
        notes: what the user should know about the choices made.
    """

    config: TrainConfig
    split: BatchSplit
    photos: list[Path]
    shards: list[str]
    validation: list[Path]
    draw_hole: DrawHole
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
        common: dict[str, Any] = {
            "num_workers": config.workers,
            "collate_fn": stack,
            "prefetch_factor": PREFETCH if config.workers else None,
            "pin_memory": torch.cuda.is_available(),
            "worker_init_fn": leave_signals_to_the_main_process,
        }
        if self.photos:
            cache = int(config.cache_gb * 2**30 / max(config.workers, 1))
            data = HoledPhotos(self.photos, stage, config.seed, cache, self.draw_hole)
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
        stream = ShardedPhotos(self.shards, stage, (config.seed, stage_number), start, readers, self.draw_hole)
        size = self.split.micro_batch_size(stage.batch_size)
        return Loader(DataLoader(stream, batch_size=size, **common), start)  # type: ignore[arg-type]


class Loader:
    """Batches, and where the readers of shards are in them."""

    def __init__(self, batches: DataLoader[Batch], positions: Sequence[ShardPosition]) -> None:
        self._batches = batches
        self._positions = deque(positions)

    def __iter__(self) -> Iterator[Batch]:
        try:
            for batch in self._batches:
                if batch.position:
                    # Workers give batches in turn, so the one that gave this batch is the last to give another.
                    self._positions.popleft()
                    self._positions.append(batch.position)
                yield batch
        except PconvError as error:
            # From a worker it comes with the worker's traceback as its text, whose last line is the error.
            last = str(error).rstrip().rpartition("\n")[2]
            raise type(error)(last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")) from error

    @property
    def positions(self) -> list[list[int]]:
        """Where each worker's reader goes on, the next one's first; empty where photos are read from a folder."""
        return [list(position) for position in self._positions]


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
        photos = [path for path in _photos(config.photos, "photos") if out.resolve() not in path.resolve().parents]
    else:
        from pconv.training.shards import find_shards

        shards = find_shards(config.shards)
    if config.validation is not None:
        validation = _photos(config.validation, "validation")
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
    return TrainingData(config, split, photos, shards, validation, _holes(config, notes), notes)


def _photos(folder: Path, key: str) -> list[Path]:
    try:
        return find_photos(folder)
    except InputError as error:
        raise TrainingError(f"{error}; set {key}=FOLDER") from error


def _holes(config: TrainConfig, notes: list[str]) -> DrawHole:
    if config.masks is None:
        return irregular_hole
    from pconv.masks.augment import MaskFolder
    from pconv.masks.reader import find_masks, resolve_polarity

    paths = find_masks(config.masks)
    white_is_hole, note = resolve_polarity(paths, config.mask_polarity)
    notes.append(note)
    return MaskFolder(paths, white_is_hole).draw
