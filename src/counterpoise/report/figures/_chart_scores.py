"""Plotly charts with one mark per method: test scores, cost of a step, mean ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from counterpoise.report._format import number, p_text
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.ranking import Ranking, indistinct
from counterpoise.report.analysis.series import Point
from counterpoise.report.analysis.statistics import t_interval
from counterpoise.report.figures import _palette as palette
from counterpoise.report.figures._charts import (
    Chart,
    Spec,
    factor_of,
    interval_text,
    layout,
    note_above,
    points_grid,
    text,
    upright,
    whence,
    whiskers,
)
from counterpoise.report.figures._layout import Grid

__all__ = ["cost_chart", "difference_chart", "rank_chart", "score_chart"]


def score_chart(comparison: Comparison, colours: Sequence[str]) -> Chart | None:
    """One dot per method with its interval, best on top; joint training as a dashed line."""
    score, factor = comparison.score, factor_of(comparison.score)
    rows = [(label, p) for label in comparison.labels if (p := series.point(comparison, label, score)).n]
    if not rows:
        return None
    rows.sort(key=lambda row: -row[1].mean)
    shades = [palette.token(comparison, label, colours) for label, _ in rows]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [factor * p.mean for _, p in rows],
        "y": [text(series.short(comparison, label)) for label, _ in rows],
        "marker": {"color": shades, "size": 10},
        "error_x": whiskers([p for _, p in rows], factor, "@muted"),
        "hovertext": [f"{text(series.short(comparison, label))}: {interval_text(p, score)}" for label, p in rows],
        "hoverinfo": "text",
    }
    name = "accuracy" if score == "accuracy" else "R²"
    spec = layout(
        72 + 30 * len(rows), x=f"test {name}{' (%)' if score == 'accuracy' else ''}", yaxis={"autorange": "reversed"}
    )
    joint = comparison.summary(comparison.reference, score)
    if joint.n:
        spec["shapes"] = [upright(factor * joint.mean, "@reference", "dash")]
        spec["annotations"] = [note_above(factor * joint.mean, "joint", "center")]
        spec["margin"]["t"] = 28
    table = [([label], label, score, p) for label, p in rows]
    return Chart(
        f"Test {name} of every method",
        f"Dashed line: joint training; {whence(table)}. Rows in a modality's colour are trained on it alone.",
        [("", {"data": [trace], "layout": spec})],
        points_grid("scores", f"Test {name} with its interval", comparison, table, ["method"]),
    )


def cost_chart(comparison: Comparison, colours: Sequence[str]) -> Chart | None:
    """Time of a training step per method, in ms."""
    rows = [(label, p) for label in comparison.labels if (p := series.point(comparison, label, "step_ms")).n]
    if not rows:
        return None
    trace = {
        "type": "bar",
        "orientation": "h",
        "width": 0.5,
        "x": [p.mean for _, p in rows],
        "y": [text(series.short(comparison, label)) for label, _ in rows],
        "marker": {"color": [palette.token(comparison, label, colours) for label, _ in rows]},
        "error_x": whiskers([p for _, p in rows], 1, "@ink"),
        "hovertext": [f"{text(series.short(comparison, label))}: {interval_text(p, 'step_ms')}" for label, p in rows],
        "hoverinfo": "text",
    }
    spec = layout(
        72 + 28 * len(rows), x="time per training step (ms)", yaxis={"autorange": "reversed", "showgrid": False}
    )
    spec["xaxis"]["rangemode"] = "tozero"
    table = [([label], label, "step_ms", p) for label, p in rows]
    for label, _ in rows:
        if (ratio := series.point(comparison, label, "step_time_ratio")).n:
            table.append(([f"{label}, times joint"], label, "step_time_ratio", ratio))
    return Chart(
        "What a training step costs",
        f"Time of forward, backward and the optimizer's step on the machine that ran it; {whence(table)}.",
        [("", {"data": [trace], "layout": spec})],
        points_grid(
            "cost", "Time per step in ms, and as a multiple of joint training's", comparison, table, ["method"]
        ),
    )


def difference_chart(comparison: Comparison, colours: Sequence[str]) -> Chart | None:
    """Paired differences to joint training with their intervals, best on top; zero as a dashed line."""
    score, factor = comparison.score, factor_of(comparison.score)
    rows = []
    for label in comparison.labels:
        d = comparison.difference(label, score)
        if not comparison.is_reference(label) and d.n:
            low, high = t_interval(d.diff, d.se, d.n) if math.isfinite(d.se) else (math.nan, math.nan)
            rows.append((label, Point(d.diff, low, high, d.n, "seeds" if math.isfinite(low) else "none"), d.p_value))
    if not rows:
        return None
    rows.sort(key=lambda row: -row[1].mean)
    shades = [palette.token(comparison, label, colours) for label, *_ in rows]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [factor * p.mean for _, p, _ in rows],
        "y": [text(series.short(comparison, label)) for label, *_ in rows],
        "marker": {"color": shades, "size": 10},
        "error_x": whiskers([p for _, p, _ in rows], factor, "@muted"),
        "hovertext": [
            f"{text(series.short(comparison, label))}: {number(p.mean, score, sign=True)} [{number(p.low, score, sign=True)}, "
            f"{number(p.high, score, sign=True)}]" + (f", {p_text(v, bare=False)}" if math.isfinite(v) else "")
            for label, p, v in rows
        ],
        "hoverinfo": "text",
    }
    unit = "points" if score == "accuracy" else "R²"
    spec = layout(72 + 30 * len(rows), x=f"test score less joint training's ({unit})", yaxis={"autorange": "reversed"})
    spec["shapes"] = [upright(0.0, "@reference", "dash") | {"layer": "above"}]
    cells: list[list[str]] = []
    source: dict[tuple[int, int], tuple[str, str, str, str]] = {}
    for i, (label, p, v) in enumerate(rows):
        source |= {
            (i, 1): (comparison.data, label, score, "diff_to_reference"),
            (i, 4): (comparison.data, label, score, "p_value"),
        }
        ends = [number(x, score, sign=True) for x in (p.mean, p.low, p.high)]
        cells.append([label, *ends, p_text(v, bare=True), str(p.n)])
    several = any(math.isfinite(p.low) for _, p, _ in rows)
    tail = (
        "whiskers are 95 % intervals of the mean difference (Student's t); one that does not touch the dashed line has p < 0.05"
        if several
        else "with one seed there is no interval"
    )
    return Chart(
        "Differences to joint training, seed by seed",
        f"Each run is compared with joint training of the same seed, so that what the seeds have in common drops out; {tail}.",
        [("", {"data": [trace], "layout": spec})],
        Grid(
            "differences",
            f"Paired differences to joint training ({unit})",
            ["method", "difference", "95 % low", "95 % high", "p", "seeds"],
            cells,
            source=source,
        ),
    )


def rank_chart(result: Ranking) -> Chart:
    """Demšar's critical-difference diagram: mean ranks on a line, bars over methods that Nemenyi's test cannot tell apart."""
    order = sorted(range(len(result.labels)), key=lambda i: result.ranks[i])
    names, ranks = [result.labels[i] for i in order], [result.ranks[i] for i in order]
    k, cd = len(ranks), result.critical_difference
    groups = indistinct(ranks, cd) if math.isfinite(cd) else []
    first = 1.0 + 0.6 * len(groups)  # the first method's row, below the bars
    rows = [first + i for i in range(k)]
    leaders: Spec = {
        "type": "scatter",
        "mode": "lines",
        "hoverinfo": "skip",
        "line": {"color": "@rule", "width": 1.5},
        "x": [x for rank in ranks for x in (rank, rank, None)],
        "y": [y for row in rows for y in (0, row, None)],
    }
    bars: Spec = {
        "type": "scatter",
        "mode": "lines",
        "hoverinfo": "skip",
        "line": {"color": "@accent", "width": 6},
        "x": [x for a, b in groups for x in (ranks[a] - 0.03 * k, ranks[b] + 0.03 * k, None)],
        "y": [y for i in range(len(groups)) for y in (0.6 + 0.6 * i, 0.6 + 0.6 * i, None)],
    }
    dots: Spec = {
        "type": "scatter",
        "mode": "markers+text",
        "x": ranks,
        "y": rows,
        "text": [f"{rank:.2f}" for rank in ranks],
        "textposition": "middle right",
        "marker": {"size": 9, "color": "@ink"},
        "hovertext": [f"{text(name)}: mean rank {rank:.2f}" for name, rank in zip(names, ranks, strict=True)],
        "hoverinfo": "text",
    }
    ruler: Spec = {
        "type": "scatter",
        "mode": "lines+text",
        "hoverinfo": "skip",
        "x": [1, 1 + cd],
        "y": [-0.75, -0.75],
        "text": [f"critical difference {cd:.2f}", ""],
        "textposition": "top right",
        "line": {"color": "@ink", "width": 2},
    }
    last = first + k - 1
    spec = layout(
        int(92 + 26 * (last + 2)),
        x="mean rank (1 is best)",
        yaxis={
            "range": [last + 0.6, -1.6],
            "tickvals": rows,
            "ticktext": [text(name) for name in names],
            "showgrid": False,
        },
        xaxis={"side": "top", "range": [0.8, max(k, 1 + cd) + 0.5], "dtick": 1, "showgrid": False},
    )
    spec["shapes"] = [
        {"type": "line", "xref": "x", "yref": "y", "x0": 1, "x1": k, "y0": 0, "y1": 0}
        | {"line": {"color": "@ink", "width": 1.5}}
    ]
    spec["margin"] |= {"t": 52, "b": 12}
    joined = {i: [names[j] for a, b in groups if a <= i <= b for j in range(a, b + 1) if j != i] for i in range(k)}
    cells = [
        [name, f"{rank:.2f}", ", ".join(dict.fromkeys(joined[i])) or "none"]
        for i, (name, rank) in enumerate(zip(names, ranks, strict=True))
    ]
    return Chart(
        f"Critical-difference diagram: mean ranks over {result.datasets} data sets",
        "A bar joins methods that Nemenyi's test cannot tell apart at 5 %: their mean ranks are less than the critical "
        f"difference of {cd:.2f} apart.",
        [
            (
                "",
                {
                    "data": [leaders, *([bars] if groups else []), *([ruler] if math.isfinite(cd) else []), dots],
                    "layout": spec,
                },
            )
        ],
        Grid("ranks", "Mean ranks", ["method", "mean rank", "cannot be told from"], cells),
    )
