"""Where to compute: boxes around groups of holes with enough context, and tiles where a box is too large.

Pure geometry. Boxes and tiles begin on the network's own grid, if that is at most 128 px: moving the photo by a few
pixels under the network's strides changes a fill more than all context does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pconv.masks.morphology import dilate

CONTEXT = 64
"""Known pixels around every hole. Twice as many gain at most 0.1 dB, at holes of 24 px, and cost twice the time there
(benchmarks/context.py)."""

OVERLAP = 2 * CONTEXT
"""Pixels over which neighbouring tiles are blended: in the middle of it each has its context."""

CELL = 32
"""Holes are grouped on a grid of this many pixels, one word of bits. So boxes begin at multiples of 16 whatever the
network's multiple: a value of a noise input stands for up to 16 x 16 pixels."""

WORTH_MERGING = 1.2
"""Boxes are computed as one if that costs at most this much more."""

WORTH_WHOLE = 1.25
"""Larger tiles are taken as long as they cost at most this much more than the cheapest."""

LARGE = 1024 * 1024
"""Pixels up to which a box is never cut for speed, only for memory."""

TILE_SIDES = (256, 512, 768)
"""Tiles of 1024 px take as long, and 280 MB more memory (benchmarks/large.py with another value here)."""


class Box(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def moved(self, down: int, right: int) -> Box:
        return Box(self.top + down, self.bottom + down, self.left + right, self.right + right)

    def union(self, other: Box) -> Box:
        return Box(
            min(self.top, other.top), max(self.bottom, other.bottom),
            min(self.left, other.left), max(self.right, other.right),
        )  # fmt: skip


class Region(NamedTuple):
    """A box to compute, and which of the wanted pixels in it are its own: ``(h, w)`` bool."""

    box: Box
    wanted: NDArray[np.bool_]


def regions(wanted: NDArray[np.bool_], multiple: int) -> Iterator[Region]:
    """Boxes that hold all pixels of ``(H, W)`` ``wanted`` with their context; each pixel is one region's own.

    Args:
        wanted: True where a colour is to be computed.
        multiple: a power of two; boxes begin at multiples of it and of 16, and end there or at the border.
    """
    height, width = wanted.shape
    cells = _cells(wanted)
    labels, boxes = _groups(dilate(cells, CONTEXT // CELL, square=True))
    merged = _merged([_aligned(box, multiple, height, width) for box in boxes])
    for box, members in merged:
        own = wanted[box.slices]
        if len(boxes) > 1:
            rows, columns = np.arange(box.top, box.bottom) // CELL, np.arange(box.left, box.right) // CELL
            own = own & np.isin(labels, members)[rows][:, columns]
        yield Region(box, own)


def tile_side(wanted: NDArray[np.bool_], most: float) -> int:
    """The side of the tiles in which ``(h, w)`` ``wanted`` is computed best, if ``most`` pixels fit at once.

    Small tiles follow a thin hole and leave out what nobody wants; large ones overlap less and see more.
    """
    height, width = map(int, wanted.shape)
    if height * width <= min(most, LARGE):
        return max(height, width)
    able = [side for side in TILE_SIDES if side * side <= most and side < max(height, width)] or [TILE_SIDES[0]]
    costs = [sum(box.area for box in tiles(wanted, side)) for side in able]
    cheapest = min(costs)
    return max([side for side, cost in zip(able, costs, strict=True) if cost <= WORTH_WHOLE * cheapest])


def tiles(wanted: NDArray[np.bool_], side: int) -> list[Box]:
    """Overlapping tiles in which something is wanted, row by row."""
    height, width = wanted.shape
    rows, columns = spans(height, side), spans(width, side)
    boxes = [Box(top, bottom, left, right) for top, bottom in rows for left, right in columns]
    return [box for box in boxes if wanted[box.slices].any()]


def spans(length: int, side: int) -> list[tuple[int, int]]:
    """Beginnings and ends of the tiles along one direction, each overlapping the one before by OVERLAP.

    All begin at multiples of ``side - OVERLAP`` and have one size but the last, which ends at the border.
    """
    if length <= side:
        return [(0, length)]
    step = side - OVERLAP
    count = -(-(length - side) // step)
    return [*((i * step, i * step + side) for i in range(count)), (count * step, length)]


def _cells(wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which cells of the grid have a wanted pixel: a cell's row of pixels is one word of 32 bits."""
    bits = np.packbits(wanted, axis=1)
    words = np.pad(bits, [(0, 0), (0, -bits.shape[1] % 4)]).view(np.uint32)
    cells: NDArray[np.bool_] = np.bitwise_or.reduceat(words, np.arange(0, len(words), CELL), axis=0) != 0
    return cells


def _groups(cells: NDArray[np.bool_]) -> tuple[NDArray[np.int32], list[Box]]:
    """Number the connected groups of cells from 1, and give each one's box, in pixels."""
    labels = np.zeros(cells.shape, np.int32)
    boxes: list[Box] = []
    height, width = cells.shape
    for start in zip(*(places.tolist() for places in np.nonzero(cells)), strict=True):
        if labels[start]:
            continue
        number = len(boxes) + 1
        labels[start] = number
        open_ends, found = [start], [start]
        while open_ends:
            row, column = open_ends.pop()
            for y in range(max(row - 1, 0), min(row + 2, height)):
                for x in range(max(column - 1, 0), min(column + 2, width)):
                    if cells[y, x] and not labels[y, x]:
                        labels[y, x] = number
                        open_ends.append((y, x))
                        found.append((y, x))
        rows, columns = zip(*found, strict=True)
        boxes.append(Box(min(rows) * CELL, (max(rows) + 1) * CELL, min(columns) * CELL, (max(columns) + 1) * CELL))
    return labels, boxes


def _aligned(box: Box, multiple: int, height: int, width: int) -> Box:
    return Box(
        box.top // multiple * multiple, min(-(-box.bottom // multiple) * multiple, height),
        box.left // multiple * multiple, min(-(-box.right // multiple) * multiple, width),
    )  # fmt: skip


def _merged(boxes: list[Box]) -> list[tuple[Box, list[int]]]:
    """Boxes, each with the numbers of its groups; near ones become one where that costs little more than all alone."""
    done: list[tuple[Box, list[int], int]] = []
    for number, box in enumerate(boxes, 1):
        members, alone = [number], box.area
        changed = True
        while changed:
            changed = False
            for other in done:
                union = box.union(other[0])
                if union.area <= WORTH_MERGING * (alone + other[2]):
                    box, members, alone, changed = union, other[1] + members, alone + other[2], True
                    done.remove(other)
                    break
        done.append((box, members, alone))
    return [(box, members) for box, members, _ in done]
