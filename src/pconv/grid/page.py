"""The report of an evaluation: one page, a table and a summary."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pconv.files import replacing
from pconv.grid.error_table import EDGES
from pconv.grid.evaluate import OURS, Evaluation, mean_series
from pconv.grid.scores import Scores
from pconv.report.pages import write_page

CASES = 3
"""Steps that are shown as maps: the best, the middle and the worst by the model's RMSE."""


def write_report(found: Evaluation, out: Path, command: str) -> None:
    """``report.html`` with maps and tables, ``scores.csv`` and ``summary.json`` in the folder ``out``."""
    write_page(
        "grid.html.jinja",
        out / "report.html",
        title=f"Filling {', '.join(found.model.variables)}",
        command=command,
        verdicts=[found.verdict(name) for name in found.model.variables],
        facts=facts(found),
        ours=OURS,
        tables=[table for name in found.model.variables for table in tables(found, name)],
        pictures=pictures(found),
    )
    with replacing(out / "scores.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["variable", "method", "rmse", "mae", "bias", "correlation", "rmse_of_mean", "jump"])
        for variable, methods in found.scores.items():
            for method, s in methods.items():
                row = (s.rmse, s.mae, s.bias, s.correlation, s.of_mean, s.jump)
                writer.writerow([variable, method, *(f"{value:.6g}" for value in row)])
    summary = {
        "verdicts": {name: found.verdict(name) for name in found.model.variables},
        "steps": found.steps.tolist(),
        "gaps": found.gaps,
        "scores": {v: {m: asdict(s) for m, s in methods.items()} for v, methods in found.scores.items()},
        "by_kind": found.by_kind,
        "within": found.within,
        "model_sha256": found.model.sha256,
    }
    with replacing(out / "summary.json") as temporary:
        temporary.write_text(json.dumps(_finite(summary), indent=2))


def _finite(value: Any) -> Any:
    """``value`` with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def facts(found: Evaluation) -> list[str]:
    """What was measured, in sentences."""
    others = f"{found.trained_on} other steps of this series" if found.trained_on else "none of this series"
    lines = [
        f"{len(found.steps)} steps were measured; the model was trained on {others}",
        f"hidden were {found.hidden.sum():,} known cells, with {found.gaps}",
        f"the model: {found.model.facts.get('held_out', '')}",
    ]
    for name, (one, two) in found.within.items():
        lines.append(
            f"{name}: the truth lies within one expected error in {one:.0%} of the cells, within two in {two:.0%}"
        )
    return lines + found.notes


def tables(found: Evaluation, variable: str) -> list[dict[str, Any]]:
    """All figures of one variable, as text."""
    unit = found.model.units[found.model.variables.index(variable)]
    scores = found.scores[variable]
    heads = ["method", "RMSE", "MAE", "bias", "correlation", "RMSE of area means", "jump across edges"]

    def row(method: str, s: Scores) -> list[str]:
        return [method, *(f"{x:.3g}" for x in (s.rmse, s.mae, s.bias, s.correlation, s.of_mean, s.jump))]

    edges = [0, *EDGES, math.inf]
    named = [f"{low:g}-{high:g}" for low, high in pairwise(edges)]
    used = [n for n in range(len(named)) if math.isfinite(scores[OURS].by_distance[n])]
    kinds = list(found.by_kind[variable][OURS])
    made = [
        {
            "title": f"{variable}, {unit}: over all hidden cells",
            "heads": heads,
            "rows": [row(m, s) for m, s in scores.items()],
            "note": "By area. Correlation is of differences from climatology. A jump of 1 is natural; more is a seam.",
        },
        {
            "title": f"{variable}, {unit}: RMSE by distance to the nearest known cell, in cells",
            "heads": ["method", *(named[n] for n in used)],
            "rows": [[m, *(f"{s.by_distance[n]:.3g}" for n in used)] for m, s in scores.items()],
            "note": "",
        },
    ]
    if len(kinds) > 1:
        rows = [[m, *(f"{each[k]:.3g}" for k in kinds)] for m, each in found.by_kind[variable].items()]
        made.append(
            {
                "title": f"{variable}, {unit}: RMSE by kind of gap",
                "heads": ["method", *kinds],
                "rows": rows,
                "note": "",
            }
        )
    return made


def pictures(found: Evaluation) -> list[dict[str, str]]:
    """Maps and series as pictures in the page."""
    made = []
    for number, variable in enumerate(found.model.variables):
        made.append({"title": f"{variable}: area mean over time", "url": _series(found, number)})
        errors = [
            float(np.sqrt(np.mean((found.filled[OURS] - found.truth)[s, number][found.hidden[s, number]] ** 2)))
            if found.hidden[s, number].any()
            else math.nan
            for s in range(len(found.steps))
        ]
        order = [s for s in np.argsort(errors) if math.isfinite(errors[s])]
        shown = dict.fromkeys(int(order[round(n * (len(order) - 1) / (CASES - 1))]) for n in range(CASES))
        for step in shown:
            title = f"{variable}, step {found.steps[step]}: RMSE {errors[step]:.3g}"
            made.append({"title": title, "url": _maps(found, number, step)})
    return made


def _maps(found: Evaluation, number: int, step: int) -> str:
    grid, variable = found.model.grid, found.model.variables[number]
    truth, shown = found.truth[step, number], found.shown[step, number]
    best = found.best_other(variable)
    known = shown | found.hidden[step, number]

    def mixed(method: str) -> Any:
        return np.where(known, np.where(shown, truth, found.filled[method][step, number]), np.nan)

    low, high = np.nanpercentile(truth[known], (1, 99))
    wrong = {m: np.where(known & ~shown, mixed(m) - truth, np.nan) for m in (OURS, best)}
    most = max(float(np.nanpercentile(np.abs(each), 99)) for each in wrong.values()) or 1.0
    panels = [
        ("given", np.where(shown, truth, np.nan), "viridis", low, high),
        ("filled by the model", mixed(OURS), "viridis", low, high),
        ("truth", np.where(known, truth, np.nan), "viridis", low, high),
        ("model - truth", wrong[OURS], "RdBu_r", -most, most),
        (f"{best} - truth", wrong[best], "RdBu_r", -most, most),
        ("expected error", np.where(known & ~shown, found.error[step, number], np.nan), "magma", 0, most),
    ]
    figure = _figure((13, 6.4))
    for place, (title, field, colours, least, top) in enumerate(panels):
        axes = figure.add_subplot(2, 3, place + 1)
        image = axes.pcolormesh(grid.x, grid.y, field, cmap=colours, vmin=least, vmax=top, shading="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_facecolor("#ddd")
        figure.colorbar(image, ax=axes, shrink=0.8, label=found.model.units[number])
    return _url(figure)


def _series(found: Evaluation, number: int) -> str:
    figure = _figure((9, 3.2))
    axes = figure.add_subplot()
    best = found.best_other(found.model.variables[number])
    for method, style in ((best, "C1:"), (OURS, "C0-")):
        means, true_means = mean_series(found, number, method)
        if method == best:
            axes.plot(found.steps, true_means, "k-", linewidth=2.5, alpha=0.4, label="truth")
        axes.plot(found.steps, means, style, linewidth=1.2, label=f"filled: {method}")
    axes.set(xlabel="step", ylabel=found.model.units[number])
    axes.legend(fontsize=8)
    return _url(figure)


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _url(figure: Any) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=80)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
