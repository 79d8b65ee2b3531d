"""Plotly charts of classes and of damage: a heat map class x modality, and scores with one modality noisy, missing or swapped."""

from __future__ import annotations

from collections.abc import Sequence

from counterpoise.report._format import number, plus_minus
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.robustness import CorruptedScore, corrupted_scores
from counterpoise.report.analysis.series import Point
from counterpoise.report.figures import _palette as palette
from counterpoise.report.figures._charts import (
    Chart,
    Spec,
    factor_of,
    interval_text,
    layout,
    text,
    whence,
    whiskers,
)
from counterpoise.report.figures._layout import Grid
from counterpoise.report.figures._palette import modality_slot
from counterpoise.runs import MetricId

__all__ = ["class_chart", "robustness_charts", "shift_grid"]

ROWS = 40
"""Classes of a heat map, at most."""


def class_chart(comparison: Comparison) -> Chart | None:
    """Heat map: what each modality says on the samples of each class, alone and beside the others."""
    options, rows = [], []
    short = 0
    kinds = (("mi", "alone (φ_MI)"), ("cmi", "added to the rest (φ_CMI)"))
    for label in series.class_rows(comparison):
        for kind, words in kinds:
            found = series.class_values(comparison, label, kind)
            if found is None:
                continue
            names, ms, values = found
            kept = list(range(len(names)))
            if len(names) > ROWS:  # those on which the modalities differ most
                spread = [max(v) - min(v) for v in values]
                kept = sorted(sorted(kept, key=lambda i: -spread[i])[:ROWS])
                short = len(names)
            top = max((abs(v) for row in values for v in row), default=0.0) or 1.0
            signed = min((v for row in values for v in row), default=0.0) < -0.02 * top
            shown = [values[i] for i in kept]
            trace: Spec = {
                "type": "heatmap",
                "x": [text(m) for m in ms],
                "y": [text(names[i]) for i in kept],
                "z": shown,
                "text": [[number(v, "phi_mi", digits=2) for v in row] for row in shown],
                "texttemplate": "%{text}",
                "textfont": {"size": 12, "color": "@ink"},
                "hovertemplate": "%{y}, %{x}: %{text} nats<extra></extra>",
                "zmin": -top if signed else 0,
                "zmax": top,
                "colorscale": [
                    *([[0, "@heat-low"], [0.5, "@heat-mid"]] if signed else [[0, "@heat-mid"]]),
                    [1, "@heat-high"],
                ],
                "xgap": 2,
                "ygap": 2,
                "colorbar": {
                    "title": {"text": "nats", "side": "top"},
                    "thickness": 10,
                    "outlinewidth": 0,
                    "len": min(1.0, 200 / (24 * len(kept) + 20)) if len(kept) > 8 else 1,
                    "y": 1,
                    "yanchor": "top",
                    "tickfont": {"size": 11},
                },
            }
            spec = layout(
                96 + 26 * len(kept),
                x="modality (nats)",
                yaxis={"autorange": "reversed", "showgrid": False, "type": "category"},
                xaxis={"side": "top", "showgrid": False, "type": "category"},
            )
            spec["margin"] |= {"t": 52, "b": 12}
            options.append((f"{label}: {words}", {"data": [trace], "layout": spec}))
            rows += [
                [label, words, name, *(number(v, "phi_mi") for v in row)]
                for name, row in zip(names, values, strict=True)
            ]
    if not options:
        return None
    ms = list(comparison.modalities)
    cut = f" The {ROWS} of {short} classes on which the modalities differ most; the table has all." if short else ""
    return Chart(
        "Which classes rely on which modality",
        "Mean over the test samples of a class of what a modality says about the label: blue is information, orange points "
        f"away from the truth. Held-out heads; mean over seeds.{cut}",
        options,
        Grid("classes", "Contributions by class in nats", ["method", "kind", "class", *ms], rows),
        "Method and kind",
    )


def robustness_charts(comparison: Comparison, colours: Sequence[str]) -> list[Chart]:
    """One chart per damaged modality: a line per method over the noise, and points for missing and swapped."""
    return [chart for m in comparison.modalities if (chart := _robustness(comparison, m, colours))]


