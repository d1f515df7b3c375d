"""The paper's network, a U-Net of partial convolutions (Liu et al., section 3.2), and the default model's.

Every difference between the two is a field of ``UNetConfig``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pconv.nn.layers import PartialConv2d, box_sum, renormalize, zero_holes
from pconv.nn.noise import Noise, NoiseInput
from pconv.nn.phases import upsampled_conv3x3
from pconv.nn.surface import smooth_surface

MOST_NOISE_LEVELS = 4
"""Parts of a photo are placed at multiples of 16 px, so that each begins with a whole cell of noise."""


@dataclass(frozen=True)
class UNetConfig:
    """What a ``PConvUNet`` is built from; it travels in every checkpoint. The defaults are the paper's network.

    A level l is a resolution: 0 is the image's size, and level l has 1 / 2^l of its height and width.

    Attributes:
        channels: output channels of each encoder level, 1 to the depth; the decoder mirrors them.
        kernels: kernel size of each encoder level, odd.
        in_channels: channels of the image, in and out (3 for RGB, any number for gridded data).
        valid_channels: validity maps of the image: 1, or ``in_channels`` where each channel has holes of its own.
            The exported graph takes this many. The network takes both.
        mean, std: the network computes on ``(x - mean) / std`` and undoes it at the end. 0 and 1 leave the paper's
            network as it is; 0.5 and 0.25 centre images whose values lie in 0..1.
        encoder_slope, decoder_slope: of the activations for negative values. The paper has ReLU (0) and 0.2.
        surface: "none", or how the output starts from the smooth surface through the known pixels
            (``pconv.nn.surface.smooth_surface``). "correction" adds the last level's output to it. "trust"
            predicts a colour and how far it is to be trusted: ``surface + sigmoid(trust) * (colour - surface)``.
        surface_skip: the last skip holds surface and mask, known everywhere, instead of the image.
        surface_levels: levels whose skips surface and mask join, rearranged to channels (pixel-unshuffle). They tell
            the decoder where the holes are.
        blocks: residual blocks of two partial 3x3 convolutions behind the decoder step at levels 1, 2, ...
        noise_levels: noise inputs at levels 1 to this one (``pconv.nn.noise``), at most 4; 0 for none.

    Raises:
        ValueError: the fields do not make a network.
    """

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    in_channels: int = 3
    valid_channels: int = 1
    mean: float = 0.0
    std: float = 1.0
    encoder_slope: float = 0.0
    decoder_slope: float = 0.2
    surface: Literal["none", "correction", "trust"] = "none"
    surface_skip: bool = False
    surface_levels: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    noise_levels: int = 0

    def __post_init__(self) -> None:
        for name in ("channels", "kernels", "surface_levels", "blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        inner = len(self.channels) - 1
        if len(self.channels) != len(self.kernels) or inner < 1:
            raise ValueError(
                f"a network needs as many channels as kernels, two levels at least; got channels {self.channels} "
                f"and kernels {self.kernels}"
            )
        if any(k % 2 == 0 or k < 1 for k in self.kernels):
            raise ValueError(f"kernels must be odd, so that padding k // 2 keeps the grid aligned; got {self.kernels}")
        if min(self.channels) < 1 or self.in_channels < 1 or self.std <= 0:
            raise ValueError(f"channels and std must be positive; got {self}")
        if self.valid_channels not in (1, self.in_channels):
            raise ValueError(
                f"valid_channels must be 1 or in_channels ({self.in_channels}); got {self.valid_channels}"
            )
        if self.surface not in ("none", "correction", "trust"):
            raise ValueError(f"surface must be none, correction or trust; got {self.surface!r}")
        if self.surface == "none" and (self.surface_skip or self.surface_levels):
            raise ValueError("surface_skip and surface_levels need a surface, and surface is none")
        if any(not 1 <= level <= inner for level in self.surface_levels):
            raise ValueError(f"surface_levels must lie in 1..{inner}; got {self.surface_levels}")
        if len(self.blocks) > inner or any(count < 0 for count in self.blocks):
            raise ValueError(f"blocks takes up to {inner} counts, for levels 1..{inner}; got {self.blocks}")
        most = min(inner, MOST_NOISE_LEVELS)
        if not 0 <= self.noise_levels <= most:
            raise ValueError(f"noise_levels must lie in 0..{most}; got {self.noise_levels}")

    def fits_into(self, other: UNetConfig) -> bool:
        """Whether ``other`` is this network, or this network with more blocks or noise inputs."""
        levels = max(len(self.blocks), len(other.blocks))
        ours, theirs = (config.blocks + (0,) * (levels - len(config.blocks)) for config in (self, other))
        alike = replace(self, blocks=other.blocks, noise_levels=other.noise_levels) == other
        return (
            alike
            and self.noise_levels <= other.noise_levels
            and all(a <= b for a, b in zip(ours, theirs, strict=True))
        )

    def outer(self, levels: int) -> UNetConfig:
        """Only the outer ``levels`` levels, without noise inputs (``PConvUNet.outer``)."""
        return replace(
            self,
            channels=self.channels[:levels],
            kernels=self.kernels[:levels],
            blocks=self.blocks[: levels - 1],
            surface_levels=tuple(level for level in self.surface_levels if level < levels),
            noise_levels=0,
        )

    @property
    def multiple(self) -> int:
        """Heights and widths are padded, as hole, to a multiple of this."""
        return int(2 ** len(self.channels))

    @property
    def out_channels(self) -> int:
        """Of the last level: the image's, and with "trust" the trust in them."""
        return self.in_channels + (self.surface == "trust")

    @property
    def guide_channels(self) -> int:
        """Of surface and mask together."""
        return self.in_channels + self.valid_channels


