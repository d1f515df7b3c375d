"""Runs over folders, with a network that is only a stand-in: what is done, skipped, redone, refused."""

import json
import threading
import time
from collections import Counter

import numpy as np
import pytest
from batch_folders import make_folders, results
from PIL import Image

from pconv.batch import worker
from pconv.batch.job import Job, in_shard, make_plan, run
from pconv.batch.manifest import Entry, open_manifest, read_history, remove_leftovers
from pconv.batch.storage import open_folder
from pconv.batch.worker import BatchOptions
from pconv.errors import ImageFileError, InputError, ModelError
from pconv.inpainting.options import InpaintOptions
from pconv.masks.sources import Rectangle


class Fake:
    """An Inpainter whose fill is a function of photo and hole."""

    def __init__(self, function):
        self.function = function

    def notes(self, _):
        return []

    def fill_photo(self, photo, hole, _):
        return self.function(photo, hole)


def invert(photo, hole):
    filled = photo.copy()
    filled.pixels[hole] = 255 - filled.pixels[hole]
    return filled


def job_in(folder, out="out", masks="masks", **options):
    masks = open_folder(folder / masks) if masks else None
    return Job(open_folder(folder / "photos"), masks, open_folder(folder / out), **options)


def go(job, fill=invert, **options):
    """The summary and the entries of one run."""
    entries = []
    return run(make_plan(job), entries.append, Fake(fill), **options), entries


def manifest(folder, name="pconv-manifest.jsonl"):
    lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return [line for line in lines if "photo" in line]


def test_every_photo_is_filled_and_the_tree_kept(tmp_path):
    make_folders(tmp_path, 7)
    summary, entries = go(job_in(tmp_path))
    assert (summary.done, summary.failed, summary.left, summary.skipped) == (7, 0, 0, 0)
    for photo in (tmp_path / "photos").rglob("*.png"):
        name = photo.relative_to(tmp_path / "photos")
        before, after = (np.asarray(Image.open(p)) for p in (photo, tmp_path / "out" / name))
        hole = np.asarray(Image.open(tmp_path / "masks" / name))
        assert np.array_equal(after, np.where(hole[..., None], 255 - before, before))
    for line, entry in zip(manifest(tmp_path / "out"), entries, strict=True):
        assert line == json.loads(entry.line())
        assert line["status"] == "done"
        assert line["hole_ratio"] == pytest.approx(6 * 54 / (48 * 64), abs=1e-6)
        assert (line["width"], line["height"]) == (64, 48)
        assert line["hashes"].keys() == {"photo", "mask", "settings", "out"}
        assert line["hashes"]["out"] == worker.hash_of((tmp_path / "out" / line["out"]).read_bytes())


def test_a_second_run_does_nothing_and_a_third_only_what_changed(tmp_path):
    make_folders(tmp_path, 9)
    go(job_in(tmp_path))
    assert make_plan(job_in(tmp_path)).items == []
    photos, masks, out = (tmp_path / name for name in ("photos", "masks", "out"))
    Image.new("RGB", (64, 48), "red").save(photos / "s0/p000.png")
    Image.new("1", (64, 48), 0).save(masks / "s1/p001.png")
    (out / "s2/p002.png").unlink()
    (out / "s0/p003.png").write_bytes(b"altered")
    (photos / "s1/p004.png").touch()
    summary, entries = go(job_in(tmp_path))
    assert {e.photo: e.status for e in entries} == {
        "s0/p000.png": "done", "s1/p001.png": "done", "s2/p002.png": "done", "s0/p003.png": "done",
        "s1/p004.png": "unchanged",
    }  # fmt: skip
    assert (summary.done, summary.skipped) == (4, 5)
    assert (out / "s1/p001.png").read_bytes() == (photos / "s1/p001.png").read_bytes()  # no hole any more
    assert make_plan(job_in(tmp_path)).items == []


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"inpaint": InpaintOptions(**each)}
            for each in ({"grow": 3}, {"feather": 2}, {"invert": True}, {"seed": 1})
        ),
        {"quality": 70},
        {"fit": "nearest"},
        {"network": {"precision": "fp32"}},
        {"holes": (Rectangle(0, 0, 5, 5),)},
    ],
)
def test_other_settings_do_all_again(tmp_path, change):
    make_folders(tmp_path, 2, suffix=".jpg")
    go(job_in(tmp_path))
    assert len(make_plan(job_in(tmp_path, options=BatchOptions(**change))).items) == 2


