import json
import os
import time
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pconv.errors import EvaluationError
from pconv.evaluation import metrics
from pconv.evaluation.baselines import mean_colour
from pconv.evaluation.methods import Method, find_methods
from pconv.evaluation.protocol import fit_photo, generated_masks, hole_of, pair_up
from pconv.evaluation.runner import (
    Failure,
    Score,
    WorkerSettings,
    fill_and_measure,
    make_tasks,
    pair_digest,
    read_fill,
    run_tasks,
)
from pconv.images.psnr import psnr
from pconv.training.features import VGG16Features


def misbehave(photo, hole):
    """Fills like mean_colour, but at one photo each is killed, raises, hangs or returns nonsense."""
    which = int(photo[0, 0, 2] > 127) * 2 + int(photo[0, 1, 0] > 127)
    if which == 3:
        os._exit(7)
    if which == 2:
        time.sleep(30)
    if which == 1:
        raise RuntimeError("out of luck\nand more")
    return mean_colour(photo, hole)


def itself(fill):
    return fill


@pytest.fixture
def pairs(photos):
    paths = sorted(photos.iterdir())
    return pair_up(generated_masks(64, 64, 1)[:4], paths, [(72, 80)] * 4)


def tasks_for(pairs, *methods):
    digests = [pair_digest(fit_photo(pair.photo, pair.mask.size), hole_of(pair.mask)) for pair in pairs]
    return make_tasks(pairs, digests, methods)


@pytest.mark.slow
def test_scores_are_those_of_the_fills_that_are_kept(pairs, tmp_path):
    tasks = tasks_for(pairs, *find_methods(["mean", "ns"], None, 60))
    settings = WorkerSettings(tmp_path / "out", jobs=2)
    outcomes = dict(run_tasks(tasks, settings))
    assert set(outcomes) == set(tasks)
    for task, score in outcomes.items():
        truth, hole = fit_photo(task.pair.photo, (64, 64)), hole_of(task.pair.mask)
        composite = read_fill(task, settings)
        assert np.array_equal(composite[~hole], truth[~hole])
        assert score.values["psnr"] == psnr(composite, truth)
        assert score.values["l1_hole"] == metrics.l1_percent(composite, truth, hole)
        assert score.values["sharpness"] == metrics.sharpness(composite, truth, hole)
        assert "vgg" not in score.values
        if task.method.name == "mean":
            holed = np.where(hole[..., None], np.uint8(127), truth)
            assert np.array_equal(composite, mean_colour(holed, hole))

    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}
    assert dict(run_tasks(tasks, settings)) == outcomes
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}


def test_other_pixels_and_other_methods_have_other_keys(pairs):
    (mean,) = find_methods(["mean"], None, 60)
    keys = [task.key for task in tasks_for(pairs, mean)]
    assert len(set(keys)) == len(pairs)
    other = Method("mean", "mean", "another version", mean.make)
    assert not set(keys) & {task.key for task in tasks_for(pairs, other)}
    truth, hole = fit_photo(pairs[0].photo, (64, 64)), hole_of(pairs[0].mask)
    changed = truth.copy()
    changed[5, 5, 1] ^= 1
    assert pair_digest(truth, hole) != pair_digest(changed, hole) != pair_digest(truth, ~hole)


@pytest.mark.slow
def test_a_damaged_or_older_result_is_made_again(pairs, tmp_path):
    tasks = tasks_for(pairs[:1], *find_methods(["mean"], None, 60))
    settings = WorkerSettings(tmp_path)
    ((_, first),) = run_tasks(tasks, settings)
    path = settings.scores / f"{tasks[0].key}.json"
    for content in ('{"values"', json.dumps({**json.loads(path.read_text()), "measured_by": "old"})):
        path.write_text(content)
        ((_, again),) = run_tasks(tasks, settings)
        assert again.values == first.values
    assert json.loads(path.read_text())["values"] == first.values


@pytest.mark.slow
def test_vgg_and_gram_distance_are_those_of_the_kept_fill(pairs, tmp_path):
    torch.manual_seed(0)
    vgg = VGG16Features(2)
    save_file(vgg.state_dict(), tmp_path / "two.safetensors")
    (task,) = tasks_for(pairs[:1], *find_methods(["mean"], None, 60))
    settings = WorkerSettings(tmp_path, vgg=tmp_path / "two.safetensors")
    settings.fills.mkdir()
    settings.scores.mkdir()
    score = fill_and_measure(task, settings, "")
    truth, hole = fit_photo(task.pair.photo, (64, 64)), hole_of(task.pair.mask)
    filled, wanted = (metrics.vgg_features(vgg, picture) for picture in (read_fill(task, settings), truth))
    assert score.values["vgg"] == pytest.approx(metrics.vgg_distance(filled, wanted), rel=1e-5)
    assert score.values["gram"] == pytest.approx(metrics.gram_distance(filled, wanted, hole), rel=1e-5)

    save_file(VGG16Features(1).state_dict(), tmp_path / "one.safetensors")
    with pytest.raises(EvaluationError, match=r"one.safetensors holds only the first block of VGG-16; VGG and Gram"):
        fill_and_measure(task, WorkerSettings(tmp_path, vgg=tmp_path / "one.safetensors"), "")


@pytest.mark.slow
def test_failures_cost_their_own_task_only(pairs, tmp_path):
    method = Method("odd", "odd", "1", partial(itself, misbehave))
    mean = find_methods(["mean"], None, 60)
    tasks = tasks_for(pairs, method, *mean)
    settings = WorkerSettings(tmp_path, time_limit=1, grace=4, jobs=2)
    outcomes = {(task.method.name, task.pair.photo.name): outcome for task, outcome in run_tasks(tasks, settings)}
    assert all(isinstance(outcomes["mean", f"photo-{n}.png"], Score) for n in range(4))
    failed = {name: outcome for (kind, name), outcome in outcomes.items() if kind == "odd"}
    said = sorted(outcome.reason for outcome in failed.values() if isinstance(outcome, Failure))
    assert any("crashed with exit code 7" in reason for reason in said), said
    assert any(reason == "not done after 1 s" for reason in said), said
    assert any(reason == "RuntimeError: out of luck" for reason in said), said
    assert len(said) == 3
    # Too slow is remembered for this limit; the others are tried again.
    again = [json.loads(path.read_text()) for path in settings.scores.iterdir()]
    assert sum("failed" in content for content in again) == 1
