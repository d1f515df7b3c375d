"""The paper's network: a U-Net of partial convolutions (Liu et al., section 3.2; SPEC section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pconv.nn.layers import PartialConv2d, box_sum, renormalize, zero_holes
from pconv.nn.membrane import membrane
from pconv.nn.phases import upsampled_conv3x3

LEAKY_SLOPE = 0.2


@dataclass(frozen=True)
class UNetConfig:
    """What a :class:`PConvUNet` is built from; it travels in every checkpoint.

    Attributes:
        channels: output channels of each encoder level; the decoder mirrors them. The length is the depth.
        kernels: kernel size of each encoder level, odd.
        in_channels: channels of the picture, in and out (3 for RGB, any number for gridded data).
        mean, std: the network computes on ``(x - mean) / std`` and undoes it at the end. 0 and 1 leave the paper's
            network as it is; 0.5 and 0.25 centre pictures whose values lie in 0..1, for which a hole's zero then is
            mid-grey.
        membrane: the network starts from :func:`~pconv.nn.membrane.membrane`'s smooth surface. For each pixel it
            predicts, beside the colour, how far that is to be trusted: ``surface + sigmoid(trust) * (colour -
            surface)``. False is the paper's network.
    """

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    in_channels: int = 3
    mean: float = 0.0
    std: float = 1.0
    membrane: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "kernels", tuple(self.kernels))
        if len(self.channels) != len(self.kernels) or len(self.channels) < 2:
            raise ValueError(
                f"a network needs as many channels as kernels, two levels at least; got channels {self.channels} "
                f"and kernels {self.kernels}"
            )
        if any(k % 2 == 0 or k < 1 for k in self.kernels):
            raise ValueError(f"kernels must be odd, so that padding k // 2 keeps the grid aligned; got {self.kernels}")
        if min(self.channels) < 1 or self.in_channels < 1 or self.std <= 0:
            raise ValueError(f"channels and std must be positive; got {self}")

    @property
    def multiple(self) -> int:
        """Heights and widths are padded, as hole, to a multiple of this."""
        return int(2 ** len(self.channels))

    @property
    def out_channels(self) -> int:
        """Of the last level: the picture's, and with ``membrane`` the trust in them."""
        return self.in_channels + self.membrane


_SMALL = UNetConfig(channels=(32, 64, 128, 256, 256, 256, 256), kernels=(7, 5, 5, 3, 3, 3, 3), mean=0.5, std=0.25)
PRESETS: dict[str, UNetConfig] = {
    "paper": UNetConfig(channels=(64, 128, 256, 512, 512, 512, 512, 512), kernels=(7, 5, 5, 3, 3, 3, 3, 3)),
    "small": _SMALL,
    "membrane": replace(_SMALL, membrane=True),
    "tiny": UNetConfig(channels=(16, 32, 64, 64, 64), kernels=(5, 5, 3, 3, 3), mean=0.5, std=0.25),
}
"""The paper's network; half its width; the same from a smooth surface, as bundled; one for tests and first tries."""


class _Map(NamedTuple):
    """Features whose holes are zero, with their one-channel validity (bool)."""

    features: Tensor
    valid: Tensor


