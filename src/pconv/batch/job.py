"""Fill whole folders of photos.

job = Job(open_folder("photos"), open_folder("masks"), open_folder("filled"))
summary = run(make_plan(job), lambda entry: print(entry.photo, entry.status))
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from threading import Event
from typing import Any

import pconv
from pconv.batch.manifest import (
    DONE,
    FAILED,
    NO_MASK,
    REFUSED,
    UNCHANGED,
    Entry,
    History,
    open_manifest,
    read_history,
    remove_leftovers,
    temporary_prefix,
)
from pconv.batch.pairing import PATTERN, matches, pair, same_outputs
from pconv.batch.storage import Folder, is_image, normalised
from pconv.batch.worker import BatchOptions, Folders, Worker, WorkItem
from pconv.errors import InputError
from pconv.inpainting.inpainter import Inpainter


@dataclass(frozen=True)
class Job:
    """The folders and options of a run.

    Attributes:
        photos, out: where the photos are and the results go.
        masks: their masks; None where ``options.holes`` says what to fill.
        one_mask: the file in ``masks`` that is the mask of every photo.
        pattern: how masks are named that are not named like their photo.
        options: how to fill and store.
        shard: (2, 8) is the second of eight runs that share the photos.
        force: results may replace photos and masks.
    """

    photos: Folder
    masks: Folder | None
    out: Folder
    one_mask: str | None = None
    pattern: str = PATTERN
    options: BatchOptions = field(default_factory=BatchOptions)
    shard: tuple[int, int] = (1, 1)
    force: bool = False

    @property
    def shard_name(self) -> str:
        number, of = self.shard
        return "" if of == 1 else f"{number}of{of}"


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Attributes:
        job: the run.
        items: photos to fill, those of an earlier run with its entry.
        skipped: how many photos are done and unchanged.
        refused: photos whose mask or result's name is ambiguous, each with the sentence that says so.
        without_mask: photos without a mask.
        unused_masks: masks without a photo.
        problems: folders and links that could not be followed, a sentence each.
        others: how many files are not images.
        recipe: what the results depend on beside the files.
        history: what earlier runs did.
    """

    job: Job
    items: list[WorkItem]
    skipped: int
    refused: dict[str, str]
    without_mask: list[str]
    unused_masks: list[str]
    problems: list[str]
    others: int
    recipe: dict[str, Any]
    history: History

    @property
    def total(self) -> int:
        return len(self.items) + self.skipped + len(self.refused)

    def worker(self, inpainter: Inpainter | None = None) -> Worker:
        """A worker for the items, with a network opened for it if ``inpainter`` is None.

        Raises:
            InputError: no such device, backend or precision here.
            ModelError: not a model.
        """
        job = self.job
        folders, prefix = Folders(job.photos, job.masks, job.out), temporary_prefix(job.shard_name)
        return Worker(folders, job.options, _hash_of_recipe(self.recipe), prefix, inpainter)


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        done, skipped, failed, no_mask, unused_masks: counts; ``skipped`` were done before and are unchanged,
            ``failed`` includes refused photos and folders that could not be read.
        left: photos that were not begun, because the run was stopped.
        seconds: duration of the run.
    """

    done: int
    skipped: int
    failed: int
    no_mask: int
    unused_masks: int
    left: int
    seconds: float


def make_plan(job: Job) -> Plan:
    """List the folders, pair photos with masks, and see what is done.

    Raises:
        InputError: no photos, or results would replace photos or masks.
        ModelError: no such model.
    """
    problems: list[str] = []
    recipe = job.options.recipe()
    history = read_history(job.out)
    photos, masks, others = _list_images(job, history, problems.append)
    if not photos:
        there = f"it holds {others} files of other kinds" if others else "it is empty, or not there"
        raise InputError(f"no photos in {job.photos.place}: {problems[0] if problems else there}")
    refused: dict[str, str] = {}
    without_mask: list[str] = []
    unused_masks: list[str] = []
    mask_of: dict[str, str | None] = dict.fromkeys(photos, job.one_mask)
    if job.masks and job.one_mask is None:
        found = pair(photos, masks, job.pattern, only_pattern=_same(job.photos, job.masks))
        mask_of = dict(found.masks)
        refused, without_mask, unused_masks = found.ambiguous, found.without_mask, found.unused
        if not mask_of and not refused:
            raise InputError(_nothing_paired(job.masks.place, job.pattern, list(photos), list(masks)))
    outs = {photo: _with_suffix(photo, job.options.suffix) for photo in mask_of}
    refused |= same_outputs(outs)
    outs = {photo: out for photo, out in outs.items() if photo not in refused}
    if not job.force:
        _refuse_overwriting(job, outs.values(), photos, masks, first=not history.found)
    items = []
    for photo, out in outs.items():
        if in_shard(photo, job.shard):
            mask = mask_of[photo]
            stamps = {"photo": photos[photo], **({} if mask is None else {"mask": masks[mask]})}
            items.append(WorkItem(photo, mask, out, stamps, history.entries.get(photo)))
    to_do = list(_not_done(job.out, items, _hash_of_recipe(recipe)))
    return Plan(
        job=job,
        items=to_do,
        skipped=len(items) - len(to_do),
        refused={photo: why for photo, why in refused.items() if in_shard(photo, job.shard)},
        without_mask=[photo for photo in without_mask if in_shard(photo, job.shard)],
        unused_masks=unused_masks if job.shard[0] == 1 else [],
        problems=problems,
        others=others,
        recipe=recipe,
        history=history,
    )


def run(
    plan: Plan,
    report: Callable[[Entry], None],
    inpainter: Inpainter | None = None,
    workers: int | None = None,
    fail_fast: bool = False,
    stop: Event | None = None,
    engine: Callable[[Plan, Event], Iterator[Entry]] | None = None,
) -> Summary:
    """Do what ``plan`` says; each photo's entry goes to the manifest and to ``report``.

    Args:
        plan: what to do.
        report: called with each entry.
        inpainter: the network; opened as the job's options say if None.
        workers: photos at a time; ``default_workers`` if None.
        fail_fast: stop at the first failure.
        stop: when it is set, no further photo is begun.
        engine: yields the items' entries instead of the threads of this process.

    Raises:
        InputError: another run is writing there.
        ImageFileError: the folder of the results is full or read-only.
        OSError: the manifest cannot be written.
    """
    start = time.monotonic()
    stop, job = stop or Event(), plan.job
    entries: Iterator[Entry] = iter(())
    if engine:
        entries = engine(plan, stop)
    elif plan.items:
        entries = plan.worker(inpainter).run(plan.items, workers or default_workers(), stop, fail_fast)
    counts: Counter[str] = Counter()
    about = {
        "version": pconv.__version__,
        "photos": job.photos.place,
        "masks": job.masks.place if job.masks else None,
        "settings": plan.recipe,
        "time": round(time.time()),
    }
    with closing(open_manifest(job.out, job.shard_name, about)) as manifest:
        remove_leftovers(job.out, _subfolders(plan), job.shard_name)
        for entry in _without_work(plan):
            counts[entry.status] += 1
            earlier = plan.history.entries.get(entry.photo)
            if earlier is None or (earlier.status, earlier.error) != (entry.status, entry.error):
                manifest.add(entry.line())
            report(entry)
        if fail_fast and counts[REFUSED]:
            stop.set()
        for entry in entries:
            counts[entry.status] += 1
            manifest.add(entry.line())
            report(entry)
            if fail_fast and entry.status == FAILED:
                stop.set()
        if engine:  # its processes may have been killed, and others gone on
            remove_leftovers(job.out, _subfolders(plan), job.shard_name)
    return Summary(
        done=counts[DONE],
        skipped=plan.skipped + counts[UNCHANGED],
        failed=counts[FAILED] + counts[REFUSED] + len(plan.problems),
        no_mask=counts[NO_MASK],
        unused_masks=len(plan.unused_masks),
        left=len(plan.items) - counts[DONE] - counts[UNCHANGED] - counts[FAILED],
        seconds=round(time.monotonic() - start, 3),
    )


def default_workers() -> int:
    """One more than the cores that this process may use, 8 at most: a photo is read while others are filled."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores + 1, 8)


