"""Pair photos with their masks by file names.

Names are relative to their folders, with "/" between parts. The first of these rules that finds a mask counts:

1. The same path, whatever the suffix (``2024/a.jpg`` and ``2024/a.png``).
2. The same stem, if the photo or the mask lies at the top of its folder and the other one in a subfolder.
3. The pattern (``{stem}_mask.png``), in the same subfolder, or else at the top of the masks.

If a rule finds several masks for a photo, or several photos for a mask, all of them are ambiguous.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from string import Formatter

from pconv.batch.storage import normalised
from pconv.errors import InputError

PATTERN = "{stem}_mask.png"
_FIELDS = ("stem", "name", "suffix")


@dataclass
class Pairing:
    """What ``pair`` found.

    Attributes:
        masks: the mask of each photo that has one.
        ambiguous: for each photo that could have several masks, or shares one, the sentence that says so.
        without_mask: photos without a mask.
        unused: masks without a photo.
        disputed: the masks of ambiguous photos.
    """

    masks: dict[str, str] = field(default_factory=dict)
    ambiguous: dict[str, str] = field(default_factory=dict)
    without_mask: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    disputed: set[str] = field(default_factory=set)

    def dispute(self, photos: Sequence[str], masks: Sequence[str]) -> None:
        self.disputed.update(masks)
        self.ambiguous.update(dict.fromkeys(photos, _ambiguous(photos, masks)))


def pair(photos: Iterable[str], masks: Iterable[str], pattern: str = PATTERN, only_pattern: bool = False) -> Pairing:
    """Find the mask of each photo.

    Args:
        photos: file names.
        masks: file names.
        pattern: how masks are named that are not named like their photo.
        only_pattern: use rule 3 alone, for photos and masks in one folder.

    Raises:
        InputError: the pattern cannot be one.
    """
    check_pattern(pattern)
    photos, masks = list(photos), list(masks)
    found = Pairing()
    if not only_pattern:
        _by_groups(photos, masks, found, _without_suffix, flat=False)
        _by_groups(_photos_left(photos, found), _masks_left(masks, found), found, _stem, flat=True)
    _by_pattern(photos, masks, pattern, found)
    found.without_mask = _photos_left(photos, found)
    found.unused = _masks_left(masks, found)
    return found


def check_pattern(pattern: str) -> None:
    """Raises InputError unless ``pattern`` names a mask for each photo, as ``{stem}_mask.png`` does."""
    known = ", ".join(f"{{{name}}}" for name in _FIELDS)
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError as error:
        raise InputError(f"the mask pattern {pattern!r} cannot be read ({error}); known fields are {known}") from error
    used = [(name, spec, conversion) for _, name, spec, conversion in parts if name is not None]
    for name, spec, conversion in used:
        if name not in _FIELDS or spec or conversion:
            raise InputError(f"unknown field {{{name}}} in the mask pattern {pattern!r}; known are {known}")
    if not {"stem", "name"} & {name for name, *_ in used}:
        raise InputError(
            f"the mask pattern {pattern!r} names the same mask for every photo: use {{stem}} or {{name}} in it, "
            f"or give that mask's file itself"
        )


def matches(name: str, pattern: str) -> bool:
    """Whether ``name`` is what ``pattern`` makes of some photo."""
    parts = [
        re.escape(normalised(text)) + ("" if given is None else r"\.[^./]+" if given == "suffix" else "[^/]+")
        for text, given, *_ in Formatter().parse(pattern)
    ]
    return re.fullmatch("(?:.*/)?" + "".join(parts), normalised(name)) is not None


def _by_groups(
    photos: Sequence[str], masks: Sequence[str], found: Pairing, key: Callable[[str], str], flat: bool
) -> None:
    """Pair the photos and masks of one key: each exactly by its name, or one photo with one mask.

    ``flat``: only where photo or mask lies at the top.
    """
    of_key: dict[str, list[str]] = defaultdict(list)
    for mask in masks:
        of_key[key(mask)].append(mask)
    groups: dict[str, list[str]] = defaultdict(list)
    for photo in photos:
        groups[key(photo)].append(photo)
    for name, group in groups.items():
        candidates = of_key.get(name, [])
        if flat and all("/" in photo for photo in group):
            candidates = [mask for mask in candidates if "/" not in mask]
        if flat and all("/" in mask for mask in candidates):
            group = [photo for photo in group if "/" not in photo]
        if not group or not candidates:
            continue
        exact = {normalised(mask): mask for mask in candidates}
        if len(group) == len(candidates) and all(normalised(photo) in exact for photo in group):
            found.masks.update({photo: exact[normalised(photo)] for photo in group})
        elif len(group) == len(candidates) == 1:
            found.masks[group[0]] = candidates[0]
        else:
            found.dispute(group, candidates)


def _by_pattern(photos: Sequence[str], masks: Sequence[str], pattern: str, found: Pairing) -> None:
    for at_top in (False, True):
        free = {normalised(mask): mask for mask in _masks_left(masks, found)}
        claims: dict[str, list[str]] = defaultdict(list)
        for photo in _photos_left(photos, found):
            path = PurePosixPath(photo)
            name = pattern.format(stem=path.stem, name=path.name, suffix=path.suffix)
            mask = free.get(normalised(name if at_top else str(path.parent / name)))
            if mask is not None:
                claims[mask].append(photo)
        for mask, group in claims.items():
            if len(group) == 1:
                found.masks[group[0]] = mask
            else:
                found.dispute(group, [mask])


def _ambiguous(photos: Sequence[str], masks: Sequence[str]) -> str:
    return (
        f"ambiguous: {_listed(masks)} could be the mask of {_listed(photos)}; "
        f"give each photo one mask of the same path and name"
    )


def _listed(names: Sequence[str]) -> str:
    some = list(names[:3]) + ([f"{len(names) - 3} more"] if len(names) > 3 else [])
    return some[0] if len(some) == 1 else ", ".join(some[:-1]) + (" or " if len(names) <= 3 else " and ") + some[-1]


def _photos_left(photos: Iterable[str], found: Pairing) -> list[str]:
    return [photo for photo in photos if photo not in found.masks and photo not in found.ambiguous]


def _masks_left(masks: Iterable[str], found: Pairing) -> list[str]:
    used = {*found.masks.values(), *found.disputed}
    return [mask for mask in masks if mask not in used]


def _without_suffix(name: str) -> str:
    path = PurePosixPath(normalised(name))
    return str(path.with_name(path.stem))


def _stem(name: str) -> str:
    return PurePosixPath(normalised(name)).stem


def same_outputs(outs: Mapping[str, str]) -> dict[str, str]:
    """For photos that would be written to one and the same file, the sentence that says so."""
    claims: dict[str, list[str]] = defaultdict(list)
    for photo, out in outs.items():
        claims[out].append(photo)
    return {
        photo: f"{_listed(group).replace(' or ', ' and ')} would all be written to {out}; rename them"
        for out, group in claims.items()
        if len(group) > 1
        for photo in group
    }
