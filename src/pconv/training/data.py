"""Photos and holes to train on.

Sample number i is a pure function of the seed and i. A run that is resumed therefore computes no earlier sample again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pconv.errors import ImageFileError, TrainingError
from pconv.images.reading import photo_size
from pconv.masks.strokes import irregular_hole
from pconv.masks.superres import FACTORS, shrunk, superres_input
from pconv.training.config import Stage
from pconv.training.crops import Decoded, cut, decode, draw_square, recoloured, reduction_for, turned


class ShardPosition(NamedTuple):
    """Where one reader of shards is: reader number ``reader``, in its shard number ``shard``, before ``photo``."""

    reader: int
    shard: int = 0
    photo: int = 0


class Sample(NamedTuple):
    """One image to learn from.

    Attributes:
        image: ``(3, size, size)`` uint8, the truth, hole content included.
        valid: ``(1, size, size)`` bool, True = known pixel.
        distance: ``(1, size, size)`` float16, of each hole pixel to the nearest known one, px; 0 where known.
        unreadable: for each file that was skipped on the way to it, the sentence that says why it cannot be read.
        position: where the reader of shards goes on after it; None where photos are read from a folder.
        seen: ``(3, size, size)`` uint8, what the network sees where that is not the truth's known pixels: for
            super-resolution they are the small image's, which are averages. The output counts everywhere then.
    """

    image: Tensor
    valid: Tensor
    distance: Tensor
    unreadable: tuple[str, ...] = ()
    position: ShardPosition | None = None
    seen: Tensor | None = None


class Batch(NamedTuple):
    """Stacked samples: images and seen ``(B, 3, size, size)`` uint8, valid ``(B, 1, size, size)`` bool, distance
    ``(B, 1, size, size)`` float16; ``position`` is the last sample's."""

    images: Tensor
    valid: Tensor
    distance: Tensor
    unreadable: tuple[str, ...]
    position: ShardPosition | None
    seen: Tensor | None = None

    @property
    def shown(self) -> Tensor:
        """What the network sees, outside of its holes: ``seen``, or the images."""
        return self.images if self.seen is None else self.seen


def stack(samples: Sequence[Sample]) -> Batch:
    """A loader's ``collate_fn``."""
    images, valid, distance, unreadable, positions, seen = zip(*samples, strict=True)
    names = tuple(name for names in unreadable for name in names)
    all_seen = None if seen[0] is None else torch.stack(seen)
    return Batch(torch.stack(images), torch.stack(valid), torch.stack(distance), names, positions[-1], all_seen)


class DrawHole(Protocol):
    """Where holes come from: ``pconv.irregular_hole``, ``MixedHoles``, or a ``MaskFolder``'s ``draw``."""

    def __call__(
        self, height: int, width: int, ratio: tuple[float, float], *, generator: np.random.Generator
    ) -> NDArray[np.bool_]:
        """A mask ``(height, width)`` bool, True = hole, whose hole ratio lies in ``ratio``."""


def fingerprint(photos: Sequence[Path | str]) -> str:
    """A hash by which a resumed run sees whether its photos or shards are those it began with."""
    return hashlib.sha256("\n".join(map(str, photos)).encode(errors="replace")).hexdigest()


