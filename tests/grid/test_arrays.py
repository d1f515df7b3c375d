"""`pconv.grid.fill` and the accessor: xarray in, the same out, lazily for dask."""

import numpy as np
import pytest
import xarray as xr
from grid_data import field, write

import pconv.grid
from pconv.errors import InputError


@pytest.fixture
def data(gappy, tmp_path):
    return xr.open_dataset(write(tmp_path / "in.nc", gappy)).load()


@pytest.fixture(scope="module")
def context_model(tmp_path_factory, gappy):
    from grid_data import make_model

    return make_model(tmp_path_factory.mktemp("context"), gappy, context=1)


def test_a_data_array_comes_back_filled_and_otherwise_the_same(data, model):
    air = data["tas"]
    filled = pconv.grid.fill(air, model)
    assert isinstance(filled, xr.DataArray)
    assert filled.dims == air.dims
    assert filled.dtype == air.dtype
    assert filled.attrs == air.attrs
    assert filled.encoding == air.encoding
    xr.testing.assert_identical(filled.coords.to_dataset(), air.coords.to_dataset())
    known = air.notnull().values
    assert np.array_equal(filled.values[known], air.values[known])
    assert filled.notnull().all()


def test_a_dataset_gets_flags_and_errors_beside(data, model):
    filled = data.pconv.fill(model)
    assert (filled["tas_filled"].values == data["tas"].isnull().values).all()
    assert filled["tas"].attrs["ancillary_variables"] == "tas_filled tas_error"
    assert filled["tas_error"].attrs["units"] == "K"
    assert (filled["tas_error"].values[filled["tas_filled"].values == 1] > 0).all()
    assert "tas_filled" not in data
    assert "ancillary_variables" not in data["tas"].attrs


def test_the_accessor_and_the_command_fill_alike(data, model, tmp_path):
    from click.testing import CliRunner

    from pconv.cli import main

    arguments = ["grid", "fill", tmp_path / "in.nc", "--variable", "tas", "--model", model, "-o", tmp_path / "out.nc"]
    assert CliRunner().invoke(main, [str(each) for each in arguments]).exit_code == 0
    out = xr.open_dataset(tmp_path / "out.nc")
    assert np.array_equal(data["tas"].pconv.fill(pconv.grid.load_model(model)).values, out["tas"].values)
    assert out["tas_filled"].attrs["flag_meanings"] == "not_filled filled"


@pytest.mark.parametrize("which", ["model", "context_model"])
def test_dask_arrays_stay_lazy_and_give_the_same(which, data, request):
    model = request.getfixturevalue(which)
    lazy = data.chunk({"time": 5})
    filled = lazy.pconv.fill(model)
    assert filled["tas"].chunks == ((5, 5, 5, 5, 4), (13,), (18,))
    assert filled["tas_error"].chunks is not None
    whole = data.pconv.fill(model)
    for name in ("tas", "tas_filled", "tas_error"):
        np.testing.assert_allclose(filled[name].values, whole[name].values, rtol=1e-5)


def test_other_chunks_are_said_to_be_rechunked(data, model):
    with pytest.warns(UserWarning, match="rechunked"):
        filled = data["tas"].chunk({"time": 8, "lon": 6}).pconv.fill(model)
    assert filled.chunks[2] == (18,)


def test_any_order_of_dimensions_and_extra_ones_of_one_value(data, model):
    air = data["tas"].expand_dims(height=[2.0]).transpose("lon", "height", "time", "lat")
    filled = pconv.grid.fill(air, model)
    assert filled.dims == air.dims
    expected = pconv.grid.fill(data["tas"], model).values
    assert np.array_equal(filled.squeeze("height").transpose("time", "lat", "lon").values, expected)


def test_one_step_is_filled_with_its_scalar_time(data, model):
    filled = pconv.grid.fill(data["tas"].isel(time=3), model)
    assert filled.dims == ("lat", "lon")
    assert np.allclose(filled.values, pconv.grid.fill(data["tas"], model).values[3], rtol=1e-5)


def test_a_step_without_anything_is_filled_from_its_context(data, context_model):
    air = data["tas"].copy()
    air[4] = np.nan
    assert pconv.grid.fill(air, context_model).isel(time=4).notnull().all()
    air[3:6] = np.nan
    assert pconv.grid.fill(air, context_model).isel(time=4).isnull().all()


def test_a_mask_allows_and_limits_hold(data, model):
    allowed = xr.zeros_like(data["tas"].isel(time=0, drop=True))
    allowed[2, 3] = 1
    filled = pconv.grid.fill(data["tas"], model, mask=allowed)
    new = filled.notnull() & data["tas"].isnull()
    assert new.sum() == data["tas"][:, 2, 3].isnull().sum()
    assert pconv.grid.fill(data["tas"], model, maximum=100.0).min() == 100
    assert pconv.grid.fill(data["tas"], model, max_gap=0).isnull().sum() == data["tas"].isnull().sum()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.assign_attrs(units="degC"), "in 'degC'"),
        (lambda d: d.rename("pr"), "trained on tas, not on pr"),
        (lambda d: d[:, :5], "5 x 18 cells"),
        (lambda d: d.drop_vars("time").isel(time=0), "no time axis"),
        (lambda d: d.expand_dims(level=[1, 2]), "dimension level of 2 values"),
        (lambda d: d.astype(int), "whole numbers"),
        (lambda d: d.to_dataset(name="other"), "no variable 'tas'; it has other"),
        (lambda d: d.values, "must be an xarray"),
    ],
)
def test_other_data_is_refused_in_one_sentence(change, says, data, model):
    with pytest.raises(InputError, match=says):
        pconv.grid.fill(change(data["tas"].fillna(0) if "whole" in says else data["tas"]), model)


def test_undecoded_data_stays_packed(gappy, model, tmp_path):
    path = write(tmp_path / "in.nc", gappy, dtype="i2", packing=(0.01, 280.0), fill=-32768)
    stored = xr.open_dataset(path, mask_and_scale=False, decode_times=False).load()
    filled = stored.pconv.fill(model)
    assert filled["tas"].dtype == np.int16
    known = stored["tas"].values != -32768
    assert np.array_equal(filled["tas"].values[known], stored["tas"].values[known])
    assert np.array_equal(filled["tas_filled"].values == 0, known)


def test_one_field_of_a_longer_globe(model):
    values = field(2).astype(np.float32)
    times = xr.date_range("2001-01-01", periods=2, freq="MS", calendar="noleap", use_cftime=True)
    lat, lon = np.linspace(60, -60, 13), np.arange(-180, 180, 20.0)
    air = xr.DataArray(values, dims=("time", "lat", "lon"), coords={"time": times, "lat": lat, "lon": lon}, name="tas")
    air.attrs["units"] = "K"
    air[:, :4] = np.nan
    assert pconv.grid.fill(air, model).notnull().all()
