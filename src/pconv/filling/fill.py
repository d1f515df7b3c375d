"""Filling a picture of any size in bounded memory: regions, tiles, and smaller pictures for wide holes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pconv.errors import ModelError
from pconv.filling.backends import Backend
from pconv.filling.pictures import ArrayPicture, Picture
from pconv.filling.regions import Box, Region, regions, spans, tile_side
from pconv.filling.wide import DEEP, depth_steps, doubled, halved_by_strips, halved_wish

BYTES_PER_PIXEL = 700
"""What a run of the network takes at most for each pixel: the paper's network, the largest preset, on the hungriest
backend (docs/performance.md). The bundled model takes half of it."""

BLEND_STEPS = 6
"""Of the blend between the rim of a wide hole and its inside."""

FEATHER_STEPS = 32

REVISION = 6
"""Changes when the same network would fill differently; results measured with another one do not compare."""

SEEDS = 64
"""Seeds are 0 to SEEDS - 1."""

Hole = NDArray[np.bool_]
Colours = NDArray[np.float32]


def fill_holes(
    backend: Backend,
    picture: Picture,
    hole: Hole,
    memory: int,
    feather: int = 0,
    wanted: Hole | None = None,
    seed: int = 0,
) -> None:
    """Fill ``picture`` in place where ``(H, W)`` ``hole`` is True.

    Args:
        backend: the network.
        picture: what has the hole.
        hole: True = unknown.
        memory: bytes that the network and the pictures made for it may take.
        feather: pixels inside the hole's edge over which the fill is blended with what was there.
        wanted: which pixels of the hole to write; all of them if None.
        seed: 0 to SEEDS - 1: which texture a network with noise inputs gives the holes.

    Raises:
        ModelError: the network's output is not finite.
        DeviceMemoryError: the device has too little memory; the picture may be filled in part.
    """
    for region in regions(hole if wanted is None else wanted, backend.multiple):
        _fill_region(backend, picture, hole[region.box.slices], region, memory, feather, seed)


def _fill_region(
    backend: Backend, picture: Picture, hole: Hole, region: Region, memory: int, feather: int, seed: int
) -> None:
    box, wanted = region
    inside = _inside_of(backend, picture, hole, region, memory, seed)
    feather_steps = min(feather, FEATHER_STEPS)
    softened = depth_steps(hole, 0, feather, feather_steps) if feather else None

    def fill_tile(tile: Box) -> Colours:
        unknown, place = hole[tile.slices], tile.moved(box.top, box.left)
        known = np.where(unknown, np.float32(0), picture.read(*place.slices))
        if inside is None:
            return _run(backend, known, unknown, seed, place)
        colours, share = doubled(inside.colours, *tile.slices), inside.share(tile)
        if not (wanted[tile.slices] & (share < 1)).any():
            return colours
        deep = share == 1
        rim = _run(backend, np.where(deep, colours, known), unknown & ~deep, seed, place)
        return rim + (colours - rim) * share

    side = tile_side(wanted, _most_pixels(memory, box))
    for rows, colours in _by_tiles(fill_tile, wanted, side, backend.channels):
        opacity = wanted[rows].astype(np.float32)
        if softened is not None:
            opacity *= (1 + softened[rows].astype(np.float32)) / (1 + feather_steps)
        picture.write(*_rows_of(box, rows), colours, opacity)


def _rows_of(box: Box, rows: slice) -> tuple[slice, slice]:
    """Rows of a region as rows and columns of the picture."""
    return slice(box.top + rows.start, box.top + rows.stop), slice(box.left, box.right)


def _most_pixels(memory: int, box: Box) -> float:
    """How many pixels the network may see at once beside the rows of tiles and the maps that are kept of ``box``."""
    kept = 3 * 4 * min(box.area, 2 * 1024 * (box.right - box.left)) + 4 * box.area
    return (memory - kept) / BYTES_PER_PIXEL


class _Inside(NamedTuple):
    """The inside of a region's wide holes, from a picture of half the size."""

    colours: NDArray[np.float16]
    """``(C, h/2, w/2)``, filled."""
    steps: NDArray[np.uint8]
    """``(h, w)``: 0 where the region's own pixels decide, BLEND_STEPS where the inside does."""

    def share(self, tile: Box) -> NDArray[np.float32]:
        return self.steps[tile.slices].astype(np.float32) / np.float32(BLEND_STEPS)


def _inside_of(
    backend: Backend, picture: Picture, hole: Hole, region: Region, memory: int, seed: int
) -> _Inside | None:
    """The inside of wide holes, or None where no hole is wide."""
    box, wanted = region
    steps = depth_steps(hole, DEEP / 2, DEEP, BLEND_STEPS)
    if not (steps == BLEND_STEPS).any():
        return None
    half, half_hole = halved_by_strips(lambda rows: picture.read(*_rows_of(box, rows)), hole)
    half_picture = ArrayPicture(half.transpose(1, 2, 0), half.shape[0])
    half_wanted = halved_wish(wanted & (steps > 0), half_hole)
    fill_holes(backend, half_picture, half_hole, memory, wanted=half_wanted, seed=seed)
    return _Inside(half, steps)


def _by_tiles(
    fill_tile: Callable[[Box], Colours], wanted: Hole, side: int, channels: int
) -> Iterator[tuple[slice, Colours]]:
    """The region row by row of tiles, ``(C, n, w)``, blended over their overlaps; each row of pixels comes once.

    Where nothing is wanted the colours mean nothing.
    """
    height, width = wanted.shape
    rows = spans(height, side)
    carried = np.empty((channels, 0, width), np.float32)
    for number, (top, bottom) in enumerate(rows):
        strip = np.zeros((channels, bottom - top, width), np.float32)
        done = 0
        for left, right in spans(width, side):
            tile = Box(top, bottom, left, right)
            if wanted[tile.slices].any():
                colours = fill_tile(tile)
                _blend_into(colours, strip[..., left:done])
                strip[..., left:right] = colours
            done = right
        _blend_into(strip.swapaxes(1, 2), carried.swapaxes(1, 2))
        end = rows[number + 1][0] if number + 1 < len(rows) else bottom
        yield slice(top, end), strip[:, : end - top]
        carried = strip[:, end - top :]


def _blend_into(colours: Colours, before: Colours) -> None:
    """Let ``(C, h, w)`` colours begin, along their last axis, as what was there before, ``(C, h, n)``."""
    length = before.shape[2]
    if length:
        share = ((np.arange(length) + 0.5) / length).astype(np.float32)
        colours[..., :length] = before + (colours[..., :length] - before) * share


def _run(backend: Backend, known: Colours, unknown: Hole, seed: int, place: Box) -> Colours:
    """One run of the network over ``(C, h, w)``, which lies at ``place`` in its picture."""
    if not unknown.any():
        return known
    picture, hole = np.ascontiguousarray(known[None]), np.ascontiguousarray(unknown[None, None])
    filled: Colours = backend.fill(picture, hole, seed=seed, origin=(place.top, place.left))[0]
    if not np.isfinite(filled).all():
        raise ModelError("the model's output is not finite: its training diverged; use another checkpoint")
    return filled