_DEFAULT = UNetConfig(
    channels=(32, 64, 128, 192, 256, 256, 256),
    kernels=(5, 3, 3, 3, 3, 3, 3),
    mean=0.5,
    std=0.25,
    encoder_slope=0.1,
    decoder_slope=0.1,
    surface="correction",
    surface_skip=True,
    surface_levels=(1, 2),
    blocks=(1, 5, 3, 1),
    noise_levels=4,
)

PRESETS: dict[str, UNetConfig] = {
    "paper": UNetConfig(channels=(64, 128, 256, 512, 512, 512, 512, 512), kernels=(7, 5, 5, 3, 3, 3, 3, 3)),
    "default": _DEFAULT,
    "superres": _DEFAULT.outer(3),
    "small": UNetConfig(channels=(32, 64, 128, 256, 256, 256, 256), kernels=(7, 5, 5, 3, 3, 3, 3), mean=0.5, std=0.25),
    "tiny": UNetConfig(channels=(16, 32, 64, 64, 64), kernels=(5, 5, 3, 3, 3), mean=0.5, std=0.25),
}
"""The paper's network; the default model's; its outer levels, for super-resolution; the paper's at half its width; and
one for tests and first tries."""


class Map(NamedTuple):
    """Features whose holes are zero, with their validity (bool): one channel, or one for each of the features."""

    features: Tensor
    valid: Tensor


