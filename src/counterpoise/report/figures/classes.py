"""Figures of classes and of robustness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from counterpoise.pages import colours as palette
from counterpoise.report._format import number, plus_minus
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.robustness import CorruptedScore, corrupted_scores
from counterpoise.report.analysis.series import Point
from counterpoise.report.figures._rows import dash, token
from counterpoise.report.figures.spec import (
    Axis,
    FigureSpec,
    Heat,
    Panel,
    PointRow,
    Rule,
    Series,
    factor_of,
    interval_text,
    points_grid,
    scaled,
    score_axis,
    whence,
)
from counterpoise.report.grids import Grid
from counterpoise.runs import MetricId

__all__ = ["class_figure", "robustness_figures", "shift_grid"]

ROWS: Final = 40
"""Maximum number of classes of a heat map."""

_KINDS: Final = (("mi", "by itself (φ_MI)"), ("cmi", "added to the others (φ_CMI)"))


def class_figure(comparison: Comparison) -> FigureSpec | None:
    """Return a heat map of the contributions of each modality on the samples of each class."""
    options, cells, most = [], [], 0
    for label in series.class_rows(comparison):
        for kind, words in _KINDS:
            matrix = series.class_values(comparison, label, kind)
            if matrix is None:
                continue
            names, ms, values = matrix
            most = max(most, len(names))
            kept = _most_different(values)
            heat = Heat(ms, [names[i] for i in kept], [values[i] for i in kept], "nats")
            title = f"{comparison.data}, {label}: {words}"
            x, y = Axis("modality (nats)", grid=False), Axis(grid=False)
            options.append((f"{label}: {words}", Panel(x, y, (heat,), height=96 + 26 * len(kept), title=title)))
            cells += [
                [label, words, name, *(number(v, "phi_mi") for v in row)]
                for name, row in zip(names, values, strict=True)
            ]
    if not options:
        return None
    cut = (
        f" The {ROWS} of {most} classes on which the modalities differ most; the table has all." if most > ROWS else ""
    )
    return FigureSpec(
        "Which classes rely on which modality",
        "Mean over the test samples of a class of what a modality contributes to predicting the label: "
        f"blue is information, orange points away from the truth. Held-out classifiers; mean over seeds.{cut}",
        tuple(options),
        Grid("classes", "Contributions by class in nats", ["method", "kind", "class", *comparison.modalities], cells),
        "Method and kind",
    )


def _most_different(values: Sequence[Sequence[float]]) -> list[int]:
    """Return the classes to show: all, or those on which the modalities differ most."""
    order = sorted(range(len(values)), key=lambda i: min(values[i]) - max(values[i]))
    return sorted(order[:ROWS])


def robustness_figures(comparison: Comparison, colours: Sequence[str]) -> list[FigureSpec]:
    """Return one figure per corrupted modality: a line per method over the noise, and points for the other kinds."""
    by_modality = {
        m: {
            label: scores
            for label in comparison.labels
            if not comparison.is_unimodal(label) and (scores := corrupted_scores(comparison, label, m))
        }
        for m in comparison.modalities
    }
    by_modality = {m: by_label for m, by_label in by_modality.items() if by_label}
    ends = _common_range(comparison, list(by_modality.values()))
    return [_robustness(comparison, m, by_label, ends, colours) for m, by_label in by_modality.items()]


def _common_range(
    comparison: Comparison, figures: Sequence[Mapping[str, Sequence[CorruptedScore]]]
) -> tuple[float, float]:
    """Return the vertical range of all figures: every mean, and every whisker not much longer than the range."""
    factor = factor_of(comparison.score)
    points = [s.point for by_label in figures for scores in by_label.values() for s in scores]
    means = [factor * p.mean for p in points]
    if not means:
        return 0.0, 1.0
    room = (max(means) - min(means)) or 5 * 0.01 * factor
    lows, highs = _finite(factor * p.low for p in points), _finite(factor * p.high for p in points)
    low = max(min([*means, *lows]), min(means) - 0.3 * room)
    high = min(max([*means, *highs]), max(means) + 0.3 * room)
    ends = low - 0.06 * room, high + 0.06 * room
    return (max(ends[0], 0.0), min(ends[1], 101.0)) if comparison.in_percent else ends


def _finite(values: Iterable[float]) -> list[float]:
    return [v for v in values if math.isfinite(v)]


def _robustness(
    comparison: Comparison,
    m: str,
    by_label: Mapping[str, Sequence[CorruptedScore]],
    ends: tuple[float, float],
    colours: Sequence[str],
) -> FigureSpec:
    score, factor = comparison.score, factor_of(comparison.score)
    table: list[PointRow] = [
        ([label, s.words], label, score if s.corruption is None else "", s.point)
        for label in by_label
        for s in by_label[label]
    ]
    marks: list[Series] = []
    for i, (label, scores) in enumerate(by_label.items()):
        marks += _row_marks(comparison, label, scores, i, len(by_label), colours)
    ticks = sorted({(s.place, s.words.removeprefix("noise ")) for scores in by_label.values() for s in scores})
    others = [k for k in comparison.modalities if k != m]
    base = _only_other(comparison, others)
    rules: tuple[Rule, ...] = ()
    kinds = "noise in standard deviations, all zeros" if _takes_noise(by_label) else "all zeros"
    reading = f"Scores when only {m} is corrupted: {kinds}, or the input of another sample (permute). "
    if base is not None:
        level = factor * base.mean
        ends = min(ends[0], level - 1), max(ends[1], level + 1)
        rules = (Rule(level, palette.modality_token(colours, others[0]), "dot", horizontal=True),)
        reading += f"Dotted line: {others[0]} trained alone, which a model without {m} should still reach. "
    kinds = "noise (standard deviations), other kinds" if _takes_noise(by_label) else "kind of corruption"
    x = Axis(kinds, ticks=tuple(ticks), range=(-0.2, ticks[-1][0] + 0.4))
    y = Axis(score_axis(comparison, "test"), range=ends)
    title = f"Test scores with {m} corrupted"
    clause = whence(table)
    return FigureSpec(
        title,
        f"{reading}{clause[:1].upper()}{clause[1:]}.",
        (("", Panel(x, y, tuple(marks), rules, 340, legend=True, title=f"{m} corrupted")),),
        points_grid(f"robustness-{m}", title, comparison, table, ["method", "corruption"], score),
    )


def _takes_noise(by_label: Mapping[str, Sequence[CorruptedScore]]) -> bool:
    """Return whether some scores are those of noisy inputs; noise is undefined for token ids."""
    return any(s.is_noise and s.corruption is not None for scores in by_label.values() for s in scores)


def _without_noise(comparison: Comparison) -> list[str]:
    """Return the modalities that were corrupted, but not by noise."""
    scores = {
        m: {label: corrupted_scores(comparison, label, m) for label in comparison.labels} for m in comparison.modalities
    }
    return [m for m, by_label in scores.items() if any(by_label.values()) and not _takes_noise(by_label)]


def _only_other(comparison: Comparison, others: Sequence[str]) -> Point | None:
    """Return the score of the only other modality trained alone, if there is one other and it was."""
    alone = comparison.unimodal(others[0]) if len(others) == 1 else None
    point = series.point(comparison, alone, comparison.score) if alone else None
    return point if point is not None and point.n else None


def _row_marks(
    comparison: Comparison, label: str, scores: Sequence[CorruptedScore], i: int, count: int, colours: Sequence[str]
) -> list[Series]:
    """Return a row's curve over the noise, and its points for other kinds, shifted so that rows do not overlap."""
    factor, name = factor_of(comparison.score), series.short(comparison, label)
    shade, style = token(comparison, label, colours), dash(comparison, label)
    shift = (i - (count - 1) / 2) * min(0.08, 0.5 / count)
    noise, others = [s for s in scores if s.is_noise], [s for s in scores if not s.is_noise]
    hover = {s.words: f"{name}, {s.words}: {interval_text(s.point, comparison.score)}" for s in scores}
    marks = []
    if noise:
        # Tokens take no noise: the clean score is then alone, without a line.
        line = style if len(noise) > 1 else ""
        marks.append(replace(_points(noise, factor, 0.0, shade, hover), name=name, dash=line))
    if others:
        marks.append(_points(others, factor, shift, shade, hover))
    return marks


