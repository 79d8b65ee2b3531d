"""Plotly charts over epochs: contribution gap, joint contribution, dominant modality, losses, coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from counterpoise.report._format import is_share, number
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.series import Curve
from counterpoise.report.figures import _palette as palette
from counterpoise.report.figures._charts import Chart, Spec, layout, text
from counterpoise.report.figures._layout import Grid
from counterpoise.runs import CurveId

__all__ = ["coefficient_charts", "curve_charts"]

Line = tuple[str, str, str, Curve]
"""Name, colour, dash, curve."""


def _draw(lines: Sequence[Line], *, y: str, metric: str) -> Spec:
    factor = 100.0 if is_share(metric) else 1.0
    bands, traces = [], []
    for name, shade, dash, c in lines:
        if c.n > 1:
            bands.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "line": {"width": 0},
                    "hoverinfo": "skip",
                    "fill": "toself",
                    "fillcolor": shade,
                    "opacity": 0.15,
                    "showlegend": False,
                    "legendgroup": text(name),
                    "x": [*c.epochs, *reversed(c.epochs)],
                    "y": [factor * v for v in (*c.high, *reversed(c.low))],
                }
            )
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": text(name),
                "legendgroup": text(name),
                "x": c.epochs,
                "y": [factor * v for v in c.mean],
                "line": {"color": shade, "width": 2, "dash": dash},
                "hovertemplate": "%{y:.4g}",
            }
        )
    spec = layout(320, x="epoch", y=y, legend=True)
    return {"data": bands + traces, "layout": spec | {"hovermode": "x unified"}}


def _table(title: str, lines: Sequence[Line], metric: str) -> Grid:
    epochs = sorted({e for *_, c in lines for e in c.epochs})
    columns = [dict(zip(c.epochs, c.mean, strict=True)) for *_, c in lines]
    rows = [[str(e), *(number(column[e], metric) if e in column else "–" for column in columns)] for e in epochs]
    return Grid("curve", title, ["epoch", *(name for name, *_ in lines)], rows)


def _chart(title: str, reading: str, lines: Sequence[Line], *, y: str, metric: str) -> Chart | None:
    if not lines:
        return None
    seeds = max(c.n for *_, c in lines)
    tail = f" Mean of {seeds} seeds; the band is one standard error." if seeds > 1 else " One seed."
    return Chart(title, reading + tail, [("", _draw(lines, y=y, metric=metric))], _table(title, lines, metric))


def curve_charts(comparison: Comparison, colours: Sequence[str]) -> list[Chart]:
    """Return the curves for one data set: gap, joint contribution, validation scores and losses."""
    name = comparison.score

    def line(label: str, c: Curve | None, rows: Sequence[str]) -> list[Line]:
        shade = palette.token(comparison, label, colours)
        return [(series.short(comparison, label), shade, palette.dash(comparison, label), c)] if c else []

    gap_rows = series.curve_rows(comparison, "contribution", "phi_cmi")
    gap = [x for label in gap_rows for x in line(label, series.gap_curve(comparison, label), gap_rows)]
    joint_rows = series.curve_rows(comparison, "contribution", "phi_mi")
    joint = [
        x
        for label in joint_rows
        for x in line(label, series.curve(comparison, label, CurveId("contribution", "phi_mi")), joint_rows)
    ]
    rows = series.curve_rows(comparison, "score", name)
    score = [x for label in rows for x in line(label, series.curve(comparison, label, CurveId("score", name)), rows)]
    m = series.dominant(comparison)
    alone = comparison.unimodal(m) if m else None
    c = series.curve(comparison, alone, CurveId("score", name)) if alone else None
    if m and c and score:
        score.append((f"{m} alone", f"@m{palette.modality_slot(colours, m)}", "solid", c))
    inside: list[Line] = []
    if m:
        for label in series.curve_rows(comparison, "score", name):
            inside += line(label, series.curve(comparison, label, CurveId("score", name, m)), rows)
        if c and inside:
            inside.append((f"{m} alone", f"@m{palette.modality_slot(colours, m)}", "solid", c))
    name = "accuracy" if comparison.score == "accuracy" else "R²"
    percent = " (%)" if comparison.score == "accuracy" else ""
    charts = [
        _chart(
            "Contribution gap",
            "Largest minus smallest contribution of a modality (φ_CMI), on validation samples: 0 is balanced.",
            gap,
            y="gap (nats)",
            metric="phi_cmi",
        ),
        _chart(
            "Joint contribution",
            "What all features together know about the label (φ_MI), on validation samples.",
            joint,
            y="φ_MI (nats)",
            metric="phi_mi",
        ),
        _chart(
            "Dominant modality against the methods" if m and c else f"Validation {name}",
            f"Validation {name} of every method" + (f", and of {m} trained alone." if m and c else "."),
            score,
            y=f"validation {name}{percent}",
            metric=comparison.score,
        ),
        _chart(
            f"The dominant modality ({m}) inside every method",
            f"Validation {name} of the own head of {m}, the dominant modality, inside every method"
            + (", and of it trained alone." if c else "."),
            inside,
            y=f"validation {name}{percent}",
            metric=comparison.score,
        ),
        _losses(comparison, colours),
    ]
    return [chart for chart in charts if chart]


def _losses(comparison: Comparison, colours: Sequence[str]) -> Chart | None:
    """One thin line per seed, so that the spread over initialisations is seen."""
    rows = series.curve_rows(comparison, "loss", "total")
    lines = [
        (f"{label}, seed {r.seed}" if len(comparison.records[label]) > 1 else label, label, r.curve("loss", "total"))
        for label in rows
        for r in comparison.records[label]
        if r.curve("loss", "total")
    ]
    if not lines:
        return None
    seen: set[str] = set()
    traces: list[dict[str, Any]] = []
    for name, label, values in lines:
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": text(label),
                "legendgroup": text(label),
                "y": values,
                "x": list(range(1, len(values) + 1)),
                "showlegend": label not in seen,
                "hoverinfo": "text",
                "hovertext": text(name),
                "line": {"color": palette.token(comparison, label, colours), "width": 1.2},
            }
        )
        seen.add(label)
    length = max(len(values) for *_, values in lines)
    cells = [
        [str(e + 1), *(number(values[e], "loss") if e < len(values) else "–" for *_, values in lines)]
        for e in range(length)
    ]
    return Chart(
        "Training loss of each seed",
        "One line per run; losses of different methods have different terms, so compare shapes, not heights.",
        [("", {"data": traces, "layout": layout(320, x="epoch", y="loss (nats)", legend=True)})],
        Grid("loss", "Training loss of each seed", ["epoch", *(name for name, *_ in lines)], cells),
    )


def coefficient_charts(comparison: Comparison, colours: Sequence[str]) -> list[Chart]:
    """Return what each method chose per modality and epoch (weights, gradient scales), one chart per coefficient."""
    charts = []
    for label in comparison.labels:
        if comparison.same_network(label):
            continue
        for kind, ms in series.coefficients(comparison, label).items():
            lines = [
                (m or kind, palette.modality_token(colours, m), "solid", c)
                for m in ms
                if (c := series.curve(comparison, label, CurveId("coefficient", kind, m)))
            ]
            unit = "coefficient"
            charts.append(
                _chart(f"{label}: {kind}", f"What {label} chose per modality.", lines, y=unit, metric="weight")
            )
    return [chart for chart in charts if chart]
