"""Gaps in gridded data: a field of floats with NaN where nothing was measured.

The bundled model was trained on photos, so this is a first guess for smooth fields; a model trained on your own data,
with as many channels as it has, is a matter of `pconv train`.
"""

import numpy as np

from pconv import Inpainter, irregular_hole

y, x = np.mgrid[0:180, 0:360] * (np.pi / 180)
truth = 288 + 25 * np.sin(y) + 3 * np.cos(3 * x + 2 * y) + 2 * np.sin(5 * x) * np.sin(4 * y)  # kelvin
field = truth.copy()
field[irregular_hole(180, 360, (0.2, 0.25), generator=np.random.default_rng(1))] = np.nan

gap = np.isnan(field)
low, high = np.nanmin(field), np.nanmax(field)
fill = Inpainter()
filled = fill((field - low) / (high - low), gap) * (high - low) + low  # the network wants 0..1

assert np.allclose(filled[~gap], field[~gap])


def error(values):
    return np.sqrt(np.mean((values - truth)[gap] ** 2))


mean = np.full_like(truth, np.nanmean(field))
print(f"{gap.mean():.0%} missing; error {error(filled):.2f} K, of the mean {error(mean):.2f} K")
