"""Figure and table of incomplete data: severity curves, and scores by pattern of presence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from counterpoise.report._format import number, plus_minus
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.incomplete import INDICES, index_of, pattern_counts, pattern_score, severity
from counterpoise.report.analysis.statistics import Summary
from counterpoise.report.figures._rows import dash, token
from counterpoise.report.figures.spec import Axis, FigureSpec, Panel, Series, factor_of, score_axis
from counterpoise.report.grids import Grid

__all__ = ["pattern_grid", "severity_figure"]

MAX_PATTERNS = 8
"""Maximum number of patterns that are columns of the table; the most frequent ones are shown."""


def _rows(comparison: Comparison) -> list[str]:
    return [label for label in comparison.labels if not comparison.is_unimodal(label)]


def severity_figure(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    """Return lines of the test score of each method over the share of samples from which a modality is taken away."""
    options, cells = [], []
    score = comparison.score
    for modality in (None, *comparison.modalities):
        words = "every modality" if modality is None else modality
        marks = []
        for label in _rows(comparison):
            curve = [(rate, s) for rate, s in severity(comparison, label, modality) if s.n]
            cells += [[label, words, f"{100 * rate:.0f} %", number(s.mean, score), str(s.n)] for rate, s in curve]
            if curve:
                marks.append(_line(comparison, label, curve, colours))
        if marks:
            x, y = Axis(f"share of {words} taken away (%)"), Axis(score_axis(comparison, "test"))
            title = f"{comparison.data}: {words} taken away"
            options.append((words, Panel(x, y, tuple(marks), height=340, legend=True, title=title)))
    if not options:
        return None
    return FigureSpec(
        "Scores with modalities taken away",
        "This share of the test samples that have a modality loses it, in addition to modalities that are absent in "
        "the data. The same samples lose it for every method. Mean over seeds. A sample that would lose all "
        "modalities keeps one.",
        tuple(options),
        Grid("severity", "Severity curves", ["method", "taken away", "share", "mean", "seeds"], cells),
        "Taken away",
    )


def _line(comparison: Comparison, label: str, curve: Sequence[tuple[float, Summary]], colours: Sequence[str]) -> Series:
    """Return the mean scores of a row over the share of samples."""
    name, factor = series.short(comparison, label), factor_of(comparison.score)
    return Series(
        [100 * rate for rate, _ in curve],
        [factor * s.mean for _, s in curve],
        token(comparison, label, colours),
        name=name,
        dash=dash(comparison, label),
        marker="circle",
        size=6,
        hover=[f"{name}, {100 * rate:.0f} %: {number(s.mean, comparison.score)}" for rate, s in curve],
    )


def pattern_grid(comparison: Comparison) -> Grid:
    """Return a table with methods as rows: the score for each pattern of presence, and the indices of equity."""
    counts = pattern_counts(comparison)
    unit = " (%)" if comparison.in_percent else ""
    patterns = list(counts)[:MAX_PATTERNS]
    names = ["all" if len(p) == len(comparison.modalities) else " + ".join(p) for p in patterns]
    header = ["method", *(f"{name}, n = {counts[p]:,}{unit}" for name, p in zip(names, patterns, strict=True))]
    header += INDICES.values()
    rows = [[label, *cells] for label in _rows(comparison) if (cells := _pattern_cells(comparison, label, patterns))]
    note = (
        "Test samples by the modalities that they have. MEI: how equally modalities contribute over configurations (1: "
        "equally); MLI: how unequal their gradients were in training (0: equal); pattern equity: how equal the gains "
        "of configurations are (1: equal). The formulas of MEI and MLI are inferred from the abstract of MissBench."
    )
    return Grid("patterns", f"{comparison.data}: scores by pattern of presence", header, rows, note)


def _pattern_cells(comparison: Comparison, label: str, patterns: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the scores and the indices of a row; nothing if it has no score for any pattern."""
    summaries = [pattern_score(comparison, label, p) for p in patterns]
    if not any(s.n for s in summaries):
        return []
    cells = [plus_minus(s.mean, s.se, comparison.score) if s.n else "–" for s in summaries]
    indices = [index_of(comparison, label, key) for key in INDICES]
    return [*cells, *(f"{s.mean:.2f}" if math.isfinite(s.mean) else "–" for s in indices)]
