"""The hole that a mask marks: any kind of mask that users have, as a bool array."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import InputError
from pconv.inpainting.options import InpaintOptions
from pconv.inpainting.tensors import without_tensor
from pconv.masks.morphology import dilate
from pconv.masks.reader import hole_from_image
from pconv.masks.rule import hole_from_values

if TYPE_CHECKING:
    from torch import Tensor

    Mask = Image.Image | NDArray[np.generic] | Tensor

_log = logging.getLogger("pconv")


def hole_of_mask(mask: Mask, size: tuple[int, int], options: InpaintOptions) -> NDArray[np.bool_]:
    """``mask`` as a bool array of ``size`` (height, width), True = hole, inverted and grown as ``options`` say.

    Raises:
        InputError: another size, or everything is hole.
    """
    notes: list[str] = []
    mask = without_tensor(mask)
    if isinstance(mask, Image.Image):
        hole = hole_from_image(mask, options.label, notes)
    else:
        hole = _hole_from_array(np.asarray(mask), options, notes)
    for note in notes:
        _log.warning(note)
    if hole.shape != tuple(size):
        got = f"{hole.shape[1]}x{hole.shape[0]}" if hole.ndim == 2 else f"an array of shape {hole.shape}"
        raise InputError(f"the mask is {got} and the image {size[1]}x{size[0]} pixels: they must be of one size")
    hole = dilate(~hole if options.invert else hole, options.grow)
    check_known(hole)
    return hole


def _hole_from_array(mask: NDArray[Any], options: InpaintOptions, notes: list[str]) -> NDArray[np.bool_]:
    """The hole of ``(H, W)`` greys or ``(H, W, C)`` with one grey or three colours, and alpha behind them."""
    channels = mask.shape[2] if mask.ndim == 3 else 1
    if mask.ndim not in (2, 3) or not 1 <= channels <= 4:
        raise InputError(f"the mask is an array of shape {mask.shape}; give (H, W), or (H, W, C) with 1 to 4 channels")
    colours = mask if mask.ndim == 2 else mask[..., : 1 if channels <= 2 else 3]
    alpha = mask[..., -1] if channels in (2, 4) else None
    return hole_from_values(colours, alpha=alpha, labels=options.label, notes=notes)


def check_known(hole: NDArray[np.bool_]) -> None:
    """Refuse a hole beside which nothing is known.

    Raises:
        InputError: everything is hole.
    """
    if hole.all():
        raise InputError("the mask marks the whole image, so nothing is known to fill it from (inverted mask?)")


def holes_of_batch(mask: Any, count: int, size: tuple[int, int], options: InpaintOptions) -> list[NDArray[np.bool_]]:
    """A hole for each image of a batch, from ``(B, 1, H, W)``, ``(B, H, W)``, or one for all."""
    mask = without_tensor(mask)
    if isinstance(mask, np.ndarray) and mask.ndim == 4 and mask.shape[1] == 1:
        mask = mask[:, 0]
    if isinstance(mask, np.ndarray) and mask.ndim == 3 and len(mask) in (1, count) and mask.shape[1:] == size:
        return [hole_of_mask(mask[min(number, len(mask) - 1)], size, options) for number in range(count)]
    return [hole_of_mask(mask, size, options)] * count
