"""``pconv compare``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pconv.cli.common import (
    MAX_SHOWN,
    PathType,
    need_file,
    need_place_for,
    printable,
    progress,
    reachable,
    writing_to,
    wrong_usage,
)
from pconv.errors import InputError

if TYPE_CHECKING:
    from pconv.report.comparison import Comparison, PhotoFiles

SHOWN = {".html": 100, ".png": 40}
"""Photos in a sheet if nothing else is said: some 10 to 20 MB."""


@click.command()
@click.argument("before", type=PathType)
@click.argument("after", type=PathType)
@click.option("--masks", type=PathType, help="Their masks, a folder or one file; else found by difference.")
@click.option("--mask-pattern", "pattern", default="{stem}_mask.png", show_default=True, help="As for pconv batch.")
@click.option("--limit", type=click.IntRange(min=1), help="Photos shown, evenly spread.  [default: 100; .png: 40]")
@click.option("--size", type=click.IntRange(64, 4096), help="Longest side, px.  [default: 720; .png: 320]")
@click.option("-o", "--output", "out", type=PathType, required=True, help="The sheet: .html or .png.")
def compare(
    before: Path, after: Path, masks: Path | None, pattern: str, limit: int | None, size: int | None, out: Path
) -> None:
    """Make a sheet of photos BEFORE and AFTER, with their masks, from two files or two folders.

    An .html sheet is one file, with a slider between before and after; a .png is one large image. What failed in the
    run that made AFTER is listed.
    """
    suffix = out.suffix.lower()
    if suffix not in SHOWN:
        raise click.UsageError(f"cannot make a sheet of kind {out.suffix!r}: name an .html or a .png file")
    with reachable(before), reachable(after):
        folders = before.is_dir()
        if folders != after.is_dir() and before.exists() and after.exists():
            raise click.UsageError(f"give two files or two folders; of {before} and {after} one is a folder")
    if not folders:
        need_file(before, "the photo")
        need_file(after, "the result")
    elif not after.exists():
        raise click.UsageError(f"the folder {after} does not exist")
    if masks is not None and not masks.exists():
        raise click.UsageError(f"the masks {masks} do not exist")
    if masks is not None and masks.is_dir() and not folders:
        raise click.UsageError(f"{masks} is a folder: with two files, give the mask's file")
    need_place_for(out, *([] if folders else [before, after]), force=False)

    from pconv.report import comparison
    from pconv.report.pairs import find_results

    with wrong_usage(InputError):
        if folders:
            found = find_results(before, after, masks, pattern)
            names, failures, notes = found.results, found.failures, found.notes
        else:
            names, failures, notes = [comparison.PhotoFiles(before.name, before, after, masks)], [], []
    chosen = evenly_spread(names, limit or SHOWN[suffix])
    if len(chosen) < len(names):
        notes.append(f"{len(chosen)} of {len(names)} photos are shown, evenly spread; --limit {len(names)} shows all")
    unread: list[str] = []
    comparisons = compare_all(chosen, size or (720 if suffix == ".html" else 320), unread)
    first = next(comparisons, None)
    if first is None:
        raise click.ClickException(unread[0] if unread else f"no result in {after} belongs to a photo in {before}")
    with writing_to(out):
        if suffix == ".html":
            title = f"{printable(before.name)} and {printable(after.name)}"
            comparison.write_page(chain([first], comparisons), out, title, notes, failures, unread)
        else:
            comparison.write_image(chain([first], comparisons), out)
    for note in notes:
        click.echo(f"note: {printable(note)}", err=True)
    for number, failure in enumerate([*unread, *failures]):
        if number < MAX_SHOWN:
            click.echo(f"failed: {printable(failure)}", err=True)
    click.echo(f"{len(chosen) - len(unread)} photos, {len(failures) + len(unread)} without a result: {out}")


def evenly_spread(names: list[PhotoFiles], most: int) -> list[PhotoFiles]:
    """``most`` of ``names``, evenly spread."""
    if len(names) <= most:
        return names
    return [names[number * len(names) // most] for number in range(most)]


def compare_all(names: list[PhotoFiles], side: int, unread: list[str]) -> Iterator[Comparison]:
    """Comparisons in order, made a few ahead; what cannot be read gets into ``unread``."""
    from pconv.report.comparison import compare_or_explain

    ahead = 4
    with ThreadPoolExecutor(2) as pool, progress(range(len(names)), len(names)) as numbers:
        waiting = [pool.submit(compare_or_explain, each, side) for each in names[:ahead]]
        for number in numbers:
            result = waiting.pop(0).result()
            if number + ahead < len(names):
                waiting.append(pool.submit(compare_or_explain, names[number + ahead], side))
            if isinstance(result, str):
                unread.append(result)
            else:
                yield result
