"""Image inpainting for irregular holes with partial convolutions (Liu et al., ECCV 2018).

    >>> import pconv
    >>> filled = pconv.inpaint(photo, hole)        # PIL images or numpy arrays; white / non-zero = fill

Names are imported when they are first used, so that ``import pconv`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pconv.errors import (
        DeviceMemoryError,
        EvaluationError,
        ImageFileError,
        InputError,
        ModelError,
        PconvError,
        TrainingError,
    )
    from pconv.images.files import read_photo, write_photo
    from pconv.images.photo import Photo
    from pconv.inpainting.inpainter import Inpainter, inpaint
    from pconv.masks.strokes import irregular_hole
    from pconv.nn.checkpoint import load_network, save_network
    from pconv.nn.convert import convert_padding
    from pconv.nn.fused import FusedUNet
    from pconv.nn.layers import (
        PartialConv1d,
        PartialConv2d,
        PartialConv3d,
        PartialPadConv1d,
        PartialPadConv2d,
        PartialPadConv3d,
        partial_conv1d,
        partial_conv2d,
        partial_conv3d,
    )
    from pconv.nn.unet import PRESETS, PConvUNet, UNetConfig
    from pconv.training.features import VGG16Features, load_vgg
    from pconv.training.losses import InpaintingLoss, LossWeights

_HOMES = {
    "pconv.errors": [
        "DeviceMemoryError",
        "EvaluationError",
        "ImageFileError",
        "InputError",
        "ModelError",
        "PconvError",
        "TrainingError",
    ],
    "pconv.masks.strokes": ["irregular_hole"],
    "pconv.inpainting.inpainter": ["Inpainter", "inpaint"],
    "pconv.nn.checkpoint": ["load_network", "save_network"],
    "pconv.nn.convert": ["convert_padding"],
    "pconv.nn.fused": ["FusedUNet"],
    "pconv.nn.layers": [
        *(f"PartialConv{n}d" for n in (1, 2, 3)),
        *(f"PartialPadConv{n}d" for n in (1, 2, 3)),
        *(f"partial_conv{n}d" for n in (1, 2, 3)),
    ],
    "pconv.nn.unet": ["PRESETS", "PConvUNet", "UNetConfig"],
    "pconv.images.files": ["read_photo", "write_photo"],
    "pconv.images.photo": ["Photo"],
    "pconv.training.features": ["VGG16Features", "load_vgg"],
    "pconv.training.losses": ["InpaintingLoss", "LossWeights"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "PRESETS",
    "DeviceMemoryError",
    "EvaluationError",
    "FusedUNet",
    "ImageFileError",
    "Inpainter",
    "InpaintingLoss",
    "InputError",
    "LossWeights",
    "ModelError",
    "PConvUNet",
    "PartialConv1d",
    "PartialConv2d",
    "PartialConv3d",
    "PartialPadConv1d",
    "PartialPadConv2d",
    "PartialPadConv3d",
    "PconvError",
    "Photo",
    "TrainingError",
    "UNetConfig",
    "VGG16Features",
    "__version__",
    "convert_padding",
    "inpaint",
    "irregular_hole",
    "load_network",
    "load_vgg",
    "partial_conv1d",
    "partial_conv2d",
    "partial_conv3d",
    "read_photo",
    "save_network",
    "write_photo",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'pconv' has no attribute {name!r}")
    try:
        home = importlib.import_module(_HOME_OF[name])
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "safetensors"):
            raise
        raise ModuleNotFoundError(
            f"pconv.{name} needs PyTorch: pip install 'pconv[torch]'", name=error.name
        ) from error
    return getattr(home, name)


def __dir__() -> list[str]:
    return __all__
