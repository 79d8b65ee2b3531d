"""Plotly charts of one data set, as plain dictionaries: points with intervals, bars, paired dots.

Colours are names (``@m0`` is the first modality's, ``@ink`` the text's) that the page resolves in its light or dark
theme. Every string that comes from data goes through `text`: Plotly reads pseudo-HTML in labels.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from counterpoise.report import _palette as palette
from counterpoise.report import _series as series
from counterpoise.report._comparison import REFERENCE, Comparison
from counterpoise.report._format import is_share, number, unit
from counterpoise.report._layout import Grid, Ranking
from counterpoise.report._series import Point

__all__ = [
    "Chart",
    "colour",
    "contribution_charts",
    "cost_chart",
    "encoder_chart",
    "layout",
    "rank_chart",
    "score_chart",
    "text",
]

Spec = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A chart and the table behind it.

    Attributes:
        title: what it shows.
        reading: how to read it, one sentence.
        options: named variants (one, if there is nothing to choose), each a Plotly figure as a dictionary.
        table: the same numbers.
        choice: what the reader chooses by the options' names.
    """

    title: str
    reading: str
    options: list[tuple[str, Spec]]
    table: Grid
    choice: str = field(default="")


def text(value: str) -> str:
    """Escape a string from data for Plotly's labels, on one line and of bounded length."""
    value = " ".join(value.split())
    return html.escape(value if len(value) <= 40 else value[:39] + "…", quote=False)


def colour(label: str, labels: Sequence[str], colours: Sequence[str]) -> str:
    """Return the colour name of a row: its modality's, joint training's, the flagship's or one of the others'."""
    if label.startswith("unimodal:"):
        m = next((m for m in colours if label.removeprefix("unimodal:").partition(" [")[0] == m), None)
        return f"@m{palette.modality_slot(colours, m)}" if m else "@muted"
    if label.partition(" ")[0] == "arm":
        return "@flagship"
    slot = palette.method_slot(label, [name for name in labels if not name.startswith("unimodal:")])
    return "@joint" if slot is None else f"@k{slot}"


def layout(height: int, *, x: str, y: str = "", legend: bool = False, **axes: Spec) -> Spec:
    """Return the common layout: quiet axes with units, no title (the page has it), no zoom by dragging."""
    axis: Spec = {
        "gridcolor": "@rule",
        "zerolinecolor": "@muted",
        "linecolor": "@rule",
        "automargin": True,
        "tickfont": {"size": 12},
        "fixedrange": True,
        "zeroline": False,
    }
    return {
        "height": height,
        "margin": {"l": 8, "r": 16, "t": 36 if legend else 12, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "@ink", "family": "system-ui, sans-serif", "size": 12},
        "hoverlabel": {"bgcolor": "@surface", "bordercolor": "@rule", "font": {"color": "@ink"}},
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 12}},
        "dragmode": False,
        "xaxis": {**axis, "title": {"text": x, "standoff": 8}, **axes.get("xaxis", {})},
        "yaxis": {**axis, "title": {"text": y, "standoff": 8}, **axes.get("yaxis", {})},
    }


def _factor(metric: str) -> float:
    return 100.0 if is_share(metric) else 1.0


def _error(points: Sequence[Point], factor: float, shade: str) -> Spec:
    def length(end: float, mean: float) -> float:
        return factor * abs(end - mean) if math.isfinite(end) else 0.0

    return {
        "type": "data",
        "symmetric": False,
        "array": [length(p.high, p.mean) for p in points],
        "arrayminus": [length(p.low, p.mean) for p in points],
        "color": shade,
        "thickness": 1.5,
        "width": 4,
    }


def _interval(p: Point, metric: str) -> str:
    if not (math.isfinite(p.low) and math.isfinite(p.high)):
        return f"{number(p.mean, metric)} {unit(metric)}, no interval".replace("  ", " ")
    return f"{number(p.mean, metric)} {unit(metric)} [{number(p.low, metric)}, {number(p.high, metric)}]"


def _points_grid(
    name: str, title: str, data: str, rows: Sequence[tuple[list[str], str, str, Point]], head: list[str]
) -> Grid:
    """Return the table behind a chart of points: names, mean, ends of the interval, seeds."""
    cells: list[list[str]] = []
    source: dict[tuple[int, int], tuple[str, str, str, str]] = {}
    for names, label, metric, p in rows:
        source[len(cells), len(names)] = (data, label, metric, "mean")
        cells.append([*names, number(p.mean, metric), number(p.low, metric), number(p.high, metric), str(p.n)])
    header = [*head, "mean", "95 % low", "95 % high", "seeds"]
    return Grid(name, title, header, cells, source=source)


