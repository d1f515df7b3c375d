"""Three masks that are never mixed up: observed, allowed to be filled, filled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pconv.grid.axes import Bools, Grid

EARTH_RADIUS_KM = 6371.0


@dataclass(frozen=True)
class Limits:
    """What is not filled though it lies in the domain.

    Attributes:
        max_gap: the longest gap in time that is filled, in steps.
        max_area: the largest connected gap of a step that is filled, km2, or cells on a plain grid.
        min_observed: the least share of the domain, by area, that a step must know, 0..1.
    """

    max_gap: int | None = None
    max_area: float | None = None
    min_observed: float = 0.0


def long_gaps(missing: Bools, longest: int) -> Bools:
    """``(T, ...)``: cells in a run of more than ``longest`` missing steps."""
    steps = np.arange(1, len(missing) + 1).reshape(-1, *[1] * (missing.ndim - 1))
    before = np.maximum.accumulate(np.where(missing, 0, steps), axis=0)
    after = np.minimum.accumulate(np.where(missing, len(missing) + 1, steps)[::-1], axis=0)[::-1]
    return np.asarray(missing & (after - before - 1 > longest))


def large_gaps(gap: Bools, grid: Grid, largest: float) -> Bools:
    """``(H, W)``: cells in a connected gap whose area is more than ``largest``."""
    from scipy import ndimage

    labels, count = ndimage.label(gap)
    if grid.periodic and count:
        for left, right in zip(labels[:, 0], labels[:, -1], strict=True):
            if left and right and left != right:
                labels[labels == max(left, right)] = min(left, right)
    areas = np.bincount(labels.ravel(), cell_areas(grid).ravel(), minlength=count + 1)
    return np.asarray(gap & (areas[labels] > largest))


def cell_areas(grid: Grid) -> NDArray[np.float64]:
    """``(H, W)`` in km2; 1 on a plain grid."""
    if not grid.degrees:
        return np.ones(grid.shape)
    high, wide = (np.deg2rad(step) * EARTH_RADIUS_KM for step in grid.steps)
    rows = np.cos(np.deg2rad(np.clip(grid.y, -90, 90))).clip(1e-6)
    return np.repeat((rows * high * wide)[:, None], grid.shape[1], axis=1)


def distance_to_known(known: Bools, periodic: bool) -> NDArray[np.float32]:
    """``(..., H, W)``: cells to the nearest known one, 0 where known, infinite where none is."""
    from scipy import ndimage

    flat = known.reshape(-1, *known.shape[-2:])
    out = np.full(flat.shape, np.inf, np.float32)
    width = known.shape[-1]
    for number, each in enumerate(flat):
        if each.any():
            wide = np.concatenate([each] * 3, axis=1) if periodic else each
            far = ndimage.distance_transform_edt(~wide)
            out[number] = far[:, width : 2 * width] if periodic else far
    return out.reshape(known.shape)
