"""Which holes go into which photos: six bins of hole ratios, each with and without border holes (section 4.2).

Everything here is a pure function of the files' pixels and names, so that others get the same pairs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import ImageFileError, InputError
from pconv.evaluation.mask_set import generate_hole
from pconv.images.reading import read_photo, some
from pconv.masks.reader import read_mask
from pconv.masks.strokes import RATIO_BINS

Pixels = NDArray[np.uint8]
Hole = NDArray[np.bool_]

MASK_SET = 1
"""Version of the generated holes. It goes up when a hole changes, since results of two versions cannot be compared."""

BORDER_PX, BORDER_SIDE = 50, 512
"""The paper's "no border": every hole at least 50 px from it, at 512 px. Masks with a shorter side than that keep
the same part of it: 32 px at 320."""

SHRINK_FROM = 1.25
"""Photos up to this much larger than the mask are cropped only, at their own scale; larger ones are shrunk first."""

_TRIES = 50

GENERATED = "made"
"""The source of a generated hole, as per_image.csv has it."""


class Cell(NamedTuple):
    """One of the twelve: a bin of hole ratios, (low, high], and whether holes come near the border."""

    bin: int
    border: bool

    @property
    def ratio(self) -> tuple[float, float]:
        return RATIO_BINS[self.bin]

    @property
    def name(self) -> str:
        low, high = self.ratio
        return f"{low:g}-{high:g} {'border' if self.border else 'no border'}"


CELLS = tuple(Cell(number, border) for number in range(len(RATIO_BINS)) for border in (False, True))


class Mask(NamedTuple):
    """A hole of the set: its cell, its number in the cell, and its file or ``GENERATED``."""

    cell: Cell
    number: int
    source: str
    size: tuple[int, int]
    """Height and width, px."""


class Pair(NamedTuple):
    """One hole in one photo."""

    mask: Mask
    photo: Path

    @property
    def name(self) -> str:
        cell = self.mask.cell
        return f"{cell.bin}{'B' if cell.border else 'N'}-{self.mask.number:04d}"


def border_margin(height: int, width: int) -> int:
    """How far from the border a hole must stay to count as "no border", px: 50, or less on a side under 512 px."""
    return min(BORDER_PX, math.ceil(BORDER_PX * min(height, width) / BORDER_SIDE))


def cell_of(hole: Hole) -> Cell | None:
    """The cell that a hole belongs to; None where its ratio is 0.01 or less, or more than 0.6."""
    ratio = np.count_nonzero(hole) / hole.size
    margin = border_margin(*hole.shape)
    inner = hole[margin:-margin, margin:-margin]
    near = np.count_nonzero(inner) != np.count_nonzero(hole)
    for number, (low, high) in enumerate(RATIO_BINS):
        if low < ratio <= high:
            return Cell(number, near)
    return None


def generated_hole(mask: Mask) -> Hole:
    """The generated hole number ``mask.number`` of its cell, the same on every machine.

    Raises:
        InputError: the size is too small for holes of this ratio.
    """
    height, width = mask.size
    border = 0 if mask.cell.border else border_margin(height, width)
    for attempt in range(_TRIES):
        generator = np.random.default_rng([MASK_SET, mask.cell.bin, mask.cell.border, mask.number, attempt])
        hole = generate_hole(height, width, mask.cell.ratio, border, generator)
        if hole is not None and cell_of(hole) == mask.cell:
            return hole
    raise InputError(f"no hole for the cell {mask.cell.name} at {width}x{height} px; use larger photos")


def generated_masks(height: int, width: int, per_cell: int) -> list[Mask]:
    """The generated set, number by number through all cells; its first numbers do not depend on ``per_cell``."""
    return [Mask(cell, number, GENERATED, (height, width)) for number in range(per_cell) for cell in CELLS]


class SortedMasks(NamedTuple):
    """What a folder of masks holds: the chosen ones, and how many there are for each cell, in no cell, or empty."""

    masks: list[Mask]
    counts: dict[Cell, int]
    outside: int
    empty: int


def sorted_masks(
    paths: Iterable[Path], white_is_hole: bool, per_cell: int, seen: Callable[[], None] = lambda: None
) -> SortedMasks:
    """Read mask files and sort them into the cells; of each cell the first ``per_cell`` are taken.

    Args:
        seen: called after each file, to advance a progress bar.

    Raises:
        ImageFileError: a file cannot be read.
        InputError: no file has a hole that belongs to a cell.
    """
    counts = dict.fromkeys(CELLS, 0)
    masks, outside, empty = [], 0, 0
    for path in paths:
        hole = read_mask(path, white_is_hole)
        cell = cell_of(hole)
        if cell is None:
            outside, empty = outside + bool(hole.any()), empty + (not hole.any())
        else:
            if counts[cell] < per_cell:
                masks.append(Mask(cell, counts[cell], str(path), (hole.shape[0], hole.shape[1])))
            counts[cell] += 1
        seen()
    if not masks:
        raise InputError(
            f"no mask has a hole ratio in 0.01-0.6: {empty} have no hole at all, {outside} another ratio; take other "
            f"masks, or check their polarity"
        )
    return SortedMasks(sorted(masks, key=lambda mask: (mask.number, mask.cell)), counts, outside, empty)


def hole_of(mask: Mask, white_is_hole: bool = True) -> Hole:
    """The hole itself, ``(H, W)`` bool: generated, or read from its file."""
    return generated_hole(mask) if mask.source == GENERATED else read_mask(Path(mask.source), white_is_hole)


def mask_set_hash(holes: Iterable[Hole]) -> str:
    """SHA-256 of the holes' sizes and bits, in their order."""
    digest = hashlib.sha256()
    for hole in holes:
        digest.update(np.array(hole.shape, dtype="<u4").tobytes() + np.packbits(hole).tobytes())
    return digest.hexdigest()


