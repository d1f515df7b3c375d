"""Blocks of pictures, and the transforms in which they are sparse (learned by :mod:`pconv.training.blocks`)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK = 16
"""Side of the blocks, in pixels."""
TRANSFORMS = Path(__file__).with_name("transforms.npy")
DIRECTED = 0.4
"""From this coherence of its gradients on (0: any direction, 1: all the same) a block has a direction."""
NOTHING = 1 / 16
"""Below so much of the threshold's square a coefficient becomes 0 and not less and less of itself."""

Coefficients = NDArray[np.float32]


def shares(coefficients: Coefficients, threshold: np.float32 | Coefficients) -> Coefficients:
    """How much of ``(C, N, K)`` coefficients stays, ``(N, K)``; the first of each block, its mean, stays whole.

    ``threshold`` is one for all, or each block's, ``(N, 1)``.
    """
    energy = np.einsum("cnk,cnk->nk", coefficients, coefficients) / (len(coefficients) * threshold**2)
    energy *= energy >= NOTHING  # else ever smaller numbers, in which processors are slow
    energy *= energy
    share: Coefficients = energy / (1 + energy)
    share[:, 0] = 1
    return share


def kinds_of(grey: Coefficients, kinds: int) -> NDArray[np.intp]:
    """Of blocks ``(N, 256)``: 0 where they have no direction, else 1 to ``kinds - 1`` by that of their gradients."""
    blocks = grey.reshape(-1, BLOCK, BLOCK)
    fall, rise = blocks[:, 1:, 1:] - blocks[:, :-1, :-1], blocks[:, :-1, 1:] - blocks[:, 1:, :-1]
    across, down = fall + rise, fall - rise
    xx, yy, xy = (np.einsum("nij,nij->n", a, b) for a, b in ((across, across), (down, down), (across, down)))
    angle = np.arctan2(2 * xy, xx - yy) / (2 * np.pi)
    directed = np.hypot(xx - yy, 2 * xy) > DIRECTED * (xx + yy)
    kind = 1 + np.floor(angle * (kinds - 1) + 0.5).astype(np.intp) % (kinds - 1)
    return np.where(directed, kind, 0)


@cache
def transforms() -> Coefficients:
    """``(kinds, coefficients, 256)``: for each kind of block the rows of an orthonormal transform, the mean first.

    The finest rows are left out: no threshold lets them pass.
    """
    return np.asarray(np.load(TRANSFORMS), np.float32)
