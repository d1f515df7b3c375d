"""Partial convolution as a pure function, and the modules that are a thin shell over it.

Equations (1) and (2) of Liu et al., *Image Inpainting for Irregular Holes Using Partial Convolutions*, ECCV 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Validity: TypeAlias = Tensor | Sequence[tuple[Tensor, int]]
"""Where features are known: non-zero (or True) = valid, zero = hole. Any real dtype or bool. One of

* ``(B, 1, *spatial)``: one map shared by all channels;
* ``(B, C, *spatial)``: a map for each channel;
* ``[(map, channels), ...]``: a map for each group of consecutive channels, as after a concatenation; each map has
  one channel or as many as its group, and the counts add up to C.

B may be 1 where one map serves the whole batch.
"""

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def zero_holes(features: Tensor, valid: Tensor) -> Tensor:
    """X . M as a selection, so that NaN or Inf in a hole does not pass as NaN * 0 would. ``valid`` is bool."""
    # A tensor zero, not a number: its backward is three times as fast on CPUs.
    return torch.where(valid, features, features.new_zeros(()))


def box_sum(
    maps: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> Tensor:
    """Sum of ``maps`` ``(B, G, *spatial)`` over the window of each output position of a convolution.

    Sums of shifted slices, one axis after the other: exact for counts whatever precision convolutions run in
    (autocast, TF32), and linear in the kernel's width.
    """
    n = len(kernel_size)
    if any(amount for pair in padding for amount in pair):
        maps = F.pad(maps, [amount for pair in reversed(padding) for amount in pair])
    for axis, (k, s, d) in enumerate(zip(kernel_size, stride, dilation, strict=True), start=maps.dim() - n):
        span = (maps.shape[axis] - d * (k - 1) - 1) // s * s + 1
        at = [slice(None)] * maps.dim()
        total: Tensor | None = None
        for tap in range(k):
            at[axis] = slice(tap * d, tap * d + span, s)
            total = maps[tuple(at)] if total is None else total + maps[tuple(at)]
        assert total is not None
        maps = total
    return maps


def renormalize(raw: Tensor, counts: Tensor, window: int, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Equation (1) after its convolution: ``raw * sum(1)/sum(M) + bias`` where sum(M) > 0, exactly 0 elsewhere.

    Args:
        raw: W^T (X . M), ``(B, C, *spatial)``, without bias.
        counts: sum(M), ``(B, 1 or C, *spatial)``, float32 or float64.
        window: sum(1), the number of weights that one output sees.
        bias: ``(C,)`` or None.

    Returns:
        The features, in ``raw``'s dtype, and their validity (equation 2), bool, of ``counts``' shape.
    """
    valid = counts > 0
    scaled = raw * torch.where(valid, window / counts, 0)
    if bias is not None:
        scaled = zero_holes(scaled + bias.view(-1, *[1] * (raw.dim() - 2)), valid)
    return scaled.to(raw.dtype), valid


