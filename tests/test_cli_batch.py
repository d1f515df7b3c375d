"""``pconv batch`` as a person or a cluster types it; and killed, as a cluster does."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from batch_folders import make_folders, results
from click.testing import CliRunner
from PIL import Image

from pconv.batch.manifest import Entry, read_history
from pconv.batch.storage import open_folder
from pconv.cli import main

BACKEND = ["--backend", "onnxruntime"]


def pconv(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def batch(folder, *options, masks="masks", out="out"):
    masks = [folder / masks] if masks else []
    return pconv("batch", folder / "photos", *masks, "-o", folder / out, *BACKEND, *options)


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_folder_is_filled_as_its_photos_are_one_by_one(tmp_path):
    make_folders(tmp_path, 3)
    options = ["--max-memory", "100MB", "--grow", 2, "--feather", 1, "--hole", "rect:0,0,6,6", "--precision", "fp32"]
    result = batch(tmp_path, *options)
    assert result.exit_code == 0, result.output
    for name, content in results(tmp_path / "out").items():
        single = tmp_path / "single.png"
        photo, mask = (tmp_path / folder / name for folder in ("photos", "masks"))
        assert pconv("inpaint", photo, mask, "-o", single, *BACKEND, *options).exit_code == 0
        assert single.read_bytes() == content
    *photos, last = lines(result)
    assert {line["photo"] for line in photos} == set(results(tmp_path / "photos"))
    assert all(line["status"] == "done" and line["seconds"] > 0 and not line["error"] for line in photos)
    assert last["summary"]["done"] == 3
    assert "3 done" in result.stderr
    again = batch(tmp_path, *options)
    assert (again.exit_code, lines(again)[-1]["summary"]["skipped"]) == (0, 3)


def test_failures_end_in_exit_code_1_and_are_told(tmp_path):
    make_folders(tmp_path, 4)
    (tmp_path / "photos/s0/p000.png").write_text("no image")
    (tmp_path / "photos/s1/p001.png").rename(tmp_path / "photos/lonely.png")
    result = batch(tmp_path)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert re.search(r"failed: s0/p000.png is not an image", result.stderr)
    assert "no mask: lonely.png: no mask was found for it" in result.stderr
    assert "1 masks have no photo: s1/p001.png" in result.stderr
    assert "2 done, 1 failed, 1 without a mask, 1 masks without a photo in" in result.stderr
    assert {"mask": "s1/p001.png", "status": "no photo"} in lines(result)
    assert batch(tmp_path, "--fail-fast", "--workers", 1).exit_code == 1


def test_a_photo_without_a_mask_alone_is_no_failure(tmp_path):
    make_folders(tmp_path, 2)
    (tmp_path / "masks/s0/p000.png").unlink()
    assert batch(tmp_path).exit_code == 0


def test_one_mask_another_format_and_another_pattern(tmp_path):
    make_folders(tmp_path, 2, suffix=".jpg")
    one = tmp_path / "masks/s0/p000.png"
    assert batch(tmp_path, "--format", "webp", masks="masks/s0/p000.png").exit_code == 0
    assert set(results(tmp_path / "out")) == {"s0/p000.webp", "s1/p001.webp"}
    Image.new("1", (30, 30), 0).save(one)
    refused = batch(tmp_path, masks="masks/s0/p000.png")
    assert refused.exit_code == 1
    assert "30x30 and the photo 64x48" in refused.stderr
    assert batch(tmp_path, "--fit", "nearest", masks="masks/s0/p000.png").exit_code == 0
    for mask in (tmp_path / "masks").rglob("*.png"):
        mask.rename(mask.with_stem(f"hole-{mask.stem}"))
    assert "no photo has a mask: photos are named like s0/p000.jpg" in batch(tmp_path).stderr
    assert batch(tmp_path, "--mask-pattern", "hole-{stem}.png", "--fit", "nearest").exit_code == 0


def test_holes_need_no_masks_and_shards_no_neighbours(tmp_path):
    make_folders(tmp_path, 6)
    hole = ["--hole", "rect:3,3,9,9"]
    for part in ("1/2", "2/2"):
        assert batch(tmp_path, *hole, "--shard", part, masks=None).exit_code == 0
    assert len(results(tmp_path / "out")) == 6
    assert lines(batch(tmp_path, *hole, masks=None))[0]["summary"]["skipped"] == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "masks", "-o", "out"], "nowhere does not exist"),
        (["photos", "nowhere", "-o", "out"], "nowhere do not exist"),
        (["photos", "-o", "out"], "give MASKS.* or say with --hole"),
        (["photos", "--invert", "--hole", "alpha", "-o", "out"], "--invert is about MASKS, and there are none"),
        (["photos", "masks", "-o", "photos"], "is the folder of the photos.*--force"),
        (["photos", "masks", "-o", "photos/s0/p000.png"], "is a file; name the folder"),
        (["photos", "masks", "-o", "out.png"], "OUT must be a folder, and out.png is a file's name"),
        (["photos", "masks", "-o", "out", "--shard", "3/2"], "'3/2' is no part of the whole"),
        (["photos", "masks", "-o", "out", "--shard", "0/2"], "'0/2' is no part of the whole"),
        (["photos", "masks", "-o", "out", "--shard", "two"], "'two' is no part of the whole"),
        (["photos", "masks", "-o", "out", "--mask-pattern", "{x}.png"], "unknown field {x}"),
        (["photos", "masks", "-o", "out", "--mask-pattern", "m.png"], "the same mask for every photo"),
        (["photos", "masks", "-o", "out", "--format", "xyz"], r"'\.xyz'; use one of"),
        (["photos", "masks", "-o", "out", "--max-memory", "much"], "'much' is no amount of memory"),
        (["photos", "masks", "-o", "out", "--max-memory", "1M"], "at least 44 MiB"),
        (["photos", "masks", "-o", "out", "--workers", "0"], "0 is not in the range"),
        (["photos", "masks", "-o", "out", "--hole", "round"], "'round' says no hole"),
        (["photos", "masks", "-o", "out", "--model", "best"], "unknown model 'best'"),
        (["photos", "masks", "-o", "out", "--device", "toaster"], "toaster"),
        (["empty", "masks", "-o", "out"], "no photos in .*empty: it is empty"),
        (["text", "masks", "-o", "out"], "no photos in .*text: it holds 1 files of other kinds"),
        (["photos", "empty", "-o", "out"], "no masks in .*empty"),
        (["photos/s0/p000.png", "masks", "-o", "out"], "is a file; .*pconv inpaint PHOTO MASK"),
        (["nosuch://bucket/a", "masks", "-o", "out"], "cannot reach nosuch://bucket/a"),
    ],
)
def test_wrong_usage_gets_one_sentence_and_writes_nothing(tmp_path, monkeypatch, arguments, message):
    make_folders(tmp_path, 3)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text/readme.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = pconv("batch", *arguments)
    assert result.exit_code == 2, result.output
    sentence = re.search(r"Error: (.*)", result.output, re.S)[1].strip()
    assert re.search(message, sentence), sentence
    assert "\n" not in sentence
    assert sorted(tmp_path.rglob("*")) == before


def start(folder, *options):
    command = [sys.executable, "-m", "pconv", "batch", folder / "photos", folder / "masks", "-o", folder / "out"]
    return subprocess.Popen(
        [*command, *BACKEND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def until(there, seconds=60):
    """Wait till ``there()``; no longer than a minute."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.0005)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Photos, masks, and in ``expected`` what an undisturbed run makes of them."""
    folder = tmp_path_factory.mktemp("whole")
    make_folders(folder, 40, size=(90, 120))
    assert batch(folder, out="expected").exit_code == 0
    return folder


