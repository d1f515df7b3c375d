"""The same run on Ray: a cluster of this machine, of which a worker is killed in the middle."""

import os
import re
import signal
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="pconv[ray] is not installed")

import ray
from batch_folders import make_folders, results
from click.testing import CliRunner

from pconv.batch import ray as ray_engine
from pconv.batch.job import Job, make_plan, run
from pconv.batch.manifest import read_history
from pconv.batch.storage import open_folder
from pconv.batch.worker import BatchOptions
from pconv.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def job_in(folder, out, *holes):
    photos, masks, out = (open_folder(folder / name) for name in ("photos", "masks", out))
    return Job(photos, masks, out, options=BatchOptions(network={"backend": "onnxruntime"}, holes=holes))


def workers():
    """Processes of Ray's that hold a network."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"FillActor" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds Ray's workers in /proc")
def test_a_killed_worker_changes_nothing(tmp_path, cluster):
    make_folders(tmp_path, 40)

    @dataclass(frozen=True)
    class Slow:
        """No hole, and time to be killed in."""

        def hole(self, photo, notes=None):  # noqa: ARG002
            time.sleep(0.2)
            return np.zeros((photo.height, photo.width), bool)

    local, on_ray = (job_in(tmp_path, out, Slow()) for out in ("local", "ray"))
    run(make_plan(local), lambda _: None)
    killed = []

    def kill():
        while len(results(tmp_path / "ray")) < 3 or len(workers()) < 2:
            time.sleep(0.01)
        os.kill(workers()[0], signal.SIGKILL)
        killed.append(len(results(tmp_path / "ray")))

    threading.Thread(target=kill, daemon=True).start()
    summary = run(make_plan(on_ray), lambda _: None, engine=partial(ray_engine.run_on_ray, networks=2))
    assert killed
    assert killed[0] < 40
    assert (summary.done, summary.failed, summary.left) == (40, 0, 0)
    assert results(tmp_path / "ray") == results(tmp_path / "local")
    there, here = (read_history(open_folder(tmp_path / name)).entries for name in ("ray", "local"))
    assert there.keys() == here.keys()
    for photo, entry in there.items():
        assert (entry.status, entry.hashes, entry.hole_ratio) == ("done", here[photo].hashes, here[photo].hole_ratio)
    assert not list(tmp_path.rglob(".*pconv*"))
    again = make_plan(on_ray)
    assert (again.skipped, again.items) == (40, [])


def test_a_photo_that_kills_its_worker_fails_and_the_others_are_done(tmp_path, cluster, monkeypatch):
    make_folders(tmp_path, 6, odd="s0/p000.png")

    @dataclass(frozen=True)
    class Deadly:
        def hole(self, photo, notes=None):  # noqa: ARG002
            if photo.width == 33:
                os._exit(1)
            return np.zeros((photo.height, photo.width), bool)

    monkeypatch.setattr(ray_engine, "TRIES", 1)
    seen = []
    plan = make_plan(job_in(tmp_path, "out", Deadly()))
    summary = run(plan, seen.append, engine=partial(ray_engine.run_on_ray, networks=1))
    assert (summary.done, summary.failed) == (5, 1)
    (failed,) = [entry for entry in seen if entry.status == "failed"]
    assert failed.photo == "s0/p000.png"
    assert re.search("1 workers died", failed.error)


def test_by_the_command(tmp_path, cluster):
    make_folders(tmp_path, 4)
    folders = [str(tmp_path / "photos"), f"file://{tmp_path / 'masks'}"]
    for out, engine in (("local", []), ("ray", ["--engine", "ray", "--workers", "1"])):
        result = CliRunner().invoke(main, ["batch", *folders, "-o", str(tmp_path / out), *engine])
        assert result.exit_code == 0, result.output
        assert "4 done" in result.stderr
    assert results(tmp_path / "ray") == results(tmp_path / "local")
    on_one_gpu = ["-o", str(tmp_path / "gpu"), "--engine", "ray", "--device", "cuda:1"]
    result = CliRunner().invoke(main, ["batch", *folders, *on_one_gpu])
    assert result.exit_code == 1
    assert "Ray chooses the GPU of each network" in result.stderr
