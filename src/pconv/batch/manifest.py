"""What became of each photo of a folder run: JSON lines beside the results, by which a killed run goes on.

The first line of each run says what it was; then comes one line for each photo as it ends. A line that a killed
process left half written is no line, and the photo is done again.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from pconv.batch.storage import Folder, LocalFolder, UrlFolder
from pconv.errors import InputError

DONE, UNCHANGED, FAILED, REFUSED, NO_MASK = "done", "unchanged", "failed", "refused", "no mask"
"""A result was made, or is there from before; the photo could not be filled; its mask or its result's name is
ambiguous; it has no mask."""

_NAME = "pconv-manifest"
_FILES = re.compile(rf"{_NAME}(?:\.[A-Za-z0-9-]+)*\.jsonl")
_PATIENCE = 3.0
"""Seconds to wait for a lock: a run that tidies up holds those of others for a moment."""

_PART_ENTRIES, _PART_SECONDS = 1000, 15.0
"""When a part of a manifest is written to a store that cannot append."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One photo's end.

    Attributes:
        photo, mask, out: names relative to the folders of photos, masks and results.
        status: one of the above.
        error: why not, in a sentence; "" where it is done.
        notes: what else is to be known.
        seconds: of reading, filling and writing it.
        width, height: px.
        hole_ratio: part of the photo that is hole.
        hashes: SHA-256 of the files photo, mask and out, and of the settings.
        stamps: sizes and times of those files, to see without reading them that they are unchanged.
        worker: machine and process.
        time: when it ended, seconds since 1970.
    """

    photo: str
    mask: str | None
    out: str
    status: str
    error: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    hole_ratio: float = 0.0
    hashes: dict[str, str] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict)
    worker: str = ""
    time: float = 0.0

    @property
    def there(self) -> bool:
        """Whether there is a result."""
        return self.status in (DONE, UNCHANGED)

    @property
    def sentence(self) -> str:
        """What is wrong, with the photo's name in it."""
        return self.error if self.error.startswith(self.photo) else f"{self.photo}: {self.error}"

    def line(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str | bytes) -> Entry | None:
        """The entry in ``line``; None for a line of another kind, ValueError for half a line."""
        content = json.loads(line)
        if not isinstance(content, dict):
            raise ValueError("no entry")
        if "photo" not in content:
            return None
        known = {each.name for each in fields(cls)}
        try:
            values = {key: value for key, value in content.items() if key in known}
            entry = cls(**{**values, "notes": tuple(values.get("notes", ()))})
        except TypeError as error:
            raise ValueError("no entry") from error
        return entry


@dataclass
class History:
    """What the manifests of a folder tell.

    Attributes:
        entries: the last entry of each photo, by its name.
        broken: lines that could not be read.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    broken: int = 0
    found: bool = False

    def outs(self) -> set[str]:
        """Results of ours under another name than their photo's."""
        return {entry.out for entry in self.entries.values() if entry.there and entry.out != entry.photo}


def read_history(folder: Folder) -> History:
    """Read every manifest in ``folder``: those of other shards and engines too."""
    history = History()
    for name in manifest_names(folder):
        history.found = True
        for line in folder.read(name).split(b"\n"):
            if not line.strip():
                continue
            try:
                entry = Entry.parse(line)
            except ValueError:
                history.broken += 1
                continue
            if entry and (entry.photo not in history.entries or entry.time >= history.entries[entry.photo].time):
                history.entries[entry.photo] = entry
    return history


def manifest_names(folder: Folder) -> list[str]:
    if isinstance(folder, LocalFolder):
        try:
            names = [entry.name for entry in os.scandir(folder.path)]
        except FileNotFoundError:
            return []
    else:
        names = list(folder.files())
    return sorted(name for name in names if _FILES.fullmatch(name))


class LocalManifest:
    """A file that lines are added to, each whole, by one process at a time.

    Raises:
        InputError: another process writes to it.
    """

    def __init__(self, folder: Path, label: str, about: dict[str, Any]) -> None:
        self.path = folder / f"{_NAME}{label and '.' + label}.jsonl"
        self._file = self.path.open("a+b", buffering=0)
        if not _locked_within(self._file, _PATIENCE):
            self._file.close()
            raise InputError(
                f"another run is writing to {folder} ({self.path.name} is locked): wait for it, or give each "
                f"process its part with --shard"
            )
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._write("\n")  # ends what a killed run left half written
        self._write(json.dumps({"run": about}) + "\n")

    def add(self, entry: Entry) -> None:
        self._write(entry.line() + "\n")

    def _write(self, text: str) -> None:
        content = text.encode()
        while content:
            content = content[self._file.write(content) :]

    def close(self) -> None:
        with suppress(OSError):  # some file systems cannot
            os.fsync(self._file.fileno())
        self._file.close()


class PartsManifest:
    """The same in a store that cannot append: parts, joined to one file when the run ends."""

    def __init__(self, folder: UrlFolder, label: str, about: dict[str, Any]) -> None:
        self._folder = folder
        self._name = f"{_NAME}{label and '.' + label}.{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}"
        self._lines = [json.dumps({"run": about})]
        self._parts: list[str] = []
        self._waiting: list[str] = []
        self._written = time.monotonic()

    def add(self, entry: Entry) -> None:
        self._waiting.append(entry.line())
        if len(self._waiting) >= _PART_ENTRIES or time.monotonic() - self._written > _PART_SECONDS:
            part = f"{self._name}.{len(self._parts):06d}.jsonl"
            self._folder.write(part, ("\n".join(self._waiting) + "\n").encode())
            self._parts.append(part)
            self._lines += self._waiting
            self._waiting, self._written = [], time.monotonic()

    def close(self) -> None:
        if len(self._lines) > 1 or self._waiting:
            whole = "\n".join([*self._lines, *self._waiting]) + "\n"
            self._folder.write(f"{self._name}.jsonl", whole.encode())
        for part in self._parts:
            self._folder.remove(part)


def open_manifest(folder: Folder, label: str, about: dict[str, Any]) -> LocalManifest | PartsManifest:
    """The manifest that a run adds to; ``label`` says which one of several runs beside each other it is."""
    if isinstance(folder, UrlFolder):
        return PartsManifest(folder, label, about)
    folder.path.mkdir(parents=True, exist_ok=True)
    return LocalManifest(folder.path, label, about)


def temporary_mark(label: str) -> str:
    """Begins the names of the temporary files of the run ``label``."""
    return f"pconv-{label or 'all'}-"


def remove_leftovers(folder: LocalFolder, subfolders: set[str], label: str) -> int:
    """Remove the temporary files of killed runs in ``subfolders``; returns how many.

    Those of the run ``label``, which is locked by us; and by a run of everything ("") those of shards that nobody has
    locked too.
    """
    with ExitStack() as held:
        labels = {label}
        for name in manifest_names(folder) if not label else []:
            shard = name.removeprefix(_NAME).removesuffix(".jsonl").removeprefix(".")
            if shard and _locked_within(held.enter_context((folder.path / name).open("rb")), 0):
                labels.add(shard)
        marks = tuple("." + temporary_mark(each) for each in labels)
        removed = 0
        for subfolder in subfolders:
            for path in _entries(folder.path / subfolder):
                if path.name.startswith(marks):
                    path.unlink(missing_ok=True)
                    removed += 1
    return removed


def _entries(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from folder.iterdir()


def _locked_within(file: IO[bytes], seconds: float) -> bool:
    """Whether ``file`` is ours alone from now on, till it is closed or we end."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: two runs beside each other do the same work twice
        return True
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)
        except OSError:  # a file system without locks
            return True
        else:
            return True
