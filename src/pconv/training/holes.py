"""Synthetic holes to train on: the mixture of kinds that the bundled model has seen, and rectangles for comparison."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from functools import lru_cache
from multiprocessing.reduction import DupFd
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import TrainingError
from pconv.masks.shapes import blob_hole, dense_thin_hole, thin_strokes_hole
from pconv.masks.strokes import irregular_hole

Hole = NDArray[np.bool_]

SIDE = 512
"""Sides of prepared holes, px; larger crops have them larger."""

LEAST = 0.004
"""The lowest hole ratio of a crop."""

SPREAD = 0.05
"""An irregular hole's ratio lies in a range so wide, which is drawn from the whole: small holes are not left out."""

TRIES = 20


class _Kind(NamedTuple):
    number: int
    prepared: int
    """How many holes are prepared, each when it is first needed: it serves many crops, at many places and sizes."""
    most: float
    """The highest hole ratio of a crop."""


_MIXED, _DENSE = _Kind(0, prepared=3000, most=0.65), _Kind(1, prepared=1000, most=0.9)


class MixedHoles:
    """Holes of several kinds: dense thin lines; else 55 % irregular, 30 % blobs, 15 % few thin strokes.

    A hole is a random crop of a prepared one, which is drawn once at 512 px and kept: at its own size, or shrunk to
    1 to 2 times the crop (dense thin lines always at their own size), flipped and transposed at random.

    Args:
        seed: of the prepared holes.
        dense_thin_share: which part of the crops has dense thin holes, 0 to 1.
        size: side of the square crops, px.
        ratio: limits the irregular holes' ratio before they are cropped.

    Raises:
        TrainingError: there is no place for a temporary file.
    """

    def __init__(self, seed: int, dense_thin_share: float, size: int, ratio: tuple[float, float]) -> None:
        self._dense_thin_share = dense_thin_share
        self._prepared = prepared_holes(seed, max(SIDE, size), ratio)

    def __call__(self, height: int, width: int, ratio: tuple[float, float], *, generator: np.random.Generator) -> Hole:
        """A square mask of ``height`` pixels, at most ``size``, True = hole; ``ratio`` is that of the constructor."""
        kind = _DENSE if generator.random() < self._dense_thin_share else _MIXED
        for _ in range(TRIES):
            hole = self._prepared.hole(kind, int(generator.integers(kind.prepared)))
            scale = generator.random()
            if kind is _MIXED and scale < 0.35:
                hole = _resized(hole, min(2 * height, len(hole)))
            elif kind is _MIXED and scale < 0.7:
                hole = _resized(hole, min(int(height * generator.uniform(1, 1.8)), len(hole)))
            top, left = generator.integers(0, len(hole) - height + 1, 2)
            hole = hole[top : top + height, left : left + width]
            hole = hole[:: generator.choice((1, -1)), :: generator.choice((1, -1))]
            hole = hole.T if generator.random() < 0.5 else hole
            if LEAST <= hole.mean() <= kind.most:
                return hole
        return irregular_hole(height, width, ratio, generator=generator)


class PreparedHoles:
    """Square holes, each drawn when it is first needed, once for all processes that have this object.

    Hole number n of a kind is a function of the seed and n. The holes lie as bits in a temporary file without a name,
    which the loader workers inherit: /dev/shm may be too small, and a full disk is an error here, not a dead process.

    Args:
        seed: of the holes.
        side: of each hole, px.
        ratio: lowest and highest ratio of the irregular ones.

    Raises:
        TrainingError: there is no place for a temporary file.
    """

    def __init__(self, seed: int, side: int, ratio: tuple[float, float]) -> None:
        self._seed, self._side, self._ratio = seed, side, ratio
        try:
            self._file: BinaryIO = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        except OSError as error:
            raise TrainingError(
                f"cannot make a temporary file for the holes: {error.strerror}; set TMPDIR to a folder with room"
            ) from error

    def hole(self, kind: _Kind, number: int) -> Hole:
        """Hole ``number`` of ``kind``: ``(side, side)`` bool, True = hole."""
        file, size = self._file.fileno(), -(-(self._side**2) // 8)
        start = (2 * number + kind.number) * (size + 1)  # there are two kinds, in turn
        # The mark in front of a hole is written after it. Two workers may draw the same hole, and write the same.
        if os.pread(file, 1, start) == b"\1":
            packed = os.pread(file, size, start + 1)
        else:
            packed = np.packbits(_draw(kind, self._side, self._ratio, self._generator(kind, number))).tobytes()
            with suppress(OSError):  # a full disk: the hole is drawn again when it is needed again
                if os.pwrite(file, packed, start + 1) == size:
                    os.pwrite(file, b"\1", start)
        bits = np.frombuffer(packed, np.uint8)
        return np.unpackbits(bits, count=self._side**2).view(np.bool_).reshape(self._side, self._side)

    def _generator(self, kind: _Kind, number: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, 5, kind.number, number])

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes that are not forked."""
        return {**vars(self), "_file": DupFd(self._file.fileno())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _file=os.fdopen(state["_file"].detach(), "r+b", buffering=0))


@lru_cache(maxsize=2)
def prepared_holes(seed: int, side: int, ratio: tuple[float, float]) -> PreparedHoles:
    """The same object for all stages that need the same holes."""
    return PreparedHoles(seed, side, ratio)


def _draw(kind: _Kind, side: int, ratio: tuple[float, float], generator: np.random.Generator) -> Hole:
    if kind is _DENSE:
        return dense_thin_hole(side, side, generator=generator)
    which = generator.random()
    if which < 0.55:
        low, high = ratio
        least = generator.uniform(low, max(high - SPREAD, low))
        return irregular_hole(side, side, (least, min(least + SPREAD, high)), generator=generator)
    if which < 0.85:
        return blob_hole(side, side, generator=generator)
    return thin_strokes_hole(side, side, generator=generator)


def _resized(hole: Hole, side: int) -> Hole:
    """Nearest-neighbour resizing of a square mask."""
    image = Image.fromarray(hole.view(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    return np.array(image).view(np.bool_)


def rectangle_hole(height: int, width: int, ratio: tuple[float, float], *, generator: np.random.Generator) -> Hole:
    """One rectangle at a random place, such as other methods are trained with.

    Args:
        height, width: size in pixels.
        ratio: lowest and highest wanted hole ratio, 0 < low <= high < 1; rounding to pixels may leave it a little.
        generator: source of randomness.

    Returns:
        ``(height, width)`` bool, True = hole.
    """
    area = generator.uniform(*ratio) * height * width
    stretch = np.exp(generator.uniform(np.log(0.5), np.log(2)))
    tall = int(np.clip(round(np.sqrt(area * stretch)), max(np.ceil(area / width), 1), height))
    wide = int(np.clip(round(area / tall), 1, width))
    top, left = generator.integers(height - tall + 1), generator.integers(width - wide + 1)
    hole = np.zeros((height, width), dtype=bool)
    hole[top : top + tall, left : left + wide] = True
    return hole
