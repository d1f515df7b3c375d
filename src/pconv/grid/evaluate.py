"""Is a model worth it? Known cells are hidden, filled by the model and by other methods, and compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pconv.errors import InputError
from pconv.grid import gaps
from pconv.grid.axes import Bools
from pconv.grid.baselines import baselines
from pconv.grid.domain import distance_to_known
from pconv.grid.model import GridModel, fingerprints
from pconv.grid.normalise import Fields
from pconv.grid.scores import Scores, area_means, score
from pconv.grid.times import Times

OURS = "model"
MOST_STEPS = 120
"""Steps that are measured, at most; spread over those that the model was not trained on."""
BETTER = 0.15
"""Below the best other method's RMSE by this share, a model is clearly worth it."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured. Arrays are ``(S, V, H, W)`` for the measured steps.

    Attributes:
        steps: their numbers in the series.
        trained_on: how many steps of the file the model was trained on.
        scores: by variable, then by method; ours first.
        by_kind: RMSE by variable, method and kind of gap, where gaps were made.
        within: share of hidden cells whose truth lies within one and two expected errors, by variable.
        truth, hidden, shown, error: the data, what was hidden and shown of it, and the expected error.
        filled: by method.
        notes: sentences.
    """

    model: GridModel
    steps: NDArray[np.int64]
    trained_on: int
    scores: dict[str, dict[str, Scores]]
    by_kind: dict[str, dict[str, dict[str, float]]]
    within: dict[str, tuple[float, float]]
    truth: Fields
    hidden: Bools
    shown: Bools
    error: Fields
    filled: dict[str, Fields]
    gaps: str
    notes: list[str] = field(default_factory=list)

    def best_other(self, variable: str) -> str:
        """The method with the least RMSE, beside the model."""
        others = {name: each.rmse for name, each in self.scores[variable].items() if name != OURS}
        return min(others, key=lambda name: others[name])

    def verdict(self, variable: str) -> str:
        """Whether the model is worth it, in one line."""
        unit = self.model.units[self.model.variables.index(variable)]
        best = self.best_other(variable)
        ours, theirs = self.scores[variable][OURS].rmse, self.scores[variable][best].rmse
        gain = 1 - ours / theirs
        figures = f"RMSE {ours:.3g} {unit}, and {theirs:.3g} {unit} for the best other method, {best}"
        if gain >= BETTER:
            return f"{variable}: the model is worth it: {gain:.0%} better ({figures})"
        if gain > 0:
            return f"{variable}: the model gains little: {gain:.0%} better ({figures})"
        return f"{variable}: the model is not worth it: take {best} ({figures})"


def evaluate(
    model: GridModel,
    values: Fields,
    times: Times,
    kind: str | None = None,
    patterns: Bools | None = None,
    seed: int = 0,
    device: str = "cpu",
    most: int = MOST_STEPS,
    advance: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Hide known cells of each step and fill them again.

    Cells are hidden in every step, so that no method learns from what it is asked. Measured are steps that the model
    was not trained on. Gaps are the data's own, mirrored, so that no pattern was trained with; or made ones.

    Args:
        values: ``(T, V, H, W)``, NaN where missing.
        kind: "own", "made", or None: own where the data has any.
        patterns: ``(N, 1 or V, H, W)`` instead.
        most: steps to measure, at most.
        advance: is told what is done next.

    Raises:
        InputError: nothing can be hidden.
    """
    random = np.random.default_rng(seed)
    seen = set(model.seen)
    fresh = np.array([print_ not in seen for print_ in fingerprints(values)])
    chosen = np.flatnonzero(fresh) if fresh.any() else np.arange(len(values))
    notes = [] if fresh.any() else ["the model was trained on every step of this file: these figures are too good"]
    if len(chosen) > most:
        chosen = chosen[np.linspace(0, len(chosen) - 1, most).round().astype(int)]
    observed: Bools = np.array(np.isfinite(values))
    hide, kinds, text = _patterns(model, observed, kind, patterns, random)
    hidden = observed & hide
    bare = ~(observed & ~hidden).any((1, 2, 3))
    hidden[bare] = False
    chosen = chosen[hidden[chosen].any((1, 2, 3))]
    if not len(chosen):
        raise InputError("no known cell can be hidden to measure with; use --gaps made")
    shown = observed & ~hidden
    visible = np.where(shown, values, np.nan).astype(np.float32)
    advance(OURS)
    filled = {OURS: model.predict(visible, times.months, times.linked, chosen.tolist(), device)}
    background = model.normalisation if model.anomalies else None
    for name, method in baselines(model.grid, times, chosen, background).items():
        advance(name)
        filled[name] = method(visible)
    truth, hidden, shown = values[chosen], hidden[chosen], shown[chosen]
    distance = distance_to_known(shown, model.grid.periodic)
    assert model.errors is not None
    error = model.errors.errors(distance)
    scores: dict[str, dict[str, Scores]] = {}
    by_kind: dict[str, dict[str, dict[str, float]]] = {}
    within = {}
    area = model.grid.area
    for number, variable in enumerate(model.variables):
        if not hidden[:, number].any():
            raise InputError(f"no known cell of {variable} can be hidden to measure with; use --gaps made")
        means = filled["climatology"][:, number]
        scores[variable], by_kind[variable] = {}, {}
        for name, fields in filled.items():
            parts = (fields[:, number], truth[:, number], hidden[:, number], shown[:, number])
            scores[variable][name] = score(*parts, distance[:, number], area, means)
            by_kind[variable][name] = {
                each: score_of(parts[0], parts[1], parts[2], kinds[chosen] == each, area)
                for each in dict.fromkeys(kinds[chosen].tolist())
            }
        ratio = np.abs(filled[OURS] - truth)[:, number][hidden[:, number]] / error[:, number][hidden[:, number]]
        within[variable] = (float((ratio <= 1).mean()), float((ratio <= 2).mean()))
    trained_on = int((~fresh).sum())
    return Evaluation(
        model, chosen, trained_on, scores, by_kind, within, truth, hidden, shown, error, filled, text, notes
    )


