"""The scripts of examples/grid, and real fields where they are at hand (PCONV_GRIDS names their folder)."""

import os
import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from click.testing import CliRunner
from grid_data import raw

from pconv.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples" / "grid"
GRIDS = Path(os.environ.get("PCONV_GRIDS", Path(__file__).parents[3] / "shared" / "data" / "grids"))


def script(name, *arguments):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def grid(*arguments):
    done = CliRunner().invoke(main, ["grid", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_made_field_is_filled_and_compared(tmp_path):
    script("make_field.py", tmp_path / "truth.nc", tmp_path / "gappy.nc")
    before = raw(tmp_path / "gappy.nc")
    assert before.dtype == np.int16
    quick = ("--steps", 2, "--width", 0.25, "--minutes", 0, "--no-modes")
    said = grid("train", tmp_path / "gappy.nc", "--variable", "tas", "-o", tmp_path / "run", *quick)
    assert "240 steps of 37 x 72 cells, periodic" in said
    grid("fill", tmp_path / "gappy.nc", "--variable", "tas", "--model", tmp_path / "run", "-o", tmp_path / "out.nc")
    after, truth = raw(tmp_path / "out.nc"), raw(tmp_path / "truth.nc")
    known = before != -32768
    assert np.array_equal(after[known], before[known])
    assert np.array_equal(after == -32768, truth == -32768)  # land stays missing


@pytest.mark.parametrize("kind", ["sparse", "orbital", "clouds"])
def test_gaps_are_cut_into_a_copy(kind, tmp_path):
    script("make_field.py", tmp_path / "truth.nc", tmp_path / "gappy.nc")
    script("make_gaps.py", tmp_path / "truth.nc", "tas", kind, tmp_path / "cut.nc")
    with netCDF4.Dataset(tmp_path / "truth.nc") as truth, netCDF4.Dataset(tmp_path / "cut.nc") as cut:
        left = ~np.ma.getmaskarray(cut["tas"][:])
        assert 0.05 < left.mean() < 0.7
        assert np.array_equal(truth["tas"][:][left], cut["tas"][:][left])


@pytest.mark.skipif(not GRIDS.is_dir(), reason="needs real fields: PCONV_GRIDS names their folder")
def test_land_of_a_real_ocean_field_stays_missing(tmp_path):
    path = GRIDS / "ostia_monthly.nc"
    quick = ("--steps", 2, "--width", 0.25, "--minutes", 0, "--no-modes")
    said = grid("train", path, "--variable", "surface_temperature", "-o", tmp_path / "run", *quick)
    assert "18 x 432 cells, periodic" in said
    cut = tmp_path / "cut.nc"
    script("make_gaps.py", path, "surface_temperature", "clouds", cut)
    grid("fill", cut, "--variable", "surface_temperature", "--model", tmp_path / "run", "-o", tmp_path / "out.nc")
    assert np.array_equal(
        raw(tmp_path / "out.nc", "surface_temperature") > 1e19, raw(path, "surface_temperature") > 1e19
    )
