"""Texture for what a fill lacks of it, from the known pixels around a hole.

What a network or a transform estimates is a mean of all that could have been there, and so smoother than any photo:
fur, hair and cloth come out as skin. What is lacking is what a blur takes away. So that is taken from known blocks
whose blurred colours are the fill's, as Wei and Levoy's texture synthesis takes whole pixels ("Fast texture synthesis
using tree-structured vector quantization", 2000): the fill decides what a place looks like from afar, a known block
that looks so from afar lends it its texture. Before that, what texture the fill has is made stronger: it is weak, but
lies where it belongs. No more of either than there is around, and less at a hole's edges.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pconv.filling.planes import at_pixels, block_sums, blurred, carried, openness
from pconv.filling.regions import Box
from pconv.filling.threads import one_thread

LESS = 3
"""Power of the openness by which a fill's own texture is made stronger; in the middle of a wide hole it is doubled."""
STRONG = 24 / 255
"""Of texture around it a fill gets half where that is so strong, a root mean square, and less of weaker: a smooth wall
may be smooth, but of grass one sees that it is none."""
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
    wider = [(_STEP, _STEP + -side % _STEP) for side in hole.shape]
    picture = np.pad(filled, [(0, 0), *wider], mode="edge")
    target, known = np.pad(hole, wider), np.pad(~hole, wider)
    coarse = picture
    for _ in range(_BLURS):
        coarse = blurred(coarse)
    fine = picture - coarse
    free = block_sums(~known, BLOCK) == 0
    if not free.any():
        return filled
    on_grid = free[::_STEP, ::_STEP]
    amounts = _amounts(fine)
    around = carried(amounts[::_STEP, ::_STEP] * on_grid, on_grid.astype(np.float32), 1)
    pixels = block_sums(target, BLOCK)[::_STEP, ::_STEP].astype(np.float32)
    own = _own(fine, target, pixels, around)
    added = own + _lent(coarse, fine + own, target, pixels, free, amounts, around)
    inside = added[:, _STEP : _STEP + hole.shape[0], _STEP : _STEP + hole.shape[1]]
    return np.where(hole, np.clip(filled + inside, 0, 1), filled)


def _amounts(fine: Colours) -> Colours:
    """Root mean squares of the texture in the block that begins at each pixel."""
    energy = block_sums(np.square(fine).mean(axis=0), BLOCK)
    return np.asarray(np.sqrt(np.maximum(energy, 0).astype(np.float32)) / BLOCK, np.float32)


def _energies(fine: Colours, target: Hole, pixels: Colours) -> Colours:
    """The mean square of a fill's texture in each block of the grid, which has so many ``pixels`` of the hole."""
    energy = block_sums(np.square(fine).mean(axis=0) * target, BLOCK)[::_STEP, ::_STEP].astype(np.float32)
    return np.asarray(np.maximum(energy, 0) / np.maximum(pixels, 1), np.float32)


def _own(fine: Colours, target: Hole, pixels: Colours, around: Colours) -> Colours:
    """What to add for a fill's own texture to be up to twice as strong, but not stronger than that around."""
    has = _energies(fine, target, pixels)
    room = np.clip(around / np.sqrt(np.maximum(has, 1e-12)) - 1, 0, 1)
    half = _STEP // 2  # so far a padded cell's middle lies beyond its block's
    middle = Box(half, half + target.shape[0], half, half + target.shape[1])
    gains = np.minimum(openness(target) ** LESS, at_pixels(np.pad(room, 1, mode="edge"), middle, _STEP))
    return np.asarray(gains * target * fine, np.float32)


def _lent(
    coarse: Colours, fine: Colours, target: Hole, pixels: Colours, free: Hole, amounts: Colours, around: Colours
) -> Colours:
    """What to add of known blocks' texture; ``free`` says of each block, by its first pixel, whether it is known."""
    places = np.nonzero(pixels)
    wanted, has = around[places], _energies(fine, target, pixels)[places]
    rows, columns = places[0] * _STEP, places[1] * _STEP

    with one_thread:
        from_rows, from_columns = _best(coarse, amounts, wanted, (rows, columns), free)
    lends = amounts[from_rows, from_columns]
    most = np.minimum(lends, wanted)
    share = pixels[places] / BLOCK**2 * most**2 / (most**2 + STRONG**2)
    gets = np.maximum((share * most) ** 2 - has, 0)
    window = np.outer(*[np.hanning(BLOCK + 2)[1:-1].astype(np.float32)] * 2)
    blocks = sliding_window_view(fine, (BLOCK, BLOCK), axis=(1, 2))[:, from_rows, from_columns]
    blocks = blocks * (np.sqrt(gets) / np.maximum(lends, 1e-6))[:, None, None].astype(np.float32) * window

    added, weight = np.zeros_like(fine), np.zeros_like(fine[0])
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
