"""The tables of a report as text cells, for the terminal, Markdown and HTML."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pconv.evaluation.methods import Method
from pconv.evaluation.protocol import CELLS, Cell
from pconv.evaluation.statistics import Estimate
from pconv.evaluation.summary import BIN_TITLES, Metric, Results, cells_of_bin

MARKS = {"better": "+", "worse": "-", "undecided": "="}


@dataclass
class Table:
    """Text in rows: the first column names them."""

    title: str
    heads: list[str]
    rows: list[list[str]] = field(default_factory=list)
    note: str = ""


def mean_table(results: Results, metric: Metric) -> Table:
    """The metric's means in the paper's shape: a column for each bin, "no border / border", and the mean over all
    cells with its interval."""
    table = Table(f"{metric.title} ({metric.meaning})", ["", *BIN_TITLES, "all, with 95 % interval"])
    for method in results.methods:
        row = [method.label]
        for number in range(len(BIN_TITLES)):
            row.append("/".join(_cell(results, method, metric, cell) for cell in cells_of_bin(number)))
        row.append(with_interval(results.all_cells(method, metric), metric.digits))
        table.rows.append(row)
    return table


def difference_table(results: Results, metric: Metric) -> Table:
    """Ours minus each other, pair by pair: a column for each bin and for all, with intervals and a verdict."""
    table = Table(f"{metric.title}: ours minus the other", [f"{results.ours.label} against", *BIN_TITLES, "all"])
    for other in results.methods:
        if other is results.ours:
            continue
        groups = [*(cells_of_bin(number) for number in range(len(BIN_TITLES))), CELLS]
        row = [other.label]
        for cells in groups:
            gap = results.difference(other, metric, cells)
            row.append(
                f"{with_interval(gap, metric.digits, sign=True)} {MARKS[results.verdict(other, metric, cells)]}"
            )
        table.rows.append(row)
    table.note = "+ ours is better, - ours is worse, = undecided: the 95 % interval of the paired difference holds 0"
    return table


def verdict_table(results: Results) -> Table:
    """For each other method and metric: in how many of the six bins ours is better, undecided, worse."""
    table = Table(
        f"{results.ours.label}: bins of six better / undecided / worse, by paired differences",
        ["against", *(metric.title for metric in results.compared)],
    )
    for other in results.methods:
        if other is results.ours:
            continue
        row = [other.label]
        for metric in results.compared:
            verdicts = [results.verdict(other, metric, cells_of_bin(number)) for number in range(len(BIN_TITLES))]
            row.append(" / ".join(str(verdicts.count(word)) for word in ("better", "undecided", "worse")))
        table.rows.append(row)
    return table


def wins_and_losses(results: Results) -> list[str]:
    """A sentence for each metric: which others ours is ahead of and behind, by paired differences over all cells."""
    lines = []
    for metric in results.compared:
        others: dict[str, list[str]] = {"better": [], "worse": [], "undecided": []}
        for other in results.methods:
            if other is not results.ours:
                gap = with_interval(results.difference(other, metric, CELLS), metric.digits, sign=True)
                others[results.verdict(other, metric, CELLS)].append(f"{other.label} ({gap})")
        words = {"better": "ahead of", "worse": "**behind**", "undecided": "undecided against"}
        parts = [f"{words[kind]} {'; '.join(names)}" for kind, names in others.items() if names]
        if parts:
            lines.append(f"{metric.title}: {'; '.join(parts)}")
    return lines


def whole_table(results: Results) -> Table:
    """Metrics of all of a method's composites together."""
    names = sorted({name for values in results.whole.values() for name in values})
    table = Table(f"Over all {len(results.pairs)} pairs", ["", *names])
    for method in results.methods:
        values = results.whole.get(method.name, {})
        table.rows.append([method.label, *(f"{values[name]:.3f}" if name in values else "-" for name in names)])
    return table


def time_table(results: Results) -> Table:
    """Seconds of the median fill, and how many pairs each method finished."""
    table = Table("Time of one fill, median, several processes side by side", ["", "seconds", "pairs finished"])
    for method in results.methods:
        done = sum(name == method.name for name, _ in results.scores)
        table.rows.append([method.label, f"{results.seconds(method):.2f}", f"{done} of {len(results.pairs)}"])
    return table


def warnings(results: Results) -> list[str]:
    """What a reader must know before comparing: cells with too few pairs, and what failed."""
    lines = []
    short = results.short_cells()
    for cell, count in short.items():
        lines.append(f"the cell {cell.name} has {count} of {results.per_cell} pairs")
    if short:
        lines.append("there is no mean over all cells, since some have too few pairs")
    for method in results.methods:
        if results.is_capped(method):
            lines.append(
                f"{method.label} was run at the first {method.cap} of {results.per_cell} pairs in each cell only, as "
                f"asked; its means are of these, its paired differences too"
            )
        failed = results.unfinished(method)
        if failed:
            reason = next(iter(failed.values()))
            lines.append(
                f"{method.label} failed at {len(failed)} of {len(results.pairs)} pairs (first: {reason}); its means "
                f"are of the others, and do not compare with those of all"
            )
    return lines


def with_interval(value: Estimate, digits: int, sign: bool = False) -> str:
    """A mean with the ends of its interval: "25.31 [24.8, 25.9]"; a dash where there is none."""
    if not math.isfinite(value.mean):
        return "-"
    plus = "+" if sign else ""
    mean = f"{value.mean:{plus}.{digits}f}"
    if not math.isfinite(value.low):
        return mean
    return f"{mean} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def _cell(results: Results, method: Method, metric: Metric, cell: Cell) -> str:
    value = results.cell(method, metric, cell)
    if not value.number:
        return "-"
    text = f"{value.mean:.{metric.digits}f}"
    return text if value.number == results.per_cell else f"{text}({value.number})"
