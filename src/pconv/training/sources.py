"""Where a run's pictures and holes come from, as its configuration says."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from pconv.errors import PconvError, TrainingError
from pconv.masks.strokes import irregular_hole
from pconv.training.config import TrainConfig
from pconv.training.data import (
    Batch,
    DrawHole,
    HoledPhotos,
    Place,
    Share,
    find_photos,
    fingerprint,
    leave_signals_to_the_loop,
    stack,
)
from pconv.training.validation import hold_out

PREFETCH = 4
"""Batches that each worker prepares ahead."""


@dataclass(frozen=True)
class Source:
    """What a run learns from.

    Attributes:
        photos: files to train on, none where shards are.
        shards: WebDataset shards, none where photos are.
        validation: photos to validate with.
        draw_hole: where holes come from.
        notes: what the user should know about the choices made.
    """

    config: TrainConfig
    share: Share
    photos: list[Path]
    shards: list[str]
    validation: list[Path]
    draw_hole: DrawHole
    notes: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """Tells whether a resumed run finds the photos, or shards, that it began with, wherever they lie now."""
        folder = self.config.photos
        return fingerprint([path.relative_to(folder) for path in self.photos] if folder else self.shards)

    def loader(self, stage_number: int, first: int, steps: int, places: Sequence[Any] | None) -> Loader:
        """Batches for this process, in pieces as they are accumulated.

        Args:
            first: number of the first sample, counted from the run's start.
            places: each process's ``Loader.places`` where the stage is resumed, else None.
        """
        stage, config = self.config.stages[stage_number], self.config
        common: dict[str, Any] = {
            "num_workers": config.workers,
            "collate_fn": stack,
            "prefetch_factor": PREFETCH if config.workers else None,
            "pin_memory": torch.cuda.is_available(),
            "worker_init_fn": leave_signals_to_the_loop,
        }
        if self.photos:
            cache = int(config.cache_gb * 2**30 / max(config.workers, 1))
            data = HoledPhotos(self.photos, stage, config.seed, cache, self.draw_hole)
            pieces = self.share.batches(first, steps, stage.batch_size)
            return Loader(DataLoader(data, batch_sampler=pieces, **common), ())  # type: ignore[arg-type]

        from pconv.training.shards import ShardedPhotos

        each = max(config.workers, 1)
        readers = each * self.share.processes
        start = [Place(self.share.rank * each + worker) for worker in range(each)]
        if places is not None:
            if (len(places), len(places[0])) != (self.share.processes, each):
                raise TrainingError(
                    f"the shards were read by {len(places)} processes with {len(places[0])} workers each: resume with "
                    f"as many, not {self.share.processes} and {each}"
                )
            start = [Place(*place) for place in places[self.share.rank]]
        stream = ShardedPhotos(self.shards, stage, (config.seed, stage_number), start, readers, self.draw_hole)
        return Loader(DataLoader(stream, batch_size=self.share.of(stage.batch_size), **common), start)  # type: ignore[arg-type]


class Loader:
    """Batches, and where the readers of shards are in them."""

    def __init__(self, batches: DataLoader[Batch], places: Sequence[Place]) -> None:
        self._batches = batches
        self._places = deque(places)

    def __iter__(self) -> Iterator[Batch]:
        try:
            for batch in self._batches:
                if batch.place:
                    # Workers take turns, so the one that gave this batch is the last to give another.
                    self._places.popleft()
                    self._places.append(batch.place)
                yield batch
        except PconvError as error:
            # From a worker it comes with the worker's traceback as its text, whose last line is the error.
            last = str(error).rstrip().rpartition("\n")[2]
            raise type(error)(last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")) from error

    @property
    def places(self) -> list[list[int]]:
        """Where each worker's reader goes on, the next one's first; empty where samples have numbers."""
        return [list(place) for place in self._places]


def open_source(config: TrainConfig, out: Path, rank: int, processes: int) -> Source:
    """Find the photos or shards, and the masks.

    Raises:
        TrainingError: there are none.
        InputError: masks that cannot be understood.
    """
    share = Share(rank, processes, config.accumulate)
    notes: list[str] = []
    photos: list[Path] = []
    shards: list[str] = []
    if config.photos is not None:
        photos = [path for path in find_photos(config.photos) if out.resolve() not in path.resolve().parents]
    else:
        from pconv.training.shards import find_shards

        shards = find_shards(config.shards)
    if config.validation is not None:
        validation = find_photos(config.validation)
    elif photos:
        every = len(photos)
        photos, validation = hold_out(photos)
        notes.append(
            f"{len(photos)} photos to train on, {len(validation)} held out for validation"
            if len(photos) < every
            else f"{every} photos, too few to hold any out: validation shows photos that are trained on"
        )
    else:
        validation = []
        notes.append("no validation: with shards it needs validation=FOLDER")
    return Source(config, share, photos, shards, validation, _holes(config, notes), notes)


def _holes(config: TrainConfig, notes: list[str]) -> DrawHole:
    if config.masks is None:
        return irregular_hole
    from pconv.masks.augment import HoleFolder
    from pconv.masks.folder import detect_polarity, find_masks

    paths = find_masks(config.masks)
    white_is_hole = detect_polarity(paths) if config.mask_polarity == "auto" else config.mask_polarity == "white-hole"
    how = "detected" if config.mask_polarity == "auto" else "as configured"
    notes.append(f"{len(paths)} masks, white = {'hole' if white_is_hole else 'valid'} ({how})")
    return HoleFolder(paths, white_is_hole).draw
