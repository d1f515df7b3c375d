"""Other ways to fill: each takes fields ``(T, V, H, W)`` with NaN where missing, and gives all of them filled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pconv.grid import normalise
from pconv.grid.axes import Bools, Grid
from pconv.grid.normalise import Fields, Normalisation
from pconv.grid.times import Times

Baseline = Callable[[Fields], Fields]

DINEOF_MODES = 20
"""Modes that are tried, at most."""
DINEOF_ITERATIONS = 100
DINEOF_ENOUGH = 1e-3
"""An iteration that changes the fills by less than this, in standard deviations, is the last."""
DINEOF_HIDDEN = 0.03
"""Share of the known values that are hidden to choose the number of modes, and how many they are at most."""
DINEOF_MOST_HIDDEN = 20_000


def baselines(grid: Grid, times: Times, chosen: NDArray[np.int64], model: Normalisation | None) -> dict[str, Baseline]:
    """The methods by name; all of them give the steps ``chosen`` only.

    The ones that look at the whole series, climatology and DINEOF, see all steps.

    Args:
        model: whose climatology "linear on anomalies" takes; None takes what is known in the series itself.
    """

    def of_steps(method: Callable[[Fields, Grid], Fields]) -> Baseline:
        return lambda values: method(values[chosen], grid)

    def of_anomalies(values: Fields) -> Fields:
        own = climatology(values, times, grid) if model is None else model.background(times.months)
        background = (own + np.zeros_like(values))[chosen]
        return background + linear(values[chosen] - background, grid)

    return {
        "mean": of_steps(mean),
        "climatology": lambda values: climatology(values, times, grid)[chosen],
        "nearest": of_steps(nearest),
        "linear": of_steps(linear),
        "linear on anomalies": of_anomalies,
        "smooth surface": of_steps(surface),
        "EOFs (DINEOF)": lambda values: dineof(values)[chosen],
    }


def mean(values: Fields, grid: Grid) -> Fields:
    """The mean of each step's known cells, by area."""
    known = np.isfinite(values)
    weights = known * grid.area
    means = (np.where(known, values, 0) * weights).sum((2, 3)) / np.maximum(weights.sum((2, 3)), 1e-9)
    return np.where(known, values, means[..., None, None])


def climatology(values: Fields, times: Times, grid: Grid) -> Fields:
    """The mean of each cell and month over the known steps."""
    months = times.months if times.months is not None else np.ones(len(values), np.int64)
    return normalise.anomalies(values, months, grid.area).background(months) + np.zeros_like(values)


def nearest(values: Fields, grid: Grid) -> Fields:
    """The nearest known cell's value."""
    from scipy import ndimage

    out = values.copy()
    for place in np.ndindex(values.shape[:2]):
        each = _wide(values[place], grid)
        missing = np.isnan(each)
        if not missing.all():
            at = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
            out[place] = _narrow(each[tuple(at)], grid)
    return _complete(out)


def linear(values: Fields, grid: Grid) -> Fields:
    """Linear between known cells over Delaunay triangles (scipy's griddata), the nearest one's value beyond them."""
    from scipy.interpolate import griddata

    out = nearest(values, grid)
    for place in np.ndindex(values.shape[:2]):
        each = _wide(values[place], grid)
        known = np.isfinite(each)
        width = values.shape[-1]
        wanted = np.isnan(values[place])
        points = np.argwhere(known)
        if len(points) < 4 or (np.ptp(points, axis=0) == 0).any() or not wanted.any():
            continue
        rows, columns = np.nonzero(wanted)
        targets = np.stack([rows, columns + (width if grid.periodic else 0)], axis=1)
        found = griddata(points, each[known], targets, "linear")
        out[place][wanted] = np.where(np.isfinite(found), found, out[place][wanted])
    return out


