"""Figures of scores: every method, differences to the reference, encoders, cost, mean ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from counterpoise.pages import colours as palette
from counterpoise.report._format import number, p_text
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.ranking import Ranking, indistinct
from counterpoise.report.analysis.series import Point
from counterpoise.report.analysis.statistics import t_interval
from counterpoise.report.figures._rows import token
from counterpoise.report.figures.spec import (
    Axis,
    Bars,
    FigureSpec,
    Panel,
    PointRow,
    Rule,
    Series,
    factor_of,
    interval_text,
    points_grid,
    rows_axis,
    scaled,
    score_axis,
    whence,
)
from counterpoise.report.grids import Grid

__all__ = ["cost_figure", "difference_figure", "encoder_figure", "rank_figure", "score_figure"]

_ROW: Final = 30
"""Height of one row in pixels."""


def _measured(comparison: Comparison, metric: str) -> list[tuple[str, Point]]:
    """Return the rows for which a metric is known, with its mean and interval."""
    return [(label, p) for label in comparison.labels if (p := series.point(comparison, label, metric)).n]


def _dots(
    points: Sequence[Point],
    places: Sequence[float],
    colour: str | Sequence[str],
    factor: float,
    hover: Sequence[str] = (),
) -> Series:
    """Return a dot with a horizontal interval for each point."""
    means, intervals = [factor * p.mean for p in points], [scaled(p, factor) for p in points]
    return Series(means, places, colour, marker="circle", size=10, intervals=intervals, across=True, hover=hover)


def score_figure(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    """Return one dot per row with its interval, the best on top, and the reference as a dashed line."""
    score, factor = comparison.score, factor_of(comparison.score)
    rows = sorted(_measured(comparison, score), key=lambda row: -row[1].mean)
    if not rows:
        return None
    names = [series.short(comparison, label) for label, _ in rows]
    table: list[PointRow] = [([label], label, score, p) for label, p in rows]
    dots = _dots(
        [p for _, p in rows],
        range(len(rows)),
        [token(comparison, label, colours) for label, _ in rows],
        factor,
        [f"{name}: {interval_text(p, score)}" for name, (_, p) in zip(names, rows, strict=True)],
    )
    reference = comparison.summary(comparison.reference, score)
    rules = (Rule(factor * reference.mean, text=comparison.reference or ""),) if reference.n else ()
    axis = Axis(score_axis(comparison, "test"))
    panel = Panel(axis, rows_axis(names), (dots,), rules, 72 + _ROW * len(rows), title=comparison.data)
    line = f"Dashed line: {comparison.reference}; " if reference.n else ""
    reading = f"{line}{whence(table)}. Rows in a modality's colour are trained on it alone."
    return FigureSpec(
        f"{score_axis(comparison, 'Test').removesuffix(' (%)')} of every method",
        reading[:1].upper() + reading[1:],
        (("", panel),),
        points_grid("scores", "Test scores with their intervals", comparison, table, ["method"], score),
    )


def cost_figure(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    """Return the time of a training step per row, in ms."""
    rows = _measured(comparison, "step_ms")
    if not rows:
        return None
    names = [series.short(comparison, label) for label, _ in rows]
    places = list(map(float, range(len(rows))))
    table: list[PointRow] = [([label], label, "step_ms", p) for label, p in rows]
    table += [
        ([f"{label}, times {comparison.reference}"], label, "step_time_ratio", ratio)
        for label, ratio in _measured(comparison, "step_time_ratio")
    ]
    means = [p.mean for _, p in rows]
    bars = Bars(
        places,
        [0.0] * len(rows),
        means,
        [token(comparison, label, colours) for label, _ in rows],
        height=0.5,
        hover=[f"{name}: {interval_text(p, 'step_ms')}" for name, (_, p) in zip(names, rows, strict=True)],
    )
    ends = replace(_dots([p for _, p in rows], places, "@ink", 1.0), size=1)
    axis = Axis("time per training step (ms)", from_zero=True)
    panel = Panel(axis, rows_axis(names), (bars, ends), (), 72 + 28 * len(rows), title=f"{comparison.data}: cost")
    return FigureSpec(
        "What a training step costs",
        f"Time of forward, backward and the optimizer's step on the machine that ran it; {whence(table)}.",
        (("", panel),),
        points_grid("cost", "Time per step in ms, and as a multiple", comparison, table, ["method"], "step_ms"),
    )


def difference_figure(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    """Return the paired differences to the reference with their intervals, the best on top, and zero as a dashed
    line.
    """
    score, factor = comparison.score, factor_of(comparison.score)
    rows = _difference_rows(comparison)
    if not rows:
        return None
    names = [series.short(comparison, label) for label, *_ in rows]
    ends = [[number(x, score, sign=True) for x in (p.mean, p.low, p.high)] for _, p, _ in rows]
    dots = _dots(
        [p for _, p, _ in rows],
        range(len(rows)),
        [token(comparison, label, colours) for label, *_ in rows],
        factor,
        [
            f"{name}: {mean} [{low}, {high}], {p_text(p)}"
            for name, (mean, low, high), (*_, p) in zip(names, ends, rows, strict=True)
        ],
    )
    unit = " (points)" * comparison.in_percent
    axis = Axis(f"{score_axis(comparison, 'test').removesuffix(' (%)')} minus that of {comparison.reference}{unit}")
    title = f"{comparison.data}: differences to {comparison.reference}"
    panel = Panel(axis, rows_axis(names), (dots,), (Rule(0.0),), 72 + _ROW * len(rows), title=title)
    tail = (
        "whiskers are 95 % intervals of the mean difference (Student's t); "
        "if one does not touch the dashed line, p < 0.05"
        if any(math.isfinite(p.low) for _, p, _ in rows)
        else "with one seed there is no interval"
    )
    return FigureSpec(
        f"Differences to {comparison.reference}, seed by seed",
        f"Each run is compared with the run of {comparison.reference} of the same seed, "
        f"which removes what the seeds have in common; {tail}.",
        (("", panel),),
        _difference_grid(comparison, rows, ends),
    )


def _difference_rows(comparison: Comparison) -> list[tuple[str, Point, float]]:
    """Return label, difference to the reference and p-value of each row that has one, best first."""
    rows = []
    for label in comparison.labels:
        d = comparison.difference(label, comparison.score)
        if not comparison.is_reference(label) and d.n:
            low, high = t_interval(d.diff, d.se, d.n) if math.isfinite(d.se) else (math.nan, math.nan)
            rows.append((label, Point(d.diff, low, high, d.n, "seeds" if math.isfinite(low) else "none"), d.p_value))
    return sorted(rows, key=lambda row: -row[1].mean)


def _difference_grid(
    comparison: Comparison, rows: Sequence[tuple[str, Point, float]], ends: Sequence[Sequence[str]]
) -> Grid:
    """Return the differences as a table; ``ends`` are their means and intervals as text."""
    columns = {1: "diff_to_reference", 4: "p_value"}
    return Grid(
        "differences",
        f"Paired differences to {comparison.reference}{' (points)' * comparison.in_percent}",
        ["method", "difference", "95 % low", "95 % high", "p", "seeds"],
        [
            [label, *three, p_text(p, bare=True), str(point.n)]
            for three, (label, point, p) in zip(ends, rows, strict=True)
        ],
        source={
            (i, j): (comparison.data, label, comparison.score, column)
            for i, (label, *_) in enumerate(rows)
            for j, column in columns.items()
        },
    )


def encoder_figure(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    """Return paired dots of the linear probe of each encoder, trained alone (hollow) and inside each model (filled)."""
    marks: list[Series] = []
    ticks: list[tuple[float, str]] = []
    table: list[PointRow] = []
    factor, place = factor_of(comparison.score), 0.0
    for m in comparison.modalities:
        inside = _inside(comparison, m)
        if not inside:
            continue
        places = [place + i for i in range(len(inside))]
        place = places[-1] + 1.6
        ticks += [(y, f"{m}: {label}") for y, (label, _) in zip(places, inside, strict=True)]
        alone = _alone(comparison, m)
        table += [([m, "alone"], label, f"probe:{m}", p) for label, p in alone]
        table += [([m, label], label, f"probe:{m}", p) for label, p in inside]
        colour = palette.modality_token(colours, m)
        marks += _probe_marks(comparison, m, inside, [p for _, p in alone], places, colour, factor)
    if not marks:
        return None
    axis = Axis(f"{score_axis(comparison, '')} of a linear probe")
    last = ticks[-1][0]
    y = Axis(ticks=tuple(ticks), range=(last + 0.6, -0.6), grid=False)
    panel = Panel(axis, y, tuple(marks), (), round(80 + 26 * (last + 1)), title=f"{comparison.data}: encoders")
    return FigureSpec(
        "Each encoder trained alone, and inside every model",
        "Hollow: a linear probe on the encoder trained alone. Filled: on the same modality's encoder inside the model. "
        f"A filled dot to the left of its hollow one shows an under-trained encoder; {whence(table)}.",
        (("", panel),),
        points_grid(
            "probes",
            f"Linear probes: {axis.title}",
            comparison,
            table,
            ["modality", "encoder"],
            comparison.shown("probe"),
        ),
    )


def _inside(comparison: Comparison, m: str) -> list[tuple[str, Point]]:
    """Return the models whose encoder of a modality was probed, with the probe's score."""
    rows = [label for label in series.probe_rows(comparison) if not comparison.same_network(label)]
    return [(label, p) for label in rows if (p := series.point(comparison, label, "probe", m)).n]


