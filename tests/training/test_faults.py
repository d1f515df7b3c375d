"""Training as a command where the system interferes: signals, a small /dev/shm, a full disk."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pconv.training.checkpoint import load_state

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")]

TOML = """
photos = "{photos}"
model = "tiny"
device = "cpu"
precision = "fp32"
log_every = 1
[[stages]]
steps = 100000
size = 64
batch_size = 4
lr = 1e-3
loss = {{perceptual = 0.0, style = 0.0}}
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (80, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "run.toml").write_text(TOML.format(photos=tmp_path / "photos"))
    return ["-m", "pconv", "train", str(tmp_path / "run.toml"), "--out", str(tmp_path / "run")]


def started(*call):
    """The process, when it has done its third step."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        [sys.executable, *call], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=environment,
    )  # fmt: skip
    lines = []
    while not any(line.startswith("step 3/") for line in lines):
        lines.append(run.stderr.readline())
        assert lines[-1], lines
    return run


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "send", "workers"),
    [
        (signal.SIGTERM, os.killpg, 2),
        (signal.SIGINT, os.killpg, 1),
        (signal.SIGHUP, os.killpg, 0),
        (signal.SIGHUP, os.kill, 2),
        (signal.SIGTERM, os.kill, 0),
    ],
)
def test_a_signal_ends_the_step_and_saves(command, tmp_path, number, send, workers):
    run = started(*command, f"workers={workers}")
    send(run.pid, number)
    if number == signal.SIGTERM:
        os.kill(run.pid, number)  # timeout signals the process and its group
    printed, errors = run.communicate(timeout=120)
    assert run.returncode == 128 + number, errors
    assert "Traceback" not in errors
    assert errors.count("stopping after this step") == 1
    done = load_state(tmp_path / "run")["step"]
    assert f"after {done} of 100000 steps, stopped by {number.name}" in printed
    more = [sys.executable, *command, f"workers={workers}", "--resume", f"stages.0.steps={done + 1}"]
    assert f"after {done + 1} of" in subprocess.run(more, capture_output=True, text=True, check=True).stdout


def test_under_torchrun_every_process_stops_and_the_run_is_saved(command, tmp_path):
    run = started("-m", "torch.distributed.run", "--nproc-per-node", "2", *command, "workers=1")
    os.killpg(run.pid, signal.SIGTERM)
    printed, errors = run.communicate(timeout=120)
    done = load_state(tmp_path / "run")["step"]
    assert f"after {done} of 100000 steps, stopped by SIGTERM" in printed
    assert "Error: " not in errors


def test_workers_end_when_the_training_process_is_killed(command):
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    run = started(*command, "workers=2", "stages.0.size=256", "stages.0.batch_size=8")
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    assert len(children) == 2
    run.kill()
    run.communicate(timeout=60)  # the workers hold its outputs until they end
    deadline = time.monotonic() + 20
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, children))


def mounted(size, folder, *call):
    """Run a command in a mount namespace of its own, where ``folder`` is a file system of ``size``."""
    script = (
        'mount -t tmpfs -o "size=$1" tmpfs "$2" || exit 99; folder=$2; shift 2; "$@"; code=$?; '
        "ls -A $folder >&2; exit $code"
    )
    probe = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs the right to mount: unshare -m")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", size, folder, sys.executable, *call],
        capture_output=True, text=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


def test_a_small_shared_memory_is_enough(command):
    call = [*command, "workers=2", "stages.0.steps=4", "stages.0.size=256", "stages.0.batch_size=8"]
    done = mounted("1m", "/dev/shm", *call)
    assert done.returncode == 0, done.stderr
    assert "after 4 of 4 steps" in done.stdout


def test_where_shared_memory_is_full_a_sentence_says_so(command):
    done = mounted("4k", "/dev/shm", *command, "workers=2")
    assert done.returncode == 1
    assert "Error: cannot start the loader workers: No space left on device" in done.stderr


@pytest.mark.parametrize(("size", "left"), [("4k", set()), ("5m", set()), ("8m", {"model.safetensors", "state.pt"})])
def test_a_full_disk_ends_training_in_a_sentence_with_a_whole_save_or_none(command, tmp_path, size, left):
    """At the first files, at the first save, at the second."""
    (tmp_path / "run").mkdir()
    done = mounted(size, str(tmp_path / "run"), *command, "workers=0", "save_every=2")
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()
    last = next(number for number, line in enumerate(lines) if line.startswith("Error: cannot write to"))
    assert "No space left on device" in lines[last]
    assert {name for name in lines[last + 1 :] if not name.startswith("events.") and name != "config.toml"} == left
