"""What there is to do in a folder of photos, and what is done already."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pconv.batch.manifest import Entry, History, read_history, temporary_mark
from pconv.batch.pairing import PATTERN, matches, pair, same_outputs
from pconv.batch.storage import Folder, LocalFolder, composed, is_image
from pconv.batch.work import Places, Settings, Task, digest
from pconv.errors import InputError


@dataclass(frozen=True)
class Job:
    """Folders and settings of a run.

    Attributes:
        photos, out: where the photos are and the results go.
        masks: their masks; None where ``settings.holes`` says what to fill.
        one_mask: the file in ``masks`` that is the mask of every photo.
        pattern: how masks are named that are not named like their photo.
        settings: how to fill.
        shard: (2, 8) is the second of eight runs that share the photos.
        force: results may replace photos and masks.
    """

    photos: Folder
    masks: Folder | None
    out: Folder
    one_mask: str | None = None
    pattern: str = PATTERN
    settings: Settings = field(default_factory=Settings)
    shard: tuple[int, int] = (1, 1)
    force: bool = False

    @property
    def label(self) -> str:
        number, of = self.shard
        return "" if of == 1 else f"{number}of{of}"

    def places(self) -> Places:
        """For the steps: temporary files carry the run's name."""
        out = self.out
        if isinstance(out, LocalFolder):
            out = LocalFolder(out.path, temporary_mark(self.label))
        return Places(self.photos, self.masks, out)


@dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes:
        tasks: photos to fill, those of an earlier run with its entry.
        skipped: how many are done and unchanged.
        refused: photos and the sentence why they cannot be told from others.
        alone: photos without a mask.
        unused: masks without a photo.
        problems: folders and links that could not be followed, a sentence each.
        others: files that are no pictures.
        about: what the results depend on.
        broken: lines of manifests that could not be read.
    """

    tasks: list[Task]
    skipped: int
    refused: dict[str, str]
    alone: list[str]
    unused: list[str]
    problems: list[str]
    others: int
    about: dict[str, Any]
    history: History

    @property
    def total(self) -> int:
        return len(self.tasks) + self.skipped + len(self.refused)


def make_plan(job: Job) -> Plan:
    """List the folders, pair photos with masks, and see what is done.

    Raises:
        InputError: no photos, or results would replace photos or masks.
        ModelError: no such model.
    """
    problems: list[str] = []
    about = job.settings.about()
    history = read_history(job.out)
    photos, masks, others = _listed(job, history, problems.append)
    if not photos:
        raise InputError(f"no photos in {job.photos.place}: {_what_is_there(job, others, problems)}")
    refused: dict[str, str] = {}
    alone: list[str] = []
    unused: list[str] = []
    mask_of: dict[str, str | None] = dict.fromkeys(photos, job.one_mask)
    if job.masks and job.one_mask is None:
        found = pair(photos, masks, job.pattern, only_pattern=_same(job.photos, job.masks))
        mask_of = dict(found.masks)
        refused, alone, unused = found.ambiguous, found.alone, found.unused
        if not mask_of and not refused:
            raise InputError(_nothing_paired(job, photos, masks))
    outs = {photo: str(PurePosixPath(photo).with_suffix(job.settings.suffix or _suffix(photo))) for photo in mask_of}
    refused |= same_outputs(outs)
    outs = {photo: out for photo, out in outs.items() if photo not in refused}
    if not job.force:
        _refuse_overwriting(job, outs, photos, masks, first=not history.found)
    ours = [photo for photo in outs if in_shard(photo, job.shard)]
    tasks = [Task(p, mask_of[p], outs[p], _stamps(p, mask_of[p], photos, masks)) for p in ours]
    to_do = list(_pending(job, tasks, history, digest(about)))
    return Plan(
        tasks=to_do,
        skipped=len(tasks) - len(to_do),
        refused={photo: why for photo, why in refused.items() if in_shard(photo, job.shard)},
        alone=[photo for photo in alone if in_shard(photo, job.shard)],
        unused=unused if job.shard[0] == 1 else [],
        problems=problems,
        others=others,
        about=about,
        history=history,
    )


def in_shard(photo: str, shard: tuple[int, int]) -> bool:
    """Whether ``photo`` is one of the run's: by its name alone, so that every machine divides alike."""
    number, of = shard
    hashed = hashlib.sha256(composed(photo).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(hashed[:8]) % of == number - 1


def _listed(job: Job, history: History, problem: Callable[[str], None]) -> tuple[dict[str, str], dict[str, str], int]:
    """Photos and masks with their stamps, and how many other files there are.

    Folders that lie in each other do not see each other's files, and what earlier runs made is neither photo nor mask.
    """
    photos = _without(job.photos.files(problem), job.photos, [job.out], history)
    masks: dict[str, str] = {}
    if job.masks and job.one_mask is not None:
        masks = job.masks.stamps([job.one_mask])
        if not masks:
            raise InputError(f"the mask {job.masks.place}/{job.one_mask} does not exist")
        above = "" if _same(job.masks, job.photos) else _inside(job.masks, job.photos)
        if above is not None:
            photos.pop(above + job.one_mask, None)
    elif job.masks and _same(job.masks, job.photos):
        masks = {n: s for n, s in photos.items() if is_image(n) and matches(n, job.pattern)}
        photos = {n: s for n, s in photos.items() if n not in masks}
    elif job.masks:
        photos = _without(photos, job.photos, [job.masks], history)
        files = _without(job.masks.files(problem), job.masks, [job.photos, job.out], history)
        masks = {name: stamp for name, stamp in files.items() if is_image(name)}
    pictures = {name: stamp for name, stamp in photos.items() if is_image(name)}
    return pictures, masks, len(photos) - len(pictures)


def _without(files: dict[str, str], folder: Folder, others: list[Folder], history: History) -> dict[str, str]:
    """``files`` of ``folder`` without those that belong to ``others``, the job's folders."""
    inner = tuple(prefix for other in others if (prefix := _inside(other, folder)))
    results = history.outs() if any(_same(other, folder) for other in others) else set()
    return {name: stamp for name, stamp in files.items() if not name.startswith(inner) and name not in results}


def _absolute(folder: Folder) -> str:
    return os.path.realpath(folder.path) if isinstance(folder, LocalFolder) else folder.place


def _same(one: Folder, other: Folder) -> bool:
    return _absolute(one) == _absolute(other)


def _inside(folder: Folder, outer: Folder) -> str | None:
    """``folder`` relative to ``outer`` that it lies in, with "/" at the end; None where it does not."""
    inner, outside = _absolute(folder), _absolute(outer).rstrip(os.sep)
    if not inner.startswith((outside + "/", outside + os.sep)):
        return None
    return inner[len(outside) + 1 :].replace(os.sep, "/") + "/"


def _refuse_overwriting(
    job: Job, outs: dict[str, str], photos: Iterable[str], masks: Iterable[str], first: bool
) -> None:
    """Results in the folder of the photos or masks, on an input, or among pictures that are not ours."""
    for folder, what in ((job.photos, "photos"), (job.masks, "masks")):
        if folder and _same(job.out, folder) and (what == "photos" or job.one_mask is None):
            raise InputError(f"{job.out.place} is the folder of the {what}: write elsewhere, or add --force")
    inputs = {f"{_absolute(job.photos)}/{name}" for name in photos}
    inputs |= {f"{_absolute(job.masks)}/{name}" for name in masks} if job.masks else set()
    root = _absolute(job.out)
    for out in outs.values():
        if f"{root}/{out}" in inputs:
            raise InputError(f"{root}/{out} would overwrite an input: write elsewhere, or add --force")
    if first and _inside(job.out, job.photos) is not None:
        held = [name for name in job.out.files() if is_image(name)]
        if held:
            raise InputError(
                f"{job.out.place} lies in the folder of the photos and holds {len(held)} pictures, such as {held[0]}, "
                f"that could be overwritten: write elsewhere, or add --force"
            )


def _pending(job: Job, tasks: Iterable[Task], history: History, settings_hash: str) -> Iterator[Task]:
    """The tasks that are not done, or of which something seems to have changed since."""
    tasks = list(tasks)
    before = {task.photo: entry for task in tasks if (entry := history.entries.get(task.photo))}
    there = job.out.stamps(task.out for task in tasks if task.photo in before)
    for task in tasks:
        entry = before.get(task.photo)
        known = entry is not None and entry.there and task.out in there
        if entry is None or not known or _recipe(entry) != (task.mask, task.out, settings_hash):
            yield task
        elif _stamps_differ(entry, {**task.stamps, "out": there[task.out]}):
            yield task._replace(before=entry)


def _recipe(entry: Entry) -> tuple[str | None, str, str | None]:
    return entry.mask, entry.out, entry.hashes.get("settings")


def _stamps_differ(entry: Entry, stamps: dict[str, str]) -> bool:
    if entry.photo == entry.out and stamps["photo"] == entry.stamps.get("out"):
        stamps = {**stamps, "photo": entry.stamps.get("photo", "")}  # filled in its own place
    return entry.stamps != stamps


def _stamps(photo: str, mask: str | None, photos: dict[str, str], masks: dict[str, str]) -> dict[str, str]:
    return {"photo": photos[photo], **({} if mask is None else {"mask": masks[mask]})}


def _suffix(photo: str) -> str:
    return PurePosixPath(photo).suffix


def _what_is_there(job: Job, others: int, problems: list[str]) -> str:
    if problems:
        return problems[0]
    if not isinstance(job.photos, LocalFolder):
        return "it is empty, or not there"  # stores do not tell these apart
    return f"it holds {others} files of other kinds" if others else "it is empty"


def _nothing_paired(job: Job, photos: Iterable[str], masks: Iterable[str]) -> str:
    masks = list(masks)
    where = job.masks.place if job.masks else ""
    if not masks:
        return f"no masks in {where}: give a folder of them, one mask file, or --hole"
    return (
        f"no photo has a mask: photos are named like {next(iter(photos))}, masks in {where} like {masks[0]}; "
        f"--mask-pattern says how they belong together (it is {job.pattern})"
    )