def _alone(comparison: Comparison, m: str) -> list[tuple[str, Point]]:
    """Return the row that was trained on the modality alone and its probe's score, if there is one."""
    row = comparison.unimodal(m)
    point = series.point(comparison, row, "probe", m) if row else None
    return [(row, point)] if row and point is not None and point.n else []


def _probe_marks(
    comparison: Comparison,
    m: str,
    inside: Sequence[tuple[str, Point]],
    alone: Sequence[Point],
    places: Sequence[float],
    colour: str,
    factor: float,
) -> list[Series]:
    shown = comparison.shown("probe")
    marks = []
    for point in alone:
        x = factor * point.mean
        marks += [
            Series([x, factor * p.mean], [y, y], colour, dash="solid", opacity=0.5)
            for y, (_, p) in zip(places, inside, strict=True)
        ]
        hover = [f"{m} alone: {interval_text(point, shown)}"] * len(inside)
        marks.append(Series([x] * len(inside), places, colour, marker="circle", size=10, hollow=True, hover=hover))
    marks.append(
        _dots(
            [p for _, p in inside],
            places,
            colour,
            factor,
            [f"{m} inside {label}: {interval_text(p, shown)}" for label, p in inside],
        )
    )
    return marks


def rank_figure(result: Ranking) -> FigureSpec:
    """Return Demšar's critical-difference diagram: mean ranks, and bars over methods without a significant
    difference.
    """
    order = sorted(range(len(result.labels)), key=lambda i: result.ranks[i])
    names, ranks = [result.labels[i] for i in order], [result.ranks[i] for i in order]
    k, cd = len(ranks), result.critical_difference
    groups = indistinct(ranks, cd) if math.isfinite(cd) else []
    first = 1.0 + 0.6 * len(groups)  # the first method's row, below the bars
    rows = [first + i for i in range(k)]
    last = first + k - 1
    y = Axis(ticks=tuple(zip(rows, names, strict=True)), range=(last + 0.6, -1.6), grid=False)
    x = Axis("mean rank (1 is best)", range=(0.8, max(k, 1 + cd if math.isfinite(cd) else k) + 0.5), grid=False)
    title = f"Mean ranks over {result.datasets} data sets"
    marks = _rank_marks(names, ranks, rows, groups, cd)
    return FigureSpec(
        f"Critical-difference diagram: {title[:1].lower()}{title[1:]}",
        "A bar joins methods between which Nemenyi's test finds no significant difference at 5 %: "
        f"their mean ranks are less than the critical difference of {cd:.2f} apart.",
        (("", Panel(x, y, tuple(marks), (), int(92 + 26 * (last + 2)), title=title)),),
        _rank_grid(names, ranks, groups),
    )


