"""Numbers of each chart, for the page and for the figures of a paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.statistics import Summary, summarise, t_interval
from counterpoise.runs import CurveId, CurveKind, RunRecord

__all__ = [
    "Curve",
    "Point",
    "class_rows",
    "class_values",
    "coefficients",
    "colour_order",
    "contributions",
    "curve",
    "curve_rows",
    "dominant",
    "gap_curve",
    "point",
    "probe_rows",
    "short",
]


@dataclass(frozen=True)
class Point:
    """A mean with its 95 % interval and the source of the interval.

    Attributes:
        mean: The mean over seeds.
        low: Lower end; NaN if there is no interval.
        high: Upper end.
        n: Number of seeds.
        source: ``seeds`` (Student's t), ``samples`` (the valuation's own interval) or ``none``.
    """

    mean: float
    low: float
    high: float
    n: int
    source: str


@dataclass(frozen=True)
class Curve:
    """Mean over seeds per epoch (from 1), with one standard error; it ends where the first seed ended."""

    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]
    n: int


def point(comparison: Comparison, label: str, name: str, m: str | None = None) -> Point:
    """Return mean and interval of a metric: over seeds, or over the valuation's samples if there is only one seed."""
    s = comparison.summary(label, name, m)
    if s.n >= 2:
        return Point(s.mean, *t_interval(s.mean, s.se, s.n), s.n, "seeds")
    part = _valued(comparison.records[label][0], name, m) if s.n == 1 and len(comparison.records[label]) == 1 else {}
    low, high = part.get("low"), part.get("high")
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        return Point(s.mean, float(low), float(high), 1, "samples")
    return Point(s.mean, math.nan, math.nan, s.n, "none")


def _valued(record: RunRecord, name: str, m: str | None) -> dict[str, object]:
    """Return the entry of the valuation that corresponds to a metric, or None."""
    if name == "phi_mi" and m is None:
        part = record.valuation.get("joint_mi")
    else:
        kind = {"phi_mi": "mi", "phi_cmi": "cmi", "phi_shared": "redundant", "phi_synergy": "synergistic"}.get(name)
        modalities = record.valuation.get("modalities" if kind in ("mi", "cmi") else "parts")
        entry = modalities.get(m) if isinstance(modalities, dict) else None
        part = entry.get(kind) if isinstance(entry, dict) and kind else None
    return part if isinstance(part, dict) else {}


def contributions(comparison: Comparison) -> list[str]:
    """Return the rows with conditional contributions of the modalities."""
    return [
        label
        for label in comparison.labels
        if any(comparison.seeds(label, "phi_cmi", m) for m in comparison.modalities)
    ]


def class_rows(comparison: Comparison) -> list[str]:
    """Return the rows whose contributions by class are shown: joint training, the best other row and the last one."""
    known = [
        label
        for label in comparison.labels
        if any(isinstance(r.valuation.get("per_class"), dict) for r in comparison.records[label])
    ]
    best = sorted(known, key=lambda label: -(s.mean if (s := comparison.summary(label, comparison.score)).n else 0))
    wanted = [*(label for label in known if label == comparison.reference), *best[:1], *known[-1:]]
    return list(dict.fromkeys(wanted))


def class_values(
    comparison: Comparison, label: str, kind: str
) -> tuple[list[str], list[str], list[list[float]]] | None:
    """Return classes, modalities and ``(C, M)`` contributions in nats, mean over seeds; None if there are none.

    Args:
        comparison: Runs of the data set.
        label: Label of the row.
        kind: ``mi`` (unimodal) or ``cmi`` (given the other modalities).
    """
    columns = _class_columns(comparison, label, kind)
    if not columns:
        return None
    size = len(next(iter(columns.values())))
    labels = _class_labels(comparison, label, size)
    kept = [c for c in range(size) if all(math.isfinite(v[c]) for v in columns.values())]
    return [labels[c] for c in kept], list(columns), [[v[c] for v in columns.values()] for c in kept]


def _class_columns(comparison: Comparison, label: str, kind: str) -> dict[str, list[float]]:
    """Return the mean contribution per class of each modality; modalities with fewer classes are left out."""
    columns: dict[str, list[float]] = {}
    for m in comparison.modalities:
        runs = [_floats(r.valuation.get("per_class"), f"{kind}:{m}") for r in comparison.records[label]]
        runs = [values for values in runs if values]
        if len({len(values) for values in runs}) == 1:
            columns[m] = _mean_by_class(runs)
    size = max(map(len, columns.values()), default=0)
    return {m: values for m, values in columns.items() if len(values) == size}


