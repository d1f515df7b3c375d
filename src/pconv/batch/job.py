"""Filling whole folders of photos.

job = Job(open_folder("photos"), open_folder("masks"), open_folder("filled"))
summary = run(job, make_plan(job), lambda entry: print(entry.photo, entry.status))
"""

from __future__ import annotations

import os
import posixpath
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
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
    open_manifest,
    remove_leftovers,
)
from pconv.batch.pipeline import Pipeline
from pconv.batch.plan import Job, Plan
from pconv.batch.storage import LocalFolder
from pconv.batch.work import Settings, Steps, Task, digest


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        done, skipped, failed, no_mask, unused_masks: counts; ``skipped`` were done before and are unchanged,
            ``failed`` counts refused photos and folders that could not be read too.
        left: not begun, because the run was stopped.
        seconds: of the run.
        network_busy: part of the time from the network's first start to its last end in which it computed; None where
            it did not, or elsewhere.
    """

    done: int
    skipped: int
    failed: int
    no_mask: int
    unused_masks: int
    left: int
    seconds: float
    network_busy: float | None


def run(
    job: Job,
    plan: Plan,
    tell: Callable[[Entry], None],
    fill: Any = None,
    workers: int | None = None,
    fail_fast: bool = False,
    stop: Event | None = None,
    engine: Callable[[Job, list[Task], Event], Iterator[Entry]] | None = None,
) -> Summary:
    """Do what ``plan`` says; every end of a photo goes to the manifest and to ``tell``.

    Args:
        fill: an ``pconv.inpainting.inpainter.Inpainter``; made from the settings if it is needed and not given.
        workers: threads that decode, and as many that encode; by default one for each core, 8 at most.
        stop: when it is set, nothing more is begun.
        engine: yields the tasks' entries instead of the threads here.

    Raises:
        InputError: another run is writing there.
        ImageFileError: the place of the results is full or read-only.
        OSError: the manifest cannot be written.
    """
    start = time.monotonic()
    stop = stop or Event()
    pipeline = None
    if engine is None and plan.tasks:
        steps = Steps(job.places(), job.settings, digest(plan.about))
        fill = fill or open_inpainter(job.settings)
        pipeline = Pipeline(steps, fill, workers or default_workers(), job.settings.max_memory, stop, fail_fast)
    counts: Counter[str] = Counter()
    about = {"version": pconv.__version__, "photos": job.photos.place, "masks": job.masks.place if job.masks else None}
    manifest = open_manifest(job.out, job.label, {**about, "settings": plan.about, "time": round(time.time())})
    with closing(manifest):
        if isinstance(job.out, LocalFolder):
            remove_leftovers(job.out, _subfolders(plan), job.label)
        for entry in _told_before(plan):
            counts[entry.status] += 1
            if not _same_verdict(plan.history.entries.get(entry.photo), entry):
                manifest.add(entry)
            tell(entry)
        if fail_fast and counts[REFUSED]:
            stop.set()
        entries = engine(job, plan.tasks, stop) if engine else pipeline.run(plan.tasks) if pipeline else iter(())
        for entry in entries:
            counts[entry.status] += 1
            manifest.add(entry)
            tell(entry)
            if fail_fast and entry.status == FAILED:
                stop.set()
        if engine and isinstance(job.out, LocalFolder):  # its workers may have been killed, and others gone on
            remove_leftovers(job.out, _subfolders(plan), job.label)
    return Summary(
        done=counts[DONE],
        skipped=plan.skipped + counts[UNCHANGED],
        failed=counts[FAILED] + counts[REFUSED] + len(plan.problems),
        no_mask=counts[NO_MASK],
        unused_masks=len(plan.unused),
        left=len(plan.tasks) - counts[DONE] - counts[UNCHANGED] - counts[FAILED],
        seconds=round(time.monotonic() - start, 3),
        network_busy=round(pipeline.busy, 4) if pipeline and pipeline.busy else None,
    )


def default_workers() -> int:
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)


def open_inpainter(settings: Settings) -> Any:
    from pconv.inpainting.inpainter import Inpainter

    return Inpainter(settings.model, settings.device, settings.backend, settings.precision, settings.max_memory)


def _told_before(plan: Plan) -> Iterator[Entry]:
    """What is known of photos without a try."""
    now = round(time.time(), 3)
    for photo, why in plan.refused.items():
        yield Entry(photo, None, "", REFUSED, error=why, time=now)
    for photo in plan.alone:
        yield Entry(photo, None, "", NO_MASK, error="no mask was found for it", time=now)


def _same_verdict(before: Entry | None, entry: Entry) -> bool:
    return before is not None and (before.status, before.error) == (entry.status, entry.error)


def _subfolders(plan: Plan) -> set[str]:
    """All that results were or will be written to, where a killed run may have left something."""
    outs = {task.out for task in plan.tasks} | {entry.out for entry in plan.history.entries.values() if entry.out}
    return {posixpath.dirname(out) for out in outs} | {""}