def test_where_it_is_computed_is_no_reason_to_do_it_again(tmp_path):
    make_folders(tmp_path, 2)
    go(job_in(tmp_path))
    elsewhere = BatchOptions(network={"device": "cpu", "backend": "onnxruntime", "max_memory": 2**28})
    assert make_plan(job_in(tmp_path, options=elsewhere)).items == []


def test_another_model_under_the_same_name_does_all_again(tmp_path):
    make_folders(tmp_path, 2)
    model = tmp_path / "model.onnx"
    model.write_bytes(b"one")
    go(job_in(tmp_path, options=BatchOptions(network={"model": model})))
    assert make_plan(job_in(tmp_path, options=BatchOptions(network={"model": model}))).items == []
    model.write_bytes(b"two")
    assert len(make_plan(job_in(tmp_path, options=BatchOptions(network={"model": model}))).items) == 2


def test_bad_files_are_reported_and_the_rest_is_done(tmp_path):
    make_folders(tmp_path, 6)
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    (photos / "s0/p000.png").write_bytes(b"no picture")
    (photos / "s1/p001.png").write_bytes((photos / "s1/p001.png").read_bytes()[:3000])
    Image.new("1", (10, 10), 1).save(masks / "s2/p002.png")
    Image.new("1", (64, 48), 1).save(masks / "s0/p003.png")

    def strict(photo, hole):
        if hole.all():
            raise InputError("everything is hole")
        return invert(photo, hole)

    summary, entries = go(job_in(tmp_path), strict)
    assert (summary.done, summary.failed, summary.left) == (2, 4, 0)
    errors = {e.photo: e.error for e in entries if e.status == "failed"}
    assert errors.keys() == {"s0/p000.png", "s1/p001.png", "s2/p002.png", "s0/p003.png"}
    assert all(error and "\n" not in error for error in errors.values())
    assert "10x10" in errors["s2/p002.png"]
    assert results(tmp_path / "out").keys() == {"s1/p004.png", "s2/p005.png"}
    Image.new("RGB", (64, 48)).save(photos / "s0/p000.png")
    assert go(job_in(tmp_path), strict)[0].done == 1


def test_a_bug_in_one_fill_is_one_failure_and_a_bad_model_ends_the_run(tmp_path):
    make_folders(tmp_path, 8)
    calls = []

    def broken(photo, hole):
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("oops")
        if len(calls) == 3:
            raise ModelError("not finite")
        return invert(photo, hole)

    seen = []
    job = job_in(tmp_path)
    with pytest.raises(ModelError, match="not finite"):
        run(make_plan(job), seen.append, Fake(broken), workers=1)
    assert {e.error for e in seen if e.status == "failed"} == {"unexpected ZeroDivisionError: oops", "not finite"}
    assert len(calls) == 3
    summary, _ = go(job)
    assert summary.done + summary.skipped == 8
    assert summary.skipped == 1


def test_fail_fast_stops_and_the_next_run_goes_on(tmp_path):
    make_folders(tmp_path, 30)
    (tmp_path / "photos/s0/p000.png").write_bytes(b"no picture")
    summary, _ = go(job_in(tmp_path), workers=1, fail_fast=True)
    assert summary.failed == 1
    assert summary.left > 10
    summary, _ = go(job_in(tmp_path))
    assert (summary.done + summary.skipped, summary.failed, summary.left) == (29, 1, 0)


def test_a_stop_keeps_what_is_done(tmp_path):
    make_folders(tmp_path, 30)
    stop = threading.Event()
    job = job_in(tmp_path)
    seen = []

    def tell(entry):
        seen.append(entry)
        stop.set()

    summary = run(make_plan(job), tell, Fake(invert), workers=1, stop=stop)
    assert 1 <= summary.done == len(seen) < 30
    assert summary.left == 30 - summary.done
    assert len(results(tmp_path / "out")) == summary.done
    assert go(job)[0].skipped == summary.done


