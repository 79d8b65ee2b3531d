"""What each chart shows, as numbers: the page and the paper's figures both draw from here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from counterpoise.report.analysis.comparison import REFERENCE, Comparison
from counterpoise.report.analysis.statistics import summarise, t_interval
from counterpoise.runs import RunRecord

__all__ = [
    "Curve",
    "Point",
    "class_rows",
    "class_values",
    "coefficient_names",
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

_KNOWN = {
    "train",
    "train_loss",
    "val_score",
    "val_nll",
    "val_loss",
    "phi_mi",
    "phi_cmi",
    "accuracy",
    "probe",
    "loss",
    "entropy",
}


@dataclass(frozen=True)
class Point:
    """A mean with its 95 % interval and where the interval comes from.

    Attributes:
        mean: the mean over seeds.
        low: lower end; NaN if there is no interval.
        high: upper end.
        n: number of seeds.
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


def point(comparison: Comparison, label: str, metric: str) -> Point:
    """Return mean and interval of a metric: over seeds, or of the valuation's samples where there is one seed."""
    s = comparison.summary(label, metric)
    if s.n >= 2:
        return Point(s.mean, *t_interval(s.mean, s.se, s.n), s.n, "seeds")
    part = _valued(comparison.records[label][0], metric) if s.n == 1 and len(comparison.records[label]) == 1 else {}
    low, high = part.get("low"), part.get("high")
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        return Point(s.mean, float(low), float(high), 1, "samples")
    return Point(s.mean, math.nan, math.nan, s.n, "none")


def _valued(record: RunRecord, metric: str) -> dict[str, object]:
    """Return the valuation's entry that ``metric`` comes from, or nothing."""
    name, _, m = metric.partition(":")
    if metric == "phi_mi":
        part = record.valuation.get("joint_mi")
    else:
        kind = {"phi_mi": "mi", "phi_cmi": "cmi", "phi_shared": "redundant", "phi_synergy": "synergistic"}.get(name)
        modalities = record.valuation.get("modalities" if kind in ("mi", "cmi") else "parts")
        entry = modalities.get(m) if isinstance(modalities, dict) else None
        part = entry.get(kind) if isinstance(entry, dict) and kind else None
    return part if isinstance(part, dict) else {}


def contributions(comparison: Comparison) -> list[str]:
    """Return the rows that know what each modality adds."""
    return [
        label
        for label in comparison.labels
        if any(comparison.seeds(label, f"phi_cmi:{m}") for m in comparison.modalities)
    ]


def class_rows(comparison: Comparison) -> list[str]:
    """Return whose contributions by class are shown: joint training's, the best other row's and the last one's."""
    known = [
        label
        for label in comparison.labels
        if any(isinstance(r.valuation.get("per_class"), dict) for r in comparison.records[label])
    ]
    best = sorted(known, key=lambda label: -(s.mean if (s := comparison.summary(label, comparison.score)).n else 0))
    wanted = [*(label for label in known if label == REFERENCE), *best[:1], *known[-1:]]
    return list(dict.fromkeys(wanted))


def class_values(
    comparison: Comparison, label: str, kind: str
) -> tuple[list[str], list[str], list[list[float]]] | None:
    """Return classes, modalities and ``(C, M)`` contributions in nats, mean over seeds; None where none are known.

    Args:
        comparison: the data set's runs.
        label: the row.
        kind: ``mi`` alone, ``cmi`` beside the others.
    """
    columns: dict[str, list[float]] = {}
    for m in comparison.modalities:
        found = [_floats(r.valuation.get("per_class"), f"{kind}:{m}") for r in comparison.records[label]]
        found = [values for values in found if values]
        if not found or len({len(values) for values in found}) > 1:
            continue
        columns[m] = [summarise([v for v in at if math.isfinite(v)]).mean for at in zip(*found, strict=True)]
    size = max((len(v) for v in columns.values()), default=0)
    columns = {m: v for m, v in columns.items() if len(v) == size}
    if not size:
        return None
    names = next((r.class_names for r in comparison.records[label] if len(r.class_names) == size), ())
    labels = list(names) or [str(c) for c in range(size)]
    kept = [c for c in range(size) if all(math.isfinite(v[c]) for v in columns.values())]
    return [labels[c] for c in kept], list(columns), [[v[c] for v in columns.values()] for c in kept]


