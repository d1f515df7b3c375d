"""The terms that make texture: they compare a fill with the truth as a kind of material, not pixel by pixel.

Where nothing can be known, the best guess of each pixel is a mean, which is fog. These terms ask for the right
distribution of features instead. The network needs noise inputs (``UNetConfig.noise_levels``) to make texture from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pconv.nn.unet import composite
from pconv.training.discriminators import FeatureDiscriminators, PatchDiscriminator, hinge_loss, score_at_hole
from pconv.training.features import VGG16Features, shrunk

POOLS = 2
"""Of VGG-16 that the terms use."""

PATCH_REACH, FEATURE_REACH = 9, 5
"""``reach`` of ``hinge_loss`` for the patch discriminator and the feature discriminators, px."""

LEAST_GRADIENT = 4e-3
"""A neighbour difference of one level of 255: smaller means count as this in ``gradient_distance``."""

TO_YCBCR = ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))


@dataclass(frozen=True)
class TextureWeights:
    """How much each term counts, factors without a unit; the defaults are the bundled model's.

    Raises:
        ValueError: a weight is negative or not finite, or perceptual_reach is 0.
    """

    perceptual: float = 0.2
    """L1 distance of VGG-16's pool1 and pool2 (Johnson et al. 2016; L1 and pools: Liu et al., section 3.3) between
    composite and truth, weighted by 1 / (1 + depth in the hole / perceptual_reach), which is ours."""
    perceptual_reach: float = 8.0
    """The depth in the hole, px, at which a feature counts half in perceptual (ours)."""
    sliced_wasserstein: float = 0.12
    """Of ``sliced_wasserstein_distance`` (Heitz et al. 2021; drawing places in the hole is ours)."""
    gradients: float = 0.01
    """Of ``gradient_distance`` (ours)."""
    adversarial: float = 0.06
    """Of the patch discriminator's score (patches: Isola et al. 2017; hinge loss: Lim and Ye 2017)."""
    feature_matching: float = 0.5
    """L1 distance of the patch discriminator's features between composite and truth (pix2pixHD: Wang et al. 2018)."""
    feature_adversarial: float = 0.03
    """Of the feature discriminators' scores (discriminators on features of a trained network: Sauer et al. 2021)."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    @property
    def needs_features(self) -> bool:
        """Whether VGG-16 has to be there."""
        return bool(self.perceptual or self.sliced_wasserstein or self.feature_adversarial)

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value >= 0 for value in astuple(self)) or not self.perceptual_reach:
            raise ValueError(
                f"weights of the texture terms must be 0 or more, and perceptual_reach above 0; got {self}"
            )


def sliced_wasserstein_distance(
    features: Sequence[Tensor], truth_features: Sequence[Tensor], hole: Tensor, points: int = 384, directions: int = 48
) -> Tensor:
    """How far the distributions of features inside the hole are apart, summed over the layers.

    ``points`` positions are drawn in the hole from the fill, and as many from the truth. Their features are projected
    on random directions and sorted (Rabin et al. 2011; Heitz et al. 2021 for texture). The mean |difference| is
    divided by the truth's mean magnitude. Images count by their share of hole.

    Args:
        features, truth_features: of each layer, ``(B, C, h, w)``.
        hole: ``(B, 1, H, W)`` float, 1 = hole.
    """
    total = torch.zeros((), device=hole.device)
    with torch.autocast(hole.device.type, enabled=False):
        for layer, truth_layer in zip(features, truth_features, strict=True):
            share = shrunk(hole, layer).flatten(1)
            axes = torch.randn(layer.shape[1], directions, device=hole.device)
            axes = axes / axes.norm(dim=0)
            fill, truth = (
                _projected(each, torch.multinomial(share + 1e-7, points, replacement=True), axes)
                for each in (layer, truth_layer.detach())
            )
            distance = (fill - truth).abs().mean((1, 2)) / truth.abs().mean((1, 2)).clamp(min=0.01)
            weight = share.mean(1)
            total = total + (distance * weight).sum() / weight.sum().clamp(min=1e-6)
    return total


def _projected(features: Tensor, places: Tensor, axes: Tensor) -> Tensor:
    """Features ``(B, C, h, w)`` at ``places`` ``(B, N)`` along ``axes`` ``(C, K)``, sorted: ``(B, N, K)``."""
    columns = features.flatten(2).transpose(1, 2).float()
    chosen = columns.gather(1, places[..., None].expand(-1, -1, columns.shape[2]))
    return (chosen @ axes).sort(1)[0]


def gradient_distance(filled: Tensor, truth: Tensor, hole: Tensor, points: int = 512) -> Tensor:
    """How far the distributions of neighbour differences inside the hole are apart: it acts against coloured speckle.

    The Wasserstein distance, in one dimension, of ``points`` differences for each of Y, Cb and Cr, horizontal and
    vertical, divided by the truth's mean magnitude. Images count by their share of hole.

    Args:
        filled, truth: ``(B, 3, H, W)`` RGB with values in 0..1.
        hole: ``(B, 1, H, W)`` float, 1 = hole.
    """
    with torch.autocast(hole.device.type, enabled=False):  # differences of one level of 255 vanish in bf16
        colours = [_ycbcr(image.float()) for image in (filled, truth)]
    total = torch.zeros((), device=hole.device)
    for dim in (2, 3):
        length = hole.shape[dim] - 1
        inside = (hole.narrow(dim, 1, length) * hole.narrow(dim, 0, length)).flatten(1)
        samples = []
        for image in colours:
            places = torch.multinomial(inside + 1e-7, points, replacement=True)[:, None].expand(-1, 3, -1)
            steps = image.diff(dim=dim).flatten(2)
            samples.append(steps.gather(2, places).sort(2)[0])
        fill, wanted = samples
        relative = (fill - wanted).abs().mean(2) / wanted.abs().mean(2).clamp(min=LEAST_GRADIENT)
        weight = inside.mean(1)
        total = total + (relative.clamp(max=4).mean(1) * weight).sum() / weight.sum().clamp(min=1e-3) / 2
    return total


def _ycbcr(image: Tensor) -> Tensor:
    red, green, blue = image.unbind(1)
    return torch.stack([r * red + g * green + b * blue for r, g, b in TO_YCBCR], 1)


def draw_windows(hole: Tensor) -> Callable[[Tensor], Tensor]:
    """Draw, for each image, a window of half its size around a random hole pixel.

    VGG-16's features of the whole image would cost four times as much, and most of them would be known.

    Args:
        hole: ``(B, 1, H, W)`` float, 1 = hole.

    Returns:
        A function that cuts the windows: from ``(B, C, H, W)`` to ``(B, C, H // 2, W // 2)``.
    """
    height, width = hole.shape[2:]
    tall, wide = height // 2, width // 2
    # torch.multinomial would wait for the GPU, and so would corners as Python's numbers.
    chances = hole.flatten(1) + 1e-7
    middle = (chances / torch.empty_like(chances).exponential_()).argmax(1)
    # The pixel lies somewhere in the window's inner half, not always in its centre.
    shift = [
        torch.randint(-(length // 4), length // 4 + 1, middle.shape, device=hole.device) for length in (tall, wide)
    ]
    tops = (middle // width - tall // 2 + shift[0]).clamp(0, height - tall)
    lefts = (middle % width - wide // 2 + shift[1]).clamp(0, width - wide)
    rows = (tops[:, None] + torch.arange(tall, device=hole.device))[:, None, :, None]
    columns = (lefts[:, None] + torch.arange(wide, device=hole.device))[:, None, None, :]

    def cut(images: Tensor) -> Tensor:
        channels = images.shape[1]
        lines = images.gather(2, rows.expand(-1, channels, -1, width))
        return lines.gather(3, columns.expand(-1, channels, tall, -1))

    return cut


class TextureLoss(nn.Module):
    """The weighted sum of the texture terms, with the discriminators that three of them need.

    Each call first trains the discriminators by one step, so it belongs into a training step. They take that step
    where their own gradients are finite, whatever becomes of the network's. A term of weight 0 is not computed,
    and a discriminator that no term needs is not there.

    Args:
        weights: of the terms.
        features: VGG-16 with trained weights, two blocks at least; None where ``weights`` need none.
        average: where many processes train, gives a tensor's mean over them, for the discriminators' gradients.

    Raises:
        ValueError: VGG-16 is missing or has fewer blocks.
    """

    def __init__(
        self,
        weights: TextureWeights,
        features: VGG16Features | None,
        average: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if weights.needs_features and (features is None or features.blocks < POOLS):
            got = features.blocks if features else 0
            raise ValueError(f"the texture terms on features need {POOLS} blocks of VGG-16, got {got}")
        self.weights, self._average = weights, average
        self.features = features if weights.needs_features else None
        self.patches = PatchDiscriminator() if weights.adversarial or weights.feature_matching else None
        self.on_features = FeatureDiscriminators() if weights.feature_adversarial else None
        judges = self._judges()
        self.optimizer = torch.optim.AdamW(judges, lr=0.0, betas=(0.5, 0.99), weight_decay=1e-4) if judges else None

    def _judges(self) -> list[nn.Parameter]:
        return [parameter for each in (self.patches, self.on_features) if each for parameter in each.parameters()]

    def set_lr(self, lr: float) -> None:
        """Of the discriminators."""
        for group in self.optimizer.param_groups if self.optimizer else ():
            group["lr"] = lr

    def saved_state(self) -> dict[str, Any]:
        """The discriminators and their optimiser, for ``restore``."""
        return {name: part.state_dict() for name, part in self._parts()}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what ``saved_state`` gave.

        Raises:
            RuntimeError, ValueError, KeyError: it is the state of other discriminators.
        """
        for name, part in self._parts():
            part.load_state_dict(state[name])

    def _parts(self) -> Iterator[tuple[str, Any]]:
        """What has a state: the discriminators and their optimiser."""
        for name in ("patches", "on_features", "optimizer"):
            if getattr(self, name) is not None:
                yield name, getattr(self, name)

    def forward(
        self, output: Tensor, truth: Tensor, valid: Tensor, distance: Tensor, readiness: float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Train the discriminators by one step; give the weighted total for the network, and each term by name.

        Args:
            output: I_out, ``(B, 3, H, W)``, values in 0..1.
            truth: I_gt.
            valid: M, ``(B, 1, H, W)`` bool.
            distance: of each hole pixel to the nearest known one, px, ``(B, 1, H, W)``.
            readiness: 0 to 1, how far the discriminators' warm-up is; their terms count so much, and those on
                features only from 1 on.
        """
        weights = self.weights
        hole = (~valid).float()
        filled = composite(truth, output.float(), valid)
        cut = draw_windows(hole)
        inside, seen, wanted = cut(hole), cut(filled), cut(truth)
        pooled: list[Tensor] = []
        truth_pooled: list[Tensor] = []
        if self.features:
            pooled, unpooled = self.features.around_pools(seen, POOLS)
            with torch.no_grad():
                truth_pooled, truth_unpooled = self.features.around_pools(wanted, POOLS)

        judges: dict[str, Tensor] = {}
        real_features: list[Tensor] = []
        if self.optimizer:
            judges, real_features = self._train_judges(truth, filled.detach(), hole, truth_pooled, pooled, inside)

        # What follows trains the network alone.
        for parameter in self._judges():
            parameter.requires_grad_(False)
        terms: dict[str, tuple[float, Tensor]] = {}
        if self.patches:
            scores, filled_features = self.patches(filled, hole)
            if weights.adversarial:
                terms["adversarial"] = readiness * weights.adversarial, -score_at_hole(scores, hole, PATCH_REACH)
            if weights.feature_matching:
                pairs = zip(filled_features, real_features, strict=True)
                matching = torch.stack([(a.float() - b.float()).abs().mean() for a, b in pairs]).mean()
                terms["feature_matching"] = readiness * weights.feature_matching, matching
        if self.on_features:
            feature_scores = [score_at_hole(each, inside, FEATURE_REACH) for each in self.on_features(pooled, inside)]
            terms["feature_adversarial"] = (
                (readiness >= 1) * weights.feature_adversarial,
                -torch.stack(feature_scores).mean(),
            )
        for parameter in self._judges():
            parameter.requires_grad_(True)
        if weights.perceptual:
            near = 1 / (1 + cut(distance.float()) / weights.perceptual_reach)
            each_pool = [
                ((a.float() - b.float()).abs() * shrunk(near, a)).mean()
                for a, b in zip(pooled, truth_pooled, strict=True)
            ]
            terms["texture_perceptual"] = weights.perceptual, torch.stack(each_pool).sum()
        if weights.sliced_wasserstein:
            distance_of_features = sliced_wasserstein_distance(unpooled, truth_unpooled, inside)
            terms["sliced_wasserstein"] = weights.sliced_wasserstein, distance_of_features
        if weights.gradients:
            terms["gradients"] = weights.gradients, gradient_distance(seen, wanted, inside)

        total = sum((weight * term for weight, term in terms.values()), torch.zeros((), device=truth.device))
        named = judges | {name: term for name, (_, term) in terms.items()}
        return total, {name: term.detach() for name, term in named.items()}

    def _train_judges(
        self,
        truth: Tensor,
        filled: Tensor,
        hole: Tensor,
        truth_pooled: Sequence[Tensor],
        pooled: Sequence[Tensor],
        inside: Tensor,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """One step of the discriminators; their losses, and the patch discriminator's features of the truth."""
        losses: dict[str, Tensor] = {}
        real_features: list[Tensor] = []
        if self.patches:
            real, real_features = self.patches(truth, hole)
            fake, _ = self.patches(filled, hole)
            losses["patch_discriminator"] = hinge_loss(real, fake, hole, PATCH_REACH)
        if self.on_features:
            pairs = zip(
                self.on_features(truth_pooled, inside),
                self.on_features([each.detach() for each in pooled], inside),
                strict=True,
            )
            each_pool = [hinge_loss(real, fake, inside, FEATURE_REACH) for real, fake in pairs]
            losses["feature_discriminators"] = torch.stack(each_pool).mean()
        assert self.optimizer
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(truth.device.type, enabled=False):
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in self._judges() if parameter.grad is not None]
        if self._average:
            mean = self._average(torch.cat([gradient.flatten() for gradient in gradients]))
            parts = torch.split(mean, [gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
        if bool(nn.utils.get_total_norm(gradients).isfinite()):
            self.optimizer.step()
        return losses, [each.detach() for each in real_features]
