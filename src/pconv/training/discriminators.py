"""Networks that tell fills from photos, for the adversarial terms of ``pconv.training.texture``.

Their convolutions are spectrally normalised (Miyato et al. 2018). Scores are compared by the hinge loss, and only
where a patch touches the hole: known pixels of a composite are real.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from pconv.training.features import shrunk

SLOPE = 0.2


class PatchDiscriminator(nn.Module):
    """Judges patches of an image together with its mask (Isola et al. 2017).

    Args:
        channels: of the first layer.
    """

    def __init__(self, channels: int = 48) -> None:
        super().__init__()
        c = channels
        self.layers = nn.ModuleList(
            [_conv(4, c, 4, 2), _conv(c, 2 * c, 4, 2), _conv(2 * c, 4 * c, 4, 2), _conv(4 * c, 4 * c, 3),
             _conv(4 * c, 1, 3)]
        )  # fmt: skip

    def forward(self, image: Tensor, hole: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores ``(B, 1, H // 8, W // 8)``, and the features of all layers but the last.

        Args:
            image: ``(B, 3, H, W)`` with values in 0..1.
            hole: ``(B, 1, H, W)`` float, 1 = hole.
        """
        return _through(self.layers, torch.cat([image * 2 - 1, hole], 1))


class FeatureDiscriminators(nn.Module):
    """Judge VGG-16's features of pool1 and pool2 together with the mask: two small networks."""

    def __init__(self) -> None:
        super().__init__()
        self.pool1 = nn.ModuleList([_conv(65, 64, 3, 2), _conv(64, 96, 3), _conv(96, 1, 1)])
        self.pool2 = nn.ModuleList([_conv(129, 96, 3), _conv(96, 96, 3), _conv(96, 1, 1)])

    def forward(self, features: Sequence[Tensor], hole: Tensor) -> list[Tensor]:
        """Scores of each pool, a quarter of the image high and wide.

        Args:
            features: of pool1 and pool2.
            hole: ``(B, 1, H, W)`` float, 1 = hole.
        """
        scores = []
        for layers, each in zip((self.pool1, self.pool2), features, strict=True):
            share = shrunk(hole, each).to(each.dtype)
            scores.append(_through(layers, torch.cat([each * 0.5, share], 1))[0])
        return scores


def hinge_loss(real: Tensor, fake: Tensor, hole: Tensor, reach: int) -> Tensor:
    """What a discriminator learns from: real patches score above 1, filled ones below -1.

    Args:
        real, fake: scores ``(B, 1, h, w)``.
        hole: ``(B, 1, H, W)`` float, 1 = hole.
        reach: side of the square, px, by which the hole is dilated to find the patches that touch it. Odd.
    """
    return score_at_hole(F.relu(1 - real), hole, reach) + score_at_hole(F.relu(1 + fake), hole, reach)


def score_at_hole(scores: Tensor, hole: Tensor, reach: int) -> Tensor:
    """The mean of the scores whose patch touches the hole; arguments as for ``hinge_loss``."""
    near = F.max_pool2d(hole, reach, 1, reach // 2)
    touching = (shrunk(near, scores) > 0.1).float()
    return (scores.float() * touching).sum() / touching.sum().clamp(min=1)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    conv: nn.Module = spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2))
    return conv


def _through(layers: nn.ModuleList, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The last layer's output, and the others' behind a leaky ReLU."""
    x = x.contiguous(memory_format=torch.channels_last)
    features = []
    with parametrize.cached():
        with torch.autocast(x.device.type, enabled=False):  # spectral norms are estimated in float32
            for layer in layers:
                _ = layer.weight
        for layer in layers[:-1]:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return layers[-1](x), features