def _robustness(comparison: Comparison, m: str, colours: Sequence[str]) -> Chart | None:
    found = {label: d for label in comparison.labels if (d := corrupted_scores(comparison, label, m))}
    methods = [label for label in found if not comparison.is_unimodal(label)]
    if not methods:
        return None
    score, factor = comparison.score, factor_of(comparison.score)
    name = "test accuracy" if score == "accuracy" else "test R²"
    percent = " (%)" if score == "accuracy" else ""
    traces: list[Spec] = []
    table: list[tuple[list[str], str, str, Point]] = []
    for i, label in enumerate(methods):
        shift = (i - (len(methods) - 1) / 2) * min(0.08, 0.5 / len(methods))
        shade, style = palette.token(comparison, label, colours), palette.dash(comparison, label)
        table += [([label, d.words], label, score, d.point) for d in found[label]]
        for noisy in (True, False):
            points = [d for d in found[label] if d.is_noise == noisy]
            if points:  # tokens take no noise: then the clean score is alone
                joined = noisy and len(points) > 1
                traces.append(
                    _line(
                        series.short(comparison, label),
                        points,
                        shade,
                        style,
                        factor,
                        score,
                        shift=0.0 if noisy else shift,
                        joined=joined,
                    )
                )
    others = [k for k in comparison.modalities if k != m]
    shown = sorted({(d.place, d.words.removeprefix("noise ")) for label in methods for d in found[label]})
    spec = layout(
        340,
        x="noise (standard deviations); zeros; permute",
        y=f"{name}{percent}",
        legend=True,
        xaxis={"tickvals": [p for p, _ in shown], "ticktext": [w for _, w in shown], "range": [-0.2, 3.8]},
    )
    means = [factor * d.point.mean for label in methods for d in found[label]]
    room = 0.08 * (max(means) - min(means)) or 0.05 * factor
    ends = (min(means) - room, max(means) + room)  # two seeds' intervals may be wider than the axis
    spec["yaxis"]["range"] = [max(ends[0], 0.0), min(ends[1], 101.0)] if score == "accuracy" else list(ends)
    alone = comparison.unimodal(others[0]) if len(others) == 1 else None
    if alone and (base := series.point(comparison, alone, score)).n:
        shade = f"@m{modality_slot(colours, others[0])}"
        level = factor * base.mean
        low, high = spec["yaxis"]["range"]
        spec["yaxis"]["range"] = [min(low, level - room), max(high, level + room)]
        spec["shapes"] = [
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level}
            | {"line": {"color": shade, "width": 1.5, "dash": "dot"}, "layer": "below"}
        ]
    reading = (
        f"What is left when only {m} is damaged: noise in standard deviations, all zeros, or another sample's {m}. "
    )
    if alone and base.n:
        reading += f"Dotted line: {others[0]} trained alone, what a model without {m} should still reach. "
    return Chart(
        f"Test scores with {m} damaged",
        reading + whence(table)[0].upper() + whence(table)[1:] + ".",
        [("", {"data": traces, "layout": spec})],
        _grid(comparison, m, table, f"Test scores with {m} damaged"),
    )


def _line(
    label: str,
    points: Sequence[CorruptedScore],
    shade: str,
    style: str,
    factor: float,
    score: str,
    *,
    shift: float,
    joined: bool,
) -> Spec:
    return {
        "type": "scatter",
        "mode": "lines+markers" if joined else "markers",
        "name": text(label),
        "legendgroup": text(label),
        "showlegend": points[0].is_noise,
        "x": [d.place + shift for d in points],
        "y": [factor * d.point.mean for d in points],
        "error_y": whiskers([d.point for d in points], factor, shade) | {"thickness": 1, "width": 3},
        "line": {"color": shade, "width": 2, "dash": style},
        "marker": {"color": shade, "size": 7},
        "hovertext": [f"{text(label)}, {d.words}: {interval_text(d.point, score)}" for d in points],
        "hoverinfo": "text",
    }


def _grid(comparison: Comparison, m: str, table: Sequence[tuple[list[str], str, str, Point]], title: str) -> Grid:
    """Return the table behind: one row per method and damage. Only undamaged scores are in ``table.csv``."""
    cells = [
        [*names, *(number(v, comparison.score) for v in (p.mean, p.low, p.high)), str(p.n)] for names, *_, p in table
    ]
    source = {
        (i, 2): (comparison.data, label, comparison.score, "mean")
        for i, (names, label, _, _) in enumerate(table)
        if names[1] == "clean"
    }
    head = ["method", "damage", "mean", "95 % low", "95 % high", "seeds"]
    return Grid(f"robustness-{m}", title, head, cells, source=source)


def shift_grid(comparison: Comparison) -> Grid:
    """Methods as rows: the score for clean inputs, its mean over all corruptions, and over those of each modality."""
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
        summaries = [(metric, comparison.summary(label, metric.name, metric.modality)) for metric in metrics]
        source |= {
            (len(rows), j): (comparison.data, label, str(metric), "mean")
            for j, (metric, s) in enumerate(summaries, 1)
            if s.n
        }
        rows.append([label, *(plus_minus(s.mean, s.se, score) for _, s in summaries)])
    note = "Mean over three strengths of noise, zeros and permute; texts take no noise."
    return Grid("shift", f"{comparison.data}: test scores under corruption", header, rows, note, source=source)
