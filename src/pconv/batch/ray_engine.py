"""The same run past one machine: a Ray Data pipeline whose actors hold a network each.

Ray schedules, restarts actors that died and repeats what they had not finished; a photo that was written before is
written again, to the same bytes. The manifest is the driver's, so that it is the same as a local run's. Folders and
model must be reachable from every machine under the same name: on a shared file system, or, the folders, at a URL.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, replace
from threading import Event
from typing import Any

import ray
import ray.data
import ray.util.scheduling_strategies

from pconv.batch.job import open_inpainter
from pconv.batch.manifest import Entry
from pconv.batch.pipeline import Pipeline
from pconv.batch.plan import Job
from pconv.batch.storage import Folder, LocalFolder
from pconv.batch.work import Places, Settings, Steps, Task, digest
from pconv.errors import InputError
from pconv.models import BUNDLED, find_model

CPUS_EACH = 4
"""Cores for one network where there is no GPU: with more of them, one photo of 512 px gains little."""

PHOTOS_EACH = 16
"""Photos of one call: few enough that little is repeated when a machine dies, enough that the network seldom waits."""

TRIES = 3
"""How many workers may die at a photo before it counts as failed. Ray itself would repeat it for ever."""

_THREADS = 2


class Ledger:
    """An actor that outlives the workers and knows which photos they had begun when they died."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}

    def begun(self, photos: list[str]) -> bool:
        return any(self._begun.get(photo) for photo in photos)

    def begin(self, photos: list[str]) -> int:
        """How often the first of ``photos`` has been begun by now, and never ended."""
        for photo in photos:
            self._begun[photo] = self._begun.get(photo, 0) + 1
        return self._begun[photos[0]]

    def end(self, photos: list[str]) -> None:
        for photo in photos:
            self._begun.pop(photo, None)


class FillActor:
    """Lives in a worker of Ray's, holds a network, and runs the pipeline of a local run for some photos at a time."""

    def __init__(self, places: Places, settings: Settings, about: dict[str, Any], ledger: Any, tries: int) -> None:
        if settings.about()["model"] != about["model"]:
            raise InputError(f"{socket.gethostname()} has another model at {settings.model} than where the run began")
        self._steps, self._memory = Steps(places, settings, digest(about)), settings.max_memory
        self._fill, self._ledger, self._tries = open_inpainter(settings), ledger, tries

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        tasks = [parse_task(line) for line in batch["task"]]
        photos = [task.photo for task in tasks]
        if ray.get(self._ledger.begun.remote(photos)):
            return {"entry": [self._alone(task).line() for task in tasks]}
        ray.get(self._ledger.begin.remote(photos))
        entries = [entry.line() for entry in self._run(tasks)]
        ray.get(self._ledger.end.remote(photos))
        return {"entry": entries}

    def _alone(self, task: Task) -> Entry:
        """A worker died at this photo or one of those beside it: one by one, to see at which."""
        if ray.get(self._ledger.begin.remote([task.photo])) > self._tries:
            return self._steps.failed(task, InputError(f"{self._tries} workers died at it (out of memory?)"))
        (entry,) = self._run([task])
        ray.get(self._ledger.end.remote([task.photo]))
        return entry

    def _run(self, tasks: list[Task]) -> Iterator[Entry]:
        return Pipeline(self._steps, self._fill, _THREADS, self._memory).run(tasks)


class RayEngine:
    """An engine for ``pconv.batch.job.run``.

    Args:
        about: what the results depend on (``pconv.batch.plan.Plan.about``).
        networks: actors at a time; by default as many as the cluster has GPUs, or has room for on its cores.

    Connects to the cluster that ``RAY_ADDRESS`` names, or starts one on this machine, unless ``ray.init`` was called.
    """

    def __init__(self, about: dict[str, Any], networks: int | None = None) -> None:
        self._about, self._networks = about, networks

    def __call__(self, job: Job, tasks: list[Task], stop: Event) -> Iterator[Entry]:
        """The entry of each task, some at a time.

        Raises:
            InputError: the cluster cannot do it, or gave up.
        """
        if not tasks:
            return
        _connect()
        networks, needs = _resources(job.settings, self._networks)
        networks = min(networks, len(tasks))
        each = max(1, min(PHOTOS_EACH, len(tasks) // (4 * networks)))
        blocks = -(-len(tasks) // each)
        ledger = _ledger()  # held here: it lives as long as somebody holds it
        settings, places = _from_anywhere(job)
        filled = ray.data.from_items([{"task": line_of(t)} for t in tasks], override_num_blocks=blocks).map_batches(
            FillActor,
            fn_constructor_args=(places, settings, self._about, ledger, TRIES),
            batch_size=None,  # a block for each call
            compute=ray.data.ActorPoolStrategy(size=networks),
            **needs,
        )
        try:
            for block in filled.iter_batches(batch_size=None, batch_format="numpy"):
                yield from filter(None, map(Entry.parse, block["entry"]))
                if stop.is_set():
                    return
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            reason = str(cause).strip().splitlines()[-1]
            raise InputError(f"the Ray run broke off: {reason[:300]}; the same command goes on from here") from error


def line_of(task: Task) -> str:
    before = None if task.before is None else asdict(task.before)
    return json.dumps({**task._asdict(), "before": before})


def parse_task(line: str) -> Task:
    content = json.loads(line)
    before = content["before"]
    return Task(**{**content, "before": None if before is None else Entry(**before)})


def _connect() -> None:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine that nobody asked for
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False


def _ledger() -> Any:
    here: Any = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=True
    )
    return ray.remote(Ledger).options(num_cpus=0, scheduling_strategy=here).remote()


def _resources(settings: Settings, networks: int | None) -> tuple[int, dict[str, Any]]:
    """How many actors, and what each needs of the cluster."""
    cluster: Any = ray  # its own types end here
    total = cluster.cluster_resources()
    gpus, device = int(total.get("GPU", 0)), settings.device
    if device.startswith("cuda:"):
        raise InputError(f"Ray chooses the GPU of each network: with --engine ray say --device cuda, not {device}")
    if device == "cuda" and not gpus:
        raise InputError("no machine of the Ray cluster has a GPU; leave out --device cuda")
    if gpus and device in ("auto", "cuda") and settings.backend in ("auto", "torch"):
        return networks or gpus, {"num_gpus": 1, "num_cpus": 1}
    smallest = int(min((node["Resources"].get("CPU", 0) for node in cluster.nodes() if node["Alive"]), default=1))
    cpus = int(total.get("CPU", 1))
    each = max(1, min(CPUS_EACH, smallest, cpus // networks if networks else cpus))
    return networks or max(1, cpus // each), {"num_cpus": each}


def _from_anywhere(job: Job) -> tuple[Settings, Places]:
    """Paths that do not depend on the folder in which the command was typed."""

    def absolute(folder: Folder) -> Folder:
        return LocalFolder(folder.path.absolute(), folder.mark) if isinstance(folder, LocalFolder) else folder

    places, model = job.places(), job.settings.model
    settings = job.settings if str(model) in BUNDLED else replace(job.settings, model=find_model(model).absolute())
    masks = None if places.masks is None else absolute(places.masks)
    return settings, Places(absolute(places.photos), masks, absolute(places.out))