def test_a_full_disk_ends_the_run(tmp_path, monkeypatch):
    make_folders(tmp_path, 30)
    job = job_in(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(job.out), "write", full)
    seen = []
    with pytest.raises(ImageFileError, match="No space left on device; stopped at"):
        run(make_plan(job), seen.append, Fake(invert), workers=1)
    assert len(seen) < 10


def test_folders_within_each_other_do_not_see_each_other(tmp_path):
    make_folders(tmp_path, 4)
    (tmp_path / "masks").rename(tmp_path / "photos/masks")
    job = job_in(tmp_path, out="photos/filled", masks="photos/masks")
    assert go(job)[0].done == 4
    plan = make_plan(job)
    assert (plan.total, plan.skipped, plan.without_mask, plan.unused_masks) == (4, 4, [], [])
    assert not (tmp_path / "photos/filled/masks").exists()


def test_photos_and_masks_in_one_folder(tmp_path):
    make_folders(tmp_path, 4)
    for mask in (tmp_path / "masks").rglob("*.png"):
        name = mask.relative_to(tmp_path / "masks")
        mask.rename(tmp_path / "photos" / name.with_stem(name.stem + "_mask"))
    summary, _ = go(job_in(tmp_path, masks="photos"))
    assert (summary.done, summary.no_mask, summary.unused_masks) == (4, 0, 0)
    assert len(results(tmp_path / "out")) == 4


def test_one_mask_for_all_must_fit_or_be_stretched(tmp_path):
    make_folders(tmp_path, 3, odd="s2/p002.png")
    (tmp_path / "masks/s0/p000.png").rename(tmp_path / "photos/one.png")
    exact = job_in(tmp_path, masks="photos", one_mask="one.png")
    summary, entries = go(exact)
    assert (summary.done, summary.failed) == (2, 1)
    assert "64x48 and the photo 33x48" in next(e.error for e in entries if e.status == "failed")
    stretched = job_in(tmp_path, masks="photos", one_mask="one.png", options=BatchOptions(fit="nearest"))
    assert go(stretched)[0].done == 3
    assert len(results(tmp_path / "out")) == 3


def test_holes_without_masks(tmp_path):
    make_folders(tmp_path, 2)
    go(job_in(tmp_path, masks=None, options=BatchOptions(holes=(Rectangle(2, 3, 5, 4),))))
    before, after = (np.asarray(Image.open(tmp_path / f / "s0/p000.png")) for f in ("photos", "out"))
    changed = (before != after).any(axis=2)
    assert changed[3:7, 2:7].all()
    assert changed.sum() == 20


def test_names_that_cannot_be_told_apart_are_refused(tmp_path):
    make_folders(tmp_path, 3)
    Image.new("RGB", (64, 48)).save(tmp_path / "photos/s0/p000.jpg")
    Image.new("RGB", (64, 48)).save(tmp_path / "photos/alone.jpg")
    Image.new("1", (64, 48)).save(tmp_path / "masks/none.png")
    summary, entries = go(job_in(tmp_path))
    assert (summary.done, summary.failed, summary.no_mask, summary.unused_masks) == (2, 2, 1, 1)
    assert {e.photo: e.status for e in entries if e.status != "done"} == {
        "s0/p000.jpg": "refused", "s0/p000.png": "refused", "alone.jpg": "no mask",
    }  # fmt: skip
    lines = len(manifest(tmp_path / "out"))
    go(job_in(tmp_path))
    assert len(manifest(tmp_path / "out")) == lines  # said once
    Image.new("1", (64, 48)).save(tmp_path / "masks/s0/p000.jpg")
    to_png = job_in(tmp_path, options=BatchOptions(suffix=".png"))
    assert set(make_plan(to_png).refused) == {"s0/p000.jpg", "s0/p000.png"}  # one result's name for both
    assert make_plan(job_in(tmp_path)).refused == {}


def test_results_over_inputs_need_force(tmp_path):
    make_folders(tmp_path, 3)
    for out in ("photos", "masks"):
        with pytest.raises(InputError, match=f"is the folder of the {out}: .*--force"):
            make_plan(job_in(tmp_path, out=out))
    (tmp_path / "masks").rename(tmp_path / "new")
    (tmp_path / "new").rename(tmp_path / "photos/s0/masks")
    with pytest.raises(InputError, match=r"lies in the folder of the photos and holds 1 images, such as p001.png"):
        make_plan(job_in(tmp_path, masks="photos/s0/masks", out="photos/s1"))
    (tmp_path / "out").mkdir()
    for name in ("s0", "s1", "s2"):
        (tmp_path / "photos/s0/masks" / name).rename(tmp_path / "out" / name)
    with pytest.raises(InputError, match=r"out/s0/p000.png would overwrite an input|is the folder of the masks"):
        make_plan(job_in(tmp_path, masks="out"))