class EncoderLevel(nn.Module):
    """Partial convolution of stride 2, batch norm (not on the first level), ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: int, first: bool) -> None:
        super().__init__()
        self.conv = PartialConv2d(in_channels, channels, kernel, stride=2, padding=kernel // 2, bias=first)
        self.norm = nn.Identity() if first else nn.BatchNorm2d(channels)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, known: _Map) -> _Map:
        raw = F.conv2d(known.features, self.conv.weight, None, self.conv.stride, self.conv.padding)
        features, valid = _renormalize(raw, [(known.valid, self.conv.in_channels)], self.conv)
        return _known(F.relu(self.norm(features)), valid)


class DecoderLevel(nn.Module):
    """Upsampling, concatenation with the skip, partial 3x3 convolution; batch norm and LeakyReLU but on the last.

    The concatenation is never made: a convolution of a concatenation is the sum of two convolutions, and the one of
    the upsampled half runs in phase form at low resolution. ``conv`` holds the weights of the layer as the paper
    defines it, so checkpoints know nothing of this.
    """

    def __init__(self, below_channels: int, skip_channels: int, channels: int, last: bool) -> None:
        super().__init__()
        self.below_channels = below_channels
        self.skip_channels = skip_channels
        self.last = last
        self.conv = PartialConv2d(below_channels + skip_channels, channels, 3, padding=1, bias=last)
        self.norm = nn.Identity() if last else nn.BatchNorm2d(channels)
        nn.init.kaiming_normal_(self.conv.weight, a=1.0 if last else LEAKY_SLOPE)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, below: _Map, skip: _Map) -> _Map:
        from_below, from_skip = torch.split(self.conv.weight, [self.below_channels, self.skip_channels], dim=1)
        raw = upsampled_conv3x3(below.features, from_below)
        raw += F.conv2d(skip.features, from_skip, padding=1)
        groups = [(_upsample_valid(below.valid), self.below_channels), (skip.valid, self.skip_channels)]
        features, valid = _renormalize(raw, groups, self.conv)
        if self.last:
            return _Map(features, valid)
        return _known(F.leaky_relu(self.norm(features), LEAKY_SLOPE), valid)


class PConvUNet(nn.Module):
    """The inpainting network; see SPEC section 2.

    ``output = net(image, valid)``: image ``(B, C, H, W)``, values in 0..1 for pictures, what lies in holes is never
    read; valid ``(B, 1, H, W)``, non-zero = known. The output ``(B, C, H, W)`` is the prediction for every pixel, not
    clipped; keep the known ones with :func:`composite`. Any height and width: sizes that are no multiple of 2^depth
    are padded as hole at the bottom and right, and cropped back.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        inputs = (config.in_channels, *config.channels[:-1])
        self.encoder = nn.ModuleList(
            EncoderLevel(i, o, k, first=level == 0)
            for level, (i, o, k) in enumerate(zip(inputs, config.channels, config.kernels, strict=True))
        )
        self.decoder = nn.ModuleList(
            DecoderLevel(below, skip, skip if level else config.out_channels, last=level == 0)
            for level, (below, skip) in reversed(list(enumerate(zip(config.channels, inputs, strict=True))))
        )

    @property
    def levels(self) -> tuple[list[EncoderLevel], list[DecoderLevel]]:
        """The encoder's and the decoder's levels in the order in which they run."""
        return list(self.encoder), list(self.decoder)  # type: ignore[arg-type]

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        return self.predict(image, valid)[0]

    def predict(self, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """What ``forward`` returns, and ``(B, 1, H, W)`` bool: where at least one known pixel had a say in it.

        Deep inside a hole that is wider than the network sees nothing known reaches, and the output says nothing.
        """
        check_inputs(self.config, image, valid)
        height, width = image.shape[2:]
        known = _Map(*prepare(self.config, image, valid != 0))
        surface = membrane(*known, len(self.encoder)) if self.config.membrane else None
        skips: list[_Map] = []
        for level in self.encoder:
            skips.append(known)
            known = level(known)
        for level in self.decoder:
            known = level(known, skips.pop())
        output = finish(self.config, known.features, surface)
        return output[..., :height, :width], known.valid[..., :height, :width]


FIRST_TRUST = -1.0
"""Logit of the trust that a network has in itself before it is trained: a quarter."""


@torch.no_grad()
def with_membrane(network: PConvUNet) -> PConvUNet:
    """``network``, trained without the smooth surface, as one that starts from it; its colours are the same."""
    grown = PConvUNet(replace(network.config, membrane=True))
    last = grown.levels[1][-1].conv
    weights = network.state_dict()
    for name, fresh in ("weight", torch.zeros_like(last.weight[-1:])), ("bias", torch.full((1,), FIRST_TRUST)):
        key = f"decoder.{len(grown.decoder) - 1}.conv.{name}"
        weights[key] = torch.cat([weights[key], fresh.to(weights[key])])
    grown.load_state_dict(weights)
    return grown


def check_inputs(config: UNetConfig, image: Tensor, valid: Tensor) -> None:
    """Raise ValueError where the network of ``config`` cannot take these."""
    if image.shape[1] != config.in_channels or valid.shape[1] != 1 or valid.shape[2:] != image.shape[2:]:
        raise ValueError(
            f"the network takes an image (B, {config.in_channels}, H, W) and its validity (B, 1, H, W); "
            f"got {tuple(image.shape)} and {tuple(valid.shape)}"
        )


def prepare(config: UNetConfig, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Normalise, make holes zero, and pad both to the network's multiple, as hole. ``valid`` is bool."""
    image = zero_holes((image - config.mean) / config.std, valid)
    height, width = image.shape[2:]
    bottom, right = -height % config.multiple, -width % config.multiple
    if bottom or right:
        image, valid = F.pad(image, (0, right, 0, bottom)), F.pad(valid, (0, right, 0, bottom))
    return image, valid


def finish(config: UNetConfig, predicted: Tensor, surface: Tensor | None) -> Tensor:
    """From what the last level gives to the picture's values; the other end of :func:`prepare`."""
    if surface is not None:
        colour, trust = torch.split(predicted, [config.in_channels, 1], dim=1)
        predicted = torch.lerp(surface, colour, torch.sigmoid(trust))
    return predicted * config.std + config.mean


def _renormalize(raw: Tensor, groups: Sequence[tuple[Tensor, int]], conv: PartialConv2d) -> tuple[Tensor, Tensor]:
    """The rest of ``conv`` after its convolution; ``groups`` are one-channel maps of its input with channel counts."""
    dtype = torch.promote_types(conv.weight.dtype, torch.float32)
    counts = reduce(torch.add, [valid.to(dtype) * channels for valid, channels in groups])
    around = [(k // 2, k // 2) for k in conv.kernel_size]
    counts = box_sum(counts, conv.kernel_size, conv.stride, around, (1, 1))
    return renormalize(raw, counts, conv.weight[0].numel(), conv.bias)


def _known(features: Tensor, valid: Tensor) -> _Map:
    """Make holes zero again after batch norm's shift; nothing is NaN here, so a product does, in half the time."""
    return _Map(features * valid.to(features.dtype), valid)


def composite(image: Tensor, output: Tensor, valid: Tensor) -> Tensor:
    """I_comp = M . I + (1 - M) . I_out: known pixels from ``image``, holes from ``output``, by selection."""
    return torch.where(valid != 0, image, output)


def _upsample_valid(valid: Tensor) -> Tensor:
    return valid.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
