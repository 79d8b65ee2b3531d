"""Plotly charts of what modalities contribute: bars against H(Y), and encoders alone against inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.series import Point
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

__all__ = ["contribution_charts", "encoder_chart", "parts_chart"]


QUANTITIES = (
    ("phi_mi", "alone (φ_MI)", "circle"),
    ("phi_cmi", "added (φ_CMI)", "square"),
    ("phi_shared", "shared", "diamond"),
    ("phi_synergy", "synergy", "cross"),
)
"""Metric, name and mark of what is said of a modality."""


def contribution_charts(comparison: Comparison, colours: Sequence[str]) -> Chart | None:
    """One bar per modality against H(Y): what it shares with the others, has by itself, and says only together with them.

    Records without that split give a pale bar for what it knows alone, and a solid one for what it adds to the others.
    """
    labels = series.contributions(comparison)
    if not labels:
        return None
    labels.sort(key=lambda label: label != comparison.reference)
    split = any(comparison.seeds(label, "phi_shared", m) for label in labels for m in comparison.modalities)
    options, rows = [], []
    for label in labels:
        ms = [m for m in comparison.modalities if comparison.seeds(label, "phi_cmi", m)]
        known = {
            (kind, m): p for m in ms for kind, *_ in QUANTITIES if (p := series.point(comparison, label, kind, m)).n
        }
        names = {kind: name for kind, name, _ in QUANTITIES}
        rows += [([label, m, names[kind]], label, f"{kind}:{m}", p) for (kind, m), p in known.items()]
        if all(("phi_shared", m) in known and ("phi_synergy", m) in known for m in ms):
            traces = _stacked(ms, known, colours)
        else:
            traces = _overlaid(ms, known, colours)
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
        ends = [p[3].mean for p in rows if p[1] == label]
        ends += [known["phi_mi", m].mean + known["phi_synergy", m].mean for m in ms if ("phi_synergy", m) in known]
        top = max([entropy.mean if entropy.n and comparison.score == "accuracy" else 0.0, *ends])
        spec |= {"barmode": "overlay", "shapes": shapes, "annotations": notes}
        spec["xaxis"] |= {
            "range": [min(0.0, *(min(p[3].mean, p[3].low) for p in rows if p[1] == label)) * 1.1, 1.12 * top],
            "zeroline": True,
        }
        spec["margin"]["t"] = 28
        options.append((label, {"data": traces, "layout": spec}))
    bars = (
        "Pale: what it shares with the other modalities. Solid: what only it knows. Hatched: what only it and the others "
        "together know (synergy). Pale and solid are φ_MI, what it knows alone; solid and hatched are φ_CMI, what it adds to "
        "the others; the two whiskers are theirs. "
        if split
        else "Pale bar: information about the label in the modality alone (φ_MI). Solid bar: what it adds to the others (φ_CMI). "
    )
    return Chart(
        "What each modality knows alone, and what it adds",
        f"{bars}Dotted line: all there is to know, H(Y). Measured on test samples that no head was fitted on; "
        f"{whence(rows)}.",
        options,
        points_grid("contributions", "Contributions in nats", comparison, rows, ["method", "modality", "kind"]),
        "Method",
    )


def _stacked(ms: Sequence[str], known: Mapping[tuple[str, str], Point], colours: Sequence[str]) -> list[Spec]:
    """Three segments per modality: shared, unique, synergy; parts below zero have no length."""
    shades = [f"@m{palette.modality_slot(colours, m)}" for m in ms]

    def mean(kind: str, m: str) -> float:
        return known[kind, m].mean

    shared = [max(mean("phi_shared", m), 0.0) for m in ms]
    unique = [max(mean("phi_mi", m) - s, 0.0) for m, s in zip(ms, shared, strict=True)]
    synergy = [max(mean("phi_synergy", m), 0.0) for m in ms]
    ends = [s + u for s, u in zip(shared, unique, strict=True)]
    traces: list[Spec] = []
    for name, opacity, base, length, pattern, value in (
        ("shared", 0.35, [0.0] * len(ms), shared, "", [mean("phi_shared", m) for m in ms]),
        ("only here", 1.0, shared, unique, "", [mean("phi_mi", m) - mean("phi_shared", m) for m in ms]),
        ("synergy", 1.0, ends, synergy, "/", [mean("phi_synergy", m) for m in ms]),
    ):
        marker: Spec = {"color": shades, "line": {"width": 0}}
        if pattern:
            marker["pattern"] = {"shape": pattern, "fillmode": "replace", "size": 7, "solidity": 0.45}
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "width": 0.56,
                "opacity": opacity,
                "base": base,
                "x": length,
                "y": [text(m) for m in ms],
                "marker": marker,
                "hovertext": [f"{text(m)}, {name}: {v:.3f} nats" for m, v in zip(ms, value, strict=True)],
                "hoverinfo": "text",
            }
        )
    alone = [mean("phi_mi", m) for m in ms]  # where it is, also below zero
    for kind, places in (("phi_mi", alone), ("phi_cmi", [e + s for e, s in zip(ends, synergy, strict=True)])):
        points = [known[kind, m] for m in ms]
        traces.append(_ticks(places, ms, points, kind))
    return traces


def _overlaid(ms: Sequence[str], known: Mapping[tuple[str, str], Point], colours: Sequence[str]) -> list[Spec]:
    """Pale bar alone, solid bar added."""
    traces: list[Spec] = []
    for kind, name, width, opacity in (("phi_mi", "alone", 0.66, 0.35), ("phi_cmi", "added to the rest", 0.3, 1.0)):
        there = [(m, known[kind, m], f"@m{palette.modality_slot(colours, m)}") for m in ms if (kind, m) in known]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "width": width,
                "opacity": opacity,
                "x": [p.mean for _, p, _ in there],
                "y": [text(m) for m, _, _ in there],
                "marker": {"color": [s for _, _, s in there], "line": {"width": 0}},
                "hovertext": [f"{text(m)}, {name}: {interval_text(p, kind)}" for m, p, _ in there],
                "hoverinfo": "text",
            }
        )
        traces.append(_ticks([p.mean for _, p, _ in there], [m for m, _, _ in there], [p for _, p, _ in there], kind))
    return traces


def _ticks(places: Sequence[float], ms: Sequence[str], points: Sequence[Point], kind: str) -> Spec:
    """Whiskers as a trace of their own: a pale bar's would be pale."""
    return {
        "type": "scatter",
        "mode": "markers",
        "marker": {"size": 1, "color": "@ink"},
        "x": list(places),
        "y": [text(m) for m in ms],
        "error_x": whiskers(points, 1, "@ink"),
        "hovertext": [f"{text(m)}: {interval_text(p, kind)}" for m, p in zip(ms, points, strict=True)],
        "hoverinfo": "text",
    }


