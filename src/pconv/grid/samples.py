"""What training sees: the series, its blocks of time, and steps whose known cells are hidden by gaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pconv.errors import InputError
from pconv.grid import gaps
from pconv.grid.axes import Bools, Grid
from pconv.grid.model import GridModel, neighbours, offsets, stack
from pconv.grid.modes import Modes
from pconv.grid.network import halo, wrap
from pconv.grid.normalise import Fields
from pconv.grid.times import Times

VISIBLE_WEIGHT = 0.1
"""Of known cells that are not hidden, in the loss."""
TRAIN_HALO = 24
"""Columns that are wrapped around in training; a fill wraps the whole receptive field."""
CROP = 160
"""Rows and columns of a training sample, at most."""
BLOCKS = 3
"""Held-out blocks of time, of each kind, spread over the series."""
WITHOUT_STEP = 0.05
"""With context, the step itself is hidden wholly in this share of the samples."""
CASE_CELLS = 4_000_000
"""Cells of all held-out cases together: large grids are measured on fewer cases."""
PATTERNS = 4
"""Gap patterns for each held-out step."""


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Attributes:
        context: steps before and after that become channels.
        anomalies: from the monthly climatology; None takes them where the data suffices.
        modes: whether a first guess from modes of the training steps is tried.
        gaps: "own", "made", or None: own where the data has any.
        steps: of the optimiser, at most.
        minutes: of training, at most; the learning rate falls with whichever is nearer, steps or time.
        batch, lr: of the optimiser, AdamW.
        width: multiplies the network's features.
        patience: validations without a gain before training stops early.
        seed: of weights, gaps and order.
        device: where to compute.
    """

    context: int = 0
    anomalies: bool | None = None
    gaps: str | None = None
    modes: bool = True
    steps: int = 4000
    minutes: float = 12.0
    batch: int = 12
    lr: float = 2e-3
    width: float = 1.0
    patience: int = 12
    validate_every: int = 100
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class Data:
    """A whole series in memory: values ``(T, V, H, W)``, NaN where missing, and the value that the user named so."""

    values: Fields
    times: Times
    grid: Grid
    variables: tuple[str, ...]
    units: tuple[str, ...]
    missing: float | None = None


