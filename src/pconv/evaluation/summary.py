"""From single scores to means per cell with intervals, and paired differences to our model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pconv.evaluation.methods import Method
from pconv.evaluation.protocol import CELLS, Cell, Pair
from pconv.evaluation.runner import Score
from pconv.evaluation.statistics import Estimate, estimate, verdict
from pconv.masks.strokes import RATIO_BINS


class Metric(NamedTuple):
    """A column of per_image.csv: its name, its title, how many digits it needs, and which values are better.

    A metric whose ``best`` is None describes a fill; methods are not compared by it.
    """

    name: str
    title: str
    digits: int
    best: Literal["high", "low"] | None
    meaning: str


METRICS = (
    Metric("l1", "l1 %", 2, "low", "mean absolute difference, % of the value range; lower is better"),
    Metric("psnr", "PSNR dB", 2, "high", "higher is better"),
    Metric("ssim", "SSIM", 3, "high", "Gaussian window 11, sigma 1.5; 1 is equal"),
    Metric("l1_hole", "l1 % (hole)", 2, "low", "over the hole's pixels alone"),
    Metric("psnr_hole", "PSNR dB (hole)", 2, "high", "over the hole's pixels alone"),
    Metric("ssim_hole", "SSIM (hole)", 3, "high", "mean of the SSIM map over the hole's pixels"),
    Metric("vgg", "VGG distance", 4, "low", "pool1 + pool2 of VGG-16, mean absolute difference; lower is better"),
    Metric("gram", "Gram distance", 3, "low", "Gram matrices of pool1 and pool2 in the hole; lower is better"),
    Metric("lpips", "LPIPS", 4, "low", "Zhang et al. 2018, VGG-16; lower is better"),
    Metric("sharpness", "sharpness", 2, None, "gradients in the hole over the truth's; no quality: noise raises it"),
)


@dataclass
class Results:
    """All scores of a run.

    Attributes:
        pairs, methods: in their order; the first method that is ours is what others are compared to.
        scores: by the method's name and the pair's name.
        failures: the same, with reasons.
        per_cell: pairs that each cell should have.
        whole: metrics of all composites of a method together (FID, Inception score), by the method's name.
    """

    pairs: Sequence[Pair]
    methods: Sequence[Method]
    per_cell: int
    scores: dict[tuple[str, str], Score] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    whole: dict[str, dict[str, float]] = field(default_factory=dict)
    _differences: dict[tuple[str, str, tuple[Cell, ...]], Estimate] = field(default_factory=dict, repr=False)

    @property
    def ours(self) -> Method:
        return next((method for method in self.methods if method.ours), self.methods[0])

    @property
    def metrics(self) -> list[Metric]:
        """Those that were measured."""
        measured = [set(score.values) for score in self.scores.values()]
        everywhere = set.intersection(*measured) if measured else set()
        return [metric for metric in METRICS if metric.name in everywhere]

    @property
    def compared(self) -> list[Metric]:
        """Those of ``metrics`` by which one method is better than another."""
        return [metric for metric in self.metrics if metric.best]

    def pairs_of(self, cell: Cell) -> list[Pair]:
        return [pair for pair in self.pairs if pair.mask.cell == cell]

    def values(self, method: Method, metric: Metric, cell: Cell) -> list[float]:
        """The metric of the method at every pair of the cell that it finished."""
        of = [self.scores.get((method.name, pair.name)) for pair in self.pairs_of(cell)]
        return [score.values[metric.name] for score in of if score]

    def cell(self, method: Method, metric: Metric, cell: Cell) -> Estimate:
        return estimate(self.values(method, metric, cell))

    def all_cells(self, method: Method, metric: Metric) -> Estimate:
        """The mean over the cells, which is known only where every cell is full."""
        if self.short_cells() or self.unfinished(method) or self.is_capped(method):
            return estimate()
        return estimate(*[self.values(method, metric, cell) for cell in CELLS])

    def difference(self, other: Method, metric: Metric, cells: Sequence[Cell]) -> Estimate:
        """Ours minus the other, pair by pair, over the pairs of these cells that both finished.

        The result is cached: scores must not change after the first call.
        """
        key = other.name, metric.name, tuple(cells)
        if key not in self._differences:
            self._differences[key] = self._difference(other, metric, cells)
        return self._differences[key]

    def _difference(self, other: Method, metric: Metric, cells: Sequence[Cell]) -> Estimate:
        differences: list[list[float]] = []
        for cell in cells:
            both = [
                (self.scores.get((self.ours.name, pair.name)), self.scores.get((other.name, pair.name)))
                for pair in self.pairs_of(cell)
            ]
            gaps = [a.values[metric.name] - b.values[metric.name] for a, b in both if a and b]
            if gaps:
                differences.append(gaps)
        return estimate(*differences)

    def verdict(self, other: Method, metric: Metric, cells: Sequence[Cell]) -> str:
        """Whether ours is better or worse than the other there, or undecided."""
        return verdict(self.difference(other, metric, cells), metric.best == "high")

    def short_cells(self) -> dict[Cell, int]:
        """Cells with fewer pairs than wanted, and how many they have."""
        counts = {cell: len(self.pairs_of(cell)) for cell in CELLS}
        return {cell: count for cell, count in counts.items() if count < self.per_cell}

    def unfinished(self, method: Method) -> dict[str, str]:
        """Pairs at which the method failed, with reasons."""
        return {pair: reason for (name, pair), reason in self.failures.items() if name == method.name}

    def is_capped(self, method: Method) -> bool:
        """Whether it was run at fewer pairs than the others, as asked."""
        return method.cap is not None and method.cap < self.per_cell

    def seconds(self, method: Method) -> float:
        """The median time of one fill."""
        times = sorted(score.seconds for (name, _), score in self.scores.items() if name == method.name)
        return times[len(times) // 2] if times else math.nan

    def ranked(self, metric_name: str = "psnr_hole") -> list[Pair]:
        """Pairs that every method finished, from our best to our worst."""
        done = [pair for pair in self.pairs if all((m.name, pair.name) in self.scores for m in self.methods)]
        key: Callable[[Pair], float] = lambda pair: -self.scores[self.ours.name, pair.name].values[metric_name]  # noqa: E731
        return sorted(done, key=key)


def cells_of_bin(number: int) -> tuple[Cell, Cell]:
    """A bin's two cells, without and with holes at the border."""
    return Cell(number, False), Cell(number, True)


BIN_TITLES = [f"{low:g}-{high:g}".replace("0.", ".") for low, high in RATIO_BINS]
