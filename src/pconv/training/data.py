"""Photos and holes to train on: sample number i is a pure function of the seed and i, so resuming needs no replay."""

from __future__ import annotations

import signal
import struct
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pconv.errors import TrainingError
from pconv.holes.strokes import irregular_hole
from pconv.training.config import Stage

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def find_photos(folder: Path) -> list[Path]:
    """All photos below ``folder``, sorted by path.

    Raises:
        TrainingError: no such folder, or no photo in it.
    """
    if not folder.is_dir():
        raise TrainingError(f"no folder of photos at {folder}; set photos=FOLDER")
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not photos:
        raise TrainingError(f"no photos ({', '.join(sorted(SUFFIXES))}) below {folder}")
    return photos


_UNREADABLE = (OSError, ValueError, SyntaxError, struct.error, TypeError, KeyError, Image.DecompressionBombError)
"""What Pillow raises on files that are not what they say, broken EXIF data included."""


class HoledPhotos(Dataset[tuple[Tensor, Tensor]]):
    """Endless crops with holes: item i is ``(picture, valid)``.

    picture: ``(3, size, size)`` uint8, the truth, hole content included. valid: ``(1, size, size)`` bool.

    Each epoch is a permutation of the photos of its own. Photos that cannot be read are replaced by the next one.
    """

    def __init__(self, photos: list[Path], stage: Stage, seed: int, cache_bytes: int) -> None:
        self.photos = photos
        self.stage = stage
        self.seed = seed
        self._cache: dict[int, NDArray[np.uint8]] = {}
        self._room = cache_bytes
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        generator = np.random.default_rng([self.seed, 1, index])
        photo = self._photo(index)
        size = self.stage.size
        crop = random_crop(photo, size, self.stage.smallest_zoom, generator)
        hole = irregular_hole(size, size, self.stage.hole_ratio, generator=generator)
        return torch.from_numpy(crop).permute(2, 0, 1).contiguous(), torch.from_numpy(~hole)[None]

    def _photo(self, index: int) -> NDArray[np.uint8]:
        epoch, place = divmod(index, len(self.photos))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.photos))
        for step in range(len(self.photos)):
            number = int(self._order[1][(place + step) % len(self.photos)])
            if number in self._cache:
                return self._cache[number]
            try:
                with Image.open(self.photos[number]) as image:
                    pixels = _rgb(ImageOps.exif_transpose(image))
            except _UNREADABLE:
                continue
            if pixels.nbytes <= self._room:
                self._cache[number] = pixels
                self._room -= pixels.nbytes
            return pixels
        raise TrainingError("none of the photos can be read as an image")


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """8-bit RGB pixels; 16-bit grey is scaled, where Pillow would clip it to white."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.array(image.convert("RGB"))


def random_crop(
    photo: NDArray[np.uint8], size: int, smallest_zoom: float, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """A square of the photo, ``(size, size, 3)``, flipped at random.

    The square is cut at the photo's own scale or shrunk by down to ``smallest_zoom`` (drawn log-uniformly); a photo
    that is too small is enlarged.
    """
    height, width = photo.shape[:2]
    largest = min(height, width, round(size / smallest_zoom))
    side = min(largest, round(size * np.exp(generator.uniform(0, np.log(max(largest / size, 1))))))
    top, left = generator.integers(height - side + 1), generator.integers(width - side + 1)
    crop = photo[top : top + side, left : left + side]
    if side != size:
        crop = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0))
    return np.array(crop[:, ::-1] if generator.random() < 0.5 else crop)


def loader(
    photos: list[Path], stage: Stage, first: int, seed: int, workers: int, cache_gb: float
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of one stage from sample number ``first`` on, ``first`` being counted from the run's start."""
    data = HoledPhotos(photos, stage, seed, int(cache_gb * 2**30 / max(workers, 1)))
    samples = range(first, first + stage.steps * stage.batch_size)
    return DataLoader(
        data,
        batch_size=stage.batch_size,
        sampler=samples,
        num_workers=workers,
        drop_last=True,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=leave_signals_to_the_loop,
    )


def leave_signals_to_the_loop(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the loop ends its workers itself, after saving."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