def _line(value: float, shade: str, style: str, y1: float = 1.0) -> Spec:
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": value,
        "x1": value,
        "y0": 0,
        "y1": y1,
        "line": {"color": shade, "width": 1.5, "dash": style},
        "layer": "below",
    }


def _note(value: float, label: str, anchor: str) -> Spec:
    return {
        "x": value,
        "y": 1,
        "xref": "x",
        "yref": "paper",
        "yanchor": "bottom",
        "xanchor": anchor,
        "text": label,
        "showarrow": False,
        "font": {"size": 12, "color": "@muted"},
    }


def contribution_charts(comparison: Comparison, colours: Sequence[str]) -> Chart | None:
    """One bar per modality against H(Y): pale for what it knows alone, solid for what it adds to the others."""
    labels = series.contributions(comparison)
    if not labels:
        return None
    labels.sort(key=lambda label: label != REFERENCE)
    options, rows = [], []
    for label in labels:
        ms = [m for m in comparison.modalities if comparison.seeds(label, f"phi_cmi:{m}")]
        shades = [f"@m{palette.modality_slot(colours, m)}" for m in ms]
        traces = []
        for kind, name, width, opacity in (("phi_mi", "alone", 0.66, 0.35), ("phi_cmi", "added to the rest", 0.3, 1.0)):
            points = [series.point(comparison, label, f"{kind}:{m}") for m in ms]
            known = [(m, p, s) for m, p, s in zip(ms, points, shades, strict=True) if p.n]
            rows += [([label, m, name], label, f"{kind}:{m}", p) for m, p, _ in known]
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": name,
                    "width": width,
                    "opacity": opacity,
                    "x": [p.mean for _, p, _ in known],
                    "y": [text(m) for m, _, _ in known],
                    "marker": {"color": [s for _, _, s in known], "line": {"width": 0}},
                    "hovertext": [f"{text(m)}, {name}: {_interval(p, kind)}" for m, p, _ in known],
                    "hoverinfo": "text",
                }
            )
            # The whiskers are a trace of their own: the pale bar's would be pale.
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "hoverinfo": "skip",
                    "marker": {"size": 1, "color": "@ink"},
                    "x": [p.mean for _, p, _ in known],
                    "y": [text(m) for m, _, _ in known],
                    "error_x": _error([p for _, p, _ in known], 1, "@ink"),
                }
            )
        entropy, joint = comparison.summary(label, "entropy"), series.point(comparison, label, "phi_mi")
        shapes, notes = [], []
        if joint.n:
            rows.append(([label, "all together", "together"], label, "phi_mi", joint))
            shapes.append(_line(joint.mean, "@ink", "solid"))
            notes.append(_note(joint.mean, "all together", "right"))
        if entropy.n and comparison.score == "accuracy":
            shapes.append(_line(entropy.mean, "@ink", "dot"))
            notes.append(_note(entropy.mean, "H(Y)", "left"))
        spec = layout(
            96 + 56 * len(ms), x="held-out contribution (nats)", yaxis={"autorange": "reversed", "showgrid": False}
        )
        top = max([entropy.mean if entropy.n and comparison.score == "accuracy" else 0.0, *(p[3].mean for p in rows)])
        spec |= {"barmode": "overlay", "shapes": shapes, "annotations": notes}
        spec["xaxis"] |= {
            "range": [min(0.0, *(min(p[3].mean, p[3].low) for p in rows)) * 1.1, 1.12 * top],
            "zeroline": True,
        }
        spec["margin"]["t"] = 28
        options.append((label, {"data": traces, "layout": spec}))
    return Chart(
        "What each modality knows alone, and what it adds",
        "Pale bar: information about the label in the modality alone (φ_MI). Solid bar: what it adds to the others "
        "(φ_CMI). Dotted line: all there is to know, H(Y). Measured on test samples that no head was fitted on; "
        f"{_whence(rows)}.",
        options,
        _points_grid("contributions", "Contributions in nats", comparison.data, rows, ["method", "modality", "kind"]),
        "Method",
    )


def _whence(rows: Sequence[tuple[list[str], str, str, Point]]) -> str:
    sources = {row[3].source for row in rows}
    if sources == {"seeds"}:
        return "whiskers are 95 % intervals over seeds"
    if "samples" in sources:
        return "whiskers are 95 % intervals over test samples (over seeds where there are several)"
    return (
        "with one seed there is no interval"
        if sources == {"none"}
        else "whiskers are 95 % intervals where there is one"
    )


