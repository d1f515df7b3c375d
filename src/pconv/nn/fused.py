"""A trained network in the form for inference: the same numbers, half the time.

Against ``pconv.nn.unet.PConvUNet``, batch norm is folded into the weights, each decoder level runs in phase form
with kernels made once, and everything that depends on the holes alone is computed first, for all levels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pconv.nn.layers import box_sum
from pconv.nn.noise import Noise, NoiseInput
from pconv.nn.phases import phase_kernel
from pconv.nn.unet import DecoderLevel, Inputs, PConvUNet, ResidualBlock, beside_below, finish, prepare

UNPHASED = 2
"""So many of the innermost decoder levels upsample and convolve: their maps are too small for phases to pay."""


class Step(NamedTuple):
    """What the holes decide about one convolution."""

    ratio: Tensor
    """sum(1)/sum(M), 0 where nothing is known, ``(B, 1, H, W)``."""
    valid: Tensor | None
    """1 where the convolution's output is known, ``(B, 1, H, W)``; None where it is known everywhere."""
    noise: Tensor | None
    """To add for each channel times its strength, ``(B, 1, H, W)``."""


Plan = list[Step]
"""All that a forward pass needs to know of the holes, convolution by convolution; it serves every image with the same
ones."""


class FusedUNet(nn.Module):
    """``output = fused(image, valid)``: what the network in evaluation mode gives, for inference only.

    Arguments, shapes and values are those of ``PConvUNet.forward``. In fp32 the
    output differs from the network's by rounding, at most 1e-4 of its range; in bf16 by at most 2e-2 of 0..1.

    Args:
        network: trained; it is neither changed nor kept.
        dtype: to compute in, ``torch.float32``, ``torch.bfloat16`` or ``torch.float16``. Images come and go in
            float32; validity is counted, and the surface computed, in float32.
    """

    def __init__(self, network: PConvUNet, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = network.config
        self.dtype = dtype
        encoder, decoder = network.levels
        self.encoder = nn.ModuleList(_FusedSingleConv(level.conv, level.norm, level.slope, dtype) for level in encoder)
        self.decoder = nn.ModuleList(
            _FusedDecoderLevel(level, dtype, phased=inner >= UNPHASED) for inner, level in enumerate(decoder)
        )

    @torch.no_grad()
    def forward(
        self,
        image: Tensor,
        valid: Tensor,
        *,
        seed: int = 0,
        origin: tuple[int, int] = (0, 0),
        estimate: Tensor | None = None,
    ) -> Tensor:
        height, width = image.shape[2:]
        inputs = prepare(self.config, image.float(), valid, estimate)
        plan = self.plan(inputs.known.valid, seed, origin)
        output = finish(self.config, self.run(inputs, plan).float(), inputs.surface)
        return output[..., :height, :width]

    @torch.no_grad()
    def plan(self, valid: Tensor, seed: int = 0, origin: tuple[int, int] = (0, 0)) -> Plan:
        """Follow the holes ``(B, 1 or C, H, W)``, bool, sides multiples of 2^depth, through all levels."""
        noise = Noise(valid, self.config.noise_levels, seed, origin) if self.config.noise_levels else None
        steps: Plan = []
        skips: list[Tensor] = []
        known = valid.float().mean(1, keepdim=True)  # the share of channels where each has its own holes
        for level in self.encoder:
            skips.append(known)
            known = level.follow(known, None, steps)  # type: ignore[operator]
        for level in self.decoder:
            known = level.follow(known, skips.pop(), noise, steps)  # type: ignore[operator]
        return steps

    @torch.no_grad()
    def run(self, inputs: Inputs, plan: Plan) -> Tensor:
        """The levels one after the other; what the last one gives, in the network's dtype."""
        steps = iter(plan)
        skips: list[Tensor] = []
        features = inputs.known.features.to(self.dtype, memory_format=torch.channels_last)
        guide = inputs.guide
        if guide is not None:
            guide = guide.to(self.dtype, memory_format=torch.channels_last)
        for level in self.encoder:
            skips.append(features)
            features = level(features, steps)
        for level in self.decoder:
            features = level(features, skips.pop(), guide, steps)
        return features


class _FusedConv(nn.Module):
    """A partial convolution with its batch norm's scale in its weights, then shift, noise and activation."""

    shift: Tensor
    strength: Tensor
    tile: Tensor

    def __init__(
        self,
        shift: Tensor,
        kernel: int,
        stride: int,
        slope: float,
        dtype: torch.dtype,
        noise: NoiseInput | None = None,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.slope, self.dtype = kernel, stride, slope, dtype
        self.keep("shift", shift.view(1, -1, 1, 1))
        self.noise_level = 0
        if noise is not None:
            self.noise_level = noise.level
            self.keep("strength", noise.strength.detach().view(1, -1, 1, 1))
            self.register_buffer("tile", noise.tile.detach().float(), persistent=False)

    def keep(self, name: str, weight: Tensor) -> None:
        weight = weight.to(dtype=self.dtype, memory_format=torch.channels_last)
        self.register_buffer(name, weight, persistent=False)

    def step(self, counts: Tensor, channels: int, noise: Noise | None, steps: Plan) -> Tensor:
        """Append the step where ``counts`` of ``channels`` are known, and return where the output is."""
        around = [(self.kernel // 2, self.kernel // 2)] * 2
        sums = box_sum(counts, (self.kernel, self.kernel), (self.stride, self.stride), around, (1, 1))
        valid = (sums > 0).to(sums.dtype)
        ratio = torch.where(sums > 0, channels * self.kernel**2 / sums, 0)
        # Only the CPU can look without waiting for what was queued before.
        whole = valid.device.type == "cpu" and bool(valid.all())
        added = None
        if noise is not None and self.noise_level:
            added = noise.at(self.noise_level, self.tile).to(self.dtype)
        steps.append(Step(ratio.to(self.dtype), None if whole else valid.to(self.dtype), added))
        return valid

    def finish(self, raw: Tensor, step: Step) -> Tensor:
        """Renormalise (equation 1), shift, add noise, activate, and make holes 0 again."""
        known = torch.addcmul(self.shift, raw, step.ratio)
        if step.noise is not None:
            known.addcmul_(self.strength, step.noise)
        if self.slope != 1.0:
            F.leaky_relu_(known, self.slope)
        return known if step.valid is None else known.mul_(step.valid)


class _FusedSingleConv(_FusedConv):
    """One convolution of one input: an encoder level, or half of a residual block."""

    weight: Tensor

    def __init__(
        self, conv: nn.Conv2d, norm: nn.Module, slope: float, dtype: torch.dtype, noise: NoiseInput | None = None
    ) -> None:
        weight, shift = folded(conv, norm)
        super().__init__(shift, conv.kernel_size[0], conv.stride[0], slope, dtype, noise)
        self.keep("weight", weight)

    def follow(self, known: Tensor, noise: Noise | None, steps: Plan) -> Tensor:
        return self.step(known, 1, noise, steps)

    def forward(self, features: Tensor, steps: Iterator[Step]) -> Tensor:
        return self.finish(F.conv2d(features, self.weight, None, self.stride, self.kernel // 2), next(steps))


class _FusedBlock(nn.Module):
    first: _FusedSingleConv
    second: _FusedSingleConv

    def __init__(self, block: ResidualBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.first = _FusedSingleConv(block.first, block.first_norm, block.slope, dtype, block.noise)
        self.second = _FusedSingleConv(block.second, block.second_norm, 1.0, dtype)

    def follow(self, known: Tensor, noise: Noise | None, steps: Plan) -> Tensor:
        return self.second.follow(self.first.follow(known, noise, steps), None, steps)

    def forward(self, features: Tensor, steps: Iterator[Step]) -> Tensor:
        return self.second(self.first(features, steps), steps).add_(features)  # type: ignore[no-any-return]


class _FusedDecoderLevel(_FusedConv):
    below_weight: Tensor
    """Of the features from below: 3x3 over the upsampled map, or all phases of it at once."""
    skip_weight: Tensor

    def __init__(self, level: DecoderLevel, dtype: torch.dtype, phased: bool) -> None:
        weight, shift = folded(level.conv, level.norm)
        super().__init__(shift, 3, stride=1, slope=level.slope, dtype=dtype, noise=level.noise)
        self.phased = phased
        self.guide_level = level.guide_level
        self.channels = (level.below_channels, level.skip_channels, level.guide_channels)
        below, skip = torch.split(weight, [self.channels[0], sum(self.channels[1:])], 1)
        self.keep("below_weight", phase_kernel(below) if phased else below)
        self.keep("skip_weight", skip)
        self.blocks = nn.ModuleList(_FusedBlock(block, dtype) for block in level.blocks)  # type: ignore[arg-type]

    def follow(self, below: Tensor, skip: Tensor, noise: Noise | None, steps: Plan) -> Tensor:
        counts = F.interpolate(below * self.channels[0], scale_factor=2, mode="nearest")
        counts.add_(skip, alpha=self.channels[1]).add_(self.channels[2])
        known = self.step(counts, sum(self.channels), noise, steps)
        for block in self.blocks:
            known = block.follow(known, noise, steps)  # type: ignore[operator]
        return known

    def forward(self, below: Tensor, skip: Tensor, guide: Tensor | None, steps: Iterator[Step]) -> Tensor:
        beside = beside_below(skip if self.channels[1] else None, guide, self.guide_level)
        if self.phased:
            raw = F.conv_transpose2d(below, self.below_weight, stride=2, padding=1)
        else:
            raw = F.conv2d(F.interpolate(below, scale_factor=2, mode="nearest"), self.below_weight, padding=1)
        raw += F.conv2d(beside, self.skip_weight, padding=1)
        features = self.finish(raw, next(steps))
        for block in self.blocks:
            features = block(features, steps)
        return features


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