def surface(values: Fields, grid: Grid) -> Fields:
    """The smooth surface through the known cells (``pconv.nn.surface.smooth_surface``)."""
    import torch
    import torch.nn.functional as F

    from pconv.nn.surface import smooth_surface

    out = values.copy()
    for place in np.ndindex(values.shape[:2]):
        each = torch.from_numpy(np.ascontiguousarray(_wide(values[place], grid)))
        valid = torch.isfinite(each)
        if not valid.any():
            continue
        middle = each[valid].mean()
        levels = max(1, int(np.ceil(np.log2(max(values.shape[2:])))))
        around = (0, -each.shape[1] % 2**levels, 0, -each.shape[0] % 2**levels)
        maps = F.pad(torch.where(valid, each - middle, 0)[None, None], around)
        smooth = smooth_surface(maps, F.pad(valid[None, None], around), levels)[0, 0, : each.shape[0], : each.shape[1]]
        out[place] = np.where(np.isnan(values[place]), _narrow((smooth + middle).numpy(), grid), values[place])
    return _complete(out)


def dineof(values: Fields, modes: int = DINEOF_MODES, seed: int = 0) -> Fields:
    """Filling by empirical orthogonal functions, the method of DINEOF (Beckers and Rixen 2003).

    Missing values start at each cell's mean. The series is replaced there by its reconstruction from the first modes,
    again and again. The number of modes is the one that fills a few hidden values best.
    """
    shape = values.shape
    known = np.isfinite(values)
    spread = np.array([np.nanstd(values[:, v]) or 1.0 for v in range(shape[1])])[:, None, None]
    table, there = (values / spread).reshape(len(values), -1).astype(np.float64), known.reshape(len(values), -1)
    ever = there.any(0)
    table, there = table[:, ever], there[:, ever]
    means = np.where(there, table, 0).sum(0) / there.sum(0)
    table = np.where(there, table - means, 0)
    random = np.random.default_rng(seed)
    places = np.argwhere(there)
    count = max(1, min(int(DINEOF_HIDDEN * len(places)), DINEOF_MOST_HIDDEN))
    hidden = np.zeros_like(there)
    hidden[tuple(places[random.choice(len(places), count, replace=False)].T)] = True
    best, best_error, current = 0, float(np.sqrt(np.mean(table[hidden] ** 2))), np.where(hidden, 0, table)
    start = current
    for number in range(1, min(modes, min(table.shape) - 1) + 1):
        current = _reconstruct(current, there & ~hidden, number)
        error = float(np.sqrt(np.mean((current - table)[hidden] ** 2)))
        if error < best_error:
            best, best_error, start = number, error, current
        elif number > best + 2:
            break
    filled = _reconstruct(np.where(there, table, start), there, best) if best else table
    out = np.full((len(values), ever.size), np.nan)
    out[:, ever] = filled + means
    fields = (out.reshape(shape) * spread).astype(np.float32)
    return _complete(np.where(known, values, fields))


def _reconstruct(table: NDArray[np.float64], known: Bools, modes: int) -> NDArray[np.float64]:
    """Replace what is not known by ``modes`` EOFs until it hardly changes."""
    for _ in range(DINEOF_ITERATIONS):
        if table.shape[0] <= table.shape[1]:
            vectors = np.linalg.eigh(table @ table.T)[1][:, -modes:]
            rebuilt = vectors @ (vectors.T @ table)
        else:
            vectors = np.linalg.eigh(table.T @ table)[1][:, -modes:]
            rebuilt = (table @ vectors) @ vectors.T
        new = np.where(known, table, rebuilt)
        change = float(np.sqrt(np.mean((new - table) ** 2)))
        table = new
        if change < DINEOF_ENOUGH:
            break
    return table


def _wide(field: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """A periodic field three times side by side."""
    return np.concatenate([field] * 3, axis=1) if grid.periodic else field


def _narrow(field: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    width = field.shape[1] // 3
    return field[:, width : 2 * width] if grid.periodic else field


def _complete(values: Fields) -> Fields:
    """What a method cannot tell gets the variable's mean."""
    means = np.array([np.nanmean(values[:, v]) for v in range(values.shape[1])], np.float32)
    return np.where(np.isfinite(values), values, means[:, None, None]).astype(np.float32)
