"""What is done with one photo of many: read, fill, write; each step in a thread of its own (pipeline.py)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.batch.manifest import DONE, FAILED, UNCHANGED, Entry
from pconv.batch.storage import Folder
from pconv.errors import PconvError
from pconv.files import sha256_of
from pconv.images.photo import Photo
from pconv.images.reading import read_photo
from pconv.images.writing import check_storable, encode_photo
from pconv.inpainting.inpainter import MAX_MEMORY, check_known
from pconv.inpainting.options import InpaintOptions
from pconv.inpainting.tiles import REVISION
from pconv.masks.reader import MaskFile
from pconv.masks.sources import HoleSource, hole_of, with_opaque_fills
from pconv.models import DEFAULT_MODEL, find_model


@dataclass(frozen=True)
class Settings:
    """How every photo of a run is filled; see ``pconv batch --help``.

    Attributes:
        seed: 0 to 63, of the texture that networks with noise inputs give the holes.
        holes: sources of holes beside the mask, or instead of it.
        fit: "exact", or "nearest" for masks of another size than the photo.
        suffix: of the results, such as ".png"; None keeps each photo's own.
    """

    model: str | Path = DEFAULT_MODEL
    device: str = "auto"
    backend: str = "auto"
    precision: str = "auto"
    max_memory: int = MAX_MEMORY
    seed: int = 0
    holes: tuple[HoleSource, ...] = ()
    invert: bool = False
    grow: int = 0
    feather: int = 0
    fit: Literal["exact", "nearest"] = "exact"
    quality: int | None = None
    suffix: str | None = None

    def about(self) -> dict[str, Any]:
        """What the result depends on, with the model by its content.

        Where it is computed (device, backend, memory) is no part of it: a run may go on on another machine.

        Raises:
            InputError: the seed is no whole number from 0 to 63.
            ModelError: no such model.
        """
        return {
            "model": sha256_of(find_model(self.model)),
            "filling": REVISION,
            "precision": self.precision,
            "seed": InpaintOptions(seed=self.seed).seed,
            "holes": [repr(hole) for hole in self.holes],
            "invert": self.invert,
            "grow": self.grow,
            "feather": self.feather,
            "fit": self.fit,
            "quality": self.quality,
            "suffix": self.suffix,
        }


def digest(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


class Task(NamedTuple):
    """One photo to fill: names in the three folders, the stamps of the two inputs, and what an earlier run did."""

    photo: str
    mask: str | None
    out: str
    stamps: dict[str, str]
    before: Entry | None = None


class Places(NamedTuple):
    """The three folders; ``masks`` is None where no mask is a file."""

    photos: Folder
    masks: Folder | None
    out: Folder


@dataclass
class Piece:
    """A photo on its way through the steps."""

    task: Task
    photo: Photo
    hole: NDArray[np.bool_]
    ratio: float
    seconds: float
    notes: list[str]
    hashes: dict[str, str]
    content: bytes | None = None
    """The result's file, where it is known without a fill."""
    held: int = field(default=0)
    """Bytes that it takes of the budget for photos in memory."""


