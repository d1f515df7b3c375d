"""Partial-convolution padding for networks that exist already."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

from torch import nn

from pconv.nn.layers import PartialPadConv1d, PartialPadConv2d, PartialPadConv3d

AnyModule = TypeVar("AnyModule", bound=nn.Module)

_PADDED: dict[type[nn.Module], Any] = {
    nn.Conv1d: PartialPadConv1d,
    nn.Conv2d: PartialPadConv2d,
    nn.Conv3d: PartialPadConv3d,
}


def convert_padding(model: AnyModule) -> AnyModule:
    """Turn every zero-padded convolution of ``model`` into its partial-padding form, in place, and return it.

    Only the class of a convolution changes: parameters, buffers, hooks, names and sharing stay, so checkpoints and
    optimisers go on working. Convolutions without padding or with another padding mode are left alone. Subclasses
    of ``nn.ConvNd`` (parametrised ones, say) have a forward of their own; they are left alone with a warning.
    """
    skipped = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) or not _pads_with_zeros(module):
            continue
        if type(module) in _PADDED:
            module.__class__ = _PADDED[type(module)]
        elif not isinstance(module, PartialPadConv1d | PartialPadConv2d | PartialPadConv3d):
            skipped.append(f"{name or 'the model'} ({type(module).__name__})")
    if skipped:
        warnings.warn(
            f"left unchanged, since each is a subclass of nn.ConvNd with a forward of its own: {', '.join(skipped)}",
            stacklevel=2,
        )
    return model


def _pads_with_zeros(conv: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> bool:
    return conv.padding_mode == "zeros" and any(conv._reversed_padding_repeated_twice)