def encoder_chart(comparison: Comparison, colours: Sequence[str]) -> Chart | None:
    """Paired dots: each encoder's linear probe, trained alone (hollow) and inside each model (filled)."""
    rows = series.probe_rows(comparison)
    rows = [label for label in rows if " (" not in label or label.partition(" (")[0] not in rows]
    ms = [m for m in comparison.modalities if any(comparison.seeds(label, f"probe:{m}") for label in rows)]
    if not rows or not ms:
        return None
    traces: list[Spec] = []
    table: list[tuple[list[str], str, str, Point]] = []
    for m in ms:
        shade, metric = f"@m{palette.modality_slot(colours, m)}", f"probe:{m}"
        alone_row = comparison.unimodal(m)
        alone = series.point(comparison, alone_row, metric) if alone_row else None
        inside = [(label, p) for label in rows if (p := series.point(comparison, label, metric)).n]
        where = [[text(m)] * len(inside), [text(label) for label, _ in inside]]
        if alone and alone_row and alone.n:
            table.append(([m, "alone"], alone_row, metric, alone))
            for i, (_, p) in enumerate(inside):
                traces.append(
                    {
                        "type": "scatter",
                        "mode": "lines",
                        "hoverinfo": "skip",
                        "opacity": 0.5,
                        "x": [100 * alone.mean, 100 * p.mean],
                        "y": [[where[0][i]] * 2, [where[1][i]] * 2],
                        "line": {"color": shade, "width": 2},
                    }
                )
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [100 * alone.mean] * len(inside),
                    "y": where,
                    "marker": {"color": "@surface", "size": 10, "line": {"color": shade, "width": 2}},
                    "hovertext": [f"{text(m)} alone: {_interval(alone, metric)}"] * len(inside),
                    "hoverinfo": "text",
                }
            )
        table += [([m, label], label, metric, p) for label, p in inside]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [100 * p.mean for _, p in inside],
                "y": where,
                "marker": {"color": shade, "size": 10},
                "error_x": _error([p for _, p in inside], 100, shade),
                "hovertext": [f"{text(m)} inside {text(label)}: {_interval(p, metric)}" for label, p in inside],
                "hoverinfo": "text",
            }
        )
    spec = layout(
        80 + 30 * len(rows) * len(ms), x="test accuracy of a linear probe (%)", yaxis={"autorange": "reversed"}
    )
    spec["yaxis"] |= {"type": "multicategory", "showdividers": True, "dividercolor": "@rule", "showgrid": False}
    return Chart(
        "Each encoder trained alone, and inside every model",
        "Hollow: a linear probe on the encoder trained alone. Filled: on the same modality's encoder inside the model. A "
        f"filled dot to the left of its hollow one is an encoder that joint training left behind; {_whence(table)}.",
        [("", {"data": traces, "layout": spec})],
        _points_grid("probes", "Linear probes, test accuracy in %", comparison.data, table, ["modality", "encoder"]),
    )


def score_chart(comparison: Comparison, colours: Sequence[str]) -> Chart | None:
    """One dot per method with its interval, best on top; joint training as a dashed line."""
    score, factor = comparison.score, _factor(comparison.score)
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
        "error_x": _error([p for _, p in rows], factor, "@muted"),
        "hovertext": [f"{text(series.short(label))}: {_interval(p, score)}" for label, p in rows],
        "hoverinfo": "text",
    }
    name = "accuracy" if score == "accuracy" else "R²"
    spec = layout(
        72 + 30 * len(rows), x=f"test {name}{' (%)' if score == 'accuracy' else ''}", yaxis={"autorange": "reversed"}
    )
    joint = comparison.summary(REFERENCE, score)
    if joint.n:
        spec["shapes"] = [_line(factor * joint.mean, "@joint", "dash")]
        spec["annotations"] = [_note(factor * joint.mean, "joint", "center")]
        spec["margin"]["t"] = 28
    table = [([label], label, score, p) for label, p in rows]
    return Chart(
        f"Test {name} of every method",
        f"Dashed line: joint training; {_whence(table)}. Rows in a modality's colour are trained on it alone.",
        [("", {"data": [trace], "layout": spec})],
        _points_grid("scores", f"Test {name} with its interval", comparison.data, table, ["method"]),
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
        "error_x": _error([p for _, p in rows], 1, "@ink"),
        "hovertext": [f"{text(series.short(label))}: {_interval(p, 'step_ms')}" for label, p in rows],
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
        f"Time of forward, backward and the optimizer's step on the machine that ran it; {_whence(table)}.",
        [("", {"data": [trace], "layout": spec})],
        _points_grid(
            "cost", "Time per step in ms, and as a multiple of joint training's", comparison.data, table, ["method"]
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