def _count_valid(groups: Sequence[tuple[Tensor, int]], conv_groups: int, dtype: torch.dtype) -> Tensor:
    """Number of valid channels at each place, ``(B, 1, *spatial)``, or one map for each convolution group."""
    if conv_groups == 1 or (len(groups) == 1 and groups[0][0].shape[1] == 1):
        parts = [
            valid.to(dtype) * (channels // conv_groups) if valid.shape[1] == 1 else valid.sum(1, True, dtype=dtype)
            for valid, channels in groups
        ]
        return reduce(torch.add, parts)
    every = _per_channel(groups)
    batch, channels, *spatial = every.shape
    return every.reshape(batch, conv_groups, channels // conv_groups, *spatial).sum(2, dtype=dtype)


def _per_channel(groups: Sequence[tuple[Tensor, int]]) -> Tensor:
    """The maps of all groups as one map that broadcasts against the features: ``(B, 1 or C, *spatial)``."""
    if len(groups) == 1:
        return groups[0][0]
    batch = max(valid.shape[0] for valid, _ in groups)
    return torch.cat([valid.expand(batch, channels, *valid.shape[2:]) for valid, channels in groups], dim=1)


def _validity_groups(valid: Validity, features: Tensor) -> list[tuple[Tensor, int]]:
    """``valid`` in any of its three forms as bool maps with the number of channels each speaks for."""
    batch, channels, *spatial = features.shape
    groups = [(valid, channels)] if isinstance(valid, Tensor) else list(valid)
    for m, c in groups:
        if m.dim() != features.dim() or m.shape[0] not in (1, batch) or m.shape[1] not in (1, c):
            break
        if list(m.shape[2:]) != spatial:
            break
    else:
        if sum(c for _, c in groups) == channels:
            return [(m if m.dtype == torch.bool else m != 0, c) for m, c in groups]
    came = " + ".join(f"{tuple(m.shape)} for {c} channels" for m, c in groups)
    raise ValueError(
        f"validity {came} does not fit features {tuple(features.shape)}: give one map (B, 1, ...), a map for each "
        f"channel (B, C, ...), or (map, channels) pairs whose channels add up to C, at the features' size"
    )


def _per_axis(value: int | Sequence[int], n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(value) * (n if len(value) == 1 else 1)


def _padding_pairs(
    padding: int | Sequence[int] | str, kernel_size: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """What ``nn.ConvNd`` pads before and after each axis; "same" puts the odd one behind."""
    if padding == "valid":
        return [(0, 0)] * len(kernel_size)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    assert not isinstance(padding, str)
    return [(amount, amount) for amount in _per_axis(padding, len(kernel_size))]


def _partial_conv(
    n: int,
    features: Tensor,
    valid: Validity | None,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    dilation: int | Sequence[int],
    groups: int,
) -> tuple[Tensor, Tensor]:
    if weight.dim() != n + 2 or features.dim() not in (n + 1, n + 2):
        raise ValueError(
            f"partial_conv{n}d takes features (B, C, {n} spatial axes) or (C, ...) and a weight of {n + 2} axes; "
            f"got features {tuple(features.shape)} and weight {tuple(weight.shape)}"
        )
    if features.dim() == n + 1:
        batched = valid.unsqueeze(0) if isinstance(valid, Tensor) else valid and [(m[None], c) for m, c in valid]
        out, out_valid = _partial_conv(
            n, features.unsqueeze(0), batched, weight, bias, stride, padding, dilation, groups
        )
        return out.squeeze(0), out_valid.squeeze(0)

    def convolve(known: Tensor, weight: Tensor) -> Tensor:
        return _CONVOLUTIONS[n](known, weight, None, stride, padding, dilation, groups)  # type: ignore[operator, no-any-return]

    dtype = torch.promote_types(features.dtype, torch.float32)
    if valid is None:
        counts = torch.full((1, 1, *features.shape[2:]), weight.shape[1], dtype=dtype, device=features.device)
        raw = convolve(features, weight)
    else:
        maps = _validity_groups(valid, features)
        counts = _count_valid(maps, groups, dtype)
        if len(maps) == 1 or groups > 1:
            raw = convolve(zero_holes(features, _per_channel(maps)), weight)
        else:
            # A convolution of a concatenation is a sum of convolutions; a map for each channel would cost far more.
            sizes = [channels for _, channels in maps]
            parts = zip(torch.split(features, sizes, 1), maps, torch.split(weight, sizes, 1), strict=True)
            raw = reduce(torch.add, [convolve(zero_holes(part, m), w) for part, (m, _), w in parts])

    kernel_size, dilation = tuple(weight.shape[2:]), _per_axis(dilation, n)
    pairs = _padding_pairs(padding, kernel_size, dilation)
    counts = box_sum(counts, kernel_size, _per_axis(stride, n), pairs, dilation)
    if counts.shape[1] > 1:
        counts = counts.repeat_interleave(weight.shape[0] // groups, dim=1)
    return renormalize(raw, counts, math.prod(weight.shape[1:]), bias)


def partial_conv2d(
    features: Tensor,
    valid: Validity | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor]:
    """Convolve known pixels only, and say where the result is known (equations 1 and 2 of the paper).

    For each window, ``W^T (X . M) * sum(1)/sum(M) + b`` where the window holds at least one valid value, and exactly
    0, bias or not, where it holds none. Padding counts as hole. ``sum(1)`` is C_in / groups * kh * kw, so a window
    that is valid everywhere gives what ``torch.nn.functional.conv2d`` gives.

    Args:
        features: ``(B, C_in, H, W)`` or ``(C_in, H, W)``, any floating dtype; what lies in holes is never read, so
            it may be NaN or Inf.
        valid: where ``features`` are known, see ``Validity``; None means everywhere (padding is still a hole).
        weight: ``(C_out, C_in / groups, kh, kw)``.
        bias: ``(C_out,)`` or None.
        stride, padding, dilation, groups: as for ``torch.nn.functional.conv2d``, "same" and "valid" included.

    Returns:
        ``(B, C_out, H', W')`` features and their validity, bool: ``(B, 1, H', W')`` where all output channels share
        one map (always with ``groups=1``), ``(B, C_out, H', W')`` otherwise; B is 1 where it was 1 in ``valid``.

    Raises:
        ValueError: ``valid`` does not fit ``features``, or ``weight`` is not 2D.
    """
    return _partial_conv(2, features, valid, weight, bias, stride, padding, dilation, groups)


def partial_conv1d(
    features: Tensor,
    valid: Validity | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor]:
    """``partial_conv2d`` for sequences ``(B, C, L)``, weight ``(C_out, C_in / groups, k)``."""
    return _partial_conv(1, features, valid, weight, bias, stride, padding, dilation, groups)


def partial_conv3d(
    features: Tensor,
    valid: Validity | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor]:
    """``partial_conv2d`` for volumes ``(B, C, D, H, W)``, weight ``(C_out, C_in / groups, kd, kh, kw)``."""
    return _partial_conv(3, features, valid, weight, bias, stride, padding, dilation, groups)


class _PartialConvNd(nn.modules.conv._ConvNd):
    def forward(self, features: Tensor, valid: Validity | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """``features, valid = conv(features, valid)``; shapes and forms of ``valid`` as in ``partial_conv2d``."""
        n = self.weight.dim() - 2
        padding: str | tuple[int, ...] = self.padding
        if self.padding_mode != "zeros":
            # Reflected, replicated and circular padding carry real content, so validity is padded alike.
            features, valid = self._pad(features, valid)
            padding = (0,) * n
        return _partial_conv(
            n, features, valid, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def _pad(self, features: Tensor, valid: Validity | None) -> tuple[Tensor, Validity | None]:
        def pad(maps: Tensor) -> Tensor:
            return F.pad(maps, self._reversed_padding_repeated_twice, mode=self.padding_mode)

        def pad_valid(maps: Tensor) -> Tensor:
            return pad((maps != 0).to(torch.float32)) != 0

        if valid is None:
            return pad(features), None
        if isinstance(valid, Tensor):
            return pad(features), pad_valid(valid)
        return pad(features), [(pad_valid(m), c) for m, c in valid]


class PartialConv2d(_PartialConvNd, nn.Conv2d):  # type: ignore[misc]
    """Partial convolution with ``nn.Conv2d``'s constructor, parameters and ``state_dict`` (weight and bias only).

    ``features, valid = conv(features, valid)``; see ``partial_conv2d``.
    """


class PartialConv1d(_PartialConvNd, nn.Conv1d):  # type: ignore[misc]
    """Partial convolution with ``nn.Conv1d``'s constructor; see ``partial_conv1d``."""


class PartialConv3d(_PartialConvNd, nn.Conv3d):  # type: ignore[misc]
    """Partial convolution with ``nn.Conv3d``'s constructor; see ``partial_conv3d``."""


class _PartialPadConvNd(nn.modules.conv._ConvNd):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.padding_mode != "zeros":
            raise ValueError(
                f"{type(self).__name__} treats padding as a hole, so padding_mode must be 'zeros', "
                f"not {self.padding_mode!r}"
            )

    def forward(self, features: Tensor) -> Tensor:  # type: ignore[override]
        """One tensor in, one out, with the shapes of the plain convolution."""
        n = self.weight.dim() - 2
        return _partial_conv(
            n, features, None, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )[0]


class PartialPadConv2d(_PartialPadConvNd, nn.Conv2d):
    """Drop-in for ``nn.Conv2d`` with partial-convolution padding (Liu et al. 2018, arXiv 1811.11718).

    Everything inside the image is valid and the padding is a hole, so results near the border are scaled by window
    size over known size instead of being pulled towards zero. Same constructor, weights and shapes as ``nn.Conv2d``.
    """


class PartialPadConv1d(_PartialPadConvNd, nn.Conv1d):
    """Drop-in for ``nn.Conv1d`` with partial-convolution padding; see ``PartialPadConv2d``."""


class PartialPadConv3d(_PartialPadConvNd, nn.Conv3d):
    """Drop-in for ``nn.Conv3d`` with partial-convolution padding; see ``PartialPadConv2d``."""