class HoledPhotos(Dataset[Sample]):
    """Endless crops of a folder's photos, with holes.

    Each epoch has its own permutation of the photos. A photo that cannot be read is replaced by the next one.
    """

    def __init__(
        self, photos: list[Path], stage: Stage, seed: int, cache_bytes: int, draw_hole: DrawHole = irregular_hole
    ) -> None:
        self.photos = photos
        self.stage = stage
        self.seed = seed
        self.draw_hole = draw_hole
        self._sizes: dict[int, tuple[int, int]] = {}
        self._cache: dict[tuple[int, int], Decoded] = {}
        self._cache_left = cache_bytes
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def __getitem__(self, index: int) -> Sample:
        generator = np.random.default_rng([self.seed, 1, index])
        unreadable: list[str] = []
        for number in self._candidates(index):
            try:
                pixels = self._crop(number, generator)
            except ImageFileError as error:
                unreadable.append(str(error))
                continue
            return with_holes(pixels, self.stage, self.draw_hole, generator, unreadable)
        raise TrainingError(f"none of the {len(self.photos)} photos can be read as an image: {unreadable[0]}")

    def _candidates(self, index: int) -> Iterator[int]:
        """The photo of sample ``index``, and those that take its place if it cannot be read."""
        epoch, place = divmod(index, len(self.photos))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.photos))
        for step in range(len(self.photos)):
            yield int(self._order[1][(place + step) % len(self.photos)])

    def _crop(self, number: int, generator: np.random.Generator) -> NDArray[np.uint8]:
        """A random square of a photo, from the cache if it was decoded at this scale before."""
        if number not in self._sizes:
            self._sizes[number] = photo_size(self.photos[number])
        size = self._sizes[number]
        square = draw_square(*size, self.stage.size, self.stage.smallest_zoom, generator)
        by = reduction_for(square.side, self.stage.size)
        photo = self._cache.get((number, by))
        if photo is None:
            photo = decode(self.photos[number], size, by)
            if photo.pixels.nbytes <= self._cache_left:
                self._cache[number, by] = photo
                self._cache_left -= photo.pixels.nbytes
        return varied(cut(photo, square, self.stage.size), self.stage, generator)


def varied(pixels: NDArray[np.uint8], stage: Stage, generator: np.random.Generator) -> NDArray[np.uint8]:
    """The stage's shares of crops turned and recoloured."""
    if stage.turned_share and generator.random() < stage.turned_share:
        pixels = turned(pixels, generator)
    if stage.recoloured_share and generator.random() < stage.recoloured_share:
        pixels = recoloured(pixels, generator)
    return pixels


def with_holes(
    pixels: NDArray[np.uint8],
    stage: Stage,
    draw_hole: DrawHole,
    generator: np.random.Generator,
    unreadable: Sequence[str] = (),
    position: ShardPosition | None = None,
) -> Sample:
    """A sample of a crop: with a hole of ``draw_hole``, or for super-resolution by a random factor."""
    if stage.holes == "superres":
        return superres_sample(pixels, int(generator.choice(FACTORS)), unreadable, position)
    hole = draw_hole(pixels.shape[0], pixels.shape[1], stage.hole_ratio, generator=generator)
    return to_sample(pixels, hole, unreadable, position)


def superres_sample(
    pixels: NDArray[np.uint8], factor: int, unreadable: Sequence[str] = (), position: ShardPosition | None = None
) -> Sample:
    """A crop whose sides are multiples of ``factor``; the network sees it shrunk, as Pillow's BICUBIC does."""
    seen, hole = superres_input(shrunk(pixels, factor), factor)
    return to_sample(pixels, hole, unreadable, position, seen)


def to_sample(
    pixels: NDArray[np.uint8],
    hole: NDArray[np.bool_],
    unreadable: Sequence[str] = (),
    position: ShardPosition | None = None,
    seen: NDArray[np.uint8] | None = None,
) -> Sample:
    """Arrays as the tensors of a sample; here a hole becomes validity."""
    hole = np.ascontiguousarray(hole)
    distance = cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, 3).astype(np.float16)
    return Sample(
        _channels_first(pixels),
        torch.from_numpy(~hole)[None],
        torch.from_numpy(distance)[None],
        tuple(unreadable),
        position,
        None if seen is None else _channels_first(seen),
    )


def _channels_first(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


class BatchSplit(NamedTuple):
    """Which part of each step's batch this process computes, and in how many micro-batches."""

    rank: int = 0
    processes: int = 1
    micro_batches: int = 1

    def micro_batch_size(self, batch_size: int) -> int:
        return batch_size // (self.processes * self.micro_batches)

    def sample_numbers(self, first: int, steps: int, batch_size: int) -> Iterator[range]:
        """The sample numbers of each micro-batch, ``first`` being that of the first step's first sample."""
        size = self.micro_batch_size(batch_size)
        for step in range(steps):
            start = first + step * batch_size + self.rank * self.micro_batches * size
            for number in range(self.micro_batches):
                yield range(start + number * size, start + (number + 1) * size)
