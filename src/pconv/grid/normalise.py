"""From physical units to what the network computes in, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pconv.grid.axes import Bools

Fields = NDArray[np.float32]
PRIOR = 2.0
"""A month's mean over n steps weighs n, beside this weight of the cell's own mean and the region's cycle."""


@dataclass(frozen=True, eq=False)
class Normalisation:
    """``normal = (value - climatology[month]) / scale``, from the training steps' known cells.

    Attributes:
        climatology: ``(M, V, H, W)`` in physical units: one map of each month, or one for all (M = 12 or 1). Without
            anomalies it is the variable's mean in every cell.
        scale: ``(V,)``: the standard deviation of what is left.
    """

    climatology: Fields
    scale: Fields

    def background(self, months: NDArray[np.int64] | None) -> Fields:
        """``(T or 1, V, H, W)``: the climatology of each step."""
        if len(self.climatology) == 1 or months is None:
            return self.climatology[:1]
        return self.climatology[months - 1]

    def normal(self, values: Fields, months: NDArray[np.int64] | None) -> Fields:
        """``(T, V, H, W)`` without units; NaN stays NaN."""
        return (values - self.background(months)) / self.scale[:, None, None]

    def physical(self, normal: Fields, months: NDArray[np.int64] | None) -> Fields:
        """The inverse of ``normal``."""
        return normal * self.scale[:, None, None] + self.background(months)


def plain(values: Fields, area: Fields) -> Normalisation:
    """Mean and standard deviation of each variable, by area."""
    known = np.isfinite(values)
    weights = known * area
    mean = (np.where(known, values, 0) * weights).sum((0, 2, 3), dtype=np.float64) / weights.sum((0, 2, 3))
    climatology = np.broadcast_to(mean[None, :, None, None], (1, *values.shape[1:])).astype(np.float32)
    return Normalisation(climatology, _spread(values - climatology, weights))


def anomalies(values: Fields, months: NDArray[np.int64], area: Fields) -> Normalisation:
    """Differences from the mean of each cell and month.

    A month that a cell seldom knows leans on the cell's own mean and on the region's yearly cycle. Cells that are
    never known get what lies around them.
    """
    known = np.isfinite(values)
    filled = np.where(known, values, 0)
    present = np.unique(months)
    one = len(present) == 1
    sums, counts = np.zeros((12, *values.shape[1:])), np.zeros((12, *values.shape[1:]))
    for month in present:
        sums[month - 1] = filled[months == month].sum(0, dtype=np.float64)
        counts[month - 1] = known[months == month].sum(0)
    cycle = _cycle(sums, counts, area)
    adjusted = sums - counts * cycle
    cell = _spread_out(adjusted.sum(0) / np.maximum(counts.sum(0), 1), counts.sum(0) > 0)
    climatology = cell + (adjusted - counts * cell) / (counts + PRIOR * (counts < PRIOR * 5)).clip(1) + cycle
    if one:
        climatology = climatology[present - 1]
    found = Normalisation(climatology.astype(np.float32), np.ones(values.shape[1], np.float32))
    return Normalisation(found.climatology, _spread(found.normal(values, months), known * area))


def suits_anomalies(known: Bools, months: NDArray[np.int64] | None, least: int = 10) -> bool:
    """Whether half of the cells that are ever known are so in ``least`` steps of each month."""
    if months is None:
        return False
    present = np.unique(months)
    counts = np.stack([known[months == month].sum(0) for month in present])
    ever = counts.sum(0) > 0
    return bool(ever.any() and np.median(counts.min(0)[ever]) >= least)


def _cycle(sums: NDArray[np.float64], counts: NDArray[np.float64], area: Fields) -> NDArray[np.float64]:
    """``(12, V, 1, 1)``: the region's mean in each month, less the cells' own means, so that gaps do not matter."""
    cell = sums.sum(0) / np.maximum(counts.sum(0), 1)
    totals = (counts * area).sum((2, 3))
    cycle = ((sums - counts * cell) * area).sum((2, 3)) / np.maximum(totals, 1e-9)
    return np.asarray(cycle[..., None, None])


def _spread_out(maps: NDArray[np.float64], known: Bools) -> NDArray[np.float64]:
    """``(V, H, W)`` with unknown cells filled smoothly."""
    import torch
    import torch.nn.functional as F

    from pconv.nn.surface import smooth_surface

    height, width = maps.shape[1:]
    levels = max(1, int(np.ceil(np.log2(max(height, width)))))
    around = (0, -width % 2**levels, 0, -height % 2**levels)
    valid = F.pad(torch.tensor(known)[None], around)
    means = [each[k].mean() if k.any() else 0.0 for each, k in zip(maps, known, strict=True)]
    centred = torch.tensor(np.where(known, maps - np.array(means)[:, None, None], 0))[None].float()
    surface = smooth_surface(F.pad(centred, around), valid, levels)[0, :, :height, :width].double().numpy()
    return np.where(known, maps, surface + np.array(means)[:, None, None])


def _spread(centred: Fields, weights: Fields) -> Fields:
    squares = (np.where(weights > 0, centred, 0) ** 2 * weights).sum((0, 2, 3), dtype=np.float64)
    spread = np.sqrt(squares / np.maximum(weights.sum((0, 2, 3), dtype=np.float64), 1e-12))
    return np.where(spread > 0, spread, 1).astype(np.float32)
