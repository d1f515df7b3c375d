"""Detail for what a network filled smoothly: lines and texture go on from the known pixels around a hole.

Blocks of natural pictures are sparse in a transform that suits them: few coefficients hold most of a block. So a fill
that has few large coefficients *and* agrees with every known pixel is likelier than a smooth one. Guleryuz's
alternating projections ("Nonlinear approximation based image recovery using adaptive sparse reconstructions and
iterated denoising", 2006) find it: cut the picture into blocks, set the small coefficients to zero, put the known
pixels back, and again with lower thresholds. The blocks lie elsewhere in each round, so that no grid of them shows.

Which transform suits a block depends on the direction of its lines. There is one for each of sixteen directions, and
one for blocks without any, learned from photos (:mod:`pconv.training.blocks`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.filling.planes import block_sums
from pconv.filling.threads import one_thread
from pconv.filling.wide import halved, twice
from pconv.nn.blocks import BLOCK, kinds_of, shares, transforms

ROUNDS = 60
FIRST_THRESHOLD, LAST_THRESHOLD = 0.15, 0.012
"""Root mean square over the channels of an orthonormal coefficient, for values in 0..1; falls geometrically."""
MORE = 2
"""The first threshold of a block whose pixels are nearly all known is higher by so many times itself: they know better
what it lacks than the fill does that it starts from."""
AVERAGED = 8
"""Of so many last rounds the mean is taken."""

Colours = NDArray[np.float32]


def detailed(start: Colours, hole: NDArray[np.bool_]) -> Colours:
    """``start`` with detail in its holes.

    Args:
        start: ``(C, H, W)``, values in 0..1, filled smoothly where ``hole`` is True.
        hole: ``(H, W)``. A block's width of known pixels around it has a say.

    Returns:
        ``(C, H, W)``, values in 0..1, and ``start`` bit for bit where ``hole`` is False. Pictures with a side below
        32 pixels stay as they are.
    """
    if min(hole.shape) < 2 * BLOCK or not hole.any():
        return start
    with one_thread:
        half, half_hole = halved(start, hole)
        if half_hole.any():  # what is coarser than a block, first
            half = np.where(half_hole, halved(start, np.zeros_like(hole))[0], half)
            change = twice(_projected(half, half_hole) - half, Image.Resampling.BILINEAR)
            start = np.where(hole, start + change[:, : hole.shape[0], : hole.shape[1]], start)
        return _projected(start, hole)


def _projected(start: Colours, hole: NDArray[np.bool_]) -> Colours:
    """The alternating projections, at one size."""
    height, width = hole.shape
    touched = block_sums(hole, BLOCK) > 0
    picture = start.copy()
    blocks_at = np.lib.stride_tricks.sliding_window_view(picture, (BLOCK, BLOCK), axis=(1, 2), writeable=True)
    holes_at = np.lib.stride_tricks.sliding_window_view(hole, (BLOCK, BLOCK))
    total = np.zeros((len(start), np.count_nonzero(hole)), np.float32)
    for number, late in enumerate(np.linspace(0, 1, ROUNDS, dtype=np.float32)):
        rows, columns = _grid(height, number * _PLASTIC[0]), _grid(width, number * _PLASTIC[1])
        chosen = np.nonzero(touched[np.ix_(rows, columns)])
        at = rows[chosen[0]], columns[chosen[1]]
        blocks = blocks_at[:, at[0], at[1]]
        first = FIRST_THRESHOLD * (1 + MORE * (1 - holes_at[at].mean(axis=(1, 2), dtype=np.float32)))
        sparse = _sparse(blocks, first ** (1 - late) * LAST_THRESHOLD**late)
        blocks_at[:, at[0], at[1]] = np.where(holes_at[at], sparse, blocks)
        if number >= ROUNDS - AVERAGED:
            total += picture[:, hole]
    picture[:, hole] = np.clip(total / AVERAGED, 0, 1)
    return picture


def _sparse(blocks: Colours, thresholds: Colours) -> Colours:
    """Blocks ``(C, N, 16, 16)`` without their coefficients below ``(N,)`` thresholds; their means stay.

    The step is soft: what lies at the threshold is halved.
    """
    known = transforms()
    flat = blocks.reshape(len(blocks), -1, BLOCK * BLOCK)
    kinds = kinds_of(flat.mean(axis=0), len(known))
    order = np.argsort(kinds, kind="stable")
    ends = np.cumsum(np.bincount(kinds, minlength=len(known)))
    sparse = np.empty_like(flat)
    for transform, alike in zip(known, np.split(order, ends[:-1]), strict=True):
        if len(alike):
            coefficients: Colours = flat[:, alike] @ transform.T
            coefficients *= shares(coefficients, thresholds[alike, None])
            sparse[:, alike] = coefficients @ transform
    return sparse.reshape(blocks.shape)


_PLASTIC = (0.7548776662466927, 0.5698402909980532)
"""Steps of the two-dimensional sequence of least discrepancy (Roberts 2018): offsets that fill a block evenly."""


def _grid(length: int, shift: float) -> NDArray[np.intp]:
    """Where blocks begin that cover ``length`` pixels; the outermost are moved inside."""
    starts = np.arange(-int(shift % 1 * BLOCK), length, BLOCK)
    return np.unique(starts.clip(0, length - BLOCK))