class Steps:
    """The steps, with all that they need but the network."""

    def __init__(self, places: Places, settings: Settings, settings_hash: str) -> None:
        self.places, self.settings, self.settings_hash = places, settings, settings_hash
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    def contents(self, task: Task) -> tuple[bytes, bytes | None]:
        """The files of photo and mask."""
        mask = None if task.mask is None or self.places.masks is None else self.places.masks.read(task.mask)
        return self.places.photos.read(task.photo), mask

    def unchanged(self, task: Task, hashes: dict[str, str]) -> Entry | None:
        """The earlier entry with today's stamps, if files and settings are what they were though times differ."""
        before = task.before
        if before is None or not same_inputs(before, hashes):
            return None
        stamp = self.places.out.stamps([task.out]).get(task.out)
        if stamp is None or hash_of(self.places.out.read(task.out)) != before.hashes["out"]:
            return None
        stamps = {**task.stamps, "out": stamp}
        return self._entry(task, UNCHANGED, 0.0, hashes=before.hashes, stamps=stamps, before=before)

    def load(self, task: Task, photo_file: bytes, mask_file: bytes | None, hashes: dict[str, str]) -> Piece:
        """Decode photo and mask."""
        start = time.perf_counter()
        settings = self.settings
        photo = read_photo(photo_file, task.photo)
        suffix = PurePosixPath(task.out).suffix
        notes = [*photo.notes, *check_storable(photo, suffix, settings.quality)]
        sources = list(settings.holes)
        if mask_file is not None:
            sources.append(MaskFile(mask_file, settings.fit, task.mask or ""))
        hole = hole_of(photo, sources, settings.invert, settings.grow, notes)
        ratio = float(np.count_nonzero(hole) / hole.size)
        content = None
        if not ratio:
            notes.append("nothing is marked as hole, so this is the photo as it was")
            if suffix.lower() == PurePosixPath(task.photo).suffix.lower():
                content = photo_file
        photo = with_opaque_fills(photo, sources)
        return Piece(task, photo, hole, ratio, time.perf_counter() - start, notes, hashes, content)

    def fill(self, piece: Piece, fill: Any) -> None:
        start = time.perf_counter()
        if piece.ratio:
            check_known(piece.hole)
            options = InpaintOptions(feather=self.settings.feather, seed=self.settings.seed)
            piece.notes.extend(fill.notes(options))
            piece.photo = fill.fill_photo(piece.photo, piece.hole, options)
        piece.seconds += time.perf_counter() - start

    def store(self, piece: Piece) -> Entry:
        """Encode and write the result."""
        start = time.perf_counter()
        task, content = piece.task, piece.content
        if content is None:
            content = encode_photo(piece.photo, PurePosixPath(task.out).suffix, self.settings.quality)
        stamp = self.places.out.write(task.out, content)
        seconds = piece.seconds + time.perf_counter() - start
        hashes = {**piece.hashes, "out": hash_of(content)}
        return self._entry(task, DONE, seconds, piece=piece, hashes=hashes, stamps={**task.stamps, "out": stamp})

    def failed(self, task: Task, error: Exception) -> Entry:
        return self._entry(task, FAILED, 0.0, error=told(error), stamps=task.stamps)

    def hashes(self, photo_file: bytes, mask_file: bytes | None) -> dict[str, str]:
        found = {"photo": hash_of(photo_file), "settings": self.settings_hash}
        return found if mask_file is None else {**found, "mask": hash_of(mask_file)}

    def _entry(
        self,
        task: Task,
        status: str,
        seconds: float,
        hashes: dict[str, str] | None = None,
        stamps: dict[str, str] | None = None,
        error: str = "",
        piece: Piece | None = None,
        before: Entry | None = None,
    ) -> Entry:
        height, width = piece.hole.shape if piece else (before.height, before.width) if before else (0, 0)
        return Entry(
            task.photo,
            task.mask,
            task.out,
            status,
            error=error,
            notes=tuple(piece.notes) if piece else before.notes if before else (),
            seconds=round(seconds, 4),
            width=width,
            height=height,
            hole_ratio=round(piece.ratio, 6) if piece else before.hole_ratio if before else 0.0,
            hashes=hashes or {},
            stamps=stamps or {},
            worker=self._worker,
            time=round(time.time(), 3),
        )


def same_inputs(before: Entry, hashes: dict[str, str]) -> bool:
    """Whether ``before`` was made of files and settings of these hashes, or made this very file."""
    if not before.there or before.hashes.get("settings") != hashes["settings"]:
        return False
    in_place = before.photo == before.out and hashes["photo"] == before.hashes["out"]
    return before.hashes.get("mask") == hashes.get("mask") and (in_place or before.hashes["photo"] == hashes["photo"])


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def decoded_bytes(content: bytes) -> int:
    """About what a picture takes in memory, from the first bytes of its file; 0 where they do not tell."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.width * image.height * max(len(image.getbands()), 3) * (2 if "16" in image.mode else 1)
    except Exception:  # what is wrong with it is found and told when it is read
        return 0


def told(error: Exception) -> str:
    """One sentence for the manifest."""
    if isinstance(error, PconvError):
        return str(error)
    if isinstance(error, MemoryError):
        return "this machine has not enough memory for it"
    if isinstance(error, OSError):
        return f"cannot write the result: {error.strerror or error}"
    return f"unexpected {type(error).__name__}: {error}"
