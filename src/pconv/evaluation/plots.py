"""Curves of a metric over the hole ratio, as SVG text for a page."""

from __future__ import annotations

import io
import math

from pconv.evaluation.protocol import Cell
from pconv.evaluation.summary import Metric, Results
from pconv.masks.strokes import RATIO_BINS

_STYLES = {False: "-", True: "--"}
_SPREAD = 0.012
"""Between the methods' points of one bin, in hole ratio, so that intervals do not lie on each other."""


def curve(results: Results, metric: Metric) -> str:
    """The metric's mean in each bin for each method, with intervals; solid without, dashed with border holes.

    Returns:
        One ``<svg>`` element.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0.11, 0.12, 0.87, 0.85))  # a layout engine would draw everything twice
    middles = [(low + high) / 2 for low, high in RATIO_BINS]
    for index, method in enumerate(results.methods):
        shift = (index - (len(results.methods) - 1) / 2) * _SPREAD / 2
        for border, style in _STYLES.items():
            values = [results.cell(method, metric, Cell(number, border)) for number in range(len(RATIO_BINS))]
            known = [(x + shift, v) for x, v in zip(middles, values, strict=True) if math.isfinite(v.mean)]
            if not known:
                continue
            gaps = [
                [0.0 if math.isnan(v.low) else v.mean - v.low for _, v in known],
                [0.0 if math.isnan(v.low) else v.high - v.mean for _, v in known],
            ]
            axes.errorbar(
                [x for x, _ in known], [v.mean for _, v in known], yerr=gaps, linestyle=style, color=f"C{index}",
                linewidth=2.4 if method.ours else 1.2, elinewidth=0.7, marker="o", markersize=3,
            )  # fmt: skip
        axes.plot([], [], color=f"C{index}", label=method.label)
    axes.set(xlabel="hole ratio (solid: no border holes, dashed: border holes)", ylabel=metric.title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    text = io.StringIO()
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": metric.name, "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
