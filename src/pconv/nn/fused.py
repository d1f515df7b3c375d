"""A trained network in the form for inference: the same numbers, half the time (SPEC section 7).

Against :class:`~pconv.nn.unet.PConvUNet`, batch norm is folded into the weights, each decoder level runs in phase form
with kernels made once, and everything that depends on the holes alone is computed first, for all levels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pconv.nn.layers import box_sum
from pconv.nn.membrane import membrane
from pconv.nn.phases import phase_kernel
from pconv.nn.unet import LEAKY_SLOPE, DecoderLevel, EncoderLevel, PConvUNet, check_inputs, finish, prepare

UNPHASED = 2
"""So many of the innermost decoder levels upsample and convolve: their maps are too small for phases to pay."""


class Step(NamedTuple):
    """What the holes decide about one level."""

    ratio: Tensor
    """sum(1)/sum(M), 0 where nothing is known, ``(B, 1, H, W)``."""
    valid: Tensor | None
    """1 where the level's output is known, ``(B, 1, H, W)``; None where it is known everywhere."""


class Plan(NamedTuple):
    """All that a forward pass needs to know of the holes; it serves every picture with the same ones."""

    steps: list[Step]
    reached: Tensor
    """``(B, 1, H, W)`` bool, at the padded size: where the output has seen at least one known pixel."""


