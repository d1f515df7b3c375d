"""How good fills are over hidden cells: pure functions of arrays ``(T, V, H, W)`` of one variable, ``(T, H, W)``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pconv.grid.axes import Bools
from pconv.grid.error_table import EDGES
from pconv.grid.normalise import Fields


@dataclass(frozen=True)
class Scores:
    """Of one method and variable, over hidden cells by area, in the variable's units.

    Attributes:
        rmse, mae, bias: of the fills.
        correlation: of fills and truth, both as differences from the mean of each cell's known values.
        by_distance: RMSE in each bin of the distance to the nearest known cell; NaN where there are none.
        of_mean: RMSE of the series of area means, when the hidden cells are filled.
        jump: mean step from a filled cell to a known neighbour, as a multiple of the truth's.
    """

    rmse: float
    mae: float
    bias: float
    correlation: float
    by_distance: tuple[float, ...]
    of_mean: float
    jump: float


def score(
    filled: Fields, truth: Fields, hidden: Bools, shown: Bools, distance: Fields, area: Fields, background: Fields
) -> Scores:
    """Compare ``filled`` with ``truth`` where ``hidden``; all are ``(T, H, W)``, ``area`` is ``(H, W)``."""
    weights = np.broadcast_to(area, truth.shape)[hidden].astype(np.float64)
    error = (filled - truth)[hidden].astype(np.float64)
    ours, theirs = ((each - background)[hidden].astype(np.float64) for each in (filled, truth))
    bins = np.digitize(distance[hidden], EDGES)
    by_distance = tuple(_root_mean(error[bins == number], weights[bins == number]) for number in range(len(EDGES) + 1))
    means, true_means = area_means(filled, truth, hidden, shown, area)
    return Scores(
        rmse=_root_mean(error, weights),
        mae=float(np.average(np.abs(error), weights=weights)),
        bias=float(np.average(error, weights=weights)),
        correlation=_correlation(ours, theirs, weights),
        by_distance=by_distance,
        of_mean=float(np.sqrt(np.mean((means - true_means) ** 2))),
        jump=jump(filled, truth, hidden, shown),
    )


def area_means(
    filled: Fields, truth: Fields, hidden: Bools, shown: Bools, area: Fields
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Area means of each step over the cells whose truth is known: with the hidden ones filled, and of the truth."""
    known = hidden | shown
    weights = known * area.astype(np.float64)
    totals = np.maximum(weights.sum((1, 2)), 1e-9)
    truth = np.where(known, truth, 0)
    mixed = np.where(hidden, filled, truth)
    return (mixed * weights).sum((1, 2)) / totals, (truth * weights).sum((1, 2)) / totals


def jump(filled: Fields, truth: Fields, hidden: Bools, shown: Bools) -> float:
    """Mean absolute step across the edges of gaps, relative to the truth's: 1 is natural, more is a seam."""
    steps, true_steps = 0.0, 0.0
    for axis in (1, 2):
        for inner, outer in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            at, beside = [slice(None)] * 3, [slice(None)] * 3
            at[axis], beside[axis] = inner, outer
            edge = hidden[tuple(at)] & shown[tuple(beside)]
            neighbour = truth[tuple(beside)][edge]
            steps += float(np.abs(filled[tuple(at)][edge] - neighbour).sum(dtype=np.float64))
            true_steps += float(np.abs(truth[tuple(at)][edge] - neighbour).sum(dtype=np.float64))
    return steps / true_steps if true_steps else float("nan")


def _root_mean(error: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.average(error**2, weights=weights))) if len(error) else float("nan")


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    a, b = a - np.average(a, weights=weights), b - np.average(b, weights=weights)
    spread = np.sqrt(np.average(a * a, weights=weights) * np.average(b * b, weights=weights))
    return float(np.average(a * b, weights=weights) / spread) if spread > 0 else float("nan")
