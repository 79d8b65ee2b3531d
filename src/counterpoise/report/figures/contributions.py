"""Figures of the contributions of modalities: bars against H(Y), and the parts with their intervals."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from counterpoise.pages import colours as palette
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.series import Point
from counterpoise.report.figures.spec import (
    Axis,
    Bars,
    FigureSpec,
    Panel,
    PointRow,
    Rule,
    Series,
    interval_text,
    points_grid,
    rows_axis,
    scaled,
    whence,
)

__all__ = ["contribution_figure", "parts_figure"]

QUANTITIES: Final = (
    ("phi_mi", "by itself (φ_MI)", "circle"),
    ("phi_cmi", "added to the others (φ_CMI)", "square"),
    ("phi_shared", "shared", "diamond"),
    ("phi_synergy", "synergy", "cross"),
)
"""Metric, name and marker of every quantity of a modality."""

Known = Mapping[tuple[str, str], Point]
"""Points by metric and modality."""


def _ordered(comparison: Comparison) -> list[str]:
    """Return the rows with contributions, the reference first."""
    return sorted(series.contributions(comparison), key=lambda label: label != comparison.reference)


@dataclass(frozen=True)
class Scale:
    """The unit in which contributions are drawn: per cent of H(Y) if it is known, else nats."""

    factor: float
    unit: str

    @classmethod
    def of(cls, comparison: Comparison, label: str) -> Scale:
        """Return the unit for a row."""
        entropy = comparison.summary(label, "entropy")
        if entropy.n and entropy.mean > 0 and comparison.in_percent:
            return cls(100.0 / entropy.mean, "%")
        return cls(1.0, "nats")

    @property
    def axis(self) -> str:
        """Title of the axis."""
        return f"contribution ({self.unit})"

    def __call__(self, p: Point) -> Point:
        """Return a point in this unit."""
        return replace(p, mean=self.factor * p.mean, low=self.factor * p.low, high=self.factor * p.high)

    def text(self, p: Point, metric: str) -> str:
        """Return a point in this unit with its interval, and in nats."""
        nats = interval_text(p, metric)
        if self.factor == 1.0:
            return nats
        drawn = self(p)
        ends = f" [{drawn.low:.0f}, {drawn.high:.0f}]" if math.isfinite(p.low) and math.isfinite(p.high) else ""
        return f"{drawn.mean:.0f} %{ends} of what can be known ({nats})"


def _known(comparison: Comparison, label: str) -> dict[tuple[str, str], Point]:
    return {
        (kind, m): p
        for m in comparison.modalities
        if comparison.seeds(label, "phi_cmi", m)
        for kind, *_ in QUANTITIES
        if (p := series.point(comparison, label, kind, m)).n
    }


def contribution_figure(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    """Draw one bar per modality: shared information, unique information, and synergy.

    If H(Y) is known, the axis is in per cent of H(Y), that is of all that can be known about the label; else it is in
    nats. For records without these parts, a pale bar shows the modality by itself, and a solid bar what it adds.
    """
    labels = _ordered(comparison)
    if not labels:
        return None
    split = any(comparison.seeds(label, "phi_shared", m) for label in labels for m in comparison.modalities)
    options, rows = [], []
    for label in labels:
        known, joint = _known(comparison, label), series.point(comparison, label, "phi_mi")
        names = {kind: name for kind, name, _ in QUANTITIES}
        own: list[PointRow] = [([label, m, names[kind]], label, f"{kind}:{m}", p) for (kind, m), p in known.items()]
        if joint.n:
            own.append(([label, "all together", "together"], label, "phi_mi", joint))
        rows += own
        options.append((label, _bars_panel(comparison, label, known, own, colours)))
    bars = (
        "Information about the label in each modality. Pale: shared with the other modalities. Solid: unique to this "
        "one. Hatched: in this one and the others only together (synergy). Pale and solid are the modality by itself "
        "(φ_MI), solid and hatched what it adds to the others (φ_CMI); each has its whisker. "
        if split
        else "Pale bar: information about the label in the modality by itself (φ_MI). Solid bar: what it adds "
        "to the others (φ_CMI). "
    )
    entropy = "100 % is all that can be known, the entropy H(Y) of the label. " if comparison.in_percent else ""
    return FigureSpec(
        "What can be known from each modality, and what it adds",
        f"{bars}{entropy}Measured on test samples that no classifier was fitted on; {whence(rows)}.",
        tuple(options),
        points_grid(
            "contributions", "Contributions in nats", comparison, rows, ["method", "modality", "kind"], "phi_mi"
        ),
        "Method",
    )


def _bars_panel(
    comparison: Comparison, label: str, known: Known, rows: Sequence[PointRow], colours: Sequence[str]
) -> Panel:
    ms = [m for m in comparison.modalities if ("phi_cmi", m) in known]
    shades = [palette.modality_token(colours, m) for m in ms]
    split = all((kind, m) in known for kind in ("phi_shared", "phi_synergy", "phi_mi") for m in ms)
    scale = Scale.of(comparison, label)
    marks, ends = _stacked(ms, known, shades, scale) if split else _overlaid(ms, known, shades, scale)
    rules = _rules(comparison, label, scale)
    x = Axis(scale.axis, range=_range([scale(p) for *_, p in rows], [*ends, *(rule.value for rule in rules)]))
    title = f"{comparison.data}: contributions in {label}"
    return Panel(x, rows_axis(ms), tuple(marks), rules, 96 + 56 * len(ms), title=title)


def _rules(comparison: Comparison, label: str, scale: Scale) -> tuple[Rule, ...]:
    """Return lines at zero, at the joint contribution and at the label's entropy, if these are known."""
    entropy, joint = comparison.summary(label, "entropy"), comparison.summary(label, "phi_mi")
    rules = [Rule(0.0, "@muted", "solid")]
    if joint.n:
        rules.append(Rule(scale.factor * joint.mean, "@ink", "solid", "all together", anchor="right"))
    if entropy.n and comparison.in_percent:
        rules.append(Rule(scale.factor * entropy.mean, "@ink", "dot", "H(Y)", anchor="left"))
    return tuple(rules)


