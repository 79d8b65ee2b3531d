"""Methods over several data sets: mean ranks and the summary table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.statistics import friedman, mean_ranks, nemenyi_critical_difference

__all__ = ["Ranking", "indistinct", "ranking"]


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of the methods that were run on every data set.

    Attributes:
        labels: The methods.
        ranks: Mean ranks of the rows, 1 is best.
        critical_difference: Nemenyi's, at 5 %; NaN for fewer than two methods.
        statistic: Friedman's chi-square.
        p_value: P-value of the statistic.
        datasets: Number of data sets.
    """

    labels: tuple[str, ...]
    ranks: tuple[float, ...]
    critical_difference: float
    statistic: float
    p_value: float
    datasets: int


def ranking(comparisons: Sequence[Comparison]) -> Ranking | None:
    """Rank the methods that every data set has; None for fewer than two methods or data sets."""
    common = [
        label
        for label in (comparisons[0].labels if comparisons else ())
        if all(c.summary(label, c.score).n for c in comparisons)
    ]
    if len(common) < 2 or len(comparisons) < 2:
        return None
    table = np.array([[c.summary(label, c.score).mean for label in common] for c in comparisons])
    test = friedman(table)
    return Ranking(
        tuple(common),
        tuple(mean_ranks(table).tolist()),
        nemenyi_critical_difference(len(common), len(comparisons)),
        test.statistic,
        test.p_value,
        len(comparisons),
    )


def indistinct(ranks: Sequence[float], critical: float) -> list[tuple[int, int]]:
    """Return the maximal runs (first, last) of sorted mean ranks that span less than the critical difference.

    Example:
        >>> indistinct([1.0, 1.5, 2.6, 4.0], 1.2)
        [(0, 1), (1, 2)]
    """
    groups: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(i for i in range(first, len(ranks)) if ranks[i] - ranks[first] < critical)
        if last > first and not (groups and groups[-1][1] >= last):
            groups.append((first, last))
    return groups
