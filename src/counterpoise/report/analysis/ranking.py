"""Methods over several data sets: mean ranks and the summary table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from counterpoise.report._format import MISSING, p_text, plus_minus
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.statistics import friedman, mean_ranks, nemenyi_critical_difference
from counterpoise.report.figures._layout import Grid, best_labels, seeds_note

__all__ = ["Ranking", "indistinct", "ranking", "summary_grid"]


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of the methods that were run on every data set.

    Attributes:
        labels: the methods.
        ranks: their mean ranks, 1 is best.
        critical_difference: Nemenyi's, at 5 %; NaN for fewer than two methods.
        statistic: Friedman's chi-square.
        p_value: its p-value.
        datasets: number of data sets.
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


def summary_grid(comparisons: Sequence[Comparison]) -> Grid:
    """Methods as rows, data sets as columns, mean rank last."""
    labels = dict.fromkeys(label for c in comparisons for label in c.labels if not c.is_unimodal(label))
    result = ranking(comparisons)
    ranks = _rank_texts(result)
    best: set[tuple[int, int]] = set()
    source: dict[tuple[int, int], tuple[str, str, str, str]] = {}
    alone = _best_alone(comparisons)
    rows = [alone] if alone else []
    for label in labels:
        for j, c in enumerate(comparisons, 1):
            source[len(rows), j] = (c.data, label, c.score, "mean")
            if label in best_labels(c, c.score):
                best.add((len(rows), j))
        rows.append([label, *(_score_text(c, label) for c in comparisons), ranks.get(label, MISSING)])
    header = ["method", *map(_column_head, comparisons), "mean rank"]
    return Grid("summary", "All data sets: test scores", header, rows, _summary_note(comparisons, result), best, source)


def _rank_texts(result: Ranking | None) -> dict[str, str]:
    """Return the mean ranks as text, by row."""
    if result is None:
        return {}
    return {label: f"{rank:.2f}" for label, rank in zip(result.labels, result.ranks, strict=True)}


def _column_head(comparison: Comparison) -> str:
    return comparison.data + (" (%)" if comparison.score == "accuracy" else " (R²)")


def _score_text(comparison: Comparison, label: str) -> str:
    if label not in comparison.labels:
        return MISSING
    s = comparison.summary(label, comparison.score)
    return plus_minus(s.mean, s.se, comparison.score)


def _summary_note(comparisons: Sequence[Comparison], result: Ranking | None) -> str:
    note = seeds_note(comparisons) + " Best mean per data set in bold, unless a single modality is best."
    note += " Ranks are over methods that were run on every data set"
    if result:
        note += f"; they differ at 5 % (Nemenyi) beyond {result.critical_difference:.2f}"
        if math.isfinite(result.p_value):
            note += f" (Friedman χ² = {result.statistic:.2f}, {p_text(result.p_value)})"
    return f"{note}."


def _best_alone(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the row of the best single modality of each data set, or nothing if no data set has one."""
    cells = []
    for c in comparisons:
        alone = [(s.mean, s.se, m) for m in c.modalities if (u := c.unimodal(m)) and (s := c.summary(u, c.score)).n]
        mean, se, m = max(alone, default=(float("nan"), float("nan"), ""))
        cells.append(f"{plus_minus(mean, se, c.score)} ({m})" if alone else MISSING)
    return ["best single modality", *cells, MISSING] if any(cell != MISSING for cell in cells) else []
