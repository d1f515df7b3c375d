"""Small fields of our own, as files, and models that were hardly trained."""

import netCDF4
import numpy as np

TIMES = 24


def field(steps=TIMES, lat=None, lon=None, seed=0):
    """A smooth field (T, H, W) that moves, with a yearly cycle, in K."""
    lat = np.linspace(-60, 60, 13) if lat is None else lat
    lon = np.arange(0, 360, 20.0) if lon is None else lon
    t = np.arange(steps)[:, None, None]
    y, x = np.deg2rad(lat)[:, None], np.deg2rad(lon)[None]
    noise = np.random.default_rng(seed).standard_normal((steps, 1, 1))
    return (
        280 + 20 * np.cos(y) + 5 * np.sin(x + t / 3) * np.cos(y) + 3 * np.cos(2 * np.pi * t / 12) * np.sin(y) + noise
    )


def gaps(shape, share=0.3, seed=1):
    """Blobs: True = missing."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), (0, 1.5, 1.5))
    return noise < np.quantile(noise, share)


def write(
    path,
    values,
    lat=None,
    lon=None,
    dims=("time", "lat", "lon"),
    name="tas",
    dtype="f4",
    packing=None,
    fill=1e20,
    start=0,
    calendar="360_day",
    units="K",
    attributes=None,
    file_format="NETCDF4",
    **settings,
):
    """One variable on time, lat, lon; ``values`` are (T, H, W) with NaN where missing."""
    lat = np.linspace(-60, 60, values.shape[1]) if lat is None else lat
    lon = np.arange(values.shape[2]) * 360 / values.shape[2] if lon is None else lon
    with netCDF4.Dataset(path, "w", format=file_format) as file:
        file.history = "made"
        file.title = "a test"
        sizes = dict(zip(("time", "lat", "lon"), values.shape, strict=True))
        for dim in ("time", "lat", "lon"):
            file.createDimension(dim, None if dim == "time" else sizes[dim])
        time = file.createVariable("time", "f8", ("time",))
        time.setncatts({"units": "days since 2000-01-01", "calendar": calendar, "axis": "T"})
        time[:] = start + 30 * np.arange(values.shape[0]) + 15
        for dim, numbers, unit in (("lat", lat, "degrees_north"), ("lon", lon, "degrees_east")):
            variable = file.createVariable(dim, "f8", (dim,))
            variable.units = unit
            variable[:] = numbers
        variable = file.createVariable(name, dtype, dims, fill_value=fill, **settings)
        variable.setncatts({"units": units, "standard_name": "air_temperature", "cell_methods": "time: mean"})
        variable.setncatts(attributes or {})
        if packing:
            variable.scale_factor, variable.add_offset = packing
        variable.set_auto_maskandscale(False)
        stored = values if not packing else np.rint((values - packing[1]) / packing[0])
        missing = np.nan if fill is False or fill is None else fill
        stored = np.where(np.isnan(values), missing, stored.astype(float)).astype(dtype)
        variable[:] = stored.transpose([("time", "lat", "lon").index(dim) for dim in dims])
    return path


def raw(path, name="tas"):
    """The stored numbers."""
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        return np.asarray(file[name][...])


def make_model(folder, values, **options):
    from pconv.grid.samples import Data, TrainOptions
    from pconv.grid.series import Series
    from pconv.grid.training import train

    path = write(folder / "train.nc", values)
    series = Series([path], ["tas"])
    data = Data(series.read(0, len(series))[0], series.times, series.grid, ("tas",), ("K",))
    settings = {"steps": 6, "batch": 4, "width": 0.25, "validate_every": 3, "minutes": 0} | options
    train(data, TrainOptions(**settings), folder / "run")
    return folder / "run"