def test_photos_filled_in_their_own_place_are_done_once(tmp_path):
    make_folders(tmp_path, 3)
    before = results(tmp_path / "photos")
    job = job_in(tmp_path, out="photos", force=True)
    assert go(job)[0].done == 3
    after = results(tmp_path / "photos")
    assert all(after[name] != before[name] for name in before)
    assert go(job)[0].skipped == 3
    assert results(tmp_path / "photos") == after


def test_shards_share_the_photos_and_know_of_each_other(tmp_path):
    make_folders(tmp_path, 20)
    parts = [go(job_in(tmp_path, shard=(i, 3)))[1] for i in (1, 2, 3)]
    names = [entry.photo for part in parts for entry in part]
    assert sorted(names) == sorted(
        str(p.relative_to(tmp_path / "photos")) for p in (tmp_path / "photos").rglob("*.png")
    )
    assert all(3 <= len(part) <= 10 for part in parts)
    assert {p.name for p in (tmp_path / "out").glob("*.jsonl")} == {f"pconv-manifest.{i}of3.jsonl" for i in (1, 2, 3)}
    assert make_plan(job_in(tmp_path)).skipped == 20
    assert in_shard("a/b.jpg", (2, 3)) == in_shard("a/b.jpg", (2, 3))


def test_two_runs_into_one_folder_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.setattr("pconv.batch.storage._LOCK_SECONDS", 0.1)
    make_folders(tmp_path, 3)
    (tmp_path / "out").mkdir()
    other = open_manifest(open_folder(tmp_path / "out"), "", {})
    with pytest.raises(InputError, match=r"another run is writing to .* --shard"):
        go(job_in(tmp_path))
    assert go(job_in(tmp_path, shard=(1, 2)))[0].failed == 0
    other.close()
    assert go(job_in(tmp_path))[0].left == 0


def test_what_a_killed_run_leaves_is_mended(tmp_path):
    make_folders(tmp_path, 6)
    job = job_in(tmp_path)
    go(job)
    out = tmp_path / "out"
    path = out / "pconv-manifest.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[:-40])  # the last line torn
    torn = [".pconv-all-p001-0123456789ab.png", ".pconv-2of5-p001-0123456789ab.png"]
    for name in torn:
        (out / "s1" / name).write_bytes(b"half")
    (out / "pconv-manifest.2of5.jsonl").write_text('not json\n{"photo": 5}\n[1]\n')
    (out / "s1/.mine.png").write_bytes(b"not ours")
    plan = make_plan(job)
    assert (plan.skipped, len(plan.items), plan.history.broken) == (5, 1, 4)
    assert go(job)[0].done == 1
    assert sorted(p.name for p in (out / "s1").glob(".*")) == [".mine.png"]
    history = read_history(job.out)
    assert len(history.entries) == 6
    assert b"\n\n" not in path.read_bytes()


def test_temporary_files_of_runs_beside_this_one_stay(tmp_path):
    other = open_manifest(open_folder(tmp_path), "2of5", {})
    name = tmp_path / ".pconv-2of5-p001-0123456789ab.png"
    name.write_bytes(b"being written")
    assert remove_leftovers(open_folder(tmp_path), {""}, "") == 0
    assert remove_leftovers(open_folder(tmp_path), {""}, "1of5") == 0
    other.close()
    assert remove_leftovers(open_folder(tmp_path), {""}, "1of5") == 0
    assert remove_leftovers(open_folder(tmp_path), {""}, "") == 1


