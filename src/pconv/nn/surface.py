"""The smooth surface that a network may start from: known pixels, spread into the holes.

A pyramid of normalised convolutions (partial convolutions with a fixed positive kernel, whose ratio in equation 1
weighs what it counts): on the way down each level is a weighted mean of what is known below it, and known where
anything was (equation 2); on the way up each level keeps what it knows, takes the rest from the smaller one, and
relaxes it towards the mean of its neighbours. The result is close to the harmonic interpolation, the solution of
Laplace's equation between the known pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RELAXATIONS = 6
"""Steps towards the neighbours' mean at each level."""
RELAXATIONS_FINEST = 2
"""The same at the picture's own size, where they cost most and change least."""
OVERSHOOT = 1.4
"""How far beyond the neighbours' mean each of them goes; up to 1.5 they converge."""

LEAST_COUNT = 1 / 64
"""Of the kernel below: what one known pixel at its corner weighs."""
SPREAD = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8] * 2)
"""Kernel of the way down, of stride 2; four times it, transposed, upsamples bilinearly."""
AROUND = torch.full((3, 3), 1 / 9)
"""A pixel and its neighbours."""


def smooth_surface(image: Tensor, valid: Tensor, levels: int) -> Tensor:
    """``image`` with its holes filled smoothly.

    Args:
        image: ``(B, C, H, W)``, of any range, 0 in holes; sides are multiples of 2^levels.
        valid: ``(B, 1, H, W)``, or ``(B, C, H, W)`` where each channel has its own holes; bool.
        levels: how often to halve. What is further than 2^levels from anything known gets the mean of what is known,
            0 where nothing is.

    Returns:
        ``(B, C, H, W)``: ``image`` where ``valid``; elsewhere within the range of the known values, but for the
        overshoot.
    """
    known = valid.to(image.dtype)
    pyramid = []
    for _ in range(levels):
        pyramid.append((image, known))
        # Depthwise convolutions are slow on a single channel, and without channels last: validity goes with the image.
        both = torch.cat([image, known], dim=1).contiguous(memory_format=torch.channels_last)
        sizes = [image.shape[1], known.shape[1]]
        image, counts = torch.split(_convolve(both, SPREAD, stride=2), sizes, dim=1)
        image = image / counts.clamp(min=LEAST_COUNT)
        known = (counts > 0).to(image.dtype)
    mean = image.sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
    surface = torch.addcmul(image, 1 - known, mean)
    for level, (image, known) in reversed(list(enumerate(pyramid))):
        hole = 1 - known
        surface = torch.addcmul(image, hole, _upsample(surface))
        take = OVERSHOOT * hole / _convolve(torch.ones_like(surface[:1]), AROUND)[:, :1]
        keep = 1 - OVERSHOOT * hole
        for _ in range(RELAXATIONS if level else RELAXATIONS_FINEST):
            surface = torch.addcmul(surface * keep, take, _convolve(surface, AROUND))
    return surface


def _convolve(maps: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """Every channel with the same kernel; nothing lies beyond the border."""
    return F.conv2d(maps, _for_each(maps, kernel), stride=stride, padding=1, groups=maps.shape[1])


def _upsample(maps: Tensor) -> Tensor:
    """Bilinear, as ``interpolate`` does it, which takes five times as long with channels last."""
    kernel, channels = _for_each(maps, 4 * SPREAD), maps.shape[1]
    weights = F.conv_transpose2d(torch.ones_like(maps[:1]), kernel, stride=2, padding=1, groups=channels)
    return F.conv_transpose2d(maps, kernel, stride=2, padding=1, groups=channels) / weights


def _for_each(maps: Tensor, kernel: Tensor) -> Tensor:
    """The kernel once for each channel."""
    repeated = kernel.to(maps).expand(maps.shape[1], 1, *kernel.shape)
    return repeated.contiguous(memory_format=torch.channels_last)
