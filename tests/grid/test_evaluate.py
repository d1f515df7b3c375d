"""`pconv grid evaluate`, the other methods, and the scores."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from grid_data import field, gaps, write

from pconv.cli import main
from pconv.grid.axes import Grid
from pconv.grid.baselines import dineof, linear, nearest
from pconv.grid.scores import jump, score

PLAIN = Grid(np.arange(4.0), np.arange(6.0), False, False)
ROUND = Grid(np.arange(4.0), np.arange(6.0), False, True)


def test_the_report_says_whether_the_model_is_worth_it(gappy, model, tmp_path):
    path = write(tmp_path / "in.nc", gappy)
    arguments = ["grid", "evaluate", path, "--variable", "tas", "--model", model, "-o", tmp_path / "report"]
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report/report.html").read_text()
    summary = json.loads((tmp_path / "report/summary.json").read_text())
    rows = list(csv.DictReader((tmp_path / "report/scores.csv").open()))
    assert summary["verdicts"]["tas"] in done.output
    assert "best other method" in page
    assert page.count("data:image/png") >= 3
    assert [row["method"] for row in rows][:3] == ["model", "mean", "climatology"]
    assert {"linear", "EOFs (DINEOF)", "nearest", "smooth surface"} < {row["method"] for row in rows}
    assert all(float(row["rmse"]) > 0 for row in rows)
    assert "mirrored" in summary["gaps"]
    measured = set(summary["steps"])
    assert 0 < len(measured) < len(gappy)  # the model was trained on the others


def test_scores_of_fills_that_are_wrong_by_one():
    truth = np.zeros((2, 4, 6), np.float32)
    hidden = np.zeros(truth.shape, bool)
    hidden[:, 1, 2] = True
    filled = truth + 1
    area = np.ones((4, 6), np.float32)
    found = score(filled, truth, hidden, ~hidden, hidden.astype(np.float32), area, truth)
    assert (found.rmse, found.mae, found.bias) == (1, 1, 1)
    assert found.of_mean == pytest.approx(1 / 24)
    assert found.by_distance[0] == 1
    assert np.isnan(found.by_distance[1])


def test_area_counts_in_scores():
    truth = np.zeros((1, 2, 1), np.float32)
    filled = np.array([[[0], [2]]], np.float32)
    everywhere = np.ones(truth.shape, bool)
    area = np.array([[1.5], [0.5]], np.float32)
    found = score(filled, truth, everywhere, ~everywhere, truth + 1, area, truth)
    assert found.rmse == pytest.approx(1)
    assert found.bias == pytest.approx(0.5)


def test_a_jump_is_measured_against_the_truth():
    truth = np.arange(6, dtype=np.float32)[None, None].repeat(4, axis=1)
    hidden = np.zeros(truth.shape, bool)
    hidden[..., 2:4] = True
    assert jump(truth, truth, hidden, ~hidden) == 1
    assert jump(truth + np.where(truth == 2, 1, 0), truth, hidden, ~hidden) == pytest.approx(1.5)


def test_linear_interpolation_goes_round_the_globe():
    values = np.full((1, 1, 4, 6), np.nan, np.float32)
    values[..., 1], values[..., 4] = 1, 4
    assert linear(values, PLAIN)[0, 0, 0] == pytest.approx([1, 1, 2, 3, 4, 4])
    assert linear(values, ROUND)[0, 0, 0] == pytest.approx([2, 1, 2, 3, 4, 3])
    assert nearest(values, ROUND)[0, 0, 0, [0, 5]] == pytest.approx([1, 4])


def test_dineof_restores_a_field_of_two_modes():
    random = np.random.default_rng(0)
    t = np.arange(40)[:, None]
    modes = random.standard_normal((2, 48))
    truth = (10 + np.sin(t / 3) * modes[0] + np.cos(t / 5) * modes[1]).reshape(40, 1, 6, 8).astype(np.float32)
    missing = gaps((40, 6, 8), 0.3)[:, None]
    filled = dineof(np.where(missing, np.nan, truth))
    assert np.array_equal(filled[~missing], truth[~missing])
    assert np.abs(filled - truth)[missing].mean() < 0.05 * truth.std()


def test_a_model_that_saw_every_step_is_said_to_be_judged_too_well(model, tmp_path):
    from pconv.grid.evaluate import evaluate
    from pconv.grid.model import fingerprints, load_model
    from pconv.grid.times import read_times

    loaded = load_model(model)
    values = field(6).astype(np.float32)[:, None]
    loaded.seen = tuple(fingerprints(values))
    found = evaluate(loaded, values, read_times(np.arange(6) * 30, "days since 2000-01-01", "360_day"))
    assert "too good" in found.notes[0]
    assert found.trained_on == 6
