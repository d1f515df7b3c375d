"""The work on the photos of a run, several at a time in the threads of one process."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import socket
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from pconv.batch.manifest import DONE, FAILED, UNCHANGED, Entry
from pconv.batch.storage import Folder
from pconv.errors import ImageFileError, ModelError, PconvError
from pconv.files import sha256_of
from pconv.images.reading import read_photo
from pconv.images.writing import check_storable, encode_photo
from pconv.inpainting.holes import check_known
from pconv.inpainting.inpainter import MAX_MEMORY, Inpainter
from pconv.inpainting.options import InpaintOptions
from pconv.inpainting.tiles import REVISION, MemoryBudget
from pconv.masks.reader import MaskFile
from pconv.masks.sources import HoleSource, hole_of, with_opaque_fills
from pconv.models import DEFAULT_MODEL, find_model

_COPIES = 2
"""A photo is in memory as it was and filled."""

_MAP_BYTES = 16
"""What a fill keeps for each pixel of the photo: the hole, and colours that do not belong to one tile alone."""

_FATAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors of writing that every further photo would have too."""


@dataclass(frozen=True)
class BatchOptions:
    """How the photos of a run are filled and stored; see ``pconv batch --help``.

    Attributes:
        inpaint: how a hole is filled.
        network: the arguments of ``pconv.Inpainter``.
        holes: sources of holes beside the mask, or instead of it.
        fit: "exact": a mask must have its photo's size; "nearest": it is resized.
        quality: 1 to 100, of lossy formats; None keeps a JPEG's own.
        suffix: of the results, such as ".png"; None keeps each photo's own.
    """

    inpaint: InpaintOptions = field(default_factory=InpaintOptions)
    network: dict[str, Any] = field(default_factory=dict)
    holes: tuple[HoleSource, ...] = ()
    fit: Literal["exact", "nearest"] = "exact"
    quality: int | None = None
    suffix: str | None = None

    @property
    def model(self) -> str | Path:
        model: str | Path = self.network.get("model", DEFAULT_MODEL)
        return model

    @property
    def max_memory(self) -> int:
        memory: int = self.network.get("max_memory", MAX_MEMORY)
        return memory

    def recipe(self) -> dict[str, Any]:
        """All that a result depends on beside its photo and mask, with the model by its content.

        The device, the backend and the memory are not part of it: a run may continue on another machine.

        Raises:
            ModelError: no such model.
        """
        return {
            "model": sha256_of(find_model(self.model)),
            "filling": REVISION,
            "precision": self.network.get("precision", "auto"),
            **asdict(self.inpaint),
            "holes": [repr(hole) for hole in self.holes],
            "fit": self.fit,
            "quality": self.quality,
            "suffix": self.suffix,
        }


class WorkItem(NamedTuple):
    """One photo to fill: file names in the three folders, the stamps of the two inputs, and an earlier run's entry."""

    photo: str
    mask: str | None
    out: str
    stamps: dict[str, str]
    earlier: Entry | None = None


class Folders(NamedTuple):
    """The three folders of a run; ``masks`` is None where no mask is a file."""

    photos: Folder
    masks: Folder | None
    out: Folder


