"""VGG-16's pooled features (Simonyan & Zisserman 2015), in which the perceptual and style losses compare pictures."""

from __future__ import annotations

import logging
import pickle
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pconv.errors import TrainingError

VGG_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
"""torchvision's ImageNet weights; the name carries the start of their SHA-256."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the 3x3 convolutions of each block; a 2x2 maximum ends it."""

_TRIES = 3
_WAIT_S = 2.0
_HOW_TO_GO_ON = (
    "give a file with --vgg PATH (torchvision's vgg16 .pth, or .safetensors with its key names), or set the "
    "perceptual and style weights of the loss to 0"
)
_log = logging.getLogger("pconv")


class VGG16Features(nn.Module):
    """VGG-16 up to the end of a block, frozen; ``pool1, ..., poolN = features(pictures)``.

    Parameters have torchvision's names (``features.0.weight``, ...), and are there to be loaded: see :func:`load_vgg`.

    Args:
        blocks: 1 to 5; all five are the 13 convolutions.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, blocks: int = 5) -> None:
        super().__init__()
        self.blocks = blocks
        layers: list[nn.Module] = []
        channels = 3
        for widths in _BLOCKS[:blocks]:
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """The output of each block's pooling.

        Args:
            pictures: ``(B, 3, H, W)`` RGB with values in 0..1, or ``(B, 1, H, W)`` grey; sides of 2^blocks at least.

        Raises:
            ValueError: another number of channels.
        """
        if pictures.shape[1] not in (1, 3):
            raise ValueError(f"VGG-16 sees pictures (B, 3, H, W) or (B, 1, H, W), got {tuple(pictures.shape)}")
        features = (pictures - self.mean) / self.std
        pools = []
        for layer in self.features:
            features = layer(features)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(features)
        return pools


def load_vgg(path: Path | None = None, blocks: int = 3, url: str = VGG_URL) -> VGG16Features:
    """VGG-16 with trained weights.

    Args:
        path: torchvision's ``vgg16`` state dict (.pth), or a .safetensors with its key names; a file with the first
            blocks only gives those, with a warning. None downloads ``url`` into ``torch.hub``'s cache, once.
        blocks: how many to load.

    Raises:
        TrainingError: the download or its checksum failed, or the file has not one whole block of VGG-16.
    """
    tensors = _download(url) if path is None else _read(path)
    name = url if path is None else str(path)
    whole = _whole_blocks(tensors)
    if not whole:
        raise TrainingError(f"{name} holds no weights of VGG-16 under torchvision's names; {_HOW_TO_GO_ON}")
    if whole < blocks:
        pools = " and ".join(f"pool{i}" for i in range(1, whole + 1))
        _log.warning(
            "%s has the first %d of VGG-16's blocks: the perceptual and style losses use %s of pool1 to pool%d",
            name, whole, pools, blocks,
        )  # fmt: skip
    vgg = VGG16Features(min(blocks, whole))
    vgg.load_state_dict({key: tensors[key] for key in vgg.state_dict()})
    return vgg.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]


def _download(url: str) -> Mapping[str, Tensor]:
    for attempt in range(1, _TRIES + 1):
        try:
            weights: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
                url, map_location="cpu", check_hash=True, progress=sys.stderr.isatty(), weights_only=True
            )
            return weights
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            # A connection that breaks off shows as a wrong checksum, a RuntimeError.
            if attempt == _TRIES:
                reason = getattr(error, "reason", None) or error
                raise TrainingError(f"cannot download VGG-16 from {url} ({reason}); {_HOW_TO_GO_ON}") from error
            time.sleep(_WAIT_S)
    raise AssertionError("unreachable")


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise TrainingError(f"no file of VGG-16 weights at {path}; {_HOW_TO_GO_ON}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} is not a file of weights, or is damaged; {_HOW_TO_GO_ON}") from error
    return weights if isinstance(weights, dict) else {}


def _whole_blocks(tensors: Mapping[str, Tensor]) -> int:
    """How many blocks, from the first on, ``tensors`` has with all their layers in the right shapes."""
    for blocks in range(len(_BLOCKS), 0, -1):
        with torch.device("meta"):
            expected = VGG16Features(blocks).features.state_dict(prefix="features.")
        if all(key in tensors and tensors[key].shape == value.shape for key, value in expected.items()):
            return blocks
    return 0
