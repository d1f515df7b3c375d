"""A 3x3 convolution of a nearest x2 upsampled map, without making the upsampled map.

Each output pixel sees only 2 x 2 pixels of the small map: the taps of the 3x3 kernel that fall on the same small pixel
are added up beforehand. The four sums, one for each output phase, are the taps of one transposed convolution (kernel
4, stride 2, padding 1): 4/9 of the multiplications, and no map four times as large to write.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_PHASED = 256
"""Pixels of the small map, over the batch, above which phases pay; below, summing up kernels costs more than it saves
(docs/lab/performance-trials.md)."""

_TAPS_OF_AXIS = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))
"""Which taps of a kernel of 3 each tap of the transposed kernel of 4 adds up."""

PHASES_OF_TAPS = torch.kron(torch.tensor(_TAPS_OF_AXIS), torch.tensor(_TAPS_OF_AXIS)).T.contiguous()
"""``(9, 16)``: multiplies a flattened 3x3 kernel into the flattened transposed kernel of 4x4."""


def upsampled_conv3x3(features: Tensor, weight: Tensor) -> Tensor:
    """``conv2d(interpolate(features, scale_factor=2, mode="nearest"), weight, padding=1)``, up to rounding.

    Args:
        features: ``(B, C_in, H, W)``.
        weight: ``(C_out, C_in, 3, 3)``; gradients reach it.

    Returns:
        ``(B, C_out, 2H, 2W)``.
    """
    batch, _, height, width = features.shape
    if batch * height * width < SMALLEST_PHASED:
        return F.conv2d(F.interpolate(features, scale_factor=2, mode="nearest"), weight, padding=1)
    return F.conv_transpose2d(features, phase_kernel(weight), stride=2, padding=1)


def phase_kernel(weight: Tensor) -> Tensor:
    """The transposed-convolution kernel ``(C_in, C_out, 4, 4)`` that stands for upsampling and then ``weight``."""
    kernel = weight.flatten(2) @ PHASES_OF_TAPS.to(weight)
    return kernel.unflatten(2, (4, 4)).transpose(0, 1)  # type: ignore[no-untyped-call, no-any-return]