def _points(
    scores: Sequence[CorruptedScore], factor: float, shift: float, shade: str, hover: Mapping[str, str]
) -> Series:
    """Return a dot with its interval for each score; ``hover`` holds the texts by the corruption in words."""
    return Series(
        [s.place + shift for s in scores],
        [factor * s.point.mean for s in scores],
        shade,
        marker="circle",
        size=7,
        intervals=[scaled(s.point, factor) for s in scores],
        hover=[hover[s.words] for s in scores],
    )


def shift_grid(comparison: Comparison) -> Grid:
    """Return a table with methods as rows: the score for clean inputs, its mean over all corruptions, and over those of
    each modality.
    """
    score, mean = comparison.score, f"{comparison.score}_corrupted"
    metrics = [MetricId(score), MetricId(mean), *(MetricId(mean, m) for m in comparison.modalities)]
    metrics = [metric for metric in metrics if comparison.has(metric.name, metric.modality)]
    unit = " (%)" if comparison.in_percent else ""
    names = {MetricId(score): f"clean{unit}", MetricId(mean): f"all corruptions{unit}"}
    header = ["method", *(names.get(metric, f"{metric.modality} corrupted{unit}") for metric in metrics)]
    rows: list[list[str]] = []
    source: dict[tuple[int, int], tuple[str, str, str, str]] = {}
    for label in comparison.labels:
        if not comparison.seeds(label, mean) or comparison.is_unimodal(label):
            continue
        cells = [label]
        for metric in metrics:
            s = comparison.summary(label, metric.name, metric.modality)
            if s.n:
                source[len(rows), len(cells)] = (comparison.data, label, str(metric), "mean")
            cells.append(plus_minus(s.mean, s.se, score))
        rows.append(cells)
    note = "Mean over three strengths of noise, zeros and permute."
    if silent := _without_noise(comparison):
        note = f"{note[:-1]}; of {', '.join(silent)}, token ids, over zeros and permute."
    return Grid("shift", f"{comparison.data}: test scores under corruption", header, rows, note, source=source)
