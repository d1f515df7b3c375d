"""Which result belongs to which photo, and which photos failed in the run that made the results."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pconv.batch.manifest import NO_MASK, read_history
from pconv.batch.pairing import PATTERN, matches, pair
from pconv.batch.storage import LocalFolder, is_image
from pconv.errors import InputError
from pconv.report.comparison import PhotoFiles


class FoundResults(NamedTuple):
    """Photos with their results, and sentences about failures and about other findings."""

    results: list[PhotoFiles]
    failures: list[str]
    notes: list[str]


def find_results(before: Path, after: Path, masks: Path | None = None, pattern: str = PATTERN) -> FoundResults:
    """Pair two folders by their files' names, and with their masks; failures come from the run's manifest.

    Raises:
        InputError: a folder cannot be listed, or holds no images.
    """
    problems: list[str] = []
    lists = {folder: _images(folder, problems) for folder in (before, after)}
    history = read_history(LocalFolder(after))
    inside = {entry.out: photo for photo, entry in history.entries.items() if entry.has_result}
    photos = _outside(lists[before], before, [after, masks])
    if masks and masks.resolve() == before.resolve():
        photos = [photo for photo in photos if not matches(photo, pattern)]
    results = _outside(lists[after], after, [before, masks])
    there, given = set(results), set(photos)
    known = {photo: out for out, photo in inside.items() if out in there and photo in given}
    used = set(known.values())
    found = pair([p for p in photos if p not in known], [r for r in results if r not in used], pattern)
    of_photo = {**known, **found.masks}
    mask_of = _masks(list(of_photo), masks, before, pattern, problems)
    files = [
        PhotoFiles(photo, before / photo, after / out, mask_of.get(photo)) for photo, out in sorted(of_photo.items())
    ]
    entries = [entry for _, entry in sorted(history.entries.items())]
    failures = [entry.sentence for entry in entries if not entry.has_result and entry.status != NO_MASK]
    missing = sum(photo not in history.entries for photo in found.without_mask)
    no_mask = sum(entry.status == NO_MASK for entry in entries)
    notes = [*problems, *(f"{photo}: {why}" for photo, why in found.ambiguous.items())]
    notes += [f"{no_mask} photos have no mask and so no result"] if no_mask else []
    notes += [f"{missing} photos have no result, such as {found.without_mask[0]}"] if missing else []
    return FoundResults(files, failures, notes)


def _images(folder: Path, problems: list[str]) -> list[str]:
    names = [name for name in LocalFolder(folder).files(problems.append) if is_image(name)]
    if not names:
        raise InputError(f"no images in {folder}")
    return names


def _masks(photos: list[str], masks: Path | None, before: Path, pattern: str, problems: list[str]) -> dict[str, Path]:
    if masks is None:
        return {}
    if not masks.is_dir():
        return dict.fromkeys(photos, masks)
    names = _images(masks, problems)
    together = masks.resolve() == before.resolve()
    if together:
        names = [name for name in names if matches(name, pattern)]
    return {photo: masks / mask for photo, mask in pair(photos, names, pattern, only_pattern=together).masks.items()}


def _outside(names: list[str], folder: Path, others: list[Path | None]) -> list[str]:
    """``names`` in ``folder`` without those in the other folders that lie in it."""
    root = folder.resolve()
    inner = [other.resolve() for other in others if other is not None]
    prefixes = tuple(
        path.relative_to(root).as_posix() + ("/" if path.is_dir() else "")
        for path in inner
        if path != root and path.is_relative_to(root)
    )
    return [name for name in names if not name.startswith(prefixes)]
