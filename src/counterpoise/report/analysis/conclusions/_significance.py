"""Significance of differences over seeds."""

from __future__ import annotations

import math
from typing import Final

from scipy import special

from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.statistics import Paired

ALPHA: Final = 0.05
"""Differences with a smaller p-value are called gains or losses."""

SMALL: Final = 0.01
"""A change of a probe below one point is not reported, even if it is significant."""

MOST_SEEDS: Final = 50
"""Largest number of seeds that is suggested as sufficient."""


def is_significant(d: Paired) -> bool:
    """Return whether a paired difference is significant at `ALPHA`."""
    return math.isfinite(d.p_value) and d.p_value < ALPHA


def seeds_needed(d: Paired) -> int | None:
    """Return the number of seeds at which a difference of this size and spread would be significant.

    None if the spread is unknown, or if more than `MOST_SEEDS` would be needed.

    Example:
        >>> seeds_needed(Paired(0.01, 0.005, 0.2, 3))      # s = 0.0087: t = 3.06 > 2.57 with 6 seeds is enough
        6
    """
    if d.n < 2 or not d.se > 0 or not d.diff:
        return None
    spread = d.se * math.sqrt(d.n)
    for n in range(d.n + 1, MOST_SEEDS + 1):
        if abs(d.diff) > float(special.stdtrit(n - 1, 1 - ALPHA / 2)) * spread / math.sqrt(n):
            return n
    return None


def is_noise(d: Paired) -> bool:
    """Return whether a test finds no significant difference; without a test (one seed) the difference is reported."""
    return math.isfinite(d.p_value) and d.p_value >= ALPHA


def is_better(comparison: Comparison, label: str, other: str) -> bool:
    """Return whether a row is significantly above another one, or with a single seed, whether its score is higher."""
    d = comparison.difference(label, comparison.score, to=other)
    return d.n > 0 and d.diff > 0 and not is_noise(d)