@pytest.mark.slow
def test_killed_at_any_moment_only_whole_files_stay_and_the_next_run_goes_on(whole):
    out, expected = whole / "out", results(whole / "expected")
    moments = [
        lambda: (out / "pconv-manifest.jsonl").exists(),
        lambda: any(path.name.startswith(".pconv") for path in out.rglob(".*")),  # in the middle of a file
        lambda: len(results(out)) >= 9,
        lambda: (out / "pconv-manifest.jsonl").read_bytes().count(b'"done"') >= 15,
        lambda: any(path.name.startswith(".pconv") for path in out.rglob(".*")),
        lambda: len(results(out)) >= 25,
    ]
    for moment in moments:
        run = start(whole)
        until(moment)
        os.kill(run.pid, signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        run.stdout.close(), run.stderr.close()
        there = results(out)
        assert all(content == expected[name] for name, content in there.items())
        recorded = read_history(open_folder(out)).entries
        assert all(entry.out in there for entry in recorded.values() if entry.status == "done")
        assert len(there) - len(recorded) <= 6  # written, but not yet recorded: done again
        with (out / "pconv-manifest.jsonl").open("ab") as manifest:  # and power went at a line
            manifest.write(b'{"photo": "s0/p0')
    recorded = len(read_history(open_folder(out)).entries)
    last = batch(whole)
    assert last.exit_code == 0
    assert lines(last)[-1]["summary"]["skipped"] == recorded
    assert results(out) == expected
    assert not [path for path in out.rglob(".*") if path.is_file()]
    assert lines(batch(whole))[-1]["summary"]["skipped"] == 40


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_it_ends_cleanly(whole, tmp_path, number):
    for name in ("photos", "masks"):
        (tmp_path / name).symlink_to(whole / name)
    run = start(tmp_path, "--workers", "1")
    until(lambda: (tmp_path / "out").exists() and len(results(tmp_path / "out")) >= 3)
    run.send_signal(number)
    stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    assert "Traceback" not in stderr
    assert "stopping" in stderr
    summary = json.loads(stdout.splitlines()[-1])["summary"]
    assert summary["done"] + summary["left"] == 40
    assert summary["left"] > 0
    assert len(results(tmp_path / "out")) == summary["done"]
    assert not [path for path in (tmp_path / "out").rglob(".*") if path.is_file()]
    assert lines(batch(tmp_path))[-1]["summary"] | {"seconds": 0} == {
        "done": summary["left"], "skipped": summary["done"], "failed": 0, "no_mask": 0, "unused_masks": 0, "left": 0,
        "seconds": 0,
    }  # fmt: skip


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_quietly(whole, tmp_path):
    for name in ("photos", "masks"):
        (tmp_path / name).symlink_to(whole / name)
    run = start(tmp_path)
    run.stdout.readline()
    run.stdout.close()
    stderr = run.stderr.read()
    assert run.wait(60) == 1
    assert "Error" not in stderr
    assert "Traceback" not in stderr
    assert batch(tmp_path).exit_code == 0
    assert results(tmp_path / "out") == results(whole / "expected")


@pytest.mark.slow
def test_many_workers_many_photos_one_result(tmp_path):
    make_folders(tmp_path, 30)
    assert batch(tmp_path, "--workers", 8, out="many").exit_code == 0
    assert batch(tmp_path, "--workers", 1, out="one").exit_code == 0
    assert results(tmp_path / "many") == results(tmp_path / "one")
    for name, content in results(tmp_path / "photos").items():
        before, after = (np.asarray(Image.open(tmp_path / folder / name)) for folder in ("photos", "many"))
        hole = np.asarray(Image.open(tmp_path / "masks" / name))
        assert np.array_equal(before[~hole], after[~hole])
        assert content


def test_what_the_guide_shows_works(tmp_path, monkeypatch):
    guide = (Path(__file__).parents[1] / "docs/guides/folders.md").read_text()
    make_folders(tmp_path, 3)
    for name in ("photos", "masks"):
        (tmp_path / name.upper()).symlink_to(tmp_path / name)
    (tmp_path / "scratch.png").write_bytes((tmp_path / "masks/s0/p000.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    commands = [line.partition("#")[0].partition("|")[0] for line in guide.splitlines() if line.startswith("pconv ")]
    assert len(commands) >= 7
    for command in commands:
        _, *arguments = shlex.split(
            command.replace("$SLURM_ARRAY_TASK_ID", "1").replace("10,10,120,40", "10,10,20,20")
        )
        if "--engine" not in arguments:
            result = pconv(*arguments)
            assert result.exit_code == 0, f"{command}: {result.output}"
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.S)
    names = {}
    exec(code, names)
    assert names["summary"].done == 3
    (line,) = re.findall(r"```json\n(.*?)```", guide, re.S)
    assert json.loads(line).keys() == {each.name for each in fields(Entry)}
