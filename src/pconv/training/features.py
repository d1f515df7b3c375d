"""VGG-16's pooled features (Simonyan & Zisserman 2015), in which the perceptual and style losses compare images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from pconv.errors import DownloadError, TrainingError, is_out_of_memory
from pconv.models.download import download

VGG_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
VGG_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
"""torchvision's ImageNet weights, 528 MB."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the 3x3 convolutions of each block; a 2x2 maximum ends it."""

_WITHOUT_VGG = (
    "give a file with --vgg PATH (torchvision's vgg16 .pth, or .safetensors with its key names), or leave out what "
    "needs it, in each stage N: stages.N.loss.perceptual=0, stages.N.loss.style=0, stages.N.texture=false"
)
_log = logging.getLogger("pconv")


class VGG16Features(nn.Module):
    """VGG-16 up to the end of a block, frozen; ``pool1, ..., poolN = features(images)``.

    Parameters have torchvision's names (``features.0.weight``, ...), and are there to be loaded: see ``load_vgg``.

    Args:
        blocks: 1 to 5; all five are the 13 convolutions.

    Raises:
        ValueError: another number of blocks.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, blocks: int = 5) -> None:
        super().__init__()
        if not 1 <= blocks <= len(_BLOCKS):
            raise ValueError(f"VGG-16 has blocks 1 to {len(_BLOCKS)}, got blocks={blocks}")
        self.blocks = blocks
        self.features = nn.Sequential()
        channels = 3
        for widths in _BLOCKS[:blocks]:
            for width in widths:
                self.features.extend([nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)])
                channels = width
            # Before the block's last ReLU: the same values and gradients, for a quarter of the ReLU's work.
            self.features.insert(len(self.features) - 1, nn.MaxPool2d(2))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> VGG16Features:  # noqa: ARG002
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor, pools: int | None = None) -> list[Tensor]:
        """The output of each block: pool p is ``(B, C_p, H // 2^p, W // 2^p)``, values from 0 on.

        Args:
            images: ``(B, 3, H, W)`` RGB with values in 0..1, or ``(B, 1, H, W)`` grey; sides of 2^blocks at least.
            pools: how many to compute at most; None is all.

        Raises:
            ValueError: another number of channels.
        """
        return [pooled for _, pooled in self._around_each(images, pools)]

    def around_pools(self, images: Tensor, pools: int) -> tuple[list[Tensor], list[Tensor]]:
        """The features behind each pooling layer, as ``forward`` gives them, and those before it, at twice the size.

        Args:
            images: as in ``forward``.
            pools: how many to compute.

        Returns:
            For each p: ``(B, C_p, H // 2^p, W // 2^p)``, and ``(B, C_p, H // 2^(p - 1), W // 2^(p - 1))``.
        """
        pairs = [(before.relu(), pooled) for before, pooled in self._around_each(images, pools)]
        return [pooled for _, pooled in pairs], [unpooled for unpooled, _ in pairs]

    def _around_each(self, images: Tensor, pools: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        """What each pooling layer takes, before its ReLU, and what comes out of it, behind the ReLU."""
        if images.dim() != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"VGG-16 takes images (B, 3, H, W) or (B, 1, H, W), got {tuple(images.shape)}")
        features = (images - self.mean) / self.std
        for start, stop in pairwise((0, *self._ends()[:pools])):
            before = self.features[start : stop - 2](features)
            features = self.features[stop - 2 : stop](before)
            yield before, features

    def _ends(self) -> list[int]:
        """Where in ``features`` each block ends: behind the ReLU that follows its pooling."""
        return [i + 2 for i, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]


def shrunk(maps: Tensor, features: Tensor) -> Tensor:
    """Means of ``maps`` over the cells of ``features``, such as the hole's share of each."""
    height, width = features.shape[-2:]
    return F.adaptive_avg_pool2d(maps, (height, width))


def load_vgg(
    path: Path | None = None, blocks: int = 3, *, url: str = VGG_URL, sha256: str = VGG_SHA256
) -> VGG16Features:
    """VGG-16 with trained weights.

    Args:
        path: torchvision's ``vgg16`` state dict (.pth), or a .safetensors with its key names; a file with the first
            blocks only gives those, with a warning. None downloads ``url`` into torchvision's cache, once.
        blocks: how many to load, 1 to 5.
        url: what to download, and ``sha256`` is its SHA-256.

    Raises:
        TrainingError: the download or its checksum failed, or the file is not VGG-16 or has not one whole block of it.
    """
    if path is None:
        path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        try:
            download(url, sha256, path)
        except DownloadError as error:
            raise TrainingError(f"{error}; {_WITHOUT_VGG}") from error
    tensors = _read(path)
    whole = min(_whole_blocks(tensors, path), blocks)
    if not whole:
        raise TrainingError(f"{path} holds no weights of VGG-16 under torchvision's names; {_WITHOUT_VGG}")
    if whole < blocks:
        _log.warning(
            "%s has only the first %d of VGG-16's blocks: pool%d is the last that is used", path, whole, whole
        )
    vgg = VGG16Features(whole)
    vgg.load_state_dict({key: tensors[key] for key in vgg.state_dict()})
    return vgg.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise TrainingError(f"no file of VGG-16 weights at {path}; {_WITHOUT_VGG}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler that reads any file can raise anything
        if is_out_of_memory(error):
            raise
        raise TrainingError(f"{path} is not a file of weights, or is damaged; {_WITHOUT_VGG}") from error
    return weights if isinstance(weights, dict) else {}


def _whole_blocks(tensors: Mapping[str, Any], path: Path) -> int:
    """How many blocks, from the first on, ``tensors`` has with all their layers.

    Raises:
        TrainingError: a tensor has another shape, or there is a layer that VGG-16 has not. Without this check, the
            first blocks of VGG-19 or of a VGG-16 with batch norm could be taken for VGG-16's.
    """
    shapes = list(_shapes_by_block())
    known = {key for block in shapes for key in block}
    for key in tensors:
        if str(key).startswith("features.") and key not in known:
            raise TrainingError(f"{path} is not VGG-16, which has no {key}; {_WITHOUT_VGG}")
    for number, block in enumerate(shapes):
        if not block.keys() <= tensors.keys():
            return number
        for key, shape in block.items():
            came = getattr(tensors[key], "shape", None)
            if came != shape:
                raise TrainingError(
                    f"{path} is not VGG-16: its {key} is {came and tuple(came)}, not {tuple(shape)}; {_WITHOUT_VGG}"
                )
    return len(shapes)


def _shapes_by_block() -> Iterator[dict[str, torch.Size]]:
    with torch.device("meta"):
        vgg = VGG16Features(len(_BLOCKS))
    sizes = {key: value.shape for key, value in vgg.state_dict().items()}
    keys = iter(sizes)
    for widths in _BLOCKS:
        yield {key: sizes[key] for key in islice(keys, 2 * len(widths))}
