"""Plotly charts with one mark per method: test scores, cost of a step, mean ranks."""

from __future__ import annotations

from collections.abc import Sequence

from counterpoise.report import _series as series
from counterpoise.report._charts import (
    Chart,
    colour,
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
from counterpoise.report._comparison import REFERENCE, Comparison
from counterpoise.report._layout import Grid
from counterpoise.report._ranking import Ranking

__all__ = ["cost_chart", "rank_chart", "score_chart"]


def score_chart(comparison: Comparison, colours: Sequence[str]) -> Chart | None:
    """One dot per method with its interval, best on top; joint training as a dashed line."""
    score, factor = comparison.score, factor_of(comparison.score)
    rows = [(label, p) for label in comparison.labels if (p := series.point(comparison, label, score)).n]
    if not rows:
        return None
    rows.sort(key=lambda row: -row[1].mean)
    shades = [colour(label, comparison.labels, colours) for label, _ in rows]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [factor * p.mean for _, p in rows],
        "y": [text(series.short(label)) for label, _ in rows],
        "marker": {"color": shades, "size": 10},
        "error_x": whiskers([p for _, p in rows], factor, "@muted"),
        "hovertext": [f"{text(series.short(label))}: {interval_text(p, score)}" for label, p in rows],
        "hoverinfo": "text",
    }
    name = "accuracy" if score == "accuracy" else "R²"
    spec = layout(
        72 + 30 * len(rows), x=f"test {name}{' (%)' if score == 'accuracy' else ''}", yaxis={"autorange": "reversed"}
    )
    joint = comparison.summary(REFERENCE, score)
    if joint.n:
        spec["shapes"] = [upright(factor * joint.mean, "@joint", "dash")]
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
        "y": [text(series.short(label)) for label, _ in rows],
        "marker": {"color": [colour(label, comparison.labels, colours) for label, _ in rows]},
        "error_x": whiskers([p for _, p in rows], 1, "@ink"),
        "hovertext": [f"{text(series.short(label))}: {interval_text(p, 'step_ms')}" for label, p in rows],
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


def rank_chart(result: Ranking) -> Chart:
    """Mean ranks with half the critical difference on each side: disjoint intervals differ."""
    order = sorted(range(len(result.labels)), key=lambda i: result.ranks[i])
    names, ranks = [text(result.labels[i]) for i in order], [result.ranks[i] for i in order]
    half = result.critical_difference / 2
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": ranks,
        "y": names,
        "marker": {"size": 10, "color": "@accent"},
        "error_x": {"type": "constant", "value": half, "color": "@muted", "thickness": 1.5, "width": 4},
        "hovertext": [f"{name}: mean rank {rank:.2f}" for name, rank in zip(names, ranks, strict=True)],
        "hoverinfo": "text",
    }
    spec = layout(72 + 30 * len(names), x="mean rank (1 is best)", yaxis={"autorange": "reversed"})
    rows = [[result.labels[i], f"{result.ranks[i]:.2f}"] for i in order]
    return Chart(
        f"Mean rank over {result.datasets} data sets",
        f"Two methods differ at 5 % (Nemenyi's test) if their intervals do not overlap, that is beyond a difference of "
        f"{result.critical_difference:.2f}.",
        [("", {"data": [trace], "layout": spec})],
        Grid("ranks", "Mean ranks", ["method", "mean rank"], rows),
    )
