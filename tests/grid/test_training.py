"""`pconv grid train`: data with gaps, context, several variables, resuming, and what a model holds."""

import netCDF4
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from grid_data import field, gaps, make_model, raw, write

from pconv.cli import main
from pconv.grid.model import load_model
from pconv.grid.modes import fit_modes


def run(*arguments):
    return CliRunner().invoke(main, ["grid", *map(str, arguments)])


QUICK = ("--steps", 4, "--width", 0.25, "--minutes", 0)


def test_three_commands_from_gaps_to_a_report(gappy, truth, tmp_path):
    path = write(tmp_path / "air.nc", gappy)
    done = run("train", path, "--variable", "tas", "-o", tmp_path / "run", *QUICK)
    assert done.exit_code == 0, done.output
    assert "blocks of time, never as random steps" in done.output
    assert "the data's own gaps" in done.output
    assert {f.name for f in (tmp_path / "run").iterdir()} >= {
        "model.safetensors",
        "curve.csv",
        "curve.png",
        "state.pt",
    }
    done = run("fill", path, "--variable", "tas", "--model", tmp_path / "run", "-o", tmp_path / "filled.nc")
    assert done.exit_code == 0, done.output
    missing = np.isnan(gappy)
    error = np.abs(raw(tmp_path / "filled.nc") - truth)[missing].mean()
    assert error < 0.6 * np.abs(truth - np.nanmean(gappy))[missing].mean()


def test_a_run_goes_on_where_it_stopped_and_is_not_overwritten(gappy, tmp_path):
    path = write(tmp_path / "air.nc", gappy)
    arguments = ("train", path, "--variable", "tas", "-o", tmp_path / "run", *QUICK)
    assert run(*arguments).exit_code == 0
    done = run(*arguments)
    assert done.exit_code == 2
    assert "--resume" in done.output
    assert run(*arguments, "--resume", "--steps", 7).exit_code == 0
    assert load_model(tmp_path / "run").facts["steps"] == 7
    assert run(*arguments[:5], tmp_path / "none", *QUICK, "--resume").exit_code == 2


def test_several_variables_have_their_own_gaps(truth, tmp_path):
    path = write(tmp_path / "in.nc", np.where(gaps(truth.shape), np.nan, truth))
    other = np.where(gaps(truth.shape, seed=5), 1e20, 1000 + 2 * truth).astype(np.float32)
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("psl", "f4", ("time", "lat", "lon"), fill_value=1e20)[:] = other
        file["psl"].units = "hPa"
    assert run("train", path, "--variable", "tas,psl", "-o", tmp_path / "run", *QUICK).exit_code == 0
    model = load_model(tmp_path / "run")
    assert (model.variables, model.units) == (("tas", "psl"), ("K", "hPa"))
    done = run("fill", path, "--variable", "psl,tas", "--model", tmp_path / "run", "-o", tmp_path / "out.nc")
    assert done.exit_code == 0, done.output
    assert np.array_equal(raw(tmp_path / "out.nc", "psl")[other < 1e19], other[other < 1e19])
    assert np.abs(raw(tmp_path / "out.nc", "psl") - 1000 - 2 * truth).max() < 200
    assert run("fill", path, "--variable", "psl", "--model", tmp_path / "run", "-o", tmp_path / "x.nc").exit_code == 2


def test_gaps_that_are_the_same_in_every_step_need_made_ones(truth, tmp_path):
    land = np.zeros(truth.shape[1:], bool)
    land[3:6, 4:9] = True
    path = write(tmp_path / "in.nc", np.where(land, np.nan, truth))
    done = run("train", path, "--variable", "tas", "-o", tmp_path / "run", *QUICK)
    assert done.exit_code == 0, done.output
    assert "made gaps" in done.output
    assert np.array_equal(load_model(tmp_path / "run").domain[0], ~land)
    done = run("train", path, "--variable", "tas", "-o", tmp_path / "own", *QUICK, "--gaps", "own")
    assert done.exit_code == 2
    assert "no gaps of its own" in done.output


def test_a_value_that_was_named_missing_is_so_when_filling_too(gappy, tmp_path):
    values = gappy.copy()
    values[:, 3:6, 4:9] = -1
    path = write(tmp_path / "in.nc", values)
    assert run("train", path, "--variable", "tas", "-o", tmp_path / "run", *QUICK, "--missing", -1).exit_code == 0
    done = run("fill", path, "--variable", "tas", "--model", tmp_path / "run", "-o", tmp_path / "out.nc")
    assert "360 --missing" in done.output
    assert (raw(tmp_path / "out.nc")[:, 3:6, 4:9] == -1).all()


def test_gaps_of_a_file(truth, tmp_path):
    path = write(tmp_path / "in.nc", truth)
    write(tmp_path / "gaps.nc", gaps(truth.shape)[:5].astype(float), name="gap")
    done = run("train", path, "--variable", "tas", "-o", tmp_path / "run", *QUICK, "--gaps", tmp_path / "gaps.nc")
    assert done.exit_code == 0, done.output
    assert "5 patterns of the file" in done.output


def test_a_model_holds_what_filling_needs(gappy, tmp_path):
    folder = make_model(tmp_path, gappy, anomalies=True, context=1)
    model = load_model(folder)
    assert model.normalisation.climatology.shape == (12, 1, 13, 18)
    assert model.context == 1
    assert model.grid.periodic
    assert model.errors.by_distance.min() > 0
    assert 0 < model.facts["within"][0] <= model.facts["within"][1] <= 1


@pytest.mark.parametrize("share", [0, 0.3])
def test_modes_restore_what_they_can(share):
    truth = torch.from_numpy(field(60) - field(60).mean(0)).float()[:, None]
    valid = torch.from_numpy(~gaps((60, 13, 18), share)[:, None])
    modes, filled = fit_modes(torch.where(valid, truth, 0), valid, 6)
    assert (filled - truth)[~valid].abs().mean() < 0.2 * truth.std() if share else torch.equal(filled, truth)
    hidden = torch.from_numpy(gaps((60, 13, 18), 0.5, seed=3)[:, None])
    guess = modes.guess(truth, valid & ~hidden)
    assert (guess - truth)[hidden].abs().mean() < 0.25 * truth.std()
