"""A first guess from empirical orthogonal functions of the training steps; the network corrects what it leaves.

With few steps to learn from, a network does not learn which far places vary together, and a covariance does. The guess
is the most probable combination of the modes for what is known (Bayesian least squares), with context as further
channels. Truth with gaps is filled first, by the guess itself, in a few rounds as in expectation maximisation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pconv.nn.surface import smooth_surface

ROUNDS, SMOOTH_ROUNDS = 30, 3
"""Fits of the modes to data with gaps, each on the fills of the one before. In the last ones, fills also get what the
modes leave, spread smoothly; this takes most of the time."""
MOST_VALUES = 16_000_000
"""Of all modes together: 32 MB in a model's file."""
MOST_MODES = 96
MOST_CELLS = 300_000_000
"""Of all training steps together; for more there is no guess."""
LEAST_STEPS = 12
"""With fewer steps there is no guess."""


@dataclass(frozen=True, eq=False)
class Modes:
    """Modes of windows of steps, in normalised units.

    Attributes:
        patterns: ``(K, C, H, W)``, orthonormal.
        variances: ``(K,)`` of their amplitudes, falling.
        noise: ``(C, H, W)`` variance that the modes leave.
        inflation: the noise counts so many times, because what the modes leave is correlated between cells.
    """

    patterns: Tensor
    variances: Tensor
    noise: Tensor
    inflation: float = 8.0

    def to(self, device: torch.device) -> Modes:
        """The same on a device."""
        parts = {name: getattr(self, name).to(device) for name in ("patterns", "variances", "noise")}
        return replace(self, **parts)

    def guess(self, image: Tensor, valid: Tensor) -> Tensor:
        """``(B, C, H, W)`` everywhere, from what is known of ``image``."""
        flat = self.patterns.flatten(1)
        weights = valid.flatten(1) / (self.noise.flatten() * self.inflation)
        known = torch.where(valid, image, 0).flatten(1)
        prior = torch.diag(1 / self.variances)
        guesses = []
        for each, weight in zip(known, weights, strict=True):
            weighted = flat * weight
            amplitudes = torch.linalg.solve(weighted @ flat.T + prior, weighted @ each)
            guesses.append(amplitudes @ flat)
        return torch.stack(guesses).view_as(image)


def most_modes(windows: Tensor) -> int:
    """How many modes ``windows`` ``(T, C, H, W)`` can have: 0 where there are too few steps or too many cells."""
    steps, size = len(windows), windows[0].numel()
    count = min(MOST_MODES, steps - 2, MOST_VALUES // size)
    return 0 if steps < LEAST_STEPS or count < 4 or windows.numel() > MOST_CELLS else count


def fit_modes(windows: Tensor, valid: Tensor, count: int) -> tuple[Modes, Tensor]:
    """``count`` modes of ``windows`` ``(T, C, H, W)``, known where ``valid``, and the windows with gaps filled.

    With gaps, fewer modes are often better: what is filled is fitted again, and with it its noise.
    """
    if bool(valid.all()):
        return _decompose(windows, count), windows
    filled = _smooth(windows, valid)
    modes = _decompose(filled, count)
    for number in range(ROUNDS):
        guess = modes.guess(windows, valid)
        if number >= ROUNDS - SMOOTH_ROUNDS:
            guess = guess + _smooth(torch.where(valid, windows - guess, 0), valid)
        filled = torch.where(valid, windows, guess)
        modes = _decompose(filled, count)
    return modes, filled


def _decompose(windows: Tensor, count: int) -> Modes:
    table = windows.flatten(1)
    values, vectors = torch.linalg.eigh((table @ table.T).double())
    values, vectors = values.flip(0)[:count].clamp(min=1e-9), vectors.flip(1)[:, :count]
    patterns = (vectors.T.float() @ table) / values.sqrt().float()[:, None]
    patterns = patterns.view(count, *windows.shape[1:])
    return Modes(patterns, (values / len(table)).float(), _noise(windows, patterns))


def _noise(windows: Tensor, patterns: Tensor) -> Tensor:
    table, flat = windows.flatten(1), patterns.flatten(1)
    left = table - (table @ flat.T) @ flat
    variance = (left**2).mean(0)
    least = 0.05 * variance.mean() + 1e-6
    return variance.clamp(min=float(least)).view(patterns.shape[1:])


def _smooth(windows: Tensor, valid: Tensor) -> Tensor:
    """Gaps filled by the smooth surface; 0 is the mean where nothing is known."""
    height, width = windows.shape[2:]
    levels = max(1, (max(height, width) - 1).bit_length())
    around = (0, -width % 2**levels, 0, -height % 2**levels)
    image = torch.nn.functional.pad(torch.where(valid, windows, 0), around)
    known = torch.nn.functional.pad(valid, around)
    parts = zip(torch.split(image, 16), torch.split(known, 16), strict=True)
    return torch.cat([smooth_surface(i, k, levels) for i, k in parts])[..., :height, :width]
