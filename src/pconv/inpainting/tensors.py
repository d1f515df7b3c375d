"""Torch tensors as arrays and back; PyTorch is imported only where there is a tensor."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def is_tensor(thing: object) -> bool:
    """Whether it is a torch tensor. Whoever has one has imported PyTorch already."""
    return "torch" in sys.modules and isinstance(thing, sys.modules["torch"].Tensor)


def without_tensor(thing: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    if not is_tensor(thing):
        return thing
    tensor = thing.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # numpy has no bfloat16


def by_arrays(tensor: Tensor, change: Callable[[NDArray[Any], int], NDArray[Any]]) -> Tensor:
    """``(C, H, W)`` or ``(B, C, H, W)``, each of whose images ``change`` gets as an array, with its number."""
    import torch

    batch = tensor.detach().cpu()
    batch = batch if tensor.ndim == 4 else batch[None]
    widened = batch.float() if batch.dtype == torch.bfloat16 else batch  # numpy has no bfloat16
    changed = torch.stack(
        [
            torch.from_numpy(change(each.permute(1, 2, 0).numpy(), number)).permute(2, 0, 1)
            for number, each in enumerate(widened)
        ]
    )
    changed = changed.to(tensor.dtype).to(tensor.device)
    return changed if tensor.ndim == 4 else changed[0]
