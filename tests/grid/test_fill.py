"""`pconv grid fill`: what comes back, and what is refused."""

import netCDF4
import numpy as np
import pytest
from click.testing import CliRunner
from grid_data import field, gaps, make_model, raw, write

from pconv.cli import main


def run(*arguments):
    return CliRunner().invoke(main, ["grid", *map(str, arguments)])


def fill(path, model, out, *options):
    done = run("fill", path, "--variable", "tas", "--model", model, "-o", out, *options)
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"fill": False},
        {"dtype": "i2", "packing": (0.01, 280.0), "fill": -32768, "zlib": True, "chunksizes": (3, 13, 9)},
        {"dtype": "u1", "packing": (0.5, 250.0), "fill": 255},
        {"dtype": "f8", "dims": ("lon", "time", "lat")},
        {"file_format": "NETCDF3_CLASSIC"},
        {"calendar": "noleap", "dtype": "i4", "packing": (1e-4, 0.0), "fill": -1},
    ],
    ids=["float", "NaN", "packed and compressed", "bytes", "other order", "netCDF 3", "noleap"],
)
def test_all_comes_back_as_it_was_but_for_the_gaps(form, gappy, model, tmp_path):
    path = write(tmp_path / "in.nc", gappy, **form)
    fill(path, model, tmp_path / "out.nc")
    before, after, flags = raw(path), raw(tmp_path / "out.nc"), raw(tmp_path / "out.nc", "tas_filled")
    order = [("time", "lat", "lon").index(dim) for dim in form.get("dims", ("time", "lat", "lon"))]
    missing = np.isnan(gappy).transpose(order)
    assert before.dtype == after.dtype
    assert np.array_equal(before[~missing].view("u1"), after[~missing].view("u1"))
    assert np.array_equal(flags == 1, missing)
    with netCDF4.Dataset(path) as old, netCDF4.Dataset(tmp_path / "out.nc") as new:
        assert np.ma.count_masked(new["tas"][:]) == 0
        assert old.data_model == new.data_model
        assert old["tas"].chunking() == new["tas"].chunking()
        assert old["tas"].filters() == new["tas"].filters()
        for name in old.variables:
            kept = {a: old[name].getncattr(a) for a in old[name].ncattrs()}
            came = {a: new[name].getncattr(a) for a in new[name].ncattrs() if a != "ancillary_variables"}
            assert str(kept) == str(came)
            if name != "tas":
                assert np.array_equal(raw(path, name), raw(tmp_path / "out.nc", name))
        assert new["tas"].ancillary_variables == "tas_filled tas_error"
        assert list(new["tas_filled"].flag_values) == [0, 1]
        assert new["tas_filled"].flag_meanings.split() == ["not_filled", "filled"]
        assert new["tas_error"].units == "K"
        assert new.history.startswith("made\n")
        assert "pconv" in new.history
        assert len(new.pconv_model_sha256) == 64
        error = np.asarray(new["tas_error"][:])
        assert (error[missing] > 0).all()
        assert (error[~missing] == 0).all()


def test_the_direction_of_axes_and_the_start_of_longitudes_do_not_matter(gappy, model, tmp_path):
    lat, lon = np.linspace(-60, 60, 13), np.arange(0, 360, 20.0)
    fill(write(tmp_path / "a.nc", gappy), model, tmp_path / "a-out.nc")
    west = np.roll(gappy, 9, axis=2)[:, ::-1]
    fill(write(tmp_path / "b.nc", west, lat[::-1], lon - 180), model, tmp_path / "b-out.nc")
    a, b = raw(tmp_path / "a-out.nc"), raw(tmp_path / "b-out.nc")
    assert np.array_equal(np.roll(a, 9, axis=2)[:, ::-1], b)
    doubled = np.concatenate([gappy, gappy[..., :1]], axis=2)
    doubled[:, 3, -1] = np.nan  # known at 0 in some steps
    fill(write(tmp_path / "c.nc", doubled, lat, np.append(lon, 360)), model, tmp_path / "c-out.nc")
    c = raw(tmp_path / "c-out.nc")
    assert np.array_equal(c[..., :-1], a)
    assert np.array_equal(c[..., -1], a[..., 0])