def _floats(given: object, name: str) -> list[float]:
    values = given.get(name) if isinstance(given, dict) else None
    if not isinstance(values, list):
        return []
    return [float(v) if isinstance(v, (int, float)) else math.nan for v in values]


def probe_rows(comparison: Comparison) -> list[str]:
    """Return the multimodal rows that know their encoders' linear probes."""
    return [
        label
        for label in comparison.labels
        if not label.startswith("unimodal")
        and any(comparison.seeds(label, f"probe:{m}") for m in comparison.modalities)
    ]


def curve_rows(comparison: Comparison, name: str) -> list[str]:
    """Return the rows with a curve; a row that differs from another one by its rule of inference only has the same."""
    rows = [
        label
        for label in comparison.labels
        if not label.startswith("unimodal")
        and any(key == name or key.startswith(f"{name}:") for r in comparison.records[label] for key in r.curves)
    ]
    return [label for label in rows if " (" not in label or label.partition(" (")[0] not in rows]


def _mean_curve(curves: Sequence[Sequence[float]]) -> Curve | None:
    curves = [c for c in curves if len(c)]
    if not curves:
        return None
    stats = [summarise(values) for values in zip(*curves, strict=False)]
    epochs = [e for e, s in enumerate(stats, 1) if s.n]
    kept = [s for s in stats if s.n]
    low = [s.mean - s.se if math.isfinite(s.se) else s.mean for s in kept]
    high = [s.mean + s.se if math.isfinite(s.se) else s.mean for s in kept]
    return Curve(epochs, [s.mean for s in kept], low, high, len(curves)) if kept else None


def curve(comparison: Comparison, label: str, name: str) -> Curve | None:
    """Return a curve's mean over seeds, or None if no run of the row has it."""
    return _mean_curve([r.curves[name] for r in comparison.records.get(label, ()) if r.curves.get(name)])


def gap_curve(comparison: Comparison, label: str) -> Curve | None:
    """Return the contribution gap per epoch: the largest phi_CMI of a modality minus the smallest, seed by seed."""
    gaps = []
    for record in comparison.records.get(label, ()):
        parts = [v for k, v in record.curves.items() if k.startswith("phi_cmi:") and v]
        if len(parts) >= 2:
            gaps.append(
                [max(at) - min(at) if all(map(math.isfinite, at)) else math.nan for at in zip(*parts, strict=False)]
            )
    return _mean_curve(gaps)


def dominant(comparison: Comparison) -> str | None:
    """Return the modality that does best alone: by the runs of single modalities, else by joint training's phi_MI."""
    score = comparison.score
    alone = {m: comparison.summary(u, score).mean for m in comparison.modalities if (u := comparison.unimodal(m))}
    within = {m: comparison.summary(REFERENCE, f"phi_mi:{m}").mean for m in comparison.modalities}
    for means in (alone, within):
        means = {m: v for m, v in means.items() if math.isfinite(v)}
        if means:
            return max(means, key=lambda m: means[m])
    return None


def coefficient_names(comparison: Comparison, label: str) -> dict[str, list[str]]:
    """Return what a method chose per modality and epoch: the modalities by coefficient (``lambda``, ``kappa``)."""
    names: dict[str, list[str]] = {}
    for record in comparison.records.get(label, ()):
        for key in record.curves:
            kind, colon, m = key.rpartition(":")
            if (
                colon
                and m in comparison.modalities
                and kind.partition(":")[0] not in _KNOWN
                and not kind.startswith("val")
            ):
                names.setdefault(kind, [])
                if m not in names[kind]:
                    names[kind].append(m)
    return names


def colour_order(comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Return all modalities in order of appearance: the place is the colour, on every data set."""
    return tuple(dict.fromkeys(m for c in comparisons for m in c.modalities))


def short(label: str) -> str:
    """Return a row's name for a chart: ``gyroscope alone`` for ``unimodal:gyroscope``."""
    return f"{label.removeprefix('unimodal:')} alone" if label.startswith("unimodal:") else label
