"""Partial-convolution padding for networks that exist already."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

from torch import nn

from pconv.nn.layers import (
    PartialConv1d,
    PartialConv2d,
    PartialConv3d,
    PartialPadConv1d,
    PartialPadConv2d,
    PartialPadConv3d,
)

AnyModule = TypeVar("AnyModule", bound=nn.Module)

_PADDED: dict[type[nn.Module], Any] = {
    nn.Conv1d: PartialPadConv1d,
    nn.Conv2d: PartialPadConv2d,
    nn.Conv3d: PartialPadConv3d,
}
_PARTIAL = (PartialPadConv1d, PartialPadConv2d, PartialPadConv3d, PartialConv1d, PartialConv2d, PartialConv3d)
_POOLING = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_PADDING = (
    nn.modules.padding._ConstantPadNd,
    nn.modules.padding._ReflectionPadNd,
    nn.modules.padding._ReplicationPadNd,
    nn.modules.padding._CircularPadNd,
)


def convert_padding(model: AnyModule) -> AnyModule:
    """Turn every zero-padded convolution of ``model`` into its partial-padding form, in place, and return it.

    It takes ``nn.Conv1d``, ``nn.Conv2d`` and ``nn.Conv3d`` with any kernel, stride, dilation, groups and padding,
    "same" included. Only the class of a convolution changes: parameters, buffers, hooks, names and sharing stay, so
    checkpoints and optimisers go on working. Convolutions without padding have nothing to convert.

    A network that was trained with zeros has larger errors at the border until it is trained further
    (docs/padding.md).

    What pads and is left unchanged is named in one ``UserWarning``, each module with its reason:

    * convolutions with another padding mode, such as "reflect";
    * transposed convolutions, whose padding removes output instead of adding input;
    * subclasses of ``nn.ConvNd``, such as parametrised ones, because they may have a forward of their own;
    * lazy convolutions, which become an ``nn.ConvNd`` in the model's first call: convert after it;
    * average pooling that counts the padding, ``nn.Unfold``, and padding as a module of its own, such as
      ``nn.ZeroPad2d``.

    Padding inside a forward, such as a call of ``F.conv2d``, cannot be seen from outside. It is neither converted
    nor named.
    """
    left: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        if type(module) in _PADDED and _pads_with_zeros(module):
            module.__class__ = _PADDED[type(module)]
        elif reason := _why_left(module):
            left.setdefault(reason, []).append(f"{name or 'the model'} ({type(module).__name__})")
    if left:
        named = "; ".join(f"{reason}: {', '.join(modules)}" for reason, modules in left.items())
        warnings.warn(f"convert_padding left these modules unchanged: {named}", stacklevel=2)
    return model


def _why_left(module: nn.Module) -> str | None:
    """Why a module that pads is not converted; None where it does not pad, or pads partially already."""
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return "transposed convolutions" if _any(module.padding) else None
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        if not _pads(module):
            return None
        if module.padding_mode != "zeros":
            return f"padding mode {module.padding_mode!r}"
        if isinstance(module, nn.modules.lazy.LazyModuleMixin):
            return "lazy convolutions, which can be converted after the model's first call"
        own = "subclasses of nn.ConvNd, which may have a forward of their own"
        return None if isinstance(module, _PARTIAL) else own
    if isinstance(module, _POOLING) and module.count_include_pad and _any(module.padding):
        return "average pooling that counts the padding"
    if isinstance(module, nn.Unfold) and _any(module.padding):
        return "nn.Unfold, which pads with zeros"
    if isinstance(module, _PADDING) and _any(module.padding):
        return "padding as a module of its own"
    return None


def _pads_with_zeros(conv: Any) -> bool:
    return conv.padding_mode == "zeros" and _pads(conv)


def _pads(conv: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> bool:
    return any(conv._reversed_padding_repeated_twice)


def _any(padding: int | str | Sequence[int]) -> bool:
    return bool(padding) if isinstance(padding, int) else any(padding)