def in_shard(photo: str, shard: tuple[int, int]) -> bool:
    """Whether ``photo`` belongs to the shard: by its name alone, so that every machine divides the photos alike."""
    number, of = shard
    hashed = hashlib.sha256(normalised(photo).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(hashed[:8]) % of == number - 1


def _list_images(
    job: Job, history: History, problem: Callable[[str], None]
) -> tuple[dict[str, str], dict[str, str], int]:
    """Photos and masks with their stamps, and how many other files there are.

    If one folder lies in another, its files do not count for the outer one, and results of earlier runs are neither
    photos nor masks.
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
    images = {name: stamp for name, stamp in photos.items() if is_image(name)}
    return images, masks, len(photos) - len(images)


def _without(files: dict[str, str], folder: Folder, others: list[Folder], history: History) -> dict[str, str]:
    """``files`` of ``folder`` without those that belong to ``others``, further folders of the job."""
    inner = tuple(prefix for other in others if (prefix := _inside(other, folder)))
    results = history.renamed_results() if any(_same(other, folder) for other in others) else set()
    return {name: stamp for name, stamp in files.items() if not name.startswith(inner) and name not in results}


def _same(one: Folder, other: Folder) -> bool:
    return one.absolute == other.absolute


def _inside(folder: Folder, outer: Folder) -> str | None:
    """``folder`` relative to ``outer``, with "/" at the end; None where it does not lie in it."""
    inner, outside = folder.absolute, outer.absolute.rstrip(os.sep)
    if not inner.startswith((outside + "/", outside + os.sep)):
        return None
    return inner[len(outside) + 1 :].replace(os.sep, "/") + "/"


def _refuse_overwriting(
    job: Job, outs: Iterable[str], photos: Iterable[str], masks: Iterable[str], first: bool
) -> None:
    """Refuse results in the folder of the photos or masks, on an input, or among images of another origin."""
    for folder, what in ((job.photos, "photos"), (job.masks, "masks")):
        if folder and _same(job.out, folder) and (what == "photos" or job.one_mask is None):
            raise InputError(f"{job.out.place} is the folder of the {what}: write elsewhere, or add --force")
    inputs = {f"{job.photos.absolute}/{name}" for name in photos}
    inputs |= {f"{job.masks.absolute}/{name}" for name in masks} if job.masks else set()
    root = job.out.absolute
    for out in outs:
        if f"{root}/{out}" in inputs:
            raise InputError(f"{root}/{out} would overwrite an input: write elsewhere, or add --force")
    if first and _inside(job.out, job.photos) is not None:
        present = [name for name in job.out.files() if is_image(name)]
        if present:
            raise InputError(
                f"{job.out.place} lies in the folder of the photos and holds {len(present)} images, such as "
                f"{present[0]}, that could be overwritten: write elsewhere, or add --force"
            )


def _not_done(out: Folder, items: list[WorkItem], settings_hash: str) -> Iterator[WorkItem]:
    """The items that are not done, and those of which a file seems to have changed, with the earlier entry."""
    present = out.stamps(item.out for item in items if item.earlier)
    for item in items:
        earlier = item.earlier
        if (
            earlier is None
            or not earlier.has_result
            or item.out not in present
            or (earlier.mask, earlier.out, earlier.hashes.get("settings")) != (item.mask, item.out, settings_hash)
        ):
            yield item._replace(earlier=None)
            continue
        stamps = {**item.stamps, "out": present[item.out]}
        if earlier.photo == earlier.out and stamps["photo"] == earlier.stamps.get("out"):
            stamps["photo"] = earlier.stamps.get("photo", "")  # it was filled in its own place
        if earlier.stamps != stamps:
            yield item


def _without_work(plan: Plan) -> Iterator[Entry]:
    """The entries of photos that cannot be filled, which is known before the run."""
    now = round(time.time(), 3)
    for photo, why in plan.refused.items():
        yield Entry(photo, None, "", REFUSED, error=why, time=now)
    for photo in plan.without_mask:
        yield Entry(photo, None, "", NO_MASK, error="no mask was found for it", time=now)


def _subfolders(plan: Plan) -> set[str]:
    """Where results were or will be written, so that a killed run may have left temporary files."""
    outs = {item.out for item in plan.items} | {entry.out for entry in plan.history.entries.values() if entry.out}
    return {posixpath.dirname(out) for out in outs} | {""}


def _with_suffix(photo: str, suffix: str | None) -> str:
    return photo if suffix is None else str(PurePosixPath(photo).with_suffix(suffix))


def _hash_of_recipe(recipe: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _nothing_paired(place: str, pattern: str, photos: list[str], masks: list[str]) -> str:
    if not masks:
        return f"no masks in {place}: give a folder of them, one mask file, or --hole"
    return (
        f"no photo has a mask: photos are named like {photos[0]}, masks in {place} like {masks[0]}; "
        f"--mask-pattern says how they belong together (it is {pattern})"
    )