def _mean_by_class(runs: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean over runs of each class's finite values."""
    return [summarise([v for v in values if math.isfinite(v)]).mean for values in zip(*runs, strict=True)]


def _class_labels(comparison: Comparison, label: str, size: int) -> list[str]:
    """Return the names of the classes, or their numbers if no run has names."""
    names = next((r.class_names for r in comparison.records[label] if len(r.class_names) == size), ())
    return list(names) or [str(c) for c in range(size)]


def _floats(given: object, name: str) -> list[float]:
    values = given.get(name) if isinstance(given, dict) else None
    if not isinstance(values, list):
        return []
    return [float(v) if isinstance(v, (int, float)) else math.nan for v in values]


def probe_rows(comparison: Comparison) -> list[str]:
    """Return the multimodal rows with linear probes of their encoders."""
    return [
        label
        for label in comparison.labels
        if not comparison.is_unimodal(label) and any(comparison.seeds(label, "probe", m) for m in comparison.modalities)
    ]


def curve_rows(comparison: Comparison, kind: CurveKind, name: str) -> list[str]:
    """Return the multimodal rows with a curve, once per network: rows that differ by their decision rule share one."""
    return [
        label
        for label in comparison.labels
        if not comparison.is_unimodal(label)
        and not comparison.same_network(label)
        and any((c.kind, c.name) == (kind, name) for r in comparison.records[label] for c in r.curves)
    ]


def _mean_curve(curves: Sequence[Sequence[float]]) -> Curve | None:
    curves = list(filter(len, curves))
    stats = [summarise(values) for values in zip(*curves, strict=False)]
    kept = [(epoch, s) for epoch, s in enumerate(stats, 1) if s.n]
    if not kept:
        return None
    return Curve(
        [epoch for epoch, _ in kept],
        [s.mean for _, s in kept],
        [s.mean - _known_error(s) for _, s in kept],
        [s.mean + _known_error(s) for _, s in kept],
        len(curves),
    )


def _known_error(s: Summary) -> float:
    """Return the standard error, or 0 if there is only one seed."""
    return s.se if math.isfinite(s.se) else 0.0


def curve(comparison: Comparison, label: str | None, which: CurveId) -> Curve | None:
    """Return a curve's mean over seeds, or None if no run of the row has it."""
    return _mean_curve([r.curve(*which) for r in comparison.records.get(label or "", ())])


def gap_curve(comparison: Comparison, label: str) -> Curve | None:
    """Return the contribution gap per epoch: the largest phi_CMI of a modality minus the smallest, seed by seed."""
    gaps = []
    for record in comparison.records.get(label, ()):
        parts = [c.values for c in record.curves if (c.kind, c.name) == ("contribution", "phi_cmi") and c.values]
        if len(parts) >= 2:
            gaps.append(
                [max(at) - min(at) if all(map(math.isfinite, at)) else math.nan for at in zip(*parts, strict=False)]
            )
    return _mean_curve(gaps)


def dominant(comparison: Comparison) -> str | None:
    """Return the modality that does best alone: by the runs of single modalities, else by joint training's phi_MI."""
    score = comparison.score
    alone = {m: comparison.summary(u, score).mean for m in comparison.modalities if (u := comparison.unimodal(m))}
    within = {m: comparison.summary(comparison.reference, "phi_mi", m).mean for m in comparison.modalities}
    for means in (alone, within):
        means = {m: v for m, v in means.items() if math.isfinite(v)}
        if means:
            return max(means, key=lambda m: means[m])
    return None


def coefficients(comparison: Comparison, label: str) -> dict[str, list[str | None]]:
    """Return the coefficients of a method per epoch: the modalities by the name of the coefficient (None: one for
    all).
    """
    names: dict[str, list[str | None]] = {}
    for record in comparison.records.get(label, ()):
        for c in record.curves:
            if c.kind == "coefficient" and c.modality not in names.setdefault(c.name, []):
                names[c.name].append(c.modality)
    return names


def colour_order(comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Return all modalities in order of appearance: the position determines the colour, on every data set."""
    return tuple(dict.fromkeys(m for c in comparisons for m in c.modalities))


def short(comparison: Comparison, label: str) -> str:
    """Return a row's name for a chart: ``gyroscope alone`` for a row that trains the gyroscope only."""
    row = comparison.rows.get(label)
    return f"{row.modality} alone" if row is not None and row.modality is not None and row.is_plain else label
