"""The paper's comparison: its network with plain convolutions, holes filled with a colour (Liu et al., section 4).

Where partial convolutions know which pixels are known, this network sees a photo whose holes have the colour 127.5, or
ImageNet's mean. All else is ``pconv.PConvUNet``: levels, channels, kernels, skips, norms.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pconv.errors import ModelError
from pconv.nn.checkpoint import load_weights, read_checkpoint
from pconv.nn.unet import UNetConfig

FILLS: dict[str, tuple[float, ...]] = {"grey": (0.5, 0.5, 0.5), "imagenet-mean": (0.485, 0.456, 0.406)}
"""What a hole is filled with, values in 0..1: 127.5 of 255, or the mean colour of ImageNet."""


@dataclass(frozen=True)
class PlainConfig(UNetConfig):
    """What a ``PlainUNet`` is built from: the paper's fields, without surface, blocks and noise.

    Attributes:
        fill: the colour of holes, values in 0..1, one for each channel.
    """

    fill: tuple[float, ...] = FILLS["grey"]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "fill", tuple(self.fill))
        if len(self.fill) != self.in_channels:
            raise ValueError(f"fill needs a value for each of {self.in_channels} channels; got {self.fill}")
        if self.surface != "none" or any(self.blocks) or self.noise_levels:
            raise ValueError("a plain network has no surface, blocks or noise inputs")


class PlainUNet(nn.Module):
    """``pconv.PConvUNet`` with ``nn.Conv2d`` and zero padding, called in the same way.

    ``output = net(image, valid)``: image ``(B, C, H, W)``, values in 0..1, what lies in holes is never read; valid
    ``(B, 1, H, W)``, non-zero = known. The output ``(B, C, H, W)`` is the prediction for every pixel, not clipped. Any
    height and width.
    """

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config = config
        inputs = (config.in_channels, *config.channels[:-1])
        self.encoder = nn.ModuleList(
            _encoder_level(i, o, k, first=level == 0, slope=config.encoder_slope)
            for level, (i, o, k) in enumerate(zip(inputs, config.channels, config.kernels, strict=True))
        )
        self.decoder = nn.ModuleList(
            _decoder_level(
                below + skip, skip if level else config.in_channels, last=level == 0, slope=config.decoder_slope
            )
            for level, (below, skip) in reversed(list(enumerate(zip(config.channels, inputs, strict=True))))
        )

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        height, width = image.shape[2:]
        fill = image.new_tensor(self.config.fill).view(1, -1, 1, 1)
        pad = (0, -width % self.config.multiple, 0, -height % self.config.multiple)
        seen = F.pad(torch.where(valid != 0, image, fill), pad, mode="replicate" if any(pad) else "constant")
        features = (seen - self.config.mean) / self.config.std
        skips = []
        for level in self.encoder:
            skips.append(features)
            features = level(features)
        for level in self.decoder:
            features = level(torch.cat([F.interpolate(features, scale_factor=2.0), skips.pop()], dim=1))
        return features[..., :height, :width] * self.config.std + self.config.mean


def _encoder_level(inputs: int, channels: int, kernel: int, first: bool, slope: float) -> nn.Sequential:
    conv = nn.Conv2d(inputs, channels, kernel, stride=2, padding=kernel // 2, bias=first)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(_zero_bias(conv), nn.Identity() if first else nn.BatchNorm2d(channels), nn.LeakyReLU(slope))


def _decoder_level(inputs: int, channels: int, last: bool, slope: float) -> nn.Sequential:
    conv = nn.Conv2d(inputs, channels, 3, padding=1, bias=last)
    nn.init.kaiming_normal_(conv.weight, a=1.0 if last else slope)
    if last:
        return nn.Sequential(_zero_bias(conv))
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.LeakyReLU(slope))


def _zero_bias(conv: nn.Conv2d) -> nn.Conv2d:
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def load_plain(path: Path) -> PlainUNet:
    """Read a checkpoint of ``pconv train ... convolution=plain-grey``: the network in fp32 and evaluation mode.

    Raises:
        ModelError: the file is missing, is no such checkpoint, or its tensors are not those of its network.
    """
    config, _, tensors = read_checkpoint(path)
    if "fill" not in config:
        raise ModelError(f"{path} is a network of partial convolutions, not of plain ones; give it as --model")
    try:
        network = PlainUNet(PlainConfig(**config))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: its metadata does not describe a network ({error})") from error
    load_weights(network, tensors, path)
    return network.eval().requires_grad_(False)