class EncoderLevel(nn.Module):
    """Partial convolution of stride 2, batch norm (not on the first level), activation."""

    def __init__(self, in_channels: int, channels: int, kernel: int, first: bool, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.conv = PartialConv2d(in_channels, channels, kernel, stride=2, padding=kernel // 2, bias=first)
        self.norm = nn.Identity() if first else nn.BatchNorm2d(channels)
        _initialize(self.conv, slope=0.0)

    def forward(self, known: Map) -> Map:
        raw = F.conv2d(known.features, self.conv.weight, None, self.conv.stride, self.conv.padding)
        features, valid = _renormalize(raw, [(known.valid, self.conv.in_channels)], self.conv)
        return _known(F.leaky_relu(self.norm(features), self.slope), valid)


class ResidualBlock(nn.Module):
    """``x + norm(conv(activation(norm(conv(x)) + noise)))`` of partial 3x3 convolutions; validity grows as theirs.

    The second norm starts at 0, so that an untrained block changes nothing.
    """

    def __init__(self, channels: int, slope: float, noise_level: int) -> None:
        super().__init__()
        self.slope = slope
        self.first, self.second = (PartialConv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.first_norm, self.second_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.noise = NoiseInput(channels, noise_level) if noise_level else None
        _initialize(self.first, slope)
        _initialize(self.second, slope=1.0)
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, known: Map, noise: Noise | None) -> Map:
        channels = self.first.in_channels
        raw = F.conv2d(known.features, self.first.weight, padding=1)
        features, valid = _renormalize(raw, [(known.valid, channels)], self.first)
        features = _with_noise(self.first_norm(features), self.noise, noise)
        inner = _known(F.leaky_relu(features, self.slope), valid)
        raw = F.conv2d(inner.features, self.second.weight, padding=1)
        features, valid = _renormalize(raw, [(inner.valid, channels)], self.second)
        change = _known(self.second_norm(features), valid)
        return Map(known.features + change.features, valid)


class DecoderLevel(nn.Module):
    """Upsampling, concatenation with the skip, partial 3x3 convolution; but on the last: batch norm, noise,
    activation, residual blocks.

    Upsampled features and skip are never concatenated: a convolution of a concatenation is the sum of two
    convolutions, and the one of the upsampled half runs in phase form at low resolution. ``conv`` holds the weights
    of the layer as the paper defines it, so checkpoints know nothing of this.
    """

    def __init__(self, config: UNetConfig, level: int) -> None:
        super().__init__()
        inputs = (config.in_channels, *config.channels[:-1])
        self.last = level == 0
        self.slope = 1.0 if self.last else config.decoder_slope
        self.below_channels = config.channels[level]
        self.skip_channels = 0 if self.last and config.surface_skip else inputs[level]
        self.guide_level = level if (level in config.surface_levels or (self.last and config.surface_skip)) else None
        self.guide_channels = 0 if self.guide_level is None else config.guide_channels * 4**level
        channels = config.out_channels if self.last else inputs[level]
        counted = self.below_channels + self.skip_channels + self.guide_channels
        self.conv = PartialConv2d(counted, channels, 3, padding=1, bias=self.last)
        self.norm = nn.Identity() if self.last else nn.BatchNorm2d(channels)
        noise_level = level if level <= config.noise_levels else 0
        self.noise = NoiseInput(channels, noise_level) if noise_level else None
        blocks = config.blocks[level - 1] if 0 < level <= len(config.blocks) else 0
        self.blocks = nn.ModuleList(ResidualBlock(channels, self.slope, noise_level) for _ in range(blocks))
        _initialize(self.conv, slope=self.slope)
        if self.last and config.surface == "correction":  # an untrained network gives the surface, nearly
            with torch.no_grad():
                self.conv.weight *= 0.02

    def forward(self, below: Map, skip: Map, guide: Tensor | None, noise: Noise | None) -> Map:
        guide = None if guide is None else guide.to(skip.features.dtype)
        beside = beside_below(skip.features if self.skip_channels else None, guide, self.guide_level)
        groups = [(skip.valid, self.skip_channels)] if self.skip_channels else []
        if self.guide_channels:
            groups.append((torch.ones_like(skip.valid[:, :1]), self.guide_channels))
        from_below, from_skip = torch.split(self.conv.weight, [self.below_channels, beside.shape[1]], dim=1)
        raw = upsampled_conv3x3(below.features, from_below)
        raw += F.conv2d(beside, from_skip, padding=1)
        features, valid = _renormalize(raw, [(_upsample_valid(below.valid), self.below_channels), *groups], self.conv)
        if self.last:
            return Map(features, valid)
        features = _with_noise(self.norm(features), self.noise, noise)
        known = _known(F.leaky_relu(features, self.slope), valid)
        for block in self.blocks:
            known = block(known, noise)
        return known


def beside_below(skip: Tensor | None, guide: Tensor | None, level: int | None) -> Tensor:
    """What a decoder step sees beside the features from below, in one tensor ``(B, C, h, w)``.

    Args:
        skip: the encoder's features, where the step has a skip.
        guide: surface and mask, at the image's size.
        level: at which ``guide`` joins, rearranged to channels; None where it does not.
    """
    parts = [] if skip is None else [skip]
    if level is not None:
        assert guide is not None
        parts.append(F.pixel_unshuffle(guide, 2**level))
    return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


class PConvUNet(nn.Module):
    """The inpainting network (Liu et al., section 3.2; the default model's differences are in ``UNetConfig``).

    ``output = net(image, valid)``: image ``(B, C, H, W)``, values in 0..1 for photos; what lies in holes is never
    read. valid ``(B, 1, H, W)`` or ``(B, C, H, W)``, non-zero = known; B may be 1 where one serves all. The output
    ``(B, C, H, W)`` is the prediction for every pixel, not clipped; keep the known ones with ``composite``. Any
    height and width: sizes that are no multiple of 2^depth are padded as hole at the bottom and right, and cropped
    back.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        inputs = (config.in_channels, *config.channels[:-1])
        self.encoder = nn.ModuleList(
            EncoderLevel(i, o, k, first=level == 0, slope=config.encoder_slope)
            for level, (i, o, k) in enumerate(zip(inputs, config.channels, config.kernels, strict=True))
        )
        self.decoder = nn.ModuleList(DecoderLevel(config, level) for level in reversed(range(len(config.channels))))

    @property
    def levels(self) -> tuple[list[EncoderLevel], list[DecoderLevel]]:
        """The encoder's and the decoder's levels in the order in which they run."""
        return list(self.encoder), list(self.decoder)  # type: ignore[arg-type]

    def outer(self, levels: int) -> PConvUNet:
        """A smaller network to train further: the outer ``levels`` levels, with copies of their weights.

        The innermost encoder level then feeds the decoder directly. It has as many channels as what fed it before.
        """
        smaller = PConvUNet(self.config.outer(levels))
        left_out = len(self.config.channels) - levels  # the decoder's list begins with the innermost level
        weights = self.state_dict()
        renamed = {
            name: weights[re.sub(r"^decoder\.(\d+)", lambda number: f"decoder.{int(number[1]) + left_out}", name)]
            for name in smaller.state_dict()
        }
        smaller.load_state_dict(renamed)
        return smaller

    def forward(
        self,
        image: Tensor,
        valid: Tensor,
        *,
        seed: int = 0,
        origin: tuple[int, int] = (0, 0),
        estimate: Tensor | None = None,
    ) -> Tensor:
        """Predict every pixel of ``image``.

        Args:
            image, valid: as the class says.
            seed: 0 to 63: which noise, for networks that have noise inputs. In training mode the noise is fresh in
                each call, from torch's default generator, and ``seed`` and ``origin`` mean nothing.
            origin: row and column at which ``image`` begins in the whole photo, multiples of 2^noise_levels. The noise
                of a place then does not depend on how the photo was cut.
            estimate: ``(B, 1, H, W)``, non-zero where a hole pixel of ``image`` holds an estimate, such as a fill at
                half the size. The smooth surface starts from it. Networks without a surface ignore it.

        Raises:
            ValueError: the shapes do not fit the configuration, or ``seed`` or ``origin`` is not one of those named.
        """
        height, width = image.shape[2:]
        with torch.autocast(image.device.type, enabled=False):  # bf16 rounds the surface to one level of 255
            inputs = prepare(self.config, image, valid, estimate)
        noise = None
        if self.config.noise_levels:
            levels = self.config.noise_levels
            noise = Noise(inputs.known.valid, levels, None if self.training else seed, origin)
        known = inputs.known
        skips: list[Map] = []
        for level in self.encoder:
            skips.append(known)
            known = level(known)
        for level in self.decoder:
            known = level(known, skips.pop(), inputs.guide, noise)
        output = finish(self.config, known.features, inputs.surface)
        return output[..., :height, :width]


class Inputs(NamedTuple):
    """What the levels start from, at the padded size, normalised."""

    known: Map
    surface: Tensor | None
    """``(B, C, H, W)``, where the network has one."""
    guide: Tensor | None
    """``(B, guide_channels, H, W)``: surface and mask, +0.5 where known and -0.5 in holes."""


def prepare(config: UNetConfig, image: Tensor, valid: Tensor, estimate: Tensor | None = None) -> Inputs:
    """Check, normalise, make holes zero, and pad to the network's multiple, as hole; compute the surface.

    Raises:
        ValueError: the network of ``config`` cannot take these.
    """
    batch, _, height, width = image.shape
    if (
        image.shape[1] != config.in_channels
        or valid.shape[0] not in (1, batch)
        or valid.shape[1] not in (1, config.in_channels)
        or valid.shape[2:] != image.shape[2:]
    ):
        raise ValueError(
            f"the network takes an image (B, {config.in_channels}, H, W) and its validity (B, 1, H, W) or "
            f"(B, {config.in_channels}, H, W); got {tuple(image.shape)} and {tuple(valid.shape)}"
        )
    if estimate is not None and (estimate.shape[0] not in (1, batch) or estimate.shape[1:] != (1, height, width)):
        raise ValueError(
            f"estimate must be (B, 1, H, W) for an image {tuple(image.shape)}; got {tuple(estimate.shape)}"
        )
    valid = (valid != 0).expand(batch, -1, -1, -1)
    around = (0, -width % config.multiple, 0, -height % config.multiple)

    def padded(maps: Tensor) -> Tensor:
        return F.pad(maps, around) if any(around) else maps

    normal = (image - config.mean) / config.std
    known = Map(padded(zero_holes(normal, valid)), padded(valid))
    if config.surface == "none":
        return Inputs(known, None, None)
    start = known
    if estimate is not None:
        either = valid | (estimate != 0)
        start = Map(padded(zero_holes(normal, either)), padded(either))
    surface = smooth_surface(*start, len(config.channels))
    maps = known.valid.to(surface.dtype)
    if maps.shape[1] != config.valid_channels:
        maps = maps.mean(1, keepdim=True) if config.valid_channels == 1 else maps.expand_as(surface)
    return Inputs(known, surface, torch.cat([surface, maps - 0.5], dim=1))


def finish(config: UNetConfig, predicted: Tensor, surface: Tensor | None) -> Tensor:
    """From what the last level gives to the image's values; the other end of ``prepare``."""
    if surface is not None:
        predicted = predicted.to(surface.dtype)  # autocast computes the levels in less
    if surface is not None and config.surface == "trust":
        colour, trust = torch.split(predicted, [config.in_channels, 1], dim=1)
        predicted = torch.lerp(surface, colour, torch.sigmoid(trust))
    elif surface is not None:
        predicted = surface + predicted
    return predicted * config.std + config.mean


def _initialize(conv: nn.Conv2d, slope: float) -> None:
    """Kaiming normal for an activation of ``slope``; the bias is 0."""
    nn.init.kaiming_normal_(conv.weight, a=slope)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _renormalize(raw: Tensor, groups: Sequence[tuple[Tensor, int]], conv: PartialConv2d) -> tuple[Tensor, Tensor]:
    """The rest of ``conv`` after its convolution; ``groups`` are maps of its input with their channel counts."""
    dtype = torch.promote_types(conv.weight.dtype, torch.float32)
    counts = reduce(
        torch.add,
        [
            valid.to(dtype) * channels if valid.shape[1] == 1 else valid.sum(1, keepdim=True, dtype=dtype)
            for valid, channels in groups
        ],
    )
    around = [(k // 2, k // 2) for k in conv.kernel_size]
    counts = box_sum(counts, conv.kernel_size, conv.stride, around, (1, 1))
    return renormalize(raw, counts, conv.weight[0].numel(), conv.bias)


def _with_noise(features: Tensor, own: NoiseInput | None, noise: Noise | None) -> Tensor:
    if own is None or noise is None:
        return features
    added: Tensor = own(noise)
    return features + added.to(features.dtype)


def _known(features: Tensor, valid: Tensor) -> Map:
    """Make holes zero again after batch norm's shift; nothing is NaN here, so a product does, in half the time."""
    return Map(features * valid.to(features.dtype), valid)


def composite(image: Tensor, output: Tensor, valid: Tensor) -> Tensor:
    """I_comp = M . I + (1 - M) . I_out: known pixels from ``image``, holes from ``output``, by selection."""
    return torch.where(valid != 0, image, output)


def _upsample_valid(valid: Tensor) -> Tensor:
    return valid.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
