"""Compare a model's fill, and those of other methods, with the truth that gaps were cut out of.

python compare.py truth.nc gappy.nc tas runs/tas

Steps that the model was trained on are left out. RMSE is over the gaps, by area.
"""

import sys

import numpy as np

from pconv.grid import load_model
from pconv.grid.baselines import baselines
from pconv.grid.model import fingerprints
from pconv.grid.series import Series

truth, gappy, variable, folder = sys.argv[1:]
model = load_model(folder)
series, whole = Series([gappy], [variable]), Series([truth], [variable])
model.check(series.grid, {variable: series.attributes[0].get("units", "")}, gappy)
values, true = series.read(0, len(series))[0], whole.read(0, len(whole))[0]
fresh = np.flatnonzero([each not in set(model.seen) for each in fingerprints(true)])
gap = np.isnan(values[fresh]) & np.isfinite(true[fresh])
weights = np.broadcast_to(series.grid.area, gap.shape)[gap]
climatology = model.normalisation if model.anomalies else None

print(f"{len(fresh)} of {len(true)} steps are new to the model; {gap.mean():.0%} of them is missing")
methods = {"model": lambda v: model.predict(v, series.times.months, series.times.linked, fresh.tolist())}
errors = {}
for name, method in (methods | baselines(series.grid, series.times, fresh, climatology)).items():
    error = (method(values) - true[fresh])[gap]
    errors[name] = np.sqrt(np.average(error**2, weights=weights))
    print(f"{name:20} RMSE {errors[name]:.4f}", flush=True)
best = min((name for name in errors if name != "model"), key=errors.get)
print(f"the model's RMSE is {1 - errors['model'] / errors[best]:.0%} below that of the best other method, {best}")
