"""Filling an image of any size in bounded memory: regions, tiles, and a fill of a smaller image for wide holes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pconv.errors import ModelError
from pconv.inpainting.backends import Backend
from pconv.inpainting.regions import Box, Region, regions, spans, tile_side
from pconv.inpainting.scales import (
    cell_means,
    deep_inside,
    depth_steps,
    needed_of_smaller,
    smaller_by_strips,
    surface_start,
)
from pconv.inpainting.windows import ArrayImage, WindowedImage

BYTES_PER_PIXEL = 700
"""What a run of the network takes at most for each pixel: the paper's network, the largest preset, on the hungriest
backend (docs/performance.md). The bundled model takes 350 to 550."""

NOISE_GRID = 16
"""Images are placed at multiples of it, in pixels: the largest cell of noise inputs (four levels)."""

FEATHER_STEPS = 32

REVISION = 7
"""Changes when the same network would fill differently; results measured with another one do not compare."""

Hole = NDArray[np.bool_]
Colours = NDArray[np.float32]


class MemoryBudget:
    """Bytes that several threads share. One that asks for more than there are waits until it is the only one."""

    def __init__(self, total: int) -> None:
        self._total, self._used, self._changed = total, 0, Condition()

    @contextmanager
    def reserved(self, wanted: int) -> Iterator[None]:
        """Wait for ``wanted`` bytes, and have them in the block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + wanted <= self._total)
            self._used += wanted
        try:
            yield
        finally:
            with self._changed:
                self._used -= wanted
                self._changed.notify_all()


@dataclass(frozen=True)
class NetworkRunner:
    """Runs the network for one fill.

    Attributes:
        backend: the network.
        memory: bytes that the network and the images made for it may take.
        seed: 0 to SEEDS - 1: which texture a network with noise inputs gives the holes.
        before_run: called before each run of the network. What it raises ends the fill.
        budget: what runs in several threads may take together.
        everywhere: known pixels too become what the network predicts for them.
    """

    backend: Backend
    memory: int
    seed: int = 0
    before_run: Callable[[], None] | None = None
    budget: MemoryBudget = field(default_factory=lambda: MemoryBudget(0))
    everywhere: bool = False

    def run(self, known: Colours, unknown: Hole, origin: tuple[int, int], estimated: Hole | None = None) -> Colours:
        """Fill ``(C, h, w)`` colours where ``(h, w)`` ``unknown`` is True.

        Args:
            known: the colours, values in 0..1.
            unknown: the hole.
            origin: row and column of the colours in the whole image.
            estimated: where ``known`` holds estimates to start from. A network without a surface takes them for known.

        Raises:
            ModelError: the network's output is not finite.
        """
        if not unknown.any():
            return known
        if self.before_run:
            self.before_run()
        estimate = None
        if estimated is not None and self.backend.estimates:
            estimate = estimated[None, None]
        elif estimated is not None:
            unknown = unknown & ~estimated
        image, hole = np.ascontiguousarray(known[None]), np.ascontiguousarray(unknown[None, None])
        with self.budget.reserved(BYTES_PER_PIXEL * hole.size):
            filled: Colours = self.backend.fill(
                image, hole, seed=self.seed, origin=origin, estimate=estimate, everywhere=self.everywhere
            )[0]
        if not np.isfinite(filled).all():
            raise ModelError("the model's output is not finite: its training diverged; use another checkpoint")
        return filled


def fill_holes(
    runner: NetworkRunner,
    image: WindowedImage,
    hole: Hole,
    *,
    wanted: Hole | None = None,
    feather: int = 0,
    corner: tuple[int, int] = (0, 0),
    margin: int = 0,
) -> None:
    """Fill ``image`` in place where ``(H, W)`` ``hole`` is True.

    Args:
        runner: runs the network.
        image: what has the hole.
        hole: True = unknown.
        wanted: which pixels to write: of the hole, and with ``everywhere`` of the others too; the hole if None.
        feather: pixels inside the hole's edge over which the fill is blended with what was there.
        corner: row and column of the image in the whole one, if it is a part of one.
        margin: pixels along the borders between tiles that only the neighbouring tile decides; less than half of the
            overlap.

    Raises:
        ModelError: the network's output is not finite.
        DeviceMemoryError: the device has too little memory; the image may be filled in part.
    """
    for region in regions(hole if wanted is None else wanted, runner.backend.multiple):
        _fill_region(runner, image, hole[region.box.slices], region, feather, corner, margin)


