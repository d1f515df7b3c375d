"""report.html: everything of a run in one file that needs no other and no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pconv.evaluation.cases import View
from pconv.evaluation.plots import curve
from pconv.evaluation.report import About, all_tables, facts
from pconv.evaluation.summary import Results
from pconv.evaluation.tables import wins_and_losses
from pconv.report.pages import write_page as page


def write_page(results: Results, about: About, views: Sequence[View], path: Path) -> None:
    """The facts, the curves, the cases with a slider between truth and fill, and the tables."""
    page(
        "evaluation.html.jinja",
        path,
        title=f"{results.ours.label} beside {len(results.methods) - 1} others",
        command=about.command,
        ours=results.ours.label,
        facts=[line.replace("**", "") for line in facts(results, about)],
        verdicts=[line.replace("**", "") for line in wins_and_losses(results)],
        curves=[curve(results, metric) for metric in results.metrics],
        views=views,
        tables=all_tables(results),
    )
