"""A 3x3 convolution of a nearest x2 upsampled map, without making the upsampled map (SPEC section 7).

Each output pixel of the pair sees only 2 x 2 pixels of the small map: the taps of the 3x3 kernel that fall on the same
small pixel are added up beforehand. The four sums, one for each output phase, are the taps of one transposed
convolution (kernel 4, stride 2, padding 1): 4/9 of the multiplications, and no map four times as large to write.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def upsampled_conv3x3(features: Tensor, weight: Tensor) -> Tensor:
    """``conv2d(interpolate(features, scale_factor=2, mode="nearest"), weight, padding=1)``, up to rounding.

    Args:
        features: ``(B, C_in, H, W)``.
        weight: ``(C_out, C_in, 3, 3)``; gradients reach it.

    Returns:
        ``(B, C_out, 2H, 2W)``.
    """
    return F.conv_transpose2d(features, phase_kernel(weight), stride=2, padding=1)


def phase_kernel(weight: Tensor) -> Tensor:
    """The transposed-convolution kernel ``(C_in, C_out, 4, 4)`` that stands for upsampling and then ``weight``."""
    for axis in (2, 3):
        first, middle, last = weight.unbind(axis)
        weight = torch.stack([last, middle + last, first + middle, first], axis)
    return weight.transpose(0, 1)