class FusedUNet(nn.Module):
    """``output = fused(image, valid)``: what the network in evaluation mode gives, for inference only.

    Shapes and values are those of :class:`~pconv.nn.unet.PConvUNet`. In fp32 the output differs from the network's by
    rounding, at most 1e-4 of its range; in bf16 by what docs/performance.md says.

    Args:
        network: trained; it is neither changed nor kept.
        dtype: to compute in, ``torch.float32``, ``torch.bfloat16`` or ``torch.float16``. Pictures come and go in
            float32, and validity is counted in float32.
    """

    def __init__(self, network: PConvUNet, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = network.config
        self.dtype = dtype
        encoder, decoder = network.levels
        self.encoder = nn.ModuleList(_FusedEncoderLevel(level, dtype) for level in encoder)
        self.decoder = nn.ModuleList(
            _FusedDecoderLevel(level, dtype, phased=inner >= UNPHASED) for inner, level in enumerate(decoder)
        )

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        return self.predict(image, valid)[0]

    @torch.no_grad()
    def predict(self, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The output and where it is known; see :meth:`PConvUNet.predict <pconv.nn.unet.PConvUNet.predict>`."""
        check_inputs(self.config, image, valid)
        height, width = image.shape[2:]
        image, valid = prepare(self.config, image.float(), valid != 0)
        plan = self.plan(valid)
        surface = membrane(image, valid, len(self.encoder)) if self.config.membrane else None
        output = finish(self.config, self.run(image, plan).float(), surface)
        return output[..., :height, :width], plan.reached[..., :height, :width]

    @torch.no_grad()
    def plan(self, valid: Tensor) -> Plan:
        """Follow the holes ``(B, 1, H, W)``, bool, sides multiples of 2^depth, through all levels."""
        steps: list[Step] = []
        skips: list[Tensor] = []
        known = valid.float()
        for level in self.encoder:
            skips.append(known)
            known = level.follow(known, steps)  # type: ignore[operator]
        for level in self.decoder:
            known = level.follow(known, skips.pop(), steps)  # type: ignore[operator]
        return Plan(steps, known > 0)

    @torch.no_grad()
    def run(self, image: Tensor, plan: Plan) -> Tensor:
        """The levels one after the other, on a normalised image whose holes are 0; what the last one gives."""
        steps = iter(plan.steps)
        skips: list[Tensor] = []
        features = image.to(self.dtype, memory_format=torch.channels_last)
        for level in self.encoder:
            skips.append(features)
            features = level(features, next(steps))
        for level in self.decoder:
            features = level(features, skips.pop(), next(steps))
        return features


class _FusedLevel(nn.Module):
    """What is left of a level: weights with its batch norm's scale in them, and a shift."""

    shift: Tensor

    def __init__(self, shift: Tensor, kernel: int, stride: int, slope: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.kernel, self.stride, self.slope, self.dtype = kernel, stride, slope, dtype
        self._keep("shift", shift.view(1, -1, 1, 1))

    def _keep(self, name: str, weight: Tensor) -> None:
        weight = weight.to(dtype=self.dtype, memory_format=torch.channels_last)
        self.register_buffer(name, weight, persistent=False)

    def _step(self, counts: Tensor, channels: int, steps: list[Step]) -> Tensor:
        """Append the step where ``counts`` of ``channels`` are known, and return where the level's output is."""
        around = [(self.kernel // 2, self.kernel // 2)] * 2
        sums = box_sum(counts, (self.kernel, self.kernel), (self.stride, self.stride), around, (1, 1))
        known = sums.clamp(max=1)
        ratio = known * (channels * self.kernel**2) / sums.clamp_(min=1)
        # Only the CPU can look without waiting for what was queued before.
        whole = known.device.type == "cpu" and bool(known.all())
        steps.append(Step(ratio.to(self.dtype), None if whole else known.to(self.dtype)))
        return known

    def _finish(self, raw: Tensor, step: Step) -> Tensor:
        """Renormalise (equation 1), shift, activate, and make holes 0 again."""
        known = torch.addcmul(self.shift, raw, step.ratio)
        if self.slope != 1.0:
            F.leaky_relu_(known, self.slope)
        return known if step.valid is None else known.mul_(step.valid)


class _FusedEncoderLevel(_FusedLevel):
    weight: Tensor

    def __init__(self, level: EncoderLevel, dtype: torch.dtype) -> None:
        weight, shift = folded(level.conv, level.norm)
        super().__init__(shift, weight.shape[-1], stride=2, slope=0.0, dtype=dtype)
        self._keep("weight", weight)

    def follow(self, known: Tensor, steps: list[Step]) -> Tensor:
        return self._step(known, 1, steps)

    def forward(self, features: Tensor, step: Step) -> Tensor:
        return self._finish(F.conv2d(features, self.weight, None, 2, self.kernel // 2), step)


class _FusedDecoderLevel(_FusedLevel):
    below_weight: Tensor
    """Of the features from below: 3x3 over the upsampled map, or all phases of it at once."""
    skip_weight: Tensor

    def __init__(self, level: DecoderLevel, dtype: torch.dtype, phased: bool) -> None:
        weight, shift = folded(level.conv, level.norm)
        super().__init__(shift, 3, stride=1, slope=1.0 if level.last else LEAKY_SLOPE, dtype=dtype)
        self.phased = phased
        self.channels = (level.below_channels, level.skip_channels)
        below, skip = torch.split(weight, list(self.channels), 1)
        self._keep("below_weight", phase_kernel(below) if phased else below)
        self._keep("skip_weight", skip)

    def follow(self, below: Tensor, skip: Tensor, steps: list[Step]) -> Tensor:
        below = F.interpolate(below * self.channels[0], scale_factor=2, mode="nearest")
        return self._step(below.add_(skip, alpha=self.channels[1]), sum(self.channels), steps)

    def forward(self, below: Tensor, skip: Tensor, step: Step) -> Tensor:
        if self.phased:
            raw = F.conv_transpose2d(below, self.below_weight, stride=2, padding=1)
        else:
            raw = F.conv2d(F.interpolate(below, scale_factor=2, mode="nearest"), self.below_weight, padding=1)
        raw += F.conv2d(skip, self.skip_weight, padding=1)
        return self._finish(raw, step)


@torch.no_grad()
def folded(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias, fp32, of the convolution that stands for ``conv`` and then ``norm`` in evaluation mode.

    In a partial convolution the bias is added after renormalisation, where the result is known.
    """
    scale, shift = scale_and_shift(conv, norm)
    weight = conv.weight.float()
    return weight if scale is None else weight * scale.view(-1, 1, 1, 1), shift


@torch.no_grad()
def scale_and_shift(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor | None, Tensor]:
    """What ``norm``, in evaluation mode, does to what ``conv`` gives, ``(C,)`` each; no norm has no scale."""
    if not isinstance(norm, nn.BatchNorm2d):
        return None, conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