def _range(points: Sequence[Point], ends: Sequence[float]) -> tuple[float, float]:
    """Return the range of the axis that holds all points with their intervals, and the ends of bars and rules."""
    highs = [*ends, *(v for p in points for v in (p.mean, p.high))]
    top = max(filter(math.isfinite, highs), default=1.0)
    low = min((v for p in points for v in (p.mean, p.low) if math.isfinite(v)), default=0.0)
    return 1.1 * min(low, 0.0), 1.12 * top or 1.0


def _stacked(
    ms: Sequence[str], known: Known, shades: Sequence[str], scale: Scale
) -> tuple[list[Bars | Series], list[float]]:
    """Return three segments per modality (shared, unique, synergy), the whiskers, and the ends of the bars.

    A negative estimate of a part has no bar; a marker shows its value.
    """
    places = list(map(float, range(len(ms))))

    def means(kind: str) -> list[float]:
        return [scale(known[kind, m]).mean for m in ms]

    shared, alone, synergy = means("phi_shared"), means("phi_mi"), means("phi_synergy")
    pale, hatched = _positive(shared), _positive(synergy)
    solid = _positive(list(map(operator.sub, alone, pale)))
    starts = list(map(operator.add, pale, solid))
    ends = list(map(operator.add, starts, hatched))
    unique = list(map(operator.sub, alone, shared))
    marks: list[Bars | Series] = [
        _segment("shared", ms, places, [0.0] * len(ms), pale, shades, shared, scale.unit, opacity=0.35),
        _segment("unique", ms, places, pale, solid, shades, unique, scale.unit),
        _segment("synergy", ms, places, starts, hatched, shades, synergy, scale.unit, hatched=True),
        _whiskers(ms, places, -0.13, alone, known, "phi_mi", scale),
        _whiskers(ms, places, 0.13, ends, known, "phi_cmi", scale),
    ]
    negative = [(v, y, c) for v, y, c in zip(shared, places, shades, strict=True) if v < 0]
    if negative:
        x, y, colour = zip(*negative, strict=True)
        hover = [f"shared: {v:.3g} {scale.unit} (a negative estimate)" for v in x]
        marks.append(Series(x, y, colour, marker="diamond", size=9, hollow=False, hover=hover))
    return marks, ends


def _positive(values: Sequence[float]) -> list[float]:
    return [max(v, 0.0) for v in values]