def _rank_marks(
    names: Sequence[str],
    ranks: Sequence[float],
    rows: Sequence[float],
    groups: Sequence[tuple[int, int]],
    critical: float,
) -> list[Series]:
    """Return a line and a dot per method, a bar per group, and the critical difference as a scale."""
    k = len(ranks)
    marks = [Series([r, r], [0, y], "@rule", dash="solid", width=1.5) for r, y in zip(ranks, rows, strict=True)]
    marks += [
        Series([ranks[a] - 0.03 * k, ranks[b] + 0.03 * k], [0.6 + 0.6 * i] * 2, "@accent", dash="solid", width=6)
        for i, (a, b) in enumerate(groups)
    ]
    if math.isfinite(critical):
        marks.append(Series([1, 1 + critical], [-0.75] * 2, "@ink", dash="solid"))
        marks.append(Series([1 + critical], [-0.75], "@ink", texts=[f"critical difference {critical:.2f}"]))
    hover = [f"{name}: mean rank {rank:.2f}" for name, rank in zip(names, ranks, strict=True)]
    texts = [f"{rank:.2f}" for rank in ranks]
    return [*marks, Series(ranks, rows, "@ink", marker="circle", texts=texts, hover=hover)]


def _rank_grid(names: Sequence[str], ranks: Sequence[float], groups: Sequence[tuple[int, int]]) -> Grid:
    cells = []
    for i, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        joined = [names[j] for a, b in groups if a <= i <= b for j in range(a, b + 1) if j != i]
        cells.append([name, f"{rank:.2f}", ", ".join(dict.fromkeys(joined)) or "none"])
    return Grid("ranks", "Mean ranks", ["method", "mean rank", "no significant difference to"], cells)