def common_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The size of generated holes, (height, width), landscape: 512 x 512 as in the paper, or what fits all photos.

    Both are multiples of 16, so that photos that differ by some pixels get the same holes.
    """
    short = min(min(size) for size in sizes)
    long = min(max(size) for size in sizes)
    return min(BORDER_SIDE, short // 16 * 16), min(BORDER_SIDE, long // 16 * 16)


def turned(size: tuple[int, int], photo: tuple[int, int]) -> tuple[int, int]:
    """The size of a generated hole in the orientation of a photo (height, width)."""
    return size[::-1] if (size[0] - size[1]) * (photo[0] - photo[1]) < 0 else size


def pair_up(masks: Sequence[Mask], photos: Sequence[Path], sizes: Sequence[tuple[int, int]]) -> list[Pair]:
    """A photo for each mask: all photos in a random order of a fixed seed, then all again in another.

    A generated hole is landscape or portrait as its photo is.

    Raises:
        InputError: a photo is smaller than its mask.
    """
    pairs = []
    for mask, which in zip(masks, _order(len(masks), len(photos)), strict=True):
        path, (height, width) = photos[which], sizes[which]
        if mask.source == GENERATED:
            mask = mask._replace(size=turned(mask.size, (height, width)))
        if height < mask.size[0] or width < mask.size[1]:
            what = "the masks are" if mask.source == GENERATED else f"the mask {mask.source} is"
            raise InputError(
                f"the photo {path} is {width}x{height} px, and {what} {mask.size[1]}x{mask.size[0]}: take larger "
                f"photos, or smaller masks" + (" (--size)" if mask.source == GENERATED else "")
            )
        pairs.append(Pair(mask, path))
    return pairs


def _order(count: int, photos: int) -> list[int]:
    """``count`` numbers of photos in random order: in file order, a cell would get the same few of a small folder."""
    order: list[int] = []
    while len(order) < count:
        draws = np.random.default_rng([MASK_SET, 99, len(order)]).random(photos)
        order.extend(np.argsort(draws, kind="stable").tolist())
    return order[:count]


def fit_photo(photo: Path, size: tuple[int, int]) -> Pixels:
    """A photo's pixels ``(H, W, 3)`` uint8 at a mask's size: upright, RGB, shrunk with Lanczos until it just covers
    the mask if it is more than 1.25 times as large, then cropped around its centre. Nothing is ever enlarged.

    Raises:
        ImageFileError: the file cannot be read.
        InputError: the photo is smaller than ``size``.
    """
    image = Image.fromarray(read_photo(photo).rgb())
    height, width = size
    scale = min(image.height / height, image.width / width)
    if scale < 1:
        raise InputError(
            f"the photo {photo} is {image.width}x{image.height} px, smaller than its mask {width}x{height}"
        )
    if scale > SHRINK_FROM:
        shrunk = max(round(image.width / scale), width), max(round(image.height / scale), height)
        image = image.resize(shrunk, Image.Resampling.LANCZOS)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.array(image.crop((left, top, left + width, top + height)))


def bundled_photos() -> Path:
    """The folder of small photos that comes with pconv."""
    return Path(str(files("pconv") / "evaluation" / "photos"))


def readable_photos(paths: Sequence[Path]) -> tuple[list[Path], list[tuple[int, int]], list[str]]:
    """Photos with their upright sizes (height, width), and notes: a sentence on those that cannot be read.

    Raises:
        InputError: none can be read.
    """
    good, sizes, problems = [], [], []
    for path in paths:
        try:
            photo = read_photo(path)
        except ImageFileError as error:
            problems.append(str(error))
            continue
        good.append(path)
        sizes.append((photo.height, photo.width))
    if not good:
        raise InputError(f"none of the {len(paths)} photos can be read: {problems[0]}")
    notes = [f"{len(problems)} of the {len(paths)} photos are left out: {some(problems, '; ')}"] if problems else []
    return good, sizes, notes
