"""Texture for what a fill lacks of it, from the known pixels around a hole.

What a network or a transform estimates is a mean of all that could have been there, and so smoother than any photo:
fur, hair and cloth come out as skin. What is lacking is what a blur takes away. So that is taken from known blocks
whose blurred colours are the fill's, as Wei and Levoy's texture synthesis takes whole pixels ("Fast texture synthesis
using tree-structured vector quantization", 2000): the fill decides what a place looks like from afar, a known block
that looks so from afar lends it its texture. No more of it than there is around, less what the fill has itself.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pconv.filling.planes import block_sums, blurred, carried
from pconv.filling.threads import one_thread

SHARE = 0.5
"""A fill gets so much of the texture that there is around it; at its edges less."""
BLOCK = 12
"""Side of the blocks, in pixels; they lie half of it apart."""
CANDIDATES = 4096
"""At most so many known blocks around lend their texture."""
GROUPS = 4
"""Places lend from others than the three before them and the three above: the same texture again would show."""
ENOUGH = 64
"""With fewer known blocks near a place it is looked further."""
LIKENESS = 1.0
"""How much a difference in amounts of texture counts beside one in colours."""
NEARNESS = 0.02
"""How much a distance counts, as a difference in colours for each block's width."""

Colours = NDArray[np.float32]
Hole = NDArray[np.bool_]
Places = NDArray[np.intp]

_STEP = BLOCK // 2
_AREA = 32 * _STEP
_BLURS = 4
_SEEN = slice(1, None, 3)


def textured(filled: Colours, hole: Hole) -> Colours:
    """``filled`` with texture in its holes, where it has less than there is around.

    Args:
        filled: ``(C, H, W)``, values in 0..1.
        hole: ``(H, W)``, True where it was filled.

    Returns:
        ``(C, H, W)``, values in 0..1, and ``filled`` bit for bit where ``hole`` is False. Where no block of 12 x 12
        pixels is known it stays as it is.
    """
    if not hole.any():
        return filled
    around = [(_STEP, _STEP + -side % _STEP) for side in hole.shape]
    picture = np.pad(filled, [(0, 0), *around], mode="edge")
    target, known = np.pad(hole, around), np.pad(~hole, around)
    coarse = picture
    for _ in range(_BLURS):
        coarse = blurred(coarse)
    free = block_sums(~known, BLOCK) == 0
    if not free.any():
        return filled
    added = _added(coarse, picture - coarse, target, free)
    inside = added[:, _STEP : _STEP + hole.shape[0], _STEP : _STEP + hole.shape[1]]
    return np.where(hole, np.clip(filled + inside, 0, 1), filled)


def _added(coarse: Colours, fine: Colours, target: Hole, free: Hole) -> Colours:
    """What to add to a picture; ``free`` says of each block of it, by its first pixel, whether it is known."""
    energy = np.square(fine).mean(axis=0)
    amounts = np.asarray(np.sqrt(np.maximum(block_sums(energy, BLOCK), 0).astype(np.float32)) / BLOCK, np.float32)
    targets = block_sums(target, BLOCK)[::_STEP, ::_STEP].astype(np.float32)
    places = np.nonzero(targets)
    on_grid = free[::_STEP, ::_STEP]
    known_amounts = np.where(on_grid, amounts[::_STEP, ::_STEP], np.float32(0))
    wanted, targets = carried(known_amounts, on_grid.astype(np.float32), 1)[places], targets[places]
    rows, columns = places[0] * _STEP, places[1] * _STEP
    has = block_sums(energy * target, BLOCK)[rows, columns].astype(np.float32) / targets
    share = SHARE * targets / BLOCK**2

    with one_thread:
        from_rows, from_columns = _best(coarse, amounts, wanted, (rows, columns), free)
    lends = amounts[from_rows, from_columns]
    gets = np.maximum((share * np.minimum(lends, wanted)) ** 2 - has, 0)
    window = np.outer(*[np.hanning(BLOCK + 2)[1:-1].astype(np.float32)] * 2)
    blocks = sliding_window_view(fine, (BLOCK, BLOCK), axis=(1, 2))[:, from_rows, from_columns]
    blocks = blocks * (np.sqrt(gets) / np.maximum(lends, 1e-6))[:, None, None].astype(np.float32) * window

    added, weight = np.zeros_like(fine), np.zeros_like(energy)
    into = sliding_window_view(added, (BLOCK, BLOCK), axis=(1, 2), writeable=True)
    weights = sliding_window_view(weight, (BLOCK, BLOCK), writeable=True)
    for odd in product((0, 1), repeat=2):  # blocks of which no two overlap
        some = (rows // _STEP % 2 == odd[0]) & (columns // _STEP % 2 == odd[1])
        into[:, rows[some], columns[some]] += blocks[:, some]
        weights[rows[some], columns[some]] += window**2
    return np.asarray(added / np.sqrt(np.maximum(weight, 1e-6)), np.float32)  # of what is not alike the squares add up


def _best(
    coarse: Colours, amounts: Colours, wanted: Colours, places: tuple[Places, Places], free: Hole
) -> tuple[Places, Places]:
    """For each place the known block that is most like it from afar."""
    windows = sliding_window_view(coarse, (BLOCK, BLOCK), axis=(1, 2))[..., _SEEN, _SEEN]

    def described(rows: Places, columns: Places, amount: Colours) -> Colours:
        colours = windows[:, rows, columns].swapaxes(0, 1).reshape(len(rows), -1)
        colours = colours / np.sqrt(colours.shape[1])
        more = LIKENESS * amount, NEARNESS / BLOCK * rows, NEARNESS / BLOCK * columns
        return np.column_stack([colours, *more]).astype(np.float32)

    rows, columns = places
    found = np.empty_like(rows), np.empty_like(columns)
    areas = rows // _AREA * (free.shape[1] // _AREA + 1) + columns // _AREA
    group = rows // _STEP % GROUPS * GROUPS + columns // _STEP % GROUPS
    for area in np.unique(areas):
        here = areas == area
        near = _near(free, rows[here][0] // _AREA * _AREA, columns[here][0] // _AREA * _AREA)
        theirs = described(*near, amounts[near])
        half_squares = np.square(theirs).sum(axis=1) / 2
        sets = min(GROUPS**2, len(theirs))
        for number in range(sets):
            ours = np.nonzero(here & (group % sets == number))[0]
            if len(ours):
                lending = slice(number, None, sets)
                products = described(rows[ours], columns[ours], wanted[ours]) @ theirs[lending].T
                best = np.argmin(half_squares[lending] - products, axis=1)
                found[0][ours], found[1][ours] = near[0][lending][best], near[1][lending][best]
    return found


def _near(free: Hole, top: int, left: int) -> tuple[Places, Places]:
    """Known blocks around an area, evenly thinned to CANDIDATES."""
    reach = _AREA // 2
    while True:
        first = max(top - reach, 0), max(left - reach, 0)
        part = free[first[0] : top + _AREA + reach, first[1] : left + _AREA + reach]
        number = np.count_nonzero(part)
        if number >= ENOUGH or part.size == free.size:
            break
        reach *= 2
    chosen = np.random.default_rng(0).permutation(number)[:CANDIDATES]
    rows, columns = np.nonzero(part)
    return rows[chosen] + first[0], columns[chosen] + first[1]
