"""The same run on a Ray cluster: a Ray Data pipeline whose actors hold a network each.

Ray schedules, restarts actors that died and repeats what they had not finished; a photo that was written before is
written again, to the same bytes. The process that started the run writes the manifest, as in a local run. Folders and
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

from pconv.batch.job import Plan
from pconv.batch.manifest import Entry, History
from pconv.batch.worker import WorkItem
from pconv.errors import InputError
from pconv.models import BUNDLED, find_model

CPUS_EACH = 4
"""Cores for one network where there is no GPU: with more of them, one photo of 512 px gains little."""

PHOTOS_EACH = 16
"""Photos of one call: few, so that little is repeated when a machine dies, but enough to keep the network busy."""

TRIES = 3
"""How many processes may die at a photo before it counts as failed. Ray itself would repeat it for ever."""

_THREADS = 2


class Ledger:
    """An actor that outlives the others and knows which photos they had begun when they died."""

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
    """Holds a network in a process of Ray's, and fills some photos at a time as a local run does."""

    def __init__(self, plan: Plan, ledger: Any, tries: int) -> None:
        if plan.job.options.recipe()["model"] != plan.recipe["model"]:
            where, model = socket.gethostname(), plan.job.options.model
            raise InputError(f"{where} has another model at {model} than where the run began")
        self._worker, self._ledger, self._tries = plan.worker(), ledger, tries

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        items = [parse_item(line) for line in batch["item"]]
        photos = [item.photo for item in items]
        if ray.get(self._ledger.begun.remote(photos)):
            return {"entry": [self._alone(item).line() for item in items]}
        ray.get(self._ledger.begin.remote(photos))
        entries = [entry.line() for entry in self._worker.run(items, _THREADS)]
        ray.get(self._ledger.end.remote(photos))
        return {"entry": entries}

    def _alone(self, item: WorkItem) -> Entry:
        """The entry of one photo of a call in which an actor died, alone, to see which photo it was."""
        if ray.get(self._ledger.begin.remote([item.photo])) > self._tries:
            return self._worker.failed(item, InputError(f"{self._tries} workers died at it (out of memory?)"))
        (entry,) = self._worker.run([item], 1)
        ray.get(self._ledger.end.remote([item.photo]))
        return entry


def run_on_ray(plan: Plan, stop: Event, networks: int | None = None) -> Iterator[Entry]:
    """The entry of each item of ``plan``, some at a time; an engine for ``pconv.batch.job.run``.

    Connects to the cluster that ``RAY_ADDRESS`` names, or starts one on this machine, unless ``ray.init`` was called.

    Args:
        plan: what to do.
        stop: when it is set, nothing more is yielded.
        networks: actors at a time; by default as many as the cluster has GPUs, or has room for on its cores.

    Raises:
        InputError: the cluster cannot do it, or gave up.
    """
    items, options = plan.items, plan.job.options
    if not items:
        return
    _connect()
    networks, needs = _resources(options.network, networks)
    networks = min(networks, len(items))
    each = max(1, min(PHOTOS_EACH, len(items) // (4 * networks)))
    ledger = _ledger()  # a reference: it lives as long as one is held
    if str(options.model) not in BUNDLED:  # a path that does not depend on the working directory
        options = replace(options, network={**options.network, "model": find_model(options.model).absolute()})
    light = replace(plan, job=replace(plan.job, options=options), items=[], history=History())  # for every actor
    filled = ray.data.from_items(
        [{"item": line_of(item)} for item in items], override_num_blocks=-(-len(items) // each)
    ).map_batches(
        FillActor,
        fn_constructor_args=(light, ledger, TRIES),
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
        raise InputError(f"the Ray run broke off: {reason[:300]}; the same command continues it") from error


def line_of(item: WorkItem) -> str:
    earlier = None if item.earlier is None else asdict(item.earlier)
    return json.dumps({**item._asdict(), "earlier": earlier})


def parse_item(line: str) -> WorkItem:
    content = json.loads(line)
    earlier = content["earlier"]
    return WorkItem(**{**content, "earlier": None if earlier is None else Entry(**earlier)})


def _connect() -> None:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics leave the machine
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False


def _ledger() -> Any:
    here: Any = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=True
    )
    return ray.remote(Ledger).options(num_cpus=0, scheduling_strategy=here).remote()


def _resources(network: dict[str, Any], networks: int | None) -> tuple[int, dict[str, Any]]:
    """How many actors, and what each needs of the cluster."""
    cluster: Any = ray  # its own types end here
    total = cluster.cluster_resources()
    gpus, device = int(total.get("GPU", 0)), network.get("device", "auto")
    if device.startswith("cuda:"):
        raise InputError(f"Ray chooses the GPU of each network: with --engine ray say --device cuda, not {device}")
    if device == "cuda" and not gpus:
        raise InputError("no machine of the Ray cluster has a GPU; leave out --device cuda")
    if gpus and device in ("auto", "cuda") and network.get("backend", "auto") in ("auto", "torch"):
        return networks or gpus, {"num_gpus": 1, "num_cpus": 1}
    smallest = int(min((node["Resources"].get("CPU", 0) for node in cluster.nodes() if node["Alive"]), default=1))
    cpus = int(total.get("CPU", 1))
    each = max(1, min(CPUS_EACH, smallest, cpus // networks if networks else cpus))
    return networks or max(1, cpus // each), {"num_cpus": each}
