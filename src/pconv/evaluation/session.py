"""One evaluation from folders to a report: what ``pconv evaluate`` does, to be read straight down."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pconv.errors import EvaluationError, InputError
from pconv.evaluation import page, report
from pconv.evaluation.cases import choose_cases, make_views, write_sheet
from pconv.evaluation.learned import Learned, learned_metrics
from pconv.evaluation.methods import Method
from pconv.evaluation.protocol import (
    CELLS,
    MASK_SET,
    Mask,
    common_size,
    fitted,
    hole_of,
    made_masks,
    mask_set_hash,
    pair_up,
    readable_photos,
    sorted_masks,
)
from pconv.evaluation.runner import Failure, Settings, Task, make_tasks, pair_digest, run
from pconv.evaluation.summary import Results
from pconv.files import replacing
from pconv.masks.reader import detect_polarity, find_masks

SMALLEST_SIDE = 64
"""Of made masks, px: below this SSIM's window and the network see little more than border."""


class Progress(Protocol):
    """Shows that something goes on; made by the command line, see ``pconv.cli.evaluate``."""

    def __call__(self, what: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """A bar while the block runs; what it gives is to be called after each of ``total`` items."""


@dataclass(frozen=True)
class Request:
    """What is to be evaluated.

    Attributes:
        photos: the photos' files, sorted.
        photos_name: what to call them in the report.
        methods: ours first.
        out: the report's folder.
        masks: folder of mask files; None makes the set.
        polarity: "auto", "white-hole" or "white-valid", of mask files.
        per_cell: pairs in each of the twelve cells.
        size: (height, width) of made masks; None is the largest that all photos hold, 512 x 512 at most.
        settings: for the workers.
        learned: which learned metrics there are weights for.
        command: as it was typed.
    """

    photos: Sequence[Path]
    photos_name: str
    methods: Sequence[Method]
    out: Path
    settings: Settings
    masks: Path | None = None
    polarity: str = "auto"
    per_cell: int = 20
    size: tuple[int, int] | None = None
    learned: Learned = field(default_factory=Learned)
    command: str = "pconv evaluate"


def evaluate(request: Request, progress: Progress, say: Callable[[str], None]) -> tuple[Results, report.About]:
    """Fill, measure and report.

    Args:
        progress: shows bars.
        say: is told, in sentences, what was found on the way.

    Returns:
        The scores, and what the report says about the run.

    Raises:
        InputError: photos and masks do not go together, or there are none.
        EvaluationError: no method finished any pair.
    """
    photos, sizes, notes = readable_photos(request.photos)
    settings = request.settings
    if request.masks is None:
        masks, source = _made(request, sizes)
    else:
        masks, source, white_is_hole, found = _given(request, progress)
        settings = replace(settings, white_is_hole=white_is_hole)
        notes += found
    pairs = pair_up(masks, photos, sizes)

    holes, digests = [], []
    with progress("preparing", len(pairs)) as seen:
        for pair in pairs:
            hole = hole_of(pair.mask, settings.white_is_hole)
            holes.append(hole)
            digests.append(pair_digest(fitted(pair.photo, pair.mask.size), hole))
            seen()
    if settings.vgg is None:
        notes.append("VGG and Gram distance: not measured, they need VGG-16's weights: --vgg FILE")

    results = Results(pairs, request.methods, request.per_cell)
    tasks = make_tasks(pairs, digests, request.methods)
    with progress("filling", len(tasks)) as seen:
        for task, outcome in run(tasks, settings):
            key = task.method.name, task.pair.name
            if isinstance(outcome, Failure):
                results.failures[key] = outcome.reason
            else:
                results.scores[key] = outcome
            seen()
    if not results.scores:
        raise EvaluationError(f"no method finished any pair; the first: {next(iter(results.failures.values()))}")
    notes += learned_metrics(results, tasks, settings, request.learned)

    about = report.About(
        command=request.command,
        photos=f"{request.photos_name} ({len(photos)} photos)",
        masks=source,
        mask_hash=mask_set_hash(holes),
        photo_hash=hashlib.sha256("\n".join(digests).encode()).hexdigest(),
        notes=notes,
    )
    for note in notes:
        say(note)
    _write(results, about, tasks, settings, request.out)
    return results, about


def _write(results: Results, about: report.About, tasks: Sequence[Task], settings: Settings, out: Path) -> None:
    report.write_csv(results, settings, out / "per_image.csv")
    report.write_summary(results, settings, about, out / "summary.json")
    report.write_markdown(results, about, out / "results.md")
    cases = choose_cases(results)
    if cases:
        write_sheet(cases, results, tasks, settings, out / "contact-sheet.png")
    page.write_page(results, about, make_views(cases, results, tasks, settings), out / "report.html")


def _made(request: Request, sizes: Sequence[tuple[int, int]]) -> tuple[list[Mask], str]:
    height, width = request.size or common_size(sizes)
    if min(height, width) < SMALLEST_SIDE:
        raise InputError(
            f"masks of {width}x{height} px are too small to measure with; photos and --size need "
            f"{SMALLEST_SIDE} px at least"
        )
    source = f"made, set {MASK_SET}, {width}x{height} px, turned for upright photos"
    return made_masks(height, width, request.per_cell), source


def _given(request: Request, progress: Progress) -> tuple[list[Mask], str, bool, list[str]]:
    assert request.masks is not None
    paths = find_masks(request.masks)
    white_is_hole = detect_polarity(paths) if request.polarity == "auto" else request.polarity == "white-hole"
    with progress("reading masks", len(paths)) as seen:
        found = sorted_masks(paths, white_is_hole, request.per_cell, seen)
    how = "detected" if request.polarity == "auto" else "as given"
    notes = [f"{len(paths)} masks, white = {'hole' if white_is_hole else 'valid'} ({how})"]
    notes.append("masks in the cells: " + ", ".join(f"{cell.name} {found.counts[cell]}" for cell in CELLS))
    if found.outside or found.empty:
        notes.append(
            f"{found.outside} masks have a hole ratio outside of 0.01-0.6 and {found.empty} no hole; they are left out"
        )
    return found.masks, f"{request.masks.name} ({len(paths)} files)", white_is_hole, notes


def copy_markdown(out: Path, to: Path) -> None:
    """Put a copy of the report's results.md where documentation wants it."""
    with replacing(to) as temporary:
        temporary.write_bytes((out / "results.md").read_bytes())
