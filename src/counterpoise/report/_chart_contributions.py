"""Plotly charts of what modalities contribute: bars against H(Y), and encoders alone against inside."""

from __future__ import annotations

from collections.abc import Sequence

from counterpoise.report import _palette as palette
from counterpoise.report import _series as series
from counterpoise.report._charts import (
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
from counterpoise.report._comparison import REFERENCE, Comparison
from counterpoise.report._series import Point

__all__ = ["contribution_charts", "encoder_chart"]


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
                    "hovertext": [f"{text(m)}, {name}: {interval_text(p, kind)}" for m, p, _ in known],
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
                    "error_x": whiskers([p for _, p, _ in known], 1, "@ink"),
                }
            )
        entropy, joint = comparison.summary(label, "entropy"), series.point(comparison, label, "phi_mi")
        shapes, notes = [], []
        if joint.n:
            rows.append(([label, "all together", "together"], label, "phi_mi", joint))
            shapes.append(upright(joint.mean, "@ink", "solid"))
            notes.append(note_above(joint.mean, "all together", "right"))
        if entropy.n and comparison.score == "accuracy":
            shapes.append(upright(entropy.mean, "@ink", "dot"))
            notes.append(note_above(entropy.mean, "H(Y)", "left"))
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
        f"{whence(rows)}.",
        options,
        points_grid("contributions", "Contributions in nats", comparison, rows, ["method", "modality", "kind"]),
        "Method",
    )


def encoder_chart(comparison: Comparison, colours: Sequence[str]) -> Chart | None:
    """Paired dots: each encoder's linear probe, trained alone (hollow) and inside each model (filled)."""
    rows = series.probe_rows(comparison)
    rows = [label for label in rows if " (" not in label or label.partition(" (")[0] not in rows]
    ms = [m for m in comparison.modalities if any(comparison.seeds(label, f"probe:{m}") for label in rows)]
    if not rows or not ms:
        return None
    factor, what = factor_of(comparison.score), "probe accuracy (%)" if comparison.score == "accuracy" else "probe R²"
    traces: list[Spec] = []
    table: list[tuple[list[str], str, str, Point]] = []
    for m in ms:
        shade, metric = f"@m{palette.modality_slot(colours, m)}", f"probe:{m}"
        shown = comparison.shown(metric)
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
                        "x": [factor * alone.mean, factor * p.mean],
                        "y": [[where[0][i]] * 2, [where[1][i]] * 2],
                        "line": {"color": shade, "width": 2},
                    }
                )
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [factor * alone.mean] * len(inside),
                    "y": where,
                    "marker": {"color": "@surface", "size": 10, "line": {"color": shade, "width": 2}},
                    "hovertext": [f"{text(m)} alone: {interval_text(alone, shown)}"] * len(inside),
                    "hoverinfo": "text",
                }
            )
        table += [([m, label], label, metric, p) for label, p in inside]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [factor * p.mean for _, p in inside],
                "y": where,
                "marker": {"color": shade, "size": 10},
                "error_x": whiskers([p for _, p in inside], factor, shade),
                "hovertext": [f"{text(m)} inside {text(label)}: {interval_text(p, shown)}" for label, p in inside],
                "hoverinfo": "text",
            }
        )
    spec = layout(80 + 30 * len(rows) * len(ms), x=what, yaxis={"autorange": "reversed"})
    spec["yaxis"] |= {"type": "multicategory", "showdividers": True, "dividercolor": "@rule", "showgrid": False}
    return Chart(
        "Each encoder trained alone, and inside every model",
        "Hollow: a linear probe on the encoder trained alone. Filled: on the same modality's encoder inside the model. A "
        f"filled dot to the left of its hollow one is an encoder that joint training left behind; {whence(table)}.",
        [("", {"data": traces, "layout": spec})],
        points_grid("probes", f"Linear probes, {what}", comparison, table, ["modality", "encoder"]),
    )