def _fill_region(
    runner: NetworkRunner,
    image: WindowedImage,
    hole: Hole,
    region: Region,
    feather: int,
    corner: tuple[int, int],
    margin: int,
) -> None:
    box, wanted = region
    place = box.moved(*corner)
    # Upscaling has holes this wide only where pixels are invisible.
    inside = None if runner.everywhere else _inside_of(runner, image, hole, box, place)
    feather_steps = min(feather, FEATHER_STEPS)
    softened = depth_steps(hole, feather, feather_steps) if feather else None

    def fill_tile(tile: Box) -> Colours:
        unknown = hole[tile.slices]
        known = np.where(unknown, np.float32(0), image.read(*tile.moved(box.top, box.left).slices))
        origin = (place.top + tile.top, place.left + tile.left)
        if inside is None or not (deep := inside.deep[tile.slices]).any():
            return runner.run(known, unknown, origin)
        known = np.where(deep, surface_start(inside.cells, inside.scale, *tile.slices), known)
        return runner.run(known, unknown, origin, deep)

    side = tile_side(wanted, _most_pixels(runner.memory, box))
    for rows, colours in _by_tiles(fill_tile, wanted, side, runner.backend.channels, margin):
        opacity = wanted[rows].astype(np.float32)
        if softened is not None:
            opacity *= (1 + softened[rows].astype(np.float32)) / (1 + feather_steps)
        image.write(*_rows_of(box, rows), colours, opacity)


def _rows_of(box: Box, rows: slice) -> tuple[slice, slice]:
    """Rows of a region as rows and columns of the image."""
    return slice(box.top + rows.start, box.top + rows.stop), slice(box.left, box.right)


def _most_pixels(memory: int, box: Box) -> float:
    """How many pixels the network may see at once beside the rows of tiles and the maps that are kept of ``box``."""
    kept = 3 * 4 * min(box.area, 2 * 1024 * (box.right - box.left)) + 4 * box.area
    return (memory - kept) / BYTES_PER_PIXEL


class _Inside(NamedTuple):
    """What the inside of a region's wide holes starts from."""

    cells: Colours
    """Means over cells of the fill of a smaller image."""
    scale: int
    """How many pixels of full size a pixel of the smaller image is wide."""
    deep: Hole
    """``(h, w)``: where it counts."""


def _inside_of(runner: NetworkRunner, image: WindowedImage, hole: Hole, box: Box, place: Box) -> _Inside | None:
    """The inside of wide holes, or None where no hole is wide."""
    deep = deep_inside(hole)
    if deep is None:
        return None
    smaller = smaller_by_strips(lambda rows: image.read(*_rows_of(box, rows)), hole)
    small_image = ArrayImage(smaller.image.transpose(1, 2, 0), smaller.image.shape[0])
    # The corner may lie between two cells of the noise: then its noise begins at the cell before.
    grid = smaller.scale * NOISE_GRID
    corner = (place.top // grid * NOISE_GRID, place.left // grid * NOISE_GRID)
    fill_holes(runner, small_image, smaller.hole, wanted=needed_of_smaller(deep, smaller), corner=corner)
    return _Inside(cell_means(smaller.image), smaller.scale, deep)


def _by_tiles(
    fill_tile: Callable[[Box], Colours], wanted: Hole, side: int, channels: int, margin: int = 0
) -> Iterator[tuple[slice, Colours]]:
    """The region row by row of tiles, ``(C, n, w)``, blended over their overlaps; each row of pixels comes once.

    Where nothing is wanted the colours mean nothing.
    """
    height, width = wanted.shape
    rows = spans(height, side)
    overlap = np.empty((channels, 0, width), np.float32)
    for number, (top, bottom) in enumerate(rows):
        strip = np.zeros((channels, bottom - top, width), np.float32)
        done = 0
        for left, right in spans(width, side):
            tile = Box(top, bottom, left, right)
            if wanted[tile.slices].any():
                colours = fill_tile(tile)
                _blend_into(colours, strip[..., left:done], margin)
                strip[..., left:right] = colours
            done = right
        _blend_into(strip.swapaxes(1, 2), overlap.swapaxes(1, 2), margin)
        end = rows[number + 1][0] if number + 1 < len(rows) else bottom
        yield slice(top, end), strip[:, : end - top]
        overlap = strip[:, end - top :]


def _blend_into(colours: Colours, before: Colours, margin: int) -> None:
    """Let ``(C, h, w)`` colours begin, along their last axis, as what was there before, ``(C, h, n)``.

    The blend leaves out ``margin`` pixels at each end.
    """
    length = before.shape[2]
    if length:
        share = ((np.arange(length) + 0.5 - margin) / (length - 2 * margin)).clip(0, 1).astype(np.float32)
        colours[..., :length] = before + (colours[..., :length] - before) * share
