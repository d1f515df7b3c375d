"""The paper's losses as pure functions, and their weighted sum (Liu et al., section 3.3).

One term is not the paper's: ``rim_loss``, with which the bundled model was trained.

Images are ``(B, C, H, W)`` with values in 0..1. ``valid`` is ``(B, 1, H, W)`` bool, True = known pixel. Averages are
over all elements of a tensor, never over the hole alone.

To add a term, write its function, give it a weight in ``LossWeights``, and call it in
``InpaintingLoss.forward``. Configurations and TensorBoard take it from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pconv.nn.layers import zero_holes
from pconv.nn.unet import composite
from pconv.training.features import VGG16Features, shrunk

POOLS = 3
"""The paper's Psi_p are pool1 to pool3. Where VGG-16 was loaded with fewer blocks, only theirs are used."""

NEUTRAL_RATIO = 0.3
"""The hole ratio whose weight ``balance`` leaves at 1: the middle of 0 to 0.6."""


def valid_loss(output: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """L_valid = |M . (I_out - I_gt)|_1 / N_Igt."""
    return zero_holes((output - truth).abs(), valid).mean()


def hole_loss(output: Tensor, truth: Tensor, valid: Tensor, balance: float = 0.0) -> Tensor:
    """L_hole = |(1 - M) . (I_out - I_gt)|_1 / N_Igt.

    Args:
        balance: each image's error is multiplied by ``(0.3 / its hole ratio) ** balance``. 0 is the paper's loss, 1
            the mean over each image's hole, times 0.3.
    """
    error = (output - truth).abs()
    if balance:
        error = error * _balanced((~valid).to(error.dtype), balance)
    return zero_holes(error, ~valid).mean()


def _balanced(hole: Tensor, balance: float) -> Tensor:
    """(0.3 / hole ratio) ** balance of each image, ``(B, 1, 1, 1)``; ``hole`` is 1 in the hole and 0 elsewhere."""
    ratio = hole.mean(dim=(1, 2, 3), keepdim=True)
    return (NEUTRAL_RATIO / ratio.clamp(min=0.01)) ** balance


def rim_weight(valid: Tensor, distance: Tensor, reach: float, balance: float) -> Tensor:
    """How much each hole pixel counts: ``hole / (1 + distance / reach) * (0.3 / hole ratio) ** balance``.

    What lies near known pixels can be known from them. What lies deep inside a hole cannot, and would outweigh it.

    Args:
        valid: M, ``(B, 1, H, W)`` bool.
        distance: ``(B, 1, H, W)``, of each hole pixel to the nearest known one, px.
        reach: the distance at which a pixel counts half, px.
        balance: as in ``hole_loss``.

    Returns:
        ``(B, 1, H, W)`` float32, 0 at known pixels.
    """
    hole = (~valid).float()
    return hole / (1 + distance.float() / reach) * _balanced(hole, balance)


def rim_loss(
    output: Tensor, truth: Tensor, valid: Tensor, distance: Tensor, reach: float, balance: float = 0.0
) -> Tensor:
    """The mean over all pixels of ``rim_weight`` times Charbonnier's distance, sqrt((I_out - I_gt)^2 + 1e-6).

    Charbonnier's distance is nearly |I_out - I_gt|, and smooth at 0.
    """
    return (torch.sqrt((output - truth) ** 2 + 1e-6) * rim_weight(valid, distance, reach, balance)).mean()


def perceptual_loss(features: Sequence[Tensor], truth_features: Sequence[Tensor]) -> Tensor:
    """One half of L_perc: sum over p of |Psi_p(I) - Psi_p(I_gt)|_1 / N_p, for I = I_out or I = I_comp."""
    return _summed_distances(features, truth_features)


def gram(features: Tensor) -> Tensor:
    """K_p Psi^T Psi, ``(B, C, C)`` in fp32 (fp64 for fp64): the channels' autocorrelation, K_p = 1 / (C H W).

    The features are ``(B, C, H, W)``, in any precision and memory format.
    """
    with torch.autocast(features.device.type, enabled=False):
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        # Positions first: the layout that channels-last features have already.
        columns = features.permute(0, 2, 3, 1).flatten(1, 2)
        return columns.transpose(1, 2) @ columns / features[0].numel()


def style_loss(grams: Sequence[Tensor], truth_grams: Sequence[Tensor]) -> Tensor:
    """L_style: sum over p of |K_p (Psi^T Psi - Psi_gt^T Psi_gt)|_1 / (C_p C_p), averaged over the batch.

    Args:
        grams, truth_grams: what ``gram`` makes of each layer's features.
    """
    return _summed_distances(grams, truth_grams)


def gram_distance(features: Sequence[Tensor], truth_features: Sequence[Tensor], hole: Tensor) -> Tensor:
    """The distance of the Gram matrices inside the hole; a measure, which is not trained on.

    The sum over the layers of sum |G - G_truth| / sum |G_truth|, where G = (f w)(f w)^T for features f
    ``(channels, positions)`` and the hole w, averaged down to their size.

    Args:
        features, truth_features: of each layer, ``(B, C, h, w)``.
        hole: ``(B, 1, H, W)`` float, 1 = hole.

    Returns:
        ``(B,)``: 0 where they are equal; NaN where a layer of the truth is 0 in the hole.
    """
    total = torch.zeros(len(hole), device=hole.device)
    for layer, truth_layer in zip(features, truth_features, strict=True):
        weight = shrunk(hole, layer)
        weighted, truth_weighted = ((f.float() * weight).flatten(2) for f in (layer, truth_layer))
        matrix, truth_matrix = weighted @ weighted.mT, truth_weighted @ truth_weighted.mT
        size = truth_matrix.abs().sum((1, 2))
        total = total + (matrix - truth_matrix).abs().sum((1, 2)) / size.where(size > 0, torch.nan)
    return total


def _summed_distances(layers: Sequence[Tensor], truth_layers: Sequence[Tensor]) -> Tensor:
    """Sum over layers of the mean |difference|; half-precision layers are averaged in fp32."""
    distances = [(a - b).abs() for a, b in zip(layers, truth_layers, strict=True)]
    return torch.stack([d.mean(dtype=torch.promote_types(d.dtype, torch.float32)) for d in distances]).sum()


def total_variation_loss(filled: Tensor, valid: Tensor) -> Tensor:
    """L_tv: sum of |I_comp - neighbour| over horizontal and vertical neighbours within P, over N_Icomp.

    P is the hole dilated by one pixel (3 x 3); a pair counts where both of its pixels lie in P.

    Args:
        filled: I_comp.
    """
    region = F.max_pool2d((~valid).to(filled.dtype), 3, stride=1, padding=1) > 0
    inside = zero_holes(filled, region)
    across = zero_holes((inside[..., 1:] - inside[..., :-1]).abs(), region[..., 1:] & region[..., :-1])
    down = zero_holes((inside[..., 1:, :] - inside[..., :-1, :]).abs(), region[..., 1:, :] & region[..., :-1, :])
    return (across.sum() + down.sum()) / filled.numel()


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts, factors without a unit; the defaults are the paper's.

    Raises:
        ValueError: a weight is negative or not finite, or all are 0.
    """

    valid: float = 1.0
    """Of L_valid, the L1 error at known pixels (Liu et al., section 3.3)."""
    hole: float = 6.0
    """Of L_hole, the L1 error in holes (Liu et al., section 3.3)."""
    perceptual: float = 0.05
    """Of L_perceptual, the L1 distance of VGG-16's features (Liu et al., section 3.3)."""
    style: float = 120.0
    """Of both L_style_out and L_style_comp, distances of Gram matrices (Liu et al., section 3.3)."""
    tv: float = 0.1
    """Of L_tv, the total variation in holes dilated by one pixel (Liu et al., section 3.3)."""
    rim: float = 0.0
    """Of ``rim_loss`` (ours; weights by depth: also Yu et al. 2018; the distance: Charbonnier et al. 1994)."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        weights = astuple(self)
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
            raise ValueError(f"the loss needs weights that are 0 or more, and one above 0; got {self}")

    @property
    def needs_features(self) -> bool:
        """Whether VGG-16 has to be there."""
        return self.perceptual > 0 or self.style > 0


class InpaintingLoss(nn.Module):
    """The paper's total loss; terms of weight 0 are not computed.

    Args:
        weights: of the terms.
        features: VGG-16 with trained weights (``load_vgg``); may be None where no term needs it.
        balance: see ``hole_loss``; it makes small holes count beside large ones, in ``rim_loss`` too.
        composite_only: the perceptual and style terms compare I_comp alone, which saves one of three runs of VGG-16.
            The paper compares I_out too.
        rim_reach: ``reach`` of ``rim_weight``, px.
    """

    def __init__(
        self,
        weights: LossWeights,
        features: VGG16Features | None = None,
        balance: float = 0.0,
        composite_only: bool = False,
        rim_reach: float = 3.5,
    ) -> None:
        super().__init__()
        if weights.needs_features and features is None:
            raise ValueError("the perceptual and style terms need VGG-16's features: pass load_vgg(...)")
        self.weights, self.balance, self.composite_only = weights, balance, composite_only
        self.rim_reach = rim_reach
        self.features = features if weights.needs_features else None

    def forward(
        self, output: Tensor, truth: Tensor, valid: Tensor, distance: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted total, and each term, unweighted, by name.

        Args:
            output: I_out, the network's prediction for every pixel.
            truth: I_gt.
            valid: M, ``(B, 1, H, W)`` bool.
            distance: of each hole pixel to the nearest known one, px, ``(B, 1, H, W)``; ``rim`` needs it.

        Returns:
            The total with its gradient, and a subset of valid, hole, tv, rim, perceptual, style_out and style_comp.

        Raises:
            ValueError: ``rim`` counts, and there is no ``distance``.
        """
        weights = self.weights
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        filled = composite(truth, output, valid)
        terms: dict[str, Tensor] = {}
        if weights.valid:
            terms["valid"] = valid_loss(output, truth, valid)
        if weights.hole:
            terms["hole"] = hole_loss(output, truth, valid, self.balance)
        if weights.tv:
            terms["tv"] = total_variation_loss(filled, valid)
        if weights.rim:
            if distance is None:
                raise ValueError("the rim term needs each hole pixel's distance to the nearest known one")
            terms["rim"] = rim_loss(output, truth, valid, distance, self.rim_reach, self.balance)
        if self.features is not None:
            with torch.no_grad():
                truth_features = self.features(truth, POOLS)
            # One after the other: a pass over both together was up to a quarter slower on a CPU.
            features = {"comp": self.features(filled, POOLS)}
            if not self.composite_only:
                features["out"] = self.features(output, POOLS)
            if weights.perceptual:
                halves = [perceptual_loss(each, truth_features) for each in features.values()]
                terms["perceptual"] = torch.stack(halves).sum()
            if weights.style:
                truth_grams = [gram(layer) for layer in truth_features]
                for name, layers in features.items():
                    terms[f"style_{name}"] = style_loss([gram(layer) for layer in layers], truth_grams)
        # style_out and style_comp share the weight called style
        weight_of = asdict(weights)
        total = torch.stack([weight_of[name.partition("_")[0]] * term for name, term in terms.items()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}
