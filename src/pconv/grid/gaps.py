"""Patterns of gaps to train and to measure with: the data's own from other steps, made ones, or those of a file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pconv.grid.axes import Bools

Pattern = Callable[[np.random.Generator], Bools]
"""Draws ``(K, V, H, W)``: True where cells of K steps that follow each other are hidden."""

ENOUGH = 0.01
"""The data has gaps of its own where this share of the domain is missing in the middle step."""


def own_gaps(missing: Bools, domain: Bools, steps: int, shift: bool) -> Pattern:
    """The gaps of the data itself, from a random time; moved along x where ``shift`` says so.

    Args:
        missing: ``(T, V, H, W)``.
        domain: ``(V, H, W)``: gaps outside it are no gaps.
        steps: K.
    """
    gaps = missing & domain
    shares = gaps.mean((1, 2, 3)) / max(domain.mean(), 1e-9)
    usable = np.flatnonzero((shares >= ENOUGH) & (shares <= 0.98))
    if not len(usable):
        raise ValueError("no step has gaps")

    def draw(random: np.random.Generator) -> Bools:
        middle = int(random.choice(usable))
        around = np.arange(middle - steps // 2, middle + steps // 2 + 1).clip(0, len(gaps) - 1)
        chosen = gaps[around]
        return np.asarray(np.roll(chosen, int(random.integers(chosen.shape[-1])), axis=-1) if shift else chosen)

    return draw


def has_own_gaps(missing: Bools, domain: Bools) -> bool:
    """Whether the data has gaps that can serve as patterns: at least four steps with some."""
    shares = (missing & domain).mean((1, 2, 3)) / max(domain.mean(), 1e-9)
    return int(((shares >= ENOUGH) & (shares <= 0.98)).sum()) >= 4


def made_gaps(variables: int, shape: tuple[int, int], steps: int, periodic: bool) -> Pattern:
    """Sparse networks, orbital gaps, cloud blobs and rectangles; the variables are hidden together."""

    def draw(random: np.random.Generator) -> Bools:
        kind = KINDS[int(random.integers(len(KINDS)))]
        maps = kind(random, shape, steps, periodic)
        return np.repeat(maps[:, None], variables, axis=1)

    return draw


def listed_gaps(patterns: Bools, steps: int) -> Pattern:
    """Those of ``patterns`` ``(N, V, H, W)``, from a random place on."""

    def draw(random: np.random.Generator) -> Bools:
        return patterns[(int(random.integers(len(patterns))) + np.arange(steps)) % len(patterns)]

    return draw


def sparse(random: np.random.Generator, shape: tuple[int, int], steps: int, periodic: bool) -> Bools:
    """All but the cells of a network of stations, of which some fail in each step."""
    share = np.exp(random.uniform(np.log(0.02), np.log(0.6)))
    stations = random.random(shape) < share
    stations.flat[random.integers(stations.size, size=3)] = True
    return np.asarray(~(stations & (random.random((steps, *shape)) < random.uniform(0.7, 1.0))))


def orbital(random: np.random.Generator, shape: tuple[int, int], steps: int, periodic: bool) -> Bools:
    """Slanted stripes between the swaths of a satellite, which move from step to step."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    period = float(random.uniform(max(4, width / 8), max(6, width / 1.5)))
    if periodic:
        period = width / max(1, round(width / period))
    gap, slant = random.uniform(0.2, 0.8), random.uniform(-0.8, 0.8)
    starts = random.uniform(0, period, steps)[:, None, None]
    return np.asarray((x + slant * y + starts) % period < gap * period)


def clouds(random: np.random.Generator, shape: tuple[int, int], steps: int, periodic: bool) -> Bools:
    """Blobs of a size that is drawn too, other ones in each step."""
    size = float(np.exp(random.uniform(np.log(1.0), np.log(max(1.5, min(shape) / 4)))))
    share = random.uniform(0.1, 0.9)
    return np.stack([_smooth_noise(random, shape, size) < share for _ in range(steps)])


def rectangle(random: np.random.Generator, shape: tuple[int, int], steps: int, periodic: bool) -> Bools:
    """A part of the region that nothing observes, up to two thirds of each side, in all of the steps."""
    hidden = np.zeros(shape, bool)
    high, wide = (max(1, int(random.uniform(0.15, 0.7) * side)) for side in shape)
    top, left = int(random.integers(shape[0] - high + 1)), int(random.integers(shape[1]))
    columns = (
        np.arange(left, left + wide) % shape[1] if periodic else np.arange(min(left, shape[1] - wide), left + wide)
    )
    hidden[top : top + high, columns[columns < shape[1]]] = True
    return np.repeat(hidden[None], steps, axis=0)


KINDS = (sparse, orbital, clouds, clouds, rectangle)
"""Clouds come twice as often as the others."""


def _smooth_noise(random: np.random.Generator, shape: tuple[int, int], size: float) -> NDArray[np.float64]:
    """``shape`` of ranks in 0..1 of noise that is smooth over ``size`` cells, by Fourier transform."""
    spectrum = np.fft.rfft2(random.standard_normal(shape))
    y, x = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    smooth = np.fft.irfft2(spectrum * np.exp(-2 * (np.pi * size) ** 2 * (y**2 + x**2)), shape)
    ranks = np.empty(smooth.size)
    ranks[np.argsort(smooth, axis=None)] = np.arange(smooth.size) / smooth.size
    return ranks.reshape(shape)
