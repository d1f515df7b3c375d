"""Muon: momentum whose update of each convolution weight is made orthogonal."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients a, b, c of X <- a X + b (X X^T) X + c (X X^T)^2 X, which takes singular values to about 1."""

STEPS = 5
"""Iterations of it; more change little."""

UPDATE_SCALE = 0.2
"""The update's root mean square becomes about this, as in Adam, so that learning rates of Adam fit."""


def orthogonalized(matrices: Tensor, steps: int = STEPS) -> Tensor:
    """The nearest orthogonal matrices, approximately: U V^T of each singular value decomposition U S V^T.

    Newton-Schulz iteration (Jordan et al., Muon, 2024, https://kellerjordan.github.io/posts/muon). Every iterate is
    P X with a polynomial P of X X^T, so that only P is iterated: the long side of X counts twice, not ten times.
    It is computed in float32. bfloat16, as in the source, is emulated on many processors, 20 times slower.

    Args:
        matrices: ``(N, rows, columns)``, of any floating-point dtype.
        steps: iterations.

    Returns:
        ``(N, rows, columns)`` float32, singular values between about 0.7 and 1.2.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).float()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    gram = x @ x.mT
    identity = torch.eye(gram.shape[-1], device=x.device)
    product = identity
    for _ in range(steps):
        factor = a * identity + b * gram + c * (gram @ gram)
        product = factor @ product
        gram = factor @ gram @ factor
    result: Tensor = product @ x
    return result.mT if tall else result


class Muon(torch.optim.Optimizer):
    """Stochastic gradient descent whose Nesterov momentum is orthogonalized, for convolution weights.

    A weight ``(out, in, k, k)`` counts as a matrix of ``out`` rows and ``in * k * k`` columns. With the gradient G:

        M <- m M + (1 - m) G
        W <- (1 - lr * decay) W - lr * 0.2 * sqrt(max(rows, columns)) * orthogonalized((1 - m) G + m M)

    ``torch.optim.Muon`` takes matrices only. Source: Jordan et al. 2024; the scale is that of Liu et al. 2025
    (arXiv 2502.16982).

    Args:
        parameters: weights of two or more dimensions.
        lr: learning rate, larger than 0.
        weight_decay: decay per step, times the learning rate.
        momentum: m, in 0..1.

    Raises:
        ValueError: a parameter has fewer than two dimensions.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 1e-4, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        for group in self.param_groups:
            if any(weight.ndim < 2 for weight in group["params"]):
                raise ValueError("Muon takes weights of two or more dimensions; give biases and norms to AdamW")

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update all weights that have a gradient."""
        for group in self.param_groups:
            momentum = group["momentum"]
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - momentum)
                direction = weight.grad.lerp(state["momentum"], momentum).flatten(1)
                by_shape.setdefault(weight.shape, []).append((weight, direction))
            # Weights of one shape are one batch of matrices: small matrices alone would wait for each other.
            for pairs in by_shape.values():
                updates = orthogonalized(torch.stack([direction for _, direction in pairs]))
                scale = group["lr"] * UPDATE_SCALE * max(updates.shape[-2:]) ** 0.5
                for (weight, _), update in zip(pairs, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.sub_(update.view_as(weight), alpha=scale)
