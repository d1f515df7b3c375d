"""The files of a report: per_image.csv, summary.json, results.md and report.html."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pconv.evaluation.cases import CaseOnPage
from pconv.evaluation.literature import literature_table
from pconv.evaluation.plots import curve
from pconv.evaluation.protocol import CELLS, MASK_SET, hole_of
from pconv.evaluation.runner import METRICS_VERSION, WorkerSettings
from pconv.evaluation.statistics import CONFIDENCE, RESAMPLES, Estimate
from pconv.evaluation.summary import Results, cells_of_bin
from pconv.evaluation.tables import (
    Table,
    difference_table,
    mean_table,
    time_table,
    verdict_table,
    warnings,
    whole_table,
    wins_and_losses,
)
from pconv.files import replacing, sha256_of
from pconv.masks.strokes import RATIO_BINS
from pconv.report.pages import write_page as render_page

_PACKAGES = (
    "pconv",
    "numpy",
    "pillow",
    "torch",
    "onnxruntime",
    "openvino",
    "scikit-image",
    "opencv-contrib-python-headless",
    "pypatchmatch",
    "scipy",
)


@dataclass
class RunInfo:
    """What a reader needs to repeat a run.

    Attributes:
        command: as it was typed.
        photos: where they were, and how many.
        masks: where the holes came from, in words.
        mask_hash: SHA-256 over the holes of all pairs.
        photo_hash: SHA-256 over the pixels of all pairs.
        notes: what was found on the way: unreadable photos, polarity, metrics left out.
    """

    command: str
    photos: str
    masks: str
    mask_hash: str
    photo_hash: str
    notes: list[str] = field(default_factory=list)


def write_csv(results: Results, settings: WorkerSettings, path: Path) -> None:
    """A line for each method and pair: cell, photo, hole ratio, metrics, seconds, and why there are none if so."""
    names = [metric.name for metric in results.metrics]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["pair", "method", "bin", "border", "photo", "mask", "hole_ratio", *names, "seconds", "failure"]
        )
        for pair in results.pairs:
            hole = hole_of(pair.mask, settings.white_is_hole)
            low, high = pair.mask.cell.ratio
            where = [f"{low:g}-{high:g}", int(pair.mask.cell.border), pair.photo.name, Path(pair.mask.source).name]
            for method in results.methods:
                score = results.scores.get((method.name, pair.name))
                numbers = [repr(score.values[name]) for name in names] if score else [""] * len(names)
                seconds = f"{score.seconds:.4f}" if score else ""
                reason = results.failures.get((method.name, pair.name), "")
                row = [pair.name, method.name, *where, f"{hole.mean():.6f}", *numbers, seconds, reason]
                writer.writerow(row)


def write_summary(results: Results, settings: WorkerSettings, info: RunInfo, path: Path) -> None:
    """Configuration, hashes, versions, means and differences with intervals, failures, as JSON (NaN becomes null)."""
    others = [method for method in results.methods if method is not results.ours]
    groups: dict[str, Sequence[Any]] = {cell.name: (cell,) for cell in CELLS}
    groups |= {f"{low:g}-{high:g}": cells_of_bin(number) for number, (low, high) in enumerate(RATIO_BINS)}
    content = {
        "command": info.command,
        "config": {
            "photos": info.photos,
            "masks": info.masks,
            "mask_set": MASK_SET,
            "per_cell": results.per_cell,
            "time_limit_s": settings.time_limit,
            "metrics_version": METRICS_VERSION,
            "vgg": settings.vgg and settings.vgg.name,
            "bootstrap": {"resamples": RESAMPLES, "confidence": CONFIDENCE, "seed": 0},
        },
        "hashes": {
            "masks": info.mask_hash,
            "photos": info.photo_hash,
            "vgg": settings.vgg and sha256_of(settings.vgg),
        },
        "versions": _versions(),
        "methods": {
            method.name: {"label": method.label, "fingerprint": method.fingerprint} for method in results.methods
        },
        "ours": results.ours.name,
        "pairs": {cell.name: len(results.pairs_of(cell)) for cell in CELLS},
        "notes": [*info.notes, *warnings(results)],
        "means": {
            method.name: {
                metric.name: {
                    **{cell.name: _plain(results.cell(method, metric, cell)) for cell in CELLS},
                    "all": _plain(results.all_cells(method, metric)),
                }
                for metric in results.metrics
            }
            for method in results.methods
        },
        "differences": {
            other.name: {
                metric.name: {
                    name: {
                        **_plain(results.difference(other, metric, cells)),
                        "ours_is": results.verdict(other, metric, cells),
                    }
                    for name, cells in {**groups, "all": CELLS}.items()
                }
                for metric in results.compared
            }
            for other in others
        },
        "failures": {
            method.name: failed for method in results.methods if (failed := results.unfinished(method))
        },
        "all_pictures": results.whole,
        "median_seconds": {method.name: _number(results.seconds(method)) for method in results.methods},
    }  # fmt: skip
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def all_tables(results: Results) -> list[Table]:
    """Every table of a run, the most important ones first."""
    tables = [verdict_table(results)] if len(results.methods) > 1 else []
    tables += [mean_table(results, metric) for metric in results.metrics]
    if len(results.methods) > 1:
        tables += [difference_table(results, metric) for metric in results.compared]
    if results.whole:
        tables.append(whole_table(results))
    return [*tables, time_table(results), literature_table()]


def write_markdown(results: Results, info: RunInfo, path: Path) -> None:
    """The tables as Markdown, with the command that made them."""
    lines = ["# Results", "", "Made by this command; do not edit by hand:", "", "```bash", info.command, "```", ""]
    lines += [f"* {line}" for line in facts(results, info)]
    if len(results.methods) > 1:
        lines += [
            "",
            f"## Where {results.ours.label} wins and loses",
            "",
            "Over all cells, ours minus the other, pair by pair:",
            "",
        ]
        lines += [f"* {line}" for line in wins_and_losses(results)]
    for table in all_tables(results):
        lines += ["", f"## {table.title}", "", *_markdown(table)]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_page(results: Results, info: RunInfo, cases: Sequence[CaseOnPage], path: Path) -> None:
    """report.html: the facts, the curves, the cases with a slider between truth and fill, and the tables.

    The page needs no other file and no network.
    """
    render_page(
        "evaluation.html.jinja",
        path,
        title=f"{results.ours.label} beside {len(results.methods) - 1} others",
        command=info.command,
        ours=results.ours.label,
        facts=[line.replace("**", "") for line in facts(results, info)],
        verdicts=[line.replace("**", "") for line in wins_and_losses(results)],
        curves=[curve(results, metric) for metric in results.metrics],
        cases=cases,
        tables=all_tables(results),
    )


def facts(results: Results, info: RunInfo) -> list[str]:
    """In sentences: what was compared, on what, and what to know before reading the tables."""
    return [
        f"photos: {info.photos}; masks: {info.masks} (SHA-256 {info.mask_hash[:16]})",
        f"{len(results.pairs)} pairs of a photo and a hole, {results.per_cell} wanted in each of 12 cells; known "
        f"pixels are the photo's own in every method's result",
        'in the tables "a/b" is without / with holes near the border; intervals are bootstrap, 95 %',
        *info.notes,
        *(f"**{line}**" for line in warnings(results)),
    ]


def _markdown(table: Table) -> list[str]:
    rows = [table.heads, ["---"] * len(table.heads), *table.rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [*lines, "", table.note] if table.note else lines


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": _processor()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _plain(value: Estimate) -> dict[str, float | int | None]:
    return {
        "mean": _number(value.mean), "low": _number(value.low), "high": _number(value.high), "pairs": value.number,
    }  # fmt: skip


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
