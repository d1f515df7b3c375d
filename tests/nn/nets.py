"""Networks like trained ones, real photos to fill, and the network written with whole layers, to compare with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from pconv import PRESETS, PConvUNet
from pconv.nn.surface import smooth_surface

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"

COMPLETE = replace(PRESETS["default"], channels=(6, 8, 12), kernels=(5, 3, 3), blocks=(1, 2), noise_levels=2)
"""All that the default network has, in a small one."""


def some_net(config):
    """A network whose batch norms scale and shift and whose correction counts, as in trained ones."""
    net = PConvUNet(config)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.5)
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    last = net.decoder[-1].conv
    nn.init.normal_(last.weight, 0, 0.5 / last.weight[0].numel() ** 0.5)
    nn.init.normal_(last.bias, 0, 0.1)
    for name, parameter in net.named_parameters():
        if name.endswith("strength"):
            nn.init.normal_(parameter, 0, 0.5)
    return net.eval()


def photo_and_hole(name, height, width):
    """``(1, 3, H, W)`` float in 0..1 and ``(1, 1, H, W)`` bool, cropped from the middle."""
    photo = np.asarray(Image.open(PHOTOS / f"{name}.jpg").convert("RGB"))
    hole = np.asarray(Image.open(PHOTOS / f"{name}-mask.png").convert("L")) > 127
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    photo, hole = (x[top : top + height, left : left + width] for x in (photo, hole))
    return torch.tensor(photo).permute(2, 0, 1)[None].float() / 255, torch.tensor(hole)[None, None]


def random_case(seed, batch, channels, height, width, known, maps=1):
    """``(B, C, H, W)`` in 0..1 and ``(B, maps, H, W)`` bool, True where known; at ``known`` of all places."""
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(batch, maps, height, width, generator=generator) < known
    return torch.rand(batch, channels, height, width, generator=generator), valid


def assert_agree(got, expected, limit, where=None):
    """At most ``limit`` apart, and a tenth of it on average; ``where``, bool, restricts both."""
    got, expected = (torch.as_tensor(each).float() for each in (got, expected))
    assert got.shape == expected.shape
    difference = (got - expected).abs()
    if where is not None:
        difference = difference[where.expand_as(difference)]
    assert difference.max() <= limit
    assert difference.mean() <= limit / 10


def layer_by_layer(net, image, valid, *, seed=0, estimate=None):
    """The network with whole layers: upsample, concatenate features and validity groups, convolve."""
    config = net.config
    pad = (0, -image.shape[3] % config.multiple, 0, -image.shape[2] % config.multiple)
    image, valid = F.pad((image - config.mean) / config.std, pad), F.pad(valid.to(image.dtype), pad)
    surface = guide = None
    if config.surface != "none":
        start = valid if estimate is None else torch.maximum(valid, F.pad(estimate.to(image.dtype), pad))
        surface = smooth_surface(torch.where(start > 0, image, 0), start > 0, len(config.channels))
        maps = valid
        if config.valid_channels == 1:
            maps = valid.mean(1, keepdim=True)
        elif valid.shape[1] == 1:
            maps = valid.repeat(1, config.in_channels, 1, 1)
        guide = torch.cat([surface, maps - 0.5], 1)
    hole = 1 - valid.mean(1, keepdim=True)

    def noise(own):
        if own is None:
            return 0
        share = F.avg_pool2d(hole, 2**own.level)
        tile = own.tile.roll((-23 * seed, -41 * seed), (0, 1)).repeat(2, 2)[: share.shape[2], : share.shape[3]]
        return share * tile * own.strength.view(1, -1, 1, 1)

    features, skips = image, []
    for level in net.encoder:
        skips.append((features, valid))
        features, valid = level.conv(features, valid)
        features = F.leaky_relu(level.norm(features), config.encoder_slope)
    for at, level in zip(reversed(range(len(net.decoder))), net.decoder, strict=True):
        skip, skip_valid = skips.pop()
        parts = [F.interpolate(features, scale_factor=2, mode="nearest")]
        groups = [(F.interpolate(valid.to(image.dtype), scale_factor=2, mode="nearest"), features.shape[1])]
        if at or not config.surface_skip:
            parts.append(skip)
            groups.append((skip_valid, skip.shape[1]))
        if at in config.surface_levels or (at == 0 and config.surface_skip):
            parts.append(F.pixel_unshuffle(guide, 2**at))
            groups.append((torch.ones_like(skip_valid[:, :1]), parts[-1].shape[1]))
        features, valid = level.conv(torch.cat(parts, 1), groups)
        if at == 0:
            break
        features = F.leaky_relu(level.norm(features) + noise(level.noise), config.decoder_slope)
        for block in level.blocks:
            features = torch.where(valid, features, 0)
            inner, valid = block.first(features, valid)
            inner = F.leaky_relu(block.first_norm(inner) + noise(block.noise), config.decoder_slope)
            change, valid = block.second(inner, valid)
            features = features + torch.where(valid, block.second_norm(change), 0)
    if config.surface == "correction":
        features = surface + features
    elif config.surface == "trust":
        colour, trust = features[:, :-1], torch.sigmoid(features[:, -1:])
        features = surface + trust * (colour - surface)
    height, width = hole.shape[2] - pad[3], hole.shape[3] - pad[1]
    return features[..., :height, :width] * config.std + config.mean
