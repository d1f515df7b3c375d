"""Means with confidence intervals, and whether a difference of two is better or worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
FEWEST = 5
"""Fewer values in a cell than these are too few for an interval."""
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean, the ends of its 95 % interval (NaN where there are too few values), and how many values it is of."""

    mean: float
    low: float
    high: float
    number: int


def estimate(*cells: Sequence[float]) -> Estimate:
    """The mean of the cells' means, each cell counting alike, with its percentile-bootstrap interval (Efron 1979).

    Values are drawn again within each cell, 2000 times, from a fixed seed. Values that are not finite (a sharpness
    where the truth is flat) are left out; a cell without any makes the mean NaN, one with fewer than
    five the interval.
    """
    samples = [np.asarray(cell, dtype=np.float64) for cell in cells]
    samples = [sample[np.isfinite(sample)] for sample in samples]
    count = sum(len(sample) for sample in samples)
    if not samples or not all(len(sample) for sample in samples):
        return Estimate(float("nan"), float("nan"), float("nan"), count)
    mean = float(np.mean([sample.mean() for sample in samples]))
    if any(len(sample) < FEWEST for sample in samples):
        return Estimate(mean, float("nan"), float("nan"), count)
    generator = np.random.default_rng(0)
    drawn = [sample[generator.integers(len(sample), size=(RESAMPLES, len(sample)))].mean(axis=1) for sample in samples]
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(np.mean(drawn, axis=0), [tail, 100 - tail])
    return Estimate(mean, float(low), float(high), count)


def verdict(difference: Estimate, higher_is_better: bool) -> str:
    """Whether the first of a paired difference "first minus second" is "better" or "worse"; "undecided" where the
    interval contains 0 or is not known."""
    if not (difference.low > 0 or difference.high < 0):
        return "undecided"
    return "better" if (difference.mean > 0) == higher_is_better else "worse"