def test_several_files_keep_their_own_packing(gappy, model, tmp_path):
    first = write(tmp_path / "1.nc", gappy[:10], dtype="i2", packing=(0.01, 280.0), fill=-32768)
    second = write(tmp_path / "2.nc", gappy[10:], dtype="i2", packing=(0.02, 270.0), fill=-1, start=300)
    done = run("fill", second, first, "--variable", "tas", "--model", model, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    for path, part in ((first, gappy[:10]), (second, gappy[10:])):
        before, after = raw(path), raw(tmp_path / "out" / path.name)
        assert np.array_equal(before[~np.isnan(part)], after[~np.isnan(part)])
        with netCDF4.Dataset(path) as old, netCDF4.Dataset(tmp_path / "out" / path.name) as new:
            assert old["tas"].scale_factor == new["tas"].scale_factor
            assert abs(new["tas"][:].mean() - old["tas"][:].mean()) < 5


def test_a_type_that_is_too_small_is_widened(gappy, model, tmp_path):
    narrow = np.where(np.abs(gappy - 290) < 2, gappy, np.nan)
    path = write(tmp_path / "in.nc", narrow, dtype="i1", packing=(0.0158, 290.0), fill=-128)
    done = fill(path, model, tmp_path / "out.nc", "--minimum", 400)
    assert "stored as int16 instead of int8" in done.output
    after = raw(tmp_path / "out.nc")
    assert after.dtype == np.int16
    assert np.array_equal(raw(path)[~np.isnan(narrow)], after[~np.isnan(narrow)])
    with netCDF4.Dataset(tmp_path / "out.nc") as new:
        assert np.ma.count_masked(new["tas"][:]) == 0
        assert new["tas"]._FillValue == -128
        assert abs(new["tas"][:][np.isnan(narrow)] - 400).max() < 0.01


def test_cells_that_training_never_knew_stay_missing(truth, tmp_path):
    land = np.zeros(truth.shape[1:], bool)
    land[3:6, 4:9] = True
    values = np.where(gaps(truth.shape) | land, np.nan, truth)
    model = make_model(tmp_path, values)
    path = write(tmp_path / "one.nc", values[:1])
    fill(path, model, tmp_path / "out.nc")
    assert np.array_equal(np.isnan(np.where(raw(tmp_path / "out.nc") > 1e19, np.nan, 1))[0], land)
    fill(path, model, tmp_path / "all.nc", "--everywhere")
    assert (raw(tmp_path / "all.nc") < 1e19).all()
    allowed = np.zeros(truth.shape[1:])
    allowed[3, 4] = 1
    write(tmp_path / "mask.nc", allowed[None], name="mask")
    done = fill(path, model, tmp_path / "masked.nc", "--mask", tmp_path / "mask.nc")
    assert "1 cells filled" in done.output
    assert raw(tmp_path / "masked.nc", "tas_filled")[0, 3, 4] == 1


def test_limits_and_steps_without_anything(gappy, model, tmp_path):
    values = gappy.copy()
    values[5] = np.nan
    path = write(tmp_path / "in.nc", values)
    done = fill(path, model, tmp_path / "out.nc")
    assert "1 steps stay missing" in done.output
    assert (raw(tmp_path / "out.nc")[5] > 1e19).all()
    fill(path, model, tmp_path / "gap.nc", "--max-gap", 0)
    assert not raw(tmp_path / "gap.nc", "tas_filled").any()
    fill(path, model, tmp_path / "area.nc", "--max-area", 0.5)
    assert not raw(tmp_path / "area.nc", "tas_filled").any()
    fill(path, model, tmp_path / "least.nc", "--min-observed", 0.99)
    assert not raw(tmp_path / "least.nc", "tas_filled").any()
    fill(path, model, tmp_path / "low.nc", "--minimum", 400)
    filled = raw(tmp_path / "low.nc", "tas_filled") == 1
    assert (raw(tmp_path / "low.nc")[filled] == 400).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "pr"}, "no variable 'tas'; it has pr"),
        ({"units": "degC"}, "in 'degC', and the model was trained in 'K'"),
        ({"lat": np.linspace(-30, 30, 13)}, "not on the model's grid: its y is -30 to 30"),
        ({"lat": np.linspace(-60, 60, 13) ** 3 / 3600}, "irregular"),
        ({"dtype": "i2", "fill": -1}, "whole numbers"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_sentence(change, says, gappy, model, tmp_path):
    path = write(tmp_path / "in.nc", gappy, **change)
    done = run("fill", path, "--variable", "tas", "--model", model, "-o", tmp_path / "out.nc")
    assert done.exit_code == 2
    assert says in done.output
    assert not (tmp_path / "out.nc").exists()


def test_other_bad_input_is_refused_in_one_sentence(gappy, truth, model, tmp_path):
    def refused(path, says, *options, variable="tas"):
        done = run("fill", path, "--variable", variable, "--model", model, "-o", tmp_path / "out.nc", *options)
        assert done.exit_code == 2
        assert says in done.output

    good = write(tmp_path / "in.nc", gappy)
    refused(tmp_path / "no.nc", "does not exist")
    done = run("fill", good, "--variable", "tas", "--model", model, "-o", good)
    assert done.exit_code == 2
    assert "is the input" in done.output
    refused(good, "three of tas's dimensions", "--dims", "time,row,lon")
    refused(write(tmp_path / "full.nc", truth), "no gaps")
    refused(write(tmp_path / "none.nc", np.full_like(gappy, np.nan)), "missing everywhere")
    refused(write(tmp_path / "small.nc", gappy[:, :, :9]), "9 cells, and 13 x 18 were expected")
    with netCDF4.Dataset(good, "a") as file:
        file.createVariable("flat", "f4", ("lat", "lon"))[:] = 1
    refused(good, "no time axis", variable="flat")
    fill(good, model, tmp_path / "filled.nc")
    refused(tmp_path / "filled.nc", "no gaps")
    (tmp_path / "text.nc").write_text("text")
    refused(tmp_path / "text.nc", "not a NetCDF file")


def test_every_kind_of_missing_is_counted(model, tmp_path):
    values = field().astype(np.float32)
    values[0, 0, :3] = np.nan
    values[0, 1, :4] = -999
    values[0, 2, :5] = 1000
    values[0, 3, :6] = 77
    values[0, 4, :7] = 1e20
    path = write(
        tmp_path / "in.nc",
        values,
        fill=1e20,
        attributes={"missing_value": np.float32(-999), "valid_range": np.array([0, 500], "f4")},
    )
    with netCDF4.Dataset(path, "a") as file:
        file["tas"].set_auto_maskandscale(False)
        file["tas"][0, 0, :3] = np.nan
    done = fill(path, model, tmp_path / "out.nc", "--missing", 77)
    assert (
        "25 of 5,616 cells are missing: 3 NaN, 7 _FillValue, 4 missing_value, 5 valid_range, 6 --missing"
        in done.output
    )
    assert "25 cells filled" in done.output


def test_a_value_that_never_changes_is_noted(gappy, model, tmp_path):
    values = gappy.copy()
    values[:, :2, :5] = 0
    done = fill(write(tmp_path / "in.nc", values), model, tmp_path / "out.nc")
    assert "tas is 0 in the same 10 cells of every step" in done.output


def test_a_curvilinear_grid_is_taken_as_rows_and_columns(gappy, tmp_path):
    path = tmp_path / "in.nc"
    write(path, gappy)
    with netCDF4.Dataset(tmp_path / "curved.nc", "w") as file:
        for name, size in zip(("time", "y", "x"), gappy.shape, strict=True):
            file.createDimension(name, size)
        file.createVariable("time", "f8", ("time",))[:] = np.arange(len(gappy))
        for name in ("lat", "lon"):
            file.createVariable(name, "f8", ("y", "x"))[:] = 1
        tas = file.createVariable("tas", "f4", ("time", "y", "x"))
        tas.coordinates = "lat lon"
        tas[:] = gappy
    done = run("train", tmp_path / "curved.nc", "--variable", "tas", "-o", tmp_path / "run")
    assert done.exit_code == 2
    assert "--no-area takes it as plain rows and columns" in done.output
    quick = ("--steps", 2, "--width", 0.25, "--minutes", 0, "--no-area")
    done = run("train", tmp_path / "curved.nc", "--variable", "tas", "-o", tmp_path / "run", *quick)
    assert done.exit_code == 0, done.output
    fill(tmp_path / "curved.nc", tmp_path / "run", tmp_path / "out.nc")
    assert np.isfinite(raw(tmp_path / "out.nc")).all()