class Worker:
    """Reads, fills and writes photos with one network.

    Args:
        folders: where the files are.
        options: how to fill and store.
        settings_hash: of the recipe, for the manifest.
        prefix: begins the names of temporary files.
        inpainter: the network; opened as ``options`` say if None.

    Pillow and the network's runtimes release Python's global lock, so threads suffice. Photos in memory take at most
    ``max_memory`` bytes together, or those of one photo if it is larger; the network's runs take as many.
    """

    def __init__(
        self,
        folders: Folders,
        options: BatchOptions,
        settings_hash: str,
        prefix: str,
        inpainter: Inpainter | None = None,
    ) -> None:
        self._folders, self._options, self._settings_hash, self._prefix = folders, options, settings_hash, prefix
        self._inpainter = inpainter or Inpainter(**options.network)
        self._memory = MemoryBudget(options.max_memory)
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def run(
        self, items: Iterable[WorkItem], threads: int, stop: Event | None = None, fail_fast: bool = False
    ) -> Iterator[Entry]:
        """The entry of each item as it ends, in any order.

        Args:
            items: the photos.
            threads: photos at a time.
            stop: when it is set, no further photo is begun; those that are begun end well.
            fail_fast: stop at the first failure.

        Raises:
            ImageFileError: the folder of the results is full or read-only.
            ModelError: the model cannot fill.
        """
        stop = stop or Event()
        fatal: list[PconvError] = []

        def attempt(item: WorkItem) -> Entry | None:
            if stop.is_set():
                return None
            try:
                return self._process(item)
            except Exception as error:  # one bad file does not end the others
                entry = self.failed(item, error)
                if isinstance(error, ModelError):
                    fatal.append(error)
                elif isinstance(error, OSError) and error.errno in _FATAL:
                    fatal.append(ImageFileError(f"{entry.error}; stopped at {item.photo}"))
                if fatal or fail_fast:
                    stop.set()
                return entry

        with ThreadPoolExecutor(threads, "pconv") as pool:
            running: set[Future[Entry | None]] = set()
            try:
                for item in items:
                    if stop.is_set():
                        break
                    running.add(pool.submit(attempt, item))
                    if len(running) > threads:
                        ended, running = wait(running, return_when=FIRST_COMPLETED)
                        yield from filter(None, (future.result() for future in ended))
                yield from filter(None, (future.result() for future in as_completed(running)))
            finally:
                stop.set()  # the caller may have stopped to iterate
        if fatal:
            raise fatal[0]

    def failed(self, item: WorkItem, error: Exception) -> Entry:
        return self._entry(item, FAILED, error=error_sentence(error), stamps=item.stamps)

    def _process(self, item: WorkItem) -> Entry:
        start = time.perf_counter()
        folders, options, suffix = self._folders, self._options, PurePosixPath(item.out).suffix
        photo_file = folders.photos.read(item.photo)
        mask_file = None if item.mask is None or folders.masks is None else folders.masks.read(item.mask)
        hashes = {"photo": hash_of(photo_file), "settings": self._settings_hash}
        if mask_file is not None:
            hashes["mask"] = hash_of(mask_file)
        if unchanged := self._unchanged(item, hashes):
            return unchanged
        with self._memory.reserved(_bytes_of_photo(photo_file)):
            photo = read_photo(photo_file, item.photo)
            notes = [*photo.notes, *check_storable(photo, suffix, options.quality)]
            sources = list(options.holes)
            if mask_file is not None:
                sources.append(MaskFile(mask_file, options.fit, item.mask or "", options.inpaint.label))
            hole = hole_of(photo, sources, options.inpaint.invert, options.inpaint.grow, notes)
            content = None
            if hole.any():
                check_known(hole)
                notes += self._inpainter.notes(options.inpaint)
                photo = self._inpainter.fill_photo(with_opaque_fills(photo, sources), hole, options.inpaint)
            else:
                notes.append("nothing is marked as hole, so this is the photo as it was")
                if suffix.lower() == PurePosixPath(item.photo).suffix.lower():
                    content = photo_file
            if content is None:
                content = encode_photo(photo, suffix, options.quality)
            stamp = folders.out.write(item.out, content, self._prefix)
        return self._entry(
            item,
            DONE,
            notes=tuple(notes),
            seconds=round(time.perf_counter() - start, 4),
            width=photo.width,
            height=photo.height,
            hole_ratio=round(np.count_nonzero(hole) / hole.size, 6),
            hashes={**hashes, "out": hash_of(content)},
            stamps={**item.stamps, "out": stamp},
        )

    def _unchanged(self, item: WorkItem, hashes: dict[str, str]) -> Entry | None:
        """The earlier entry with today's stamps, if no content has changed, only times."""
        if item.earlier is None or not same_inputs(item.earlier, hashes):
            return None
        stamp = self._folders.out.stamps([item.out]).get(item.out)
        if stamp is None or hash_of(self._folders.out.read(item.out)) != item.earlier.hashes["out"]:
            return None
        now = self._entry(item, UNCHANGED, stamps={**item.stamps, "out": stamp})
        return replace(
            item.earlier, status=UNCHANGED, seconds=0.0, stamps=now.stamps, worker=now.worker, time=now.time
        )

    def _entry(self, item: WorkItem, status: str, **values: Any) -> Entry:
        return Entry(item.photo, item.mask, item.out, status, **values, worker=self._name, time=round(time.time(), 3))


def same_inputs(earlier: Entry, hashes: dict[str, str]) -> bool:
    """Whether ``earlier`` was made of files and settings of these hashes, or made this very file."""
    if not earlier.has_result or earlier.hashes.get("settings") != hashes["settings"]:
        return False
    in_place = earlier.photo == earlier.out and hashes["photo"] == earlier.hashes["out"]
    return earlier.hashes.get("mask") == hashes.get("mask") and (
        in_place or earlier.hashes["photo"] == hashes["photo"]
    )


def hash_of(content: bytes) -> str:
    """The SHA-256 of ``content``, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _bytes_of_photo(content: bytes) -> int:
    """About what a photo takes in memory, from the first bytes of its file; 0 where they do not say it."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            decoded = max(len(image.getbands()), 3) * (2 if "16" in image.mode else 1)
            return image.width * image.height * (_COPIES * decoded + _MAP_BYTES)
    except Exception:  # what is wrong with it is reported when it is read
        return 0


def error_sentence(error: Exception) -> str:
    """``error`` in one sentence for the manifest."""
    if isinstance(error, PconvError):
        return str(error)
    if isinstance(error, MemoryError):
        return "this machine has not enough memory for it"
    if isinstance(error, OSError):
        return f"cannot write the result: {error.strerror or error}"
    return f"unexpected {type(error).__name__}: {error}"