def parts_chart(comparison: Comparison, colours: Sequence[str]) -> Chart | None:
    """Dots with intervals: alone, added, shared and synergistic, by modality; negative estimates are shown as they are."""
    labels = [
        label
        for label in series.contributions(comparison)
        if any(comparison.seeds(label, "phi_shared", m) for m in comparison.modalities)
    ]
    if not labels:
        return None
    labels.sort(key=lambda label: label != comparison.reference)
    options, rows = [], []
    for label in labels:
        traces: list[Spec] = []
        for m in comparison.modalities:
            shade = f"@m{palette.modality_slot(colours, m)}"
            found = [
                (kind, name, mark, p)
                for kind, name, mark in QUANTITIES
                if (p := series.point(comparison, label, kind, m)).n
            ]
            rows += [([label, m, name], label, f"{kind}:{m}", p) for kind, name, _, p in found]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [p.mean for *_, p in found],
                    "y": [[text(m)] * len(found), [name for _, name, _, _ in found]],
                    "marker": {"color": shade, "size": 9, "symbol": [mark for _, _, mark, _ in found]},
                    "error_x": whiskers([p for *_, p in found], 1, shade),
                    "hovertext": [f"{text(m)}, {name}: {interval_text(p, kind)}" for kind, name, _, p in found],
                    "hoverinfo": "text",
                }
            )
        spec = layout(
            84 + 24 * sum(len(t["x"]) for t in traces),
            x="held-out contribution (nats)",
            yaxis={"autorange": "reversed", "type": "multicategory", "showdividers": True, "dividercolor": "@rule"},
        )
        spec["xaxis"] |= {"zeroline": True}
        options.append((label, {"data": traces, "layout": spec}))
    return Chart(
        "The parts with their intervals",
        "An estimate of a part that is not there lies below zero half of the time, and is shown as it is; "
        f"{whence(rows)}.",
        options,
        points_grid("parts", "Parts of the contributions in nats", comparison, rows, ["method", "modality", "part"]),
        "Method",
    )


def encoder_chart(comparison: Comparison, colours: Sequence[str]) -> Chart | None:
    """Paired dots: each encoder's linear probe, trained alone (hollow) and inside each model (filled)."""
    rows = series.probe_rows(comparison)
    rows = [label for label in rows if not comparison.same_network(label)]
    ms = [m for m in comparison.modalities if any(comparison.seeds(label, "probe", m) for label in rows)]
    if not rows or not ms:
        return None
    factor, what = factor_of(comparison.score), "probe accuracy (%)" if comparison.score == "accuracy" else "probe R²"
    traces: list[Spec] = []
    table: list[tuple[list[str], str, str, Point]] = []
    for m in ms:
        shade, metric = palette.modality_token(colours, m), f"probe:{m}"
        shown = comparison.shown("probe")
        alone_row = comparison.unimodal(m)
        alone = series.point(comparison, alone_row, "probe", m) if alone_row else None
        inside = [(label, p) for label in rows if (p := series.point(comparison, label, "probe", m)).n]
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
