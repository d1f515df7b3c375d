"""Noise inputs: what a network makes texture from where nothing is known (as StyleGAN has them).

At a level, normal noise of one channel is multiplied by the hole's share of each cell and by a learned strength for
each channel, and added to the features. In training the noise is fresh. Otherwise it comes from tiles of 64 x 64 cells
that are stored with the weights and repeat from the photo's top left corner; a seed shifts them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pconv.models import SEEDS

SIDE = 64
"""Cells of a tile, down and across."""

SHIFT = (23, 41)
"""Cells by which one seed's tiles lie further up and to the left than those of the seed before. Both are odd, so all
seeds differ."""


class Noise:
    """Which noise a forward pass adds, and where.

    Args:
        valid: ``(B, 1, H, W)`` or ``(B, C, H, W)``, 1 = known; sides are multiples of 2^levels.
        levels: how many levels have noise inputs.
        seed: 0 to 63; None draws fresh noise from torch's default generator.
        origin: row and column of ``valid``'s corner in the whole photo, multiples of 2^levels.

    Raises:
        ValueError: another seed or origin.
    """

    def __init__(self, valid: Tensor, levels: int, seed: int | None, origin: tuple[int, int]) -> None:
        if seed is not None and not (0 <= seed < SEEDS and seed % 1 == 0):
            raise ValueError(f"seed must be a whole number from 0 to {SEEDS - 1}; got {seed}")
        if any(place % 2**levels for place in origin):
            raise ValueError(f"origin must be a multiple of {2**levels} in both directions; got {tuple(origin)}")
        self.seed, self.origin = seed, origin
        hole = 1 - valid.float().mean(1, keepdim=True)
        self.shares = [hole]
        for _ in range(levels):
            self.shares.append(F.avg_pool2d(self.shares[-1], 2))

    def at(self, level: int, tile: Tensor) -> Tensor:
        """``(B, 1, H / 2^level, W / 2^level)``, float32."""
        share = self.shares[level]
        if self.seed is None:
            return share * torch.randn_like(share)
        rows, columns = (
            (torch.arange(length, device=tile.device) + shift) % SIDE
            for length, shift in zip(share.shape[2:], shifts(level, self.seed, self.origin), strict=True)
        )
        return share * tile[rows][:, columns]


def shifts(level: int, seed: int, origin: Sequence[int]) -> tuple[int, int]:
    """Row and column of the tile at which the noise of an image begins that lies at ``origin``, pixels."""
    down, right = (place // 2**level + seed * step for place, step in zip(origin, SHIFT, strict=True))
    return down % SIDE, right % SIDE


class NoiseInput(nn.Module):
    """One place at which noise comes in: its tile, and its strength for each channel, ``(C,)``."""

    tile: Tensor

    def __init__(self, channels: int, level: int) -> None:
        super().__init__()
        self.level = level
        self.strength = nn.Parameter(0.1 * torch.randn(channels))
        self.register_buffer("tile", torch.randn(SIDE, SIDE))

    def forward(self, noise: Noise) -> Tensor:
        """``(B, C, h, w)`` to add to the features of this level."""
        return noise.at(self.level, self.tile) * self.strength.view(1, -1, 1, 1)