def _segment(
    name: str,
    ms: Sequence[str],
    places: Sequence[float],
    base: Sequence[float],
    length: Sequence[float],
    shades: Sequence[str],
    values: Sequence[float],
    unit: str,
    *,
    opacity: float = 1.0,
    hatched: bool = False,
) -> Bars:
    hover = [f"{m}, {name}: {v:.3g} {unit}" for m, v in zip(ms, values, strict=True)]
    return Bars(places, base, length, shades, name, 0.56, opacity, hatched, hover)


def _overlaid(
    ms: Sequence[str], known: Known, shades: Sequence[str], scale: Scale
) -> tuple[list[Bars | Series], list[float]]:
    """Return a pale bar for each modality by itself, a solid one for what it adds, and their whiskers."""
    marks: list[Bars | Series] = []
    ends: list[float] = []
    for kind, name, height, opacity in (
        ("phi_mi", "by itself", 0.66, 0.35),
        ("phi_cmi", "added to the others", 0.3, 1.0),
    ):
        there = [(m, float(i), shades[i]) for i, m in enumerate(ms) if (kind, m) in known]
        names, places, colours = [m for m, *_ in there], [y for _, y, _ in there], [c for *_, c in there]
        values = [scale(known[kind, m]).mean for m in names]
        hover = [f"{m}, {name}: {scale.text(known[kind, m], kind)}" for m in names]
        marks.append(Bars(places, [0.0] * len(names), values, colours, name, height, opacity, hover=hover))
        marks.append(_whiskers(names, places, -0.2 if kind == "phi_mi" else 0.0, values, known, kind, scale))
        ends += values
    return marks, ends


def _whiskers(
    ms: Sequence[str],
    places: Sequence[float],
    shift: float,
    at: Sequence[float],
    known: Known,
    kind: str,
    scale: Scale,
) -> Series:
    """Return whiskers as separate marks, because those of a pale bar would be pale.

    A whisker at the end of stacked bars is shifted. It ends at H(Y) unless the interval itself goes beyond H(Y).
    """
    points = [scale(known[kind, m]) for m in ms]
    limit = 100.0 if scale.unit == "%" else math.inf
    tops = [min(x - p.mean + p.high, max(limit, p.high)) for x, p in zip(at, points, strict=True)]
    ends = [(x - p.mean + p.low, top) for x, p, top in zip(at, points, tops, strict=True)]
    hover = [f"{m}: {scale.text(known[kind, m], kind)}" for m in ms]
    where = [y + shift for y in places]
    return Series(at, where, "@ink", marker="circle", size=1, intervals=ends, across=True, hover=hover)


def _has_parts(comparison: Comparison, label: str) -> bool:
    return any(comparison.seeds(label, "phi_shared", m) for m in comparison.modalities)


def parts_figure(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    """Return dots with intervals of the unimodal, conditional, shared and synergistic information of each modality;
    negative estimates are shown unchanged.
    """
    labels = [label for label in _ordered(comparison) if _has_parts(comparison, label)]
    if not labels:
        return None
    options, rows = [], []
    for label in labels:
        known, scale = _known(comparison, label), Scale.of(comparison, label)
        marks, ticks, place = [], [], 0.0
        for m in comparison.modalities:
            own = [(kind, name, mark, known[kind, m]) for kind, name, mark in QUANTITIES if (kind, m) in known]
            rows += [([label, m, name], label, f"{kind}:{m}", p) for kind, name, _, p in own]
            for kind, name, mark, p in own:
                shade, hover = palette.modality_token(colours, m), [f"{m}, {name}: {scale.text(p, kind)}"]
                ends = [scaled(p, scale.factor)]
                mean = scale(p).mean
                marks.append(Series([mean], [place], shade, marker=mark, intervals=ends, across=True, hover=hover))
                ticks.append((place, f"{m}: {name}"))
                place += 1
            place += 0.6
        y = Axis(ticks=tuple(ticks), range=(place, -0.6), grid=False)
        x = Axis(scale.axis)
        title = f"{comparison.data}: parts in {label}"
        options.append(
            (label, Panel(x, y, tuple(marks), (Rule(0.0, "@muted", "solid"),), round(84 + 24 * place), title=title))
        )
    return FigureSpec(
        "The parts with their intervals",
        "The estimate of a part that does not exist lies below zero half of the time, and is shown as it is; "
        f"{'100 % is all that can be known; ' if comparison.in_percent else ''}{whence(rows)}.",
        tuple(options),
        points_grid(
            "parts", "Parts of the contributions in nats", comparison, rows, ["method", "modality", "part"], "phi_mi"
        ),
        "Method",
    )
