"""The manifest: JSON lines beside the results that say what a run did with each photo.

The first line of each run holds its settings; then comes one line for each photo as it ends, in any order. If a killed
process left half a line, that photo is done again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pconv.batch.storage import Folder, LineFile

DONE, UNCHANGED, FAILED, REFUSED, NO_MASK = "done", "unchanged", "failed", "refused", "no mask"
"""The status of a photo: a result was made, or is there from before; the photo could not be filled; its mask or its
result's name is ambiguous; it has no mask."""

_NAME = "pconv-manifest"
_FILES = re.compile(rf"{_NAME}(?:\.[A-Za-z0-9-]+)*\.jsonl")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a run did with one photo.

    Attributes:
        photo, mask, out: names relative to the folders of photos, masks and results.
        status: one of the above.
        error: why it failed, in a sentence; "" where it is done.
        notes: further sentences for the user.
        seconds: of reading, filling and writing it.
        width, height: in pixels.
        hole_ratio: the share of the photo's pixels that are hole, 0 to 1.
        hashes: SHA-256 of the files photo, mask and out, and of the settings.
        stamps: of those files when they were read or written; see ``pconv.batch.storage.Folder``.
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
    def has_result(self) -> bool:
        """Whether there is a result, new or from before."""
        return self.status in (DONE, UNCHANGED)

    @property
    def sentence(self) -> str:
        """The error, with the photo's name in it."""
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
    """What the manifests in a folder say.

    Attributes:
        entries: the last entry of each photo, by its name.
        broken: how many lines could not be read.
        found: whether there was a manifest.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    broken: int = 0
    found: bool = False

    def renamed_results(self) -> set[str]:
        """Results that have another name than their photo."""
        return {entry.out for entry in self.entries.values() if entry.has_result and entry.out != entry.photo}


def read_history(folder: Folder) -> History:
    """Read every manifest in ``folder``, those of other shards and engines too."""
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


def open_manifest(folder: Folder, shard: str, run: dict[str, Any]) -> LineFile:
    """The manifest of the run ``shard`` ("2of8", or "" for all photos), to add lines to.

    Raises:
        InputError: another run of that shard is at work.
        OSError: it cannot be written.
    """
    return folder.append(f"{_NAME}{shard and '.' + shard}", json.dumps({"run": run}))


def manifest_names(folder: Folder) -> list[str]:
    return sorted(name for name in folder.top_files() if _FILES.fullmatch(name))


def temporary_prefix(shard: str) -> str:
    """Begins the names of the temporary files of the run ``shard``."""
    return f"pconv-{shard or 'all'}-"


def remove_leftovers(folder: Folder, subfolders: Iterable[str], shard: str) -> int:
    """Remove the temporary files of killed runs in ``subfolders``; return how many.

    These are the files of the run ``shard``, whose manifest this process has locked. A run of all photos ("") also
    removes those of shards whose manifests no process has locked.
    """
    with ExitStack() as locks:
        shards = {shard}
        for name in manifest_names(folder) if not shard else []:
            other = name.removeprefix(_NAME).removesuffix(".jsonl").removeprefix(".")
            if other and locks.enter_context(folder.lock(name)):
                shards.add(other)
        return folder.remove_temporary(subfolders, tuple(map(temporary_prefix, shards)))
