"""Figures over epochs: contribution gap, joint contribution, scores, losses, and coefficients of the methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from counterpoise.pages import colours as palette
from counterpoise.report._format import number
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.series import Curve
from counterpoise.report.figures._rows import dash, token
from counterpoise.report.figures.spec import Axis, FigureSpec, Panel, Series, factor_of, score_axis
from counterpoise.report.grids import Grid
from counterpoise.runs import CurveId, RunRecord

__all__ = ["coefficient_figures", "curve_figures"]

Line = tuple[str, str, str, Curve]
"""Name, colour, style of the line, curve."""


def curve_figures(comparison: Comparison, colours: Sequence[str]) -> dict[str, FigureSpec]:
    """Return the figures over epochs of one data set, by name."""
    figures = {
        "gap": _gap(comparison, colours),
        "joint-contribution": _joint(comparison, colours),
        "scores": _scores(comparison, colours),
        "dominant": _dominant(comparison, colours),
        "loss": _losses(comparison, colours),
        "plane": _plane(comparison, colours),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _lines(comparison: Comparison, colours: Sequence[str], curve: CurveId) -> list[Line]:
    """Return a curve of every network that has it."""
    rows = series.curve_rows(comparison, curve.kind, curve.name)
    curves = [(label, series.curve(comparison, label, curve)) for label in rows]
    return [_line(comparison, colours, label, c) for label, c in curves if c is not None]


def _line(comparison: Comparison, colours: Sequence[str], label: str, c: Curve) -> Line:
    shade, style = token(comparison, label, colours), dash(comparison, label)
    return series.short(comparison, label), shade, style, c


def _gap(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    rows = series.curve_rows(comparison, "contribution", "phi_cmi")
    gaps = [(label, series.gap_curve(comparison, label)) for label in rows]
    lines = [_line(comparison, colours, label, c) for label, c in gaps if c is not None]
    reading = "Largest minus smallest contribution of a modality (φ_CMI), on validation samples: 0 is balanced."
    return _figure("Contribution gap (max − min φ_CMI)", reading, lines, y="nats")


def _joint(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    lines = _lines(comparison, colours, CurveId("contribution", "phi_mi"))
    reading = "Information of all features together about the label (φ_MI), on validation samples."
    return _figure("Joint contribution (φ_MI of all)", reading, lines, y="nats")


def _alone(comparison: Comparison, colours: Sequence[str], m: str | None) -> list[Line]:
    """Return the validation score of a modality trained alone."""
    label = comparison.unimodal(m) if m else None
    c = series.curve(comparison, label, CurveId("score", comparison.score)) if label else None
    return [(f"{m} alone", palette.modality_token(colours, m), "solid", c)] if c else []


def _scores(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    m, score = series.dominant(comparison), comparison.score
    lines = _lines(comparison, colours, CurveId("score", score))
    alone = _alone(comparison, colours, m) if lines else []
    name = score_axis(comparison, "validation")
    title = "Dominant modality against the methods" if alone else f"{name[:1].upper()}{name[1:]}"
    reading = f"Score of every method on the validation set{f', and of {m} trained alone' if alone else ''}."
    return _figure(title, reading, [*lines, *alone], y=name, factor=factor_of(score))


def _dominant(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    m, score = series.dominant(comparison), comparison.score
    lines = _lines(comparison, colours, CurveId("score", score, m)) if m else []
    if not lines:
        return None
    whole = series.curve(comparison, comparison.reference, CurveId("score", score))
    if whole is not None:
        lines.append((f"{comparison.reference}, all modalities", "@muted", "dot", whole))
    lines += _alone(comparison, colours, m)
    reading = f"Validation score of the unimodal head of {m}, the dominant modality, inside every method."
    title = f"The dominant modality ({m}) inside every method"
    return _figure(title, reading, lines, y=score_axis(comparison, "validation"), factor=factor_of(score))


def _figure(title: str, reading: str, lines: Sequence[Line], *, y: str, factor: float = 1.0) -> FigureSpec | None:
    """Return a figure of curves with bands of one standard error."""
    if not lines:
        return None
    marks = tuple(_band(line, factor) for line in lines)
    panel = Panel(Axis("epoch"), Axis(y), marks, legend=True, title=title, shared_hover=True)
    seeds = max(c.n for *_, c in lines)
    tail = f" Mean of {seeds} seeds; the band is one standard error." if seeds > 1 else " One seed."
    return FigureSpec(title, reading + tail, (("", panel),), _curve_grid(title, lines, "accuracy" * (factor > 1)))


def _band(line: Line, factor: float) -> Series:
    """Return one curve, with a band if several seeds have it."""
    name, shade, style, c = line
    band = [(factor * low, factor * high) for low, high in zip(c.low, c.high, strict=True)] if c.n > 1 else ()
    return Series(c.epochs, [factor * v for v in c.mean], shade, name, style, intervals=band, band=True)


def _curve_grid(title: str, lines: Sequence[Line], metric: str) -> Grid:
    """Return the curves as a table with one row per method."""
    cells = [[name, str(min(c.epochs, default=1)), _joined(c.mean, metric)] for name, *_, c in lines]
    return Grid("curve", title, ["method", "first epoch", "means over seeds, epoch by epoch"], cells)


def _joined(values: Iterable[float], metric: str) -> str:
    return ", ".join(number(value, metric) for value in values)


def _losses(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    """Return one thin line per seed, which shows the spread over initialisations."""
    runs = [
        (label, record, i)
        for label in series.curve_rows(comparison, "loss", "total")
        for i, record in enumerate(comparison.records[label])
        if record.curve("loss", "total")
    ]
    if not runs:
        return None
    marks = tuple(
        Series(
            range(1, len(values) + 1),
            values,
            token(comparison, label, colours),
            series.short(comparison, label) if not i else "",
            "solid",
            hover=[f"{label}, seed {record.seed}: {v:.4g}" for v in values],
            width=1.2,
        )
        for label, record, i in runs
        for values in [record.curve("loss", "total")]
    )
    title = "Training loss of each seed"
    panel = Panel(Axis("epoch"), Axis("loss (nats)"), marks, legend=True, title=title)
    reading = "One line per run; losses of different methods have different terms, so compare shapes, not heights."
    return FigureSpec(title, reading, (("", panel),), _loss_grid(title, runs))


def _loss_grid(title: str, runs: Sequence[tuple[str, RunRecord, int]]) -> Grid:
    """Return losses as a table with one row per run."""
    cells = [[label, str(record.seed), _joined(record.curve("loss", "total"), "loss")] for label, record, _ in runs]
    return Grid("loss", title, ["method", "seed", "loss (nats), epoch by epoch"], cells)


def _plane(comparison: Comparison, colours: Sequence[str]) -> FigureSpec | None:
    """Return balance against non-conflict of the gradients: a path per method, with a dot where it ends."""
    x, y = CurveId("gradient", "non-conflict"), CurveId("gradient", "balance")
    across = {name: (shade, style, c) for name, shade, style, c in _lines(comparison, colours, x)}
    paths = [(line, across[line[0]][2]) for line in _lines(comparison, colours, y) if line[0] in across]
    if not paths:
        return None
    marks: list[Series] = []
    cells: list[list[str]] = []
    for (name, shade, style, up), right in paths:
        hover = [
            f"{name}, epoch {e}: {a:.2f}, {b:.2f}" for e, a, b in zip(up.epochs, right.mean, up.mean, strict=False)
        ]
        marks.append(Series(right.mean, up.mean, shade, name, style, hover=hover, width=1.4))
        marks.append(Series(right.mean[-1:], up.mean[-1:], shade, marker="circle", hover=hover[-1:]))
        cells += [
            [name, str(e), f"{a:.3f}", f"{b:.3f}"] for e, a, b in zip(up.epochs, right.mean, up.mean, strict=False)
        ]
    title = "Balance and non-conflict of gradients"
    reading = (
        "Gradients of the fused loss by the features of each modality, on validation samples, epoch by epoch; the dot "
        "is the last epoch. Up: the modalities have received gradients of equal size so far. Right: their gradients "
        "agree."
    )
    axes = Axis("non-conflict (cosine)", range=(-1.05, 1.05)), Axis("balance", range=(-1.05, 1.05))
    panel = Panel(*axes, tuple(marks), legend=True, title=title)
    table = Grid("plane", title, ["method", "epoch", "non-conflict", "balance"], cells)
    return FigureSpec(title, reading, (("", panel),), table)


def _coefficient_lines(
    name: str, curves: Mapping[str | None, series.Curve | None], colours: Sequence[str]
) -> list[Line]:
    return [
        (m or name, palette.modality_token(colours, m), "solid", curve)
        for m, curve in curves.items()
        if curve is not None
    ]


def coefficient_figures(comparison: Comparison, colours: Sequence[str]) -> list[FigureSpec]:
    """Return one figure per coefficient of a method (weights, gradient scales), per modality and epoch."""
    figures = []
    for label in (label for label in comparison.labels if not comparison.same_network(label)):
        for name, ms in series.coefficients(comparison, label).items():
            curves = {m: series.curve(comparison, label, CurveId("coefficient", name, m)) for m in ms}
            lines = _coefficient_lines(name, curves, colours)
            figures.append(
                _figure(f"{label}: {name}", f"Coefficients of {label} per modality.", lines, y="coefficient")
            )
    return [figure for figure in figures if figure is not None]