@dataclass(frozen=True, eq=False)
class Split:
    """Which steps are for what. The blocks are whole stretches of time, never random steps."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    calibration: NDArray[np.int64]

    def sentence(self) -> str:
        """What is held out, in words."""
        if not len(self.validation):
            return "the series is too short to hold out a block of time: its own steps are measured, with other gaps"
        shown = " and ".join(
            f"{_ranges(steps)} {why}"
            for steps, why in ((self.validation, "for early stopping"), (self.calibration, "for the error estimate"))
        )
        return f"held out as blocks of time, never as random steps: {shown}"


def split_blocks(total: int, context: int) -> Split:
    """A tenth of the steps for validation and a tenth for the error estimate, each as up to three blocks of time.

    Steps whose context would reach into a block are not trained on either.
    """
    each = max(1, round(total / 10))
    if total < 5:
        none = np.empty(0, np.int64)
        return Split(np.arange(total), none, none)
    blocks = min(BLOCKS, each)
    use = np.zeros(total, np.int64)
    for number in range(2 * blocks):
        middle = (number + 0.5) * total / (2 * blocks)
        first = int(min(max(round(middle - each / blocks / 2), 0), total - 1))
        use[first : max(first + round(each / blocks), first + 1)] = 1 + number % 2
    held = use > 0
    near = np.array([held[max(0, t - context) : t + context + 1].any() for t in range(total)])
    return Split(np.flatnonzero(~near), np.flatnonzero(use == 1), np.flatnonzero(use == 2))


def _ranges(steps: NDArray[np.int64]) -> str:
    parts = np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1)
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)


def choose_patterns(
    data: Data,
    domain: Bools,
    split: Split,
    options: TrainOptions,
    patterns: Bools | None,
    note: Callable[[str], None],
) -> gaps.Pattern:
    """Which cells are hidden: a file's patterns, the data's own, or made ones."""
    steps = 1 + 2 * options.context
    if patterns is not None:
        note(f"hiding cells with the {len(patterns)} patterns of the file")
        return gaps.listed_gaps(patterns, steps)
    missing = ~np.isfinite(data.values[split.train])
    has_own = gaps.has_own_gaps(missing, domain)
    if options.gaps == "own" and not has_own:
        raise InputError(
            "the data has no gaps of its own to train with (at least four steps with some); use --gaps made"
        )
    if options.gaps != "made" and has_own:
        note("hiding cells with the data's own gaps of other steps")
        return gaps.own_gaps(missing, domain, steps, shift=data.grid.periodic)
    note("hiding cells with made gaps: sparse networks, orbital gaps, clouds and rectangles")
    return gaps.made_gaps(len(data.variables), data.grid.shape, steps, data.grid.periodic)


class Batch:
    """Input, its validity, the truth, and how much each cell counts in the loss; ``(B, C or V, H, W)``."""

    def __init__(self, image: Tensor, valid: Tensor, truth: Tensor, weight: Tensor) -> None:
        self.image, self.valid, self.truth, self.weight = image, valid, truth, weight


class Sampler:
    """Draws training batches: steps at random, cells hidden by gap patterns of other times."""

    def __init__(
        self, data: Data, model: GridModel, steps: NDArray[np.int64], draw: gaps.Pattern, options: TrainOptions
    ) -> None:
        self.random = np.random.default_rng(options.seed)
        self.draw, self.steps, self.options, self.grid = draw, steps, options, data.grid
        self.linked = data.times.linked
        normal = torch.from_numpy(model.normalisation.normal(data.values, data.times.months))
        self.valid = torch.isfinite(normal)
        self.normal = torch.where(self.valid, normal, 0)
        self.usable = steps[self.valid[torch.from_numpy(steps)].flatten(1).any(1).numpy()]
        self.area = torch.from_numpy(data.grid.area)
        self.halo = min(halo(model.network.config), TRAIN_HALO) if data.grid.periodic else 0
        self.variables = len(data.variables)
        self.folds: list[tuple[NDArray[np.int64], Modes]] = []

    def windows(self, steps: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The network's channels for ``steps``, as they are known."""
        return stack(self.normal, self.valid, *neighbours(self.linked, steps.tolist(), self.options.context))

    def batch(self) -> Batch:
        steps = self.random.choice(self.usable, self.options.batch)
        index, usable = neighbours(self.linked, steps.tolist(), self.options.context)
        image, valid = stack(self.normal, self.valid, index, usable)
        truth, observed = image[:, : self.variables], valid[:, : self.variables]
        hidden = torch.from_numpy(np.stack([hide(self.draw, self.random, self.options.context) for _ in steps]))
        shown = valid & ~hidden
        empty = ~shown.flatten(1).any(1)
        shown[empty] = valid[empty]  # nothing would be left to see
        lost = observed & ~shown[:, : self.variables]
        weight = self.area * (lost + VISIBLE_WEIGHT * (observed & ~lost))
        if self.folds:
            guess = torch.cat([self._guess(int(s), image[i, None], shown[i, None]) for i, s in enumerate(steps)])
            image, truth = image - guess, truth - guess[:, : self.variables]
        return self._cut(image, shown, truth, weight)

    def _guess(self, step: int, image: Tensor, shown: Tensor) -> Tensor:
        """By modes that were fitted without the step, so that training sees guesses as good as later ones."""
        modes = next(modes for steps, modes in self.folds if step in steps)
        return modes.guess(image, shown)

    def _cut(self, image: Tensor, valid: Tensor, truth: Tensor, weight: Tensor) -> Batch:
        """Halo where periodic; a random part of large grids."""
        if self.halo:
            image, valid, truth, weight = (wrap(each, self.halo) for each in (image, valid, truth, weight))
            weight[..., : self.halo] = 0
            weight[..., -self.halo :] = 0
        rows, columns = image.shape[-2:]
        if rows > CROP or columns > CROP + 2 * self.halo:
            high, wide = min(rows, CROP), min(columns, CROP)
            top, left = int(self.random.integers(rows - high + 1)), int(self.random.integers(columns - wide + 1))
            cut = (..., slice(top, top + high), slice(left, left + wide))
            image, valid, truth, weight = (each[cut] for each in (image, valid, truth, weight))
        device = self.options.device
        return Batch(image.to(device), valid.to(device), truth.to(device), weight.to(device))


def hide(draw: gaps.Pattern, random: np.random.Generator, context: int) -> Bools:
    """One pattern in the order of the channels, ``((1 + 2 context) V, H, W)``."""
    pattern = draw(random)[context + offsets(context)].copy()
    if context and random.random() < WITHOUT_STEP:
        pattern[0] = True
    return pattern.reshape(-1, *pattern.shape[2:])


@dataclass(frozen=True, eq=False)
class Case:
    """A held-out step with a gap pattern: input ``(C, H, W)``, its validity, and the cells that were hidden."""

    step: int
    image: Tensor
    valid: Tensor
    truth: Tensor
    hidden: Tensor


def held_out_cases(
    data: Data, model: GridModel, steps: NDArray[np.int64], draw: gaps.Pattern, seed: int, most: int = 96
) -> list[Case]:
    """Each of ``steps`` with some gap patterns, always the same for one seed."""
    random = np.random.default_rng(seed)
    normal = torch.from_numpy(model.normalisation.normal(data.values, data.times.months))
    valid = torch.isfinite(normal)
    normal = torch.where(valid, normal, 0)
    cases = []
    fit = max(4, CASE_CELLS // data.values[0].size)
    chosen = random.permutation(np.repeat(steps, PATTERNS))[: min(most, fit)]
    for step in chosen:
        index, usable = neighbours(data.times.linked, [int(step)], model.context)
        image, known = stack(normal, valid, index, usable)
        shown = known[0] & ~torch.from_numpy(hide(draw, random, model.context))
        observed = known[0, : len(data.variables)]
        hidden = observed & ~shown[: len(data.variables)]
        if hidden.any() and shown.any():
            cases.append(Case(int(step), image[0], shown, image[0, : len(data.variables)], hidden))
    if not cases:
        raise InputError(
            "no known cell can be hidden to measure with: the gaps are the same in every step; use --gaps made"
        )
    return cases
