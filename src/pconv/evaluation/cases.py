"""The cases shown in a report: our best, median and worst, with every method's fill, as a sheet and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.evaluation.protocol import Pair, fit_photo, hole_of
from pconv.evaluation.runner import FillTask, WorkerSettings, read_fill
from pconv.evaluation.summary import Results
from pconv.files import replacing
from pconv.report.pages import data_url
from pconv.report.sheet import in_rows, titled

PER_KIND, PER_KIND_ON_SHEET = 3, 2
_SHEET_WIDTH = 300
_EFFORT = 20
"""Of lossless WebP, 0 to 100: the last tenth of a file's size takes most of the time."""


class Case(NamedTuple):
    """A pair to show; ``kind`` is best, median or worst."""

    kind: str
    pair: Pair


class Layer(NamedTuple):
    """A method's fill for the page: its label, its scores, and an image of the hole alone as a data URL."""

    label: str
    scores: str
    url: str


class CaseOnPage(NamedTuple):
    """A case for the page."""

    title: str
    truth_url: str
    width: int
    height: int
    layers: list[Layer]


def choose_cases(results: Results) -> list[Case]:
    """The pairs with our highest PSNR over the hole, those in the middle, and those with the lowest."""
    ranked = results.ranked()
    count = min(PER_KIND, max(len(ranked) // 3, 1))
    middle = max((len(ranked) - count) // 2, 0)
    kinds = {"best": ranked[:count], "median": ranked[middle : middle + count], "worst": ranked[::-1][:count]}
    chosen: dict[str, Case] = {}
    for kind, pairs in kinds.items():
        for pair in pairs:
            chosen.setdefault(pair.name, Case(kind, pair))
    return list(chosen.values())


def cases_on_page(
    cases: Sequence[Case], results: Results, tasks: Sequence[FillTask], settings: WorkerSettings
) -> list[CaseOnPage]:
    """The cases with images at full resolution, lossless."""
    shown = []
    for case in cases:
        pair = case.pair
        truth, hole = fit_photo(pair.photo, pair.mask.size), hole_of(pair.mask, settings.white_is_hole)
        layers = [Layer("hole", "", _overlay(np.full_like(truth, 255), hole))]
        for task in tasks:
            if task.pair.name == pair.name:
                values = results.scores[task.method.name, pair.name].values
                gram = f", Gram distance {values['gram']:.2f}" if "gram" in values else ""
                scores = f"{values['psnr_hole']:.2f} dB in the hole{gram}, sharpness {values['sharpness']:.2f}"
                layers.append(Layer(task.method.label, scores, _overlay(read_fill(task, settings), hole)))
        title = f"{case.kind}: {pair.photo.name}, cell {pair.mask.cell.name}, {hole.mean():.0%} hole"
        shown.append(CaseOnPage(title, _data_url(Image.fromarray(truth)), truth.shape[1], truth.shape[0], layers))
    return shown


def write_sheet(
    cases: Sequence[Case], results: Results, tasks: Sequence[FillTask], settings: WorkerSettings, path: Path
) -> None:
    """One image: a row for each case, a column for the hole, each method and the truth."""
    shown: dict[str, int] = {}
    rows = []
    for case in cases:
        shown[case.kind] = shown.get(case.kind, 0) + 1
        if shown[case.kind] > PER_KIND_ON_SHEET:
            continue
        pair = case.pair
        truth, hole = fit_photo(pair.photo, pair.mask.size), hole_of(pair.mask, settings.white_is_hole)
        tiles = [_tile(np.where(hole[..., None], np.uint8(255), truth), f"{case.kind}, {pair.mask.cell.name}")]
        for task in tasks:
            if task.pair.name == pair.name:
                level = results.scores[task.method.name, pair.name].values["psnr_hole"]
                tiles.append(_tile(read_fill(task, settings), f"{task.method.label[:32]}  {level:.1f} dB"))
        rows.append([*tiles, _tile(truth, "truth")])
    with replacing(path) as temporary:
        in_rows(rows).save(temporary)


def _tile(pixels: NDArray[np.uint8], title: str) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((_SHEET_WIDTH, _SHEET_WIDTH), Image.Resampling.LANCZOS)
    return titled(image, title)


def _overlay(pixels: NDArray[np.uint8], hole: NDArray[np.bool_]) -> str:
    """The hole's pixels, transparent elsewhere."""
    return _data_url(Image.fromarray(np.dstack([pixels, hole.astype(np.uint8) * 255])))


def _data_url(image: Image.Image) -> str:
    return data_url(image, "WEBP", lossless=True, quality=_EFFORT, method=0)
