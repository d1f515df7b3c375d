"""The paper's pixel losses as pure functions (Liu et al., section 3.3; SPEC section 3).

All take ``(B, C, H, W)`` pictures with values in 0..1 and ``(B, 1, H, W)`` validity (bool), and are averaged over
every element of the picture, not over the hole.
"""

from __future__ import annotations

from torch import Tensor

from pconv.nn.layers import zero_holes


def valid_loss(output: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """L_valid = |M . (I_out - I_gt)|_1 / N_Igt."""
    return zero_holes((output - truth).abs(), valid).mean()


def hole_loss(output: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """L_hole = |(1 - M) . (I_out - I_gt)|_1 / N_Igt."""
    return zero_holes((output - truth).abs(), ~valid).mean()
