"""Filling a block of steps: what is observed, what may be filled, what was filled, and how wrong it may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pconv.grid.axes import Bools
from pconv.grid.domain import Limits, distance_to_known, large_gaps
from pconv.grid.model import GridModel, neighbours
from pconv.grid.normalise import Fields


@dataclass(frozen=True)
class FillOptions:
    """What is filled, and with which values.

    Attributes:
        everywhere: also cells outside the model's domain.
        limits: gaps that are too long, too large, or in steps with too little.
        minimum, maximum: limits of filled values in physical units, as 0 for rain.
        device: where to compute.
    """

    everywhere: bool = False
    limits: Limits = field(default_factory=Limits)
    minimum: float | None = None
    maximum: float | None = None
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class Filled:
    """A filled block, arrays ``(T, V, H, W)``.

    Attributes:
        values: observed values, and fills where ``filled``; NaN elsewhere.
        filled: the cells that were filled.
        error: expected error in physical units where filled, 0 where observed, NaN where missing.
        outside: cells that are missing outside the domain or the mask.
        refused: cells that one of the limits keeps missing.
        empty_steps: steps in which nothing is known, in the step itself or in its context.
    """

    values: Fields
    filled: Bools
    error: Fields
    outside: Bools
    refused: Bools
    empty_steps: int


def fill_block(
    model: GridModel,
    values: Fields,
    months: NDArray[np.int64] | None,
    linked: Bools,
    steps: Sequence[int],
    options: FillOptions,
    mask: Bools | None = None,
    too_long: Bools | None = None,
) -> Filled:
    """Fill ``steps`` of a series.

    Args:
        values: ``(T, V, H, W)``, NaN where missing, with the context that ``steps`` need.
        months, linked: of the ``T`` steps, as in ``GridModel.predict``.
        steps: which of them to fill.
        mask: ``(len(steps) or 1, V or 1, H, W)``, True where filling is allowed, instead of the model's domain.
        too_long: ``(len(steps), V, H, W)``: gaps that are too long in time.
    """
    chosen = list(steps)
    observed: Bools = np.isfinite(values[chosen])
    region = np.ones((1, 1, 1, 1), bool) if options.everywhere else model.domain if mask is None else mask
    region = np.broadcast_to(region, observed.shape)
    index, usable = neighbours(linked, chosen, model.context)
    known_steps: Bools = np.array(np.isfinite(values).any((1, 2, 3)))
    anything: Bools = np.array((known_steps[index] & usable).any(1))
    refused: Bools = np.zeros(observed.shape, bool)
    if too_long is not None:
        refused |= too_long
    limits = options.limits
    if limits.min_observed:
        area = model.grid.area * np.broadcast_to(model.domain, observed.shape[1:])
        shares = (observed * area).sum((2, 3)) / np.maximum(area.sum((1, 2)), 1e-9)
        refused |= np.asarray(shares < limits.min_observed)[..., None, None]
    missing: Bools = np.array(~observed & region)
    if limits.max_area is not None:
        for place in np.ndindex(missing.shape[:2]):
            refused[place] |= large_gaps(missing[place], model.grid, limits.max_area)
    filled: Bools = missing & ~refused & anything[:, None, None, None]
    out = values[chosen].copy()
    error = np.where(observed, 0, np.nan).astype(np.float32)
    at = np.flatnonzero(filled.any((1, 2, 3)))
    if len(at):
        predicted = model.predict(values, months, linked, [chosen[i] for i in at], options.device)
        if options.minimum is not None or options.maximum is not None:
            low, high = (-np.inf if options.minimum is None else options.minimum), options.maximum
            predicted = predicted.clip(low, np.inf if high is None else high)
        out[at] = np.where(filled[at], predicted, out[at])
        assert model.errors is not None
        expected = model.errors.errors(distance_to_known(observed[at], model.grid.periodic))
        error[at] = np.where(filled[at], expected, error[at])
    return Filled(out, filled, error, ~observed & ~region, missing & refused, int((~anything).sum()))
