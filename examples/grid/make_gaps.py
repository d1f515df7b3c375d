"""Cut realistic gaps into a complete NetCDF file: a sparse network, the orbits of a satellite, or clouds.

python make_gaps.py truth.nc tas clouds gappy.nc
"""

import argparse
import shutil
from pathlib import Path

import netCDF4
import numpy as np


def sparse(random, shape):
    """Stations in 12 % of the cells, of which a tenth fails in each step."""
    stations = random.random(shape[1:]) < 0.12
    return ~(stations & (random.random(shape) < 0.9))


def orbital(random, shape):
    """Slanted stripes of 9 in 16 columns, somewhere else in each step."""
    y, x = np.mgrid[: shape[1], : shape[2]]
    return (x + 0.35 * y + random.uniform(0, 16, (shape[0], 1, 1))) % 16 < 9


def clouds(random, shape):
    """Blobs of about eight cells that cover 30 to 70 % and move from step to step."""
    y, x = np.fft.fftfreq(shape[1])[:, None], np.fft.rfftfreq(shape[2])[None]
    smooth = np.exp(-2 * (np.pi * 4) ** 2 * (y**2 + x**2))
    noise = np.zeros(shape)
    field = np.fft.rfft2(random.standard_normal(shape[1:]))
    for step in noise:
        field = 0.7 * field * np.exp(-2j * np.pi * 3 * x) + 0.71 * np.fft.rfft2(random.standard_normal(shape[1:]))
        step[:] = np.fft.irfft2(field * smooth, shape[1:])
    cover = random.uniform(0.3, 0.7, shape[0])
    return (
        noise < np.array([np.quantile(step, share) for step, share in zip(noise, cover, strict=True)])[:, None, None]
    )


KINDS = {"sparse": sparse, "orbital": orbital, "clouds": clouds}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path)
    parser.add_argument("variable", help="on time, latitude, longitude, in this order")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    shutil.copyfile(given.truth, given.out)  # without its permissions, which may forbid writing
    with netCDF4.Dataset(given.out, "a") as file:
        values = np.ma.asarray(file[given.variable][:])
        gap = KINDS[given.kind](np.random.default_rng(given.seed), values.shape)
        values[gap] = np.nan if "_FillValue" not in file[given.variable].ncattrs() else np.ma.masked
        file[given.variable][:] = values
    print(f"{given.out}: {gap.mean():.0%} of the cells are missing")