def _patterns(
    model: GridModel, observed: Bools, kind: str | None, patterns: Bools | None, random: np.random.Generator
) -> tuple[Bools, NDArray[np.str_], str]:
    """``(T, V, H, W)`` cells to hide, the kind of each step's gaps, and where they come from."""
    total = len(observed)
    if patterns is not None:
        order = random.integers(len(patterns), size=total)
        return np.broadcast_to(patterns[order], observed.shape), np.full(total, "file"), "the gaps of a file"
    domain = np.array(observed.any(0))
    missing: Bools = ~observed
    if kind == "own" and not gaps.has_own_gaps(missing, domain):
        raise InputError("the data has no gaps of its own to measure with; use --gaps made")
    if kind != "made" and gaps.has_own_gaps(missing, domain):
        mirrored = (missing & domain)[:, :, ::-1, ::-1]
        draw = gaps.own_gaps(mirrored, np.ones_like(domain), 1, shift=model.grid.periodic)
        own = np.concatenate([draw(random) for _ in range(total)])
        return own, np.full(total, "own"), "the data's own gaps of other steps, mirrored"
    names = [each.__name__ for each in gaps.KINDS]
    kinds = np.array([names[t % len(names)] for t in range(total)])
    maps = [gaps.KINDS[t % len(names)](random, model.grid.shape, 1, model.grid.periodic) for t in range(total)]
    made = np.repeat(np.stack(maps), observed.shape[1], axis=1)
    return made, kinds, "made gaps: sparse networks, orbital gaps, clouds and rectangles"


def score_of(filled: Fields, truth: Fields, hidden: Bools, steps: Bools, area: Fields) -> float:
    """RMSE over the hidden cells of ``steps``, by area."""
    chosen = hidden & steps[:, None, None]
    weights = np.broadcast_to(area, truth.shape)[chosen]
    return float(np.sqrt(np.average((filled - truth)[chosen] ** 2, weights=weights))) if len(weights) else float("nan")


def mean_series(found: Evaluation, number: int, method: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The area means of variable ``number``, filled by ``method`` and true."""
    return area_means(
        found.filled[method][:, number],
        found.truth[:, number],
        found.hidden[:, number],
        found.shown[:, number],
        found.model.grid.area,
    )
