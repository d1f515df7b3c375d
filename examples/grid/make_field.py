"""Make a global monthly field to try things with: 37 x 72 cells, packed int16, 360-day calendar, land, moving clouds.

python make_field.py truth.nc gappy.nc
"""

import sys

import netCDF4
import numpy as np
from make_gaps import clouds

STEPS, ROWS, COLUMNS = 240, 37, 72
random = np.random.default_rng(1)
lat, lon = np.linspace(-90, 90, ROWS), np.arange(COLUMNS) * 5.0
y, x = np.deg2rad(lat)[:, None], np.deg2rad(lon)[None]


def waves(count, least, most):
    """Smooth random patterns on the globe, (count, ROWS, COLUMNS)."""
    made = np.zeros((count, ROWS, COLUMNS))
    for pattern in made:
        for _ in range(12):
            k, m = random.integers(least, most, 2)
            pattern += (
                random.standard_normal()
                * np.cos(k * x + random.uniform(0, 6.3))
                * np.cos(m * y + random.uniform(0, 6.3))
                * np.cos(y) ** 0.5
            )
    return made / made.std((1, 2), keepdims=True)


month = np.arange(STEPS) % 12
season = np.cos(2 * np.pi * (month - 6) / 12)[:, None, None]
modes, fine = waves(25, 0, 6), waves(60, 4, 14)
amplitudes, small = np.zeros((STEPS, 25)), np.zeros((STEPS, 60))
for t in range(1, STEPS):
    amplitudes[t] = 0.8 * amplitudes[t - 1] + 0.6 * random.standard_normal(25) / np.sqrt(1 + np.arange(25))
    small[t] = 0.3 * small[t - 1] + 0.1 * random.standard_normal(60)
land = waves(1, 1, 4)[0] > 0.6
truth = 288 - 35 * np.sin(np.abs(y)) ** 2 + 4 * waves(1, 1, 8)[0] + season * 9 * np.sin(y)
truth = truth + np.tensordot(amplitudes, modes, 1) + np.tensordot(small, fine, 1)
truth[:, land] = np.nan


def write(path, values):
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", None), ("lat", ROWS), ("lon", COLUMNS)):
            file.createDimension(name, size)
        time = file.createVariable("time", "i4", ("time",))
        time.setncatts({"units": "days since 1990-01-01", "calendar": "360_day", "axis": "T"})
        time[:] = 15 + 30 * np.arange(STEPS)
        for name, numbers, units in (("lat", lat, "degrees_north"), ("lon", lon, "degrees_east")):
            variable = file.createVariable(name, "f4", (name,))
            variable.units = units
            variable[:] = numbers
        field = file.createVariable("tas", "i2", ("time", "lat", "lon"), fill_value=-32768, zlib=True)
        field.setncatts({"units": "K", "scale_factor": 0.01, "add_offset": 273.15})
        field[:] = np.ma.array(np.nan_to_num(values), mask=np.isnan(values))


write(sys.argv[1], truth)
write(sys.argv[2], np.where(clouds(random, truth.shape), np.nan, truth))