def test_hidden_files_links_in_circles_and_strange_names(tmp_path):
    make_folders(tmp_path, 2)
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    (photos / "._p000.png").write_bytes(b"macOS")
    (photos / ".git").mkdir()
    (photos / ".git/x.png").write_bytes(b"x")
    (photos / "loop").symlink_to(photos, target_is_directory=True)
    (photos / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (photos / "notes.txt").write_text("text")
    strange = "a\nb \udce4.png"
    for folder in (photos, masks):
        (folder / "s0/p000.png").rename(folder / strange)
    plan = make_plan(job_in(tmp_path))
    assert {item.photo for item in plan.items} == {strange, "s1/p001.png"}
    assert plan.others == 1
    assert len(plan.problems) == 1
    assert "gone.png is a link that leads nowhere" in plan.problems[0]
    summary, _ = go(job_in(tmp_path))
    assert (summary.done, summary.failed) == (2, 1)
    assert make_plan(job_in(tmp_path)).skipped == 2


@pytest.mark.parametrize("whole_at_once", [True, False])
def test_urls_are_folders_too(tmp_path, monkeypatch, whole_at_once):
    if not whole_at_once:
        monkeypatch.setattr("pconv.batch.storage._ATOMIC", frozenset())
    fsspec = pytest.importorskip("fsspec", reason="pconv[ray] is not installed")
    make_folders(tmp_path, 4)
    go(job_in(tmp_path))
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    for name in ("photos", "masks"):
        memory.put(str(tmp_path / name), f"/bucket/{name}", recursive=True)
    job = Job(*(open_folder(f"memory://bucket/{name}") for name in ("photos", "masks", "out")))
    summary, _ = go(job)
    assert (summary.done, summary.failed) == (4, 0)
    here = results(tmp_path / "out")
    assert {name: memory.cat(f"/bucket/out/{name}") for name in here} == here
    assert make_plan(job).skipped == 4
    memory.pipe("/bucket/out/s0/p000.png", b"altered")
    memory.pipe("/bucket/photos/s1/p001.png", b"no picture")
    summary, entries = go(job)
    assert (summary.done, summary.failed, summary.skipped) == (1, 1, 2)
    assert next(e.error for e in entries if e.status == "failed")
    files = [path for path in memory.find("/bucket/out") if "manifest" in path]
    assert len(files) == 2  # one for each run, no parts
    assert not [path for path in memory.find("/bucket") if "/." in path]
    local = Job(*(open_folder(f"file://{tmp_path}/{name}") for name in ("photos", "masks", "out")))
    assert make_plan(local).skipped == 4


def test_a_killed_run_to_a_url_leaves_parts_that_count(tmp_path, monkeypatch):
    fsspec = pytest.importorskip("fsspec", reason="pconv[ray] is not installed")
    monkeypatch.setattr("pconv.batch.storage._PART_LINES", 2)
    make_folders(tmp_path, 6)
    fsspec.filesystem("memory").store.clear()
    job = Job(*(open_folder(tmp_path / name) for name in ("photos", "masks")), open_folder("memory://bucket/out"))
    monkeypatch.setattr("pconv.batch.storage._LinesInParts.close", lambda _: None)  # what SIGKILL makes of it
    go(job)
    assert make_plan(job).skipped == 6


def test_photos_in_memory_are_bounded_by_their_bytes(tmp_path, monkeypatch):
    make_folders(tmp_path, 18, size=(200, 300))
    now, most = Counter(), Counter()

    def count(change):
        now["photos"] += change
        most["photos"] = max(most["photos"], now["photos"])

    def read_photo(*arguments):
        count(1)
        return read(*arguments)

    def encode_photo(*arguments):
        content = encode(*arguments)
        count(-1)
        return content

    def slow(photo, hole):
        time.sleep(0.02)
        return invert(photo, hole)

    read, encode = worker.read_photo, worker.encode_photo
    monkeypatch.setattr(worker, "read_photo", read_photo)
    monkeypatch.setattr(worker, "encode_photo", encode_photo)
    room_for_two = 2 * 200 * 300 * (2 * 3 + 16)
    summary, _ = go(job_in(tmp_path, options=BatchOptions(network={"max_memory": room_for_two})), slow, workers=6)
    assert summary.done == 18
    assert most["photos"] == 2


def test_an_entry_survives_its_line():
    entry = Entry("a\udce4.jpg", None, "a.jpg", "done", notes=("x",), hashes={"out": "0"})
    assert Entry.parse(entry.line()) == entry
    with pytest.raises(ValueError, match="no entry"):
        Entry.parse("[]")
    assert Entry.parse('{"run": {}}') is None
