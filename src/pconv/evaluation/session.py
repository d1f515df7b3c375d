"""One evaluation, from folders to a report: what ``pconv evaluate`` does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pconv.errors import EvaluationError, InputError
from pconv.evaluation import output
from pconv.evaluation.cases import cases_on_page, choose_cases, write_sheet
from pconv.evaluation.learned import LearnedWeights, learned_metrics
from pconv.evaluation.methods import Method
from pconv.evaluation.protocol import (
    CELLS,
    MASK_SET,
    Mask,
    common_size,
    fit_photo,
    generated_masks,
    hole_of,
    mask_set_hash,
    pair_up,
    readable_photos,
    sorted_masks,
)
from pconv.evaluation.runner import Failure, FillTask, WorkerSettings, make_tasks, pair_digest, run_tasks
from pconv.evaluation.summary import Results
from pconv.masks.reader import find_masks, resolve_polarity

SMALLEST_SIDE = 64
"""Of generated holes, px: below this, SSIM's window and the network see little more than the image's border."""


class Progress(Protocol):
    """Shows a progress bar; the command line makes one, see ``pconv.cli.evaluate``."""

    def __call__(self, what: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """A bar while the block runs; the function it gives is called after each of ``total`` items."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate.

    Attributes:
        photos: the photos' files, sorted.
        photos_name: what to call them in the report.
        methods: ours first.
        out: the report's folder.
        settings: for the workers.
        masks: folder of mask files; None generates the set of holes.
        polarity: "auto", "white-hole" or "white-valid", of mask files.
        per_cell: pairs in each of the twelve cells.
        size: (height, width) of generated holes; None is the largest that fits all photos, 512 x 512 at most.
        learned: weights of the learned metrics.
        markdown: where to write results.md as well.
        command: the command line, for the report.
    """

    photos: Sequence[Path]
    photos_name: str
    methods: Sequence[Method]
    out: Path
    settings: WorkerSettings
    masks: Path | None = None
    polarity: str = "auto"
    per_cell: int = 20
    size: tuple[int, int] | None = None
    learned: LearnedWeights = field(default_factory=LearnedWeights)
    markdown: Sequence[Path] = ()
    command: str = "pconv evaluate"


def evaluate(config: EvaluationConfig, progress: Progress, say: Callable[[str], None]) -> Results:
    """Fill, measure and report.

    Args:
        progress: shows bars.
        say: called with each note, a sentence.

    Returns:
        The scores.

    Raises:
        InputError: photos and masks do not go together, or there are none.
        EvaluationError: no method finished any pair.
    """
    photos, sizes, notes = readable_photos(config.photos)
    settings = config.settings
    if config.masks is None:
        masks, source = _generated(config, sizes)
    else:
        masks, source, white_is_hole, found = _from_folder(config, progress)
        settings = replace(settings, white_is_hole=white_is_hole)
        notes += found
    pairs = pair_up(masks, photos, sizes)

    holes, digests = [], []
    with progress("preparing", len(pairs)) as seen:
        for pair in pairs:
            hole = hole_of(pair.mask, settings.white_is_hole)
            holes.append(hole)
            digests.append(pair_digest(fit_photo(pair.photo, pair.mask.size), hole))
            seen()
    if settings.vgg is None:
        notes.append("VGG and Gram distance: not measured, they need VGG-16's weights: --vgg FILE")

    results = Results(pairs, config.methods, config.per_cell)
    tasks = make_tasks(pairs, digests, config.methods)
    with progress("filling", len(tasks)) as seen:
        for task, outcome in run_tasks(tasks, settings):
            key = task.method.name, task.pair.name
            if isinstance(outcome, Failure):
                results.failures[key] = outcome.reason
            else:
                results.scores[key] = outcome
            seen()
    if not results.scores:
        raise EvaluationError(f"no method finished any pair; the first: {next(iter(results.failures.values()))}")
    notes += learned_metrics(results, tasks, settings, config.learned)

    info = output.RunInfo(
        command=config.command,
        photos=f"{config.photos_name} ({len(photos)} photos)",
        masks=source,
        mask_hash=mask_set_hash(holes),
        photo_hash=hashlib.sha256("\n".join(digests).encode()).hexdigest(),
        notes=notes,
    )
    for note in notes:
        say(note)
    _write(results, info, tasks, settings, config)
    return results


def _write(
    results: Results,
    info: output.RunInfo,
    tasks: Sequence[FillTask],
    settings: WorkerSettings,
    config: EvaluationConfig,
) -> None:
    out = config.out
    output.write_csv(results, settings, out / "per_image.csv")
    output.write_summary(results, settings, info, out / "summary.json")
    for path in (out / "results.md", *config.markdown):
        output.write_markdown(results, info, path)
    cases = choose_cases(results)
    if cases:
        write_sheet(cases, results, tasks, settings, out / "contact-sheet.png")
    output.write_page(results, info, cases_on_page(cases, results, tasks, settings), out / "report.html")


def _generated(config: EvaluationConfig, sizes: Sequence[tuple[int, int]]) -> tuple[list[Mask], str]:
    height, width = config.size or common_size(sizes)
    if min(height, width) < SMALLEST_SIDE:
        raise InputError(
            f"masks of {width}x{height} px are too small to measure with; photos and --size need "
            f"{SMALLEST_SIDE} px at least"
        )
    source = f"made, set {MASK_SET}, {width}x{height} px, turned for upright photos"
    return generated_masks(height, width, config.per_cell), source


def _from_folder(config: EvaluationConfig, progress: Progress) -> tuple[list[Mask], str, bool, list[str]]:
    assert config.masks is not None
    paths = find_masks(config.masks)
    white_is_hole, note = resolve_polarity(paths, config.polarity)
    with progress("reading masks", len(paths)) as seen:
        found = sorted_masks(paths, white_is_hole, config.per_cell, seen)
    notes = [note, "masks in the cells: " + ", ".join(f"{cell.name} {found.counts[cell]}" for cell in CELLS)]
    if found.outside or found.empty:
        notes.append(
            f"{found.outside} masks have a hole ratio outside of 0.01-0.6 and {found.empty} no hole; they are left out"
        )
    return found.masks, f"{config.masks.name} ({len(paths)} files)", white_is_hole, notes
