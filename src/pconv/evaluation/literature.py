"""Figures that the paper's authors and other implementations of partial convolutions report, each with its source.

Each figure was read in the source that is named with it. SSIM is left out, because its definitions differ.
"""

from __future__ import annotations

from typing import NamedTuple

from pconv.evaluation.tables import Table

_PORT = "table of github.com/maruru-hub/PartialConv-paddle (images/metrics.png, commit 947601b)"
_MMAGIC = "github.com/open-mmlab/mmagic, configs/partial_conv/README.md (commit 040ffaf)"
_BINS = ".1-.2 / .2-.3 / .3-.4"


class ReportedResult(NamedTuple):
    """Figures of one implementation: what it was measured on, PSNR in dB, l1 in %, and where this is written.

    Several bins of hole ratios stand in one text, separated as in ``holes``.
    """

    implementation: str
    photos: str
    holes: str
    psnr: str
    l1: str
    source: str


REPORTED_RESULTS = (
    ReportedResult(
        "Liu et al. 2018", "Places2", _BINS, "28.32 / 25.25 / 22.89", "1.09 / 1.88 / 2.84", f"quoted in {_PORT}",
    ),
    ReportedResult(
        "naoto0804/pytorch-inpainting-with-partial-conv, published weights",
        "Places2", _BINS, "26.77 / 23.25 / 21.56", "1.41 / 2.47 / 3.66", f"measured in {_PORT}",
    ),
    ReportedResult("PartialConv-paddle", "Places2", _BINS, "28.33 / 25.35 / 23.70", "1.16 / 1.91 / 2.77", _PORT),
    ReportedResult("mmagic PConv", "Places365-val, 256 px", "free-form", "22.76", "8.78", _MMAGIC),
)  # fmt: skip


def literature_table() -> Table:
    """``REPORTED_RESULTS``, with a warning that they cannot be compared."""
    return Table(
        "What others report of partial convolutions",
        ["", "photos", "holes", "PSNR dB", "l1 %", "source"],
        [list(result) for result in REPORTED_RESULTS],
        "Data sets differ: these are other photos and other holes than in the tables above. The figures show the "
        "order of size, and rank nothing.",
    )
