"""The paper's bins of hole-to-image ratios (Liu et al., section 4)."""

from __future__ import annotations

RATIO_BINS: tuple[tuple[float, float], ...] = (
    (0.01, 0.1),
    (0.1, 0.2),
    (0.2, 0.3),
    (0.3, 0.4),
    (0.4, 0.5),
    (0.5, 0.6),
)
"""Each from above its first number up to and including its second."""
