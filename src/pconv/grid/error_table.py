"""How wrong a fill is expected to be: by the distance to the nearest known cell, and by the place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EDGES = (1.5, 2.5, 3.5, 5.5, 8.5, 13.5, 21.5)
"""Between the bins of distance, in cells. Beyond the last, and where nothing is known, is a bin too."""
PLACE_WEIGHT = 8.0
"""A cell's own ratio leans on 1 as if so many values had said 1."""
PLACE_SMOOTH = 1.5
"""Cells over which the ratios of neighbours are put together."""


@dataclass(frozen=True, eq=False)
class ErrorTable:
    """``error = by_distance[variable, bin(distance)] * place[variable, row, column]``.

    Attributes:
        by_distance: ``(V, bins)`` root mean square errors in physical units, not falling with the distance.
        place: ``(V, H, W)`` without units, near 1.
        counts: ``(V, bins)`` hidden cells that were measured.
    """

    by_distance: NDArray[np.float32]
    place: NDArray[np.float32]
    counts: NDArray[np.int64]

    def errors(self, distance: NDArray[np.float32]) -> NDArray[np.float32]:
        """Expected errors for distances ``(T, V, H, W)``, in physical units."""
        bins = np.digitize(distance, EDGES)
        table = np.stack([each[b] for each, b in zip(self.by_distance, bins.swapaxes(0, 1), strict=True)], axis=1)
        return (table * self.place).astype(np.float32)


class ErrorMeter:
    """Collects squared errors over hidden cells, and makes an ``ErrorTable``."""

    def __init__(self, variables: int, shape: tuple[int, int]) -> None:
        self._binned = np.zeros((2, variables, len(EDGES) + 1))
        self._seen: list[tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]]] = []
        self._shape = (variables, *shape)

    def add(self, error: NDArray[np.float32], hidden: NDArray[np.bool_], distance: NDArray[np.float32]) -> None:
        """``(T, V, H, W)``: errors in physical units, which cells count, and their distances."""
        bins = np.digitize(distance, EDGES)
        squares = np.where(hidden, error, 0).astype(np.float64) ** 2
        for variable in range(self._shape[0]):
            chosen = hidden[:, variable]
            for row, weights in enumerate((squares[:, variable][chosen], None)):
                found = np.bincount(bins[:, variable][chosen], weights, minlength=len(EDGES) + 1)
                self._binned[row, variable] += found
        self._seen.append((bins, hidden, squares))

    def table(self) -> ErrorTable:
        sums, counts = self._binned
        by_distance = np.zeros_like(sums)
        for variable in range(len(sums)):
            total = sums[variable].sum() / max(counts[variable].sum(), 1)
            raw = np.where(counts[variable] >= 10, sums[variable] / np.maximum(counts[variable], 1), 0)
            raw = np.maximum.accumulate(raw)
            first = raw[raw > 0][0] if (raw > 0).any() else total
            by_distance[variable] = np.sqrt(np.where(raw > 0, raw, first))
        wanted, came = np.zeros(self._shape), np.zeros(self._shape)
        number = np.zeros(self._shape)
        for bins, hidden, squares in self._seen:
            table = np.stack([by_distance[v][bins[:, v]] for v in range(len(sums))], axis=1)
            wanted += (np.where(hidden, table, 0) ** 2).sum(0)
            came += squares.sum(0)
            number += hidden.sum(0)
        return ErrorTable(by_distance.astype(np.float32), _place(wanted, came, number), counts.astype(np.int64))


def _place(wanted: NDArray[np.float64], came: NDArray[np.float64], number: NDArray[np.float64]) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    sigma = (0, PLACE_SMOOTH, PLACE_SMOOTH)
    unit = wanted.sum() / max(number.sum(), 1)
    prior = PLACE_WEIGHT * unit
    wanted, came = gaussian_filter(wanted, sigma, mode="nearest"), gaussian_filter(came, sigma, mode="nearest")
    if unit == 0:
        return np.ones_like(wanted, np.float32)
    return np.asarray(np.sqrt((came + prior) / (wanted + prior)).clip(0.2, 5), np.float32)
