"""Which network for which grid, and how a grid that goes round the globe is given to it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pconv.nn.surface import RELAXATIONS, RELAXATIONS_FINEST
from pconv.nn.unet import UNetConfig

CHANNELS = (32, 64, 96, 128, 128)


def choose_config(shape: tuple[int, int], channels: int, width: float = 1.0) -> UNetConfig:
    """A small network for a grid: its lowest level has about eight cells on the shorter side.

    Args:
        shape: rows and columns.
        channels: in and out.
        width: multiplies the features of each level.
    """
    depth = min(max(round(math.log2(max(min(shape), 2))) - 2, 2), 5)
    return UNetConfig(
        channels=tuple(max(8, int(c * width)) for c in CHANNELS[:depth]),
        kernels=(5, 3, 3, 3, 3)[:depth],
        in_channels=channels,
        valid_channels=channels,
        encoder_slope=0.1,
        decoder_slope=0.1,
        surface="correction",
        surface_skip=True,
        surface_levels=(1,),
        blocks=(1, 2, 1)[: depth - 1],
    )


def receptive_field(config: UNetConfig) -> int:
    """Cells to each side that one cell of the output can depend on, at most."""
    depth = len(config.channels)
    encoder = sum((kernel // 2) << level for level, kernel in enumerate(config.kernels))
    decoder = sum(2 << level for level in range(depth)) + (1 << depth)
    decoder += sum(2 * count << (level + 1) for level, count in enumerate(config.blocks))
    surface = 0
    if config.surface != "none":
        relaxed = [RELAXATIONS_FINEST if level == 0 else RELAXATIONS for level in range(depth)]
        surface = sum((relaxed[level] + 4) << level for level in range(depth))
    return max(encoder, surface) + decoder


def halo(config: UNetConfig) -> int:
    """Columns to wrap around each side of a periodic grid: the receptive field, as whole cells of all levels."""
    return -(-receptive_field(config) // config.multiple) * config.multiple


def wrap(maps: Tensor, columns: int) -> Tensor:
    """``(..., W)`` with ``columns`` more on each side, from the other side; as often round as it takes."""
    width = maps.shape[-1]
    return maps[..., torch.arange(-columns, width + columns, device=maps.device) % width] if columns else maps
