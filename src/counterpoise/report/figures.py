"""Figures for a paper: PNG at 300 dpi, SVG and PDF, drawn from RunRecords with matplotlib's Agg canvas."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from counterpoise.report import _series as series
from counterpoise.report._comparison import Comparison, compare
from counterpoise.report._draw import STYLE
from counterpoise.report._draw_curves import draw_coefficients, draw_curves
from counterpoise.report._draw_points import (
    draw_accuracy,
    draw_contributions,
    draw_critical_difference,
    draw_encoders,
)
from counterpoise.report._layout import ranking
from counterpoise.runs import RunRecord, write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "draw_figures", "write_figures"]

FORMATS: Final = ("png", "svg", "pdf")

_PER_DATA.items():
                figure = draw(comparison, colours)
                if figure is not None:
                    figures[f"{name}-{slug}"] = figure
        result = ranking(comparisons)
        if result is not None and len(comparisons) >= 3:
            figures["critical-difference"] = draw_critical_difference(result)
    return figures


def write_figures(
    records: Iterable[RunRecord], folder: Path | str, *, formats: Sequence[str] = FORMATS, dpi: int = 300
) -> list[Path]:
    """Write every figure of `draw_figures` into ``folder``, once per format, and return the paths.

    Args:
        records: the runs.
        folder: where to; made if it is not there.
        formats: any of matplotlib's (``png``, ``svg``, ``pdf``).
        dpi: resolution of PNG.

    Raises:
        OutputError: if the folder cannot be written to.
    """
    import matplotlib as mpl

    written = []
    with mpl.rc_context(STYLE):
        for name, figure in draw_figures(records).items():
            for suffix in formats:
                buffer = io.BytesIO()
                # No date in the file: the same runs give the same bytes.
                metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
                figure.savefig(buffer, format=suffix, dpi=dpi, metadata=metadata)
                path = Path(folder) / f"{name}.{suffix}"
                write_atomic(path, buffer.getvalue())
                written.append(path)
    return written


def _slug(name: str, taken: set[str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "data"
    slug, number = base, 2
    while slug in taken:
        slug, number = f"{base}-{number}", number + 1
    taken.add(slug)
    return slug


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def factor_of(metric: str) -> float:
    return 100.0 if is_share(metric) else 1.0


def axis_label(metric: str, what: str) -> str:
    return f"{what} (%)" if is_share(metric) else what


def score_name(comparison: Comparison) -> str:
    return "accuracy" if comparison.score == "accuracy" else "R²"


def row_colour(label: str, labels: Sequence[str], colours: Sequence[str]) -> str:
    if label.startswith("unimodal:"):
        m = next((m for m in colours if label.removeprefix("unimodal:").partition(" [")[0] == m), None)
        return palette.MODALITIES[palette.modality_slot(colours, m)] if m else palette.MUTED
    base = label.partition(" ")[0]
    if base == "arm":
        return palette.FLAGSHIP
    slot = palette.method_slot(label, [name for name in labels if not name.startswith("unimodal:")])
    return palette.MUTED if slot is None else palette.METHODS[slot]


def whiskers(points: Sequence[Point], factor: float) -> list[list[float]]:
    def length(end: float, mean: float) -> float:
        return factor * abs(end - mean) if math.isfinite(end) else 0.0

    return [[length(p.low, p.mean) for p in points], [length(p.high, p.mean) for p in points]]


def draw_accuracy(comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """One dot per method with its interval; joint training as a line."""
    score, factor = comparison.score, factor_of(comparison.score)
    rows = [(label, p) for label in comparison.labels if (p := series.point(comparison, label, score)).n]
    if not rows:
        return None
    rows.sort(key=lambda row: row[1].mean)
    figure = new_figure(4.6, 0.9 + 0.24 * len(rows))
    ax = figure.subplots()
    for y, (label, p) in enumerate(rows):
        colour = row_colour(label, comparison.labels, colours)
        ax.errorbar(
            factor * p.mean, y, xerr=whiskers([p], factor), fmt="o", ms=5, color=colour, elinewidth=1.2, capsize=2
        )
    ax.set_yticks(range(len(rows)), [series.short(label) for label, _ in rows])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    joint = comparison.summary(REFERENCE, score)
    if joint.n:
        ax.axvline(factor * joint.mean, color=palette.MUTED, lw=0.8, ls="--")
    how = "95 % intervals over seeds" if any(p.source == "seeds" for _, p in rows) else "one seed, no interval"
    ax.set_xlabel(f"{axis_label(score, f'test {score_name(comparison)}')}; {how}")
    ax.set_title(comparison.data)
    return figure


def draw_contributions(comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """Per modality: a pale bar for phi_MI alone, a dark one for phi_CMI; H(Y) and the joint contribution as lines."""
    rows = series.contributions(comparison)
    if not rows:
        return None
    label = REFERENCE if REFERENCE in rows else rows[0]
    ms = [m for m in comparison.modalities if comparison.seeds(label, f"phi_cmi:{m}")]
    figure = new_figure(4.6, 1.1 + 0.42 * len(ms))
    ax = figure.subplots()
    for y, m in enumerate(reversed(ms)):
        colour = palette.MODALITIES[palette.modality_slot(colours, m)]
        for metric, height, alpha, shift in ((f"phi_mi:{m}", 0.66, 0.35, 0.2), (f"phi_cmi:{m}", 0.3, 1.0, 0.0)):
            p = series.point(comparison, label, metric)
            if p.n:
                ax.barh(y, p.mean, height, color=colour, alpha=alpha, lw=0)
                ax.errorbar(
                    p.mean, y + shift, xerr=whiskers([p], 1), fmt="none", ecolor=palette.INK, elinewidth=1, capsize=2
                )
    entropy, joint = comparison.summary(label, "entropy"), comparison.summary(label, "phi_mi")
    for value, style, text in ((entropy.mean, ":", "H(Y)"), (joint.mean, "-", "all together")):
        if math.isfinite(value) and not (text == "H(Y)" and comparison.score == "r2"):
            ax.axvline(value, color=palette.INK, lw=1, ls=style)
            ax.text(
                value, len(ms) - 0.42, f" {text}", fontsize=7, va="bottom", ha="right" if text != "H(Y)" else "left"
            )
    ax.axvline(0, color=palette.MUTED, lw=0.6)
    ax.set_yticks(range(len(ms)), list(reversed(ms)))
    ax.set_ylim(-0.6, len(ms) - 0.1)
    ax.set_xlabel("held-out contribution (nats)\npale: alone (φ_MI); dark: added to the rest (φ_CMI)")
    ax.set_title(f"{comparison.data}: contributions in {label}")
    return figure


def draw_encoders(comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """Paired dots: the linear probe of each encoder trained alone (hollow), and inside joint training and the rest."""
    rows = series.probe_rows(comparison)
    rows = [label for label in rows if " (" not in label or label.partition(" (")[0] not in rows]
    alone = {
        m: series.point(comparison, u, f"probe:{m}") for m in comparison.modalities if (u := comparison.unimodal(m))
    }
    ms = [m for m in comparison.modalities if any(comparison.seeds(label, f"probe:{m}") for label in rows)]
    if not rows or not ms:
        return None
    figure = new_figure(4.6, 1.0 + (0.2 * len(rows) + 0.15) * len(ms))
    ax = figure.subplots()
    ticks, y, factor = [], 0.0, factor_of(comparison.score)
    for m in reversed(ms):
        colour, base = palette.MODALITIES[palette.modality_slot(colours, m)], alone.get(m)
        start = y
        for label in reversed(rows):
            p = series.point(comparison, label, f"probe:{m}")
            if not p.n:
                continue
            if base and base.n:
                ax.plot([factor * base.mean, factor * p.mean], [y, y], color=colour, lw=1.2, alpha=0.5, zorder=1)
                ax.plot(factor * base.mean, y, "o", ms=5, mfc="white", mec=colour)
            ax.errorbar(factor * p.mean, y, xerr=whiskers([p], factor), fmt="o", ms=5, color=colour, elinewidth=1)
            ticks.append((y, f"{m} in {label}" if label == rows[0] else label))
            y += 1
        y += 0.7 if y > start else 0
    ax.set_yticks([t for t, _ in ticks], [text for _, text in ticks])
    ax.set_xlabel(
        f"test {axis_label(comparison.score, score_name(comparison))} of a linear probe\nhollow: encoder trained alone; filled: inside the model"
    )
    ax.set_title(f"{comparison.data}: encoders")
    return figure


def _line(ax: Axes, c: Curve, colour: str, text: str, *, style: str = "solid", factor: float = 1.0) -> None:
    ax.plot(c.epochs, [factor * v for v in c.mean], color=colour, ls=DASHES[style], label=text)
    if c.n > 1:
        ax.fill_between(
            c.epochs, [factor * v for v in c.low], [factor * v for v in c.high], color=colour, alpha=0.15, lw=0
        )


def draw_curves(comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """Contribution gap, joint contribution, dominant modality against joint training, training loss of every seed."""
    rows = series.curve_rows(comparison, "val_score") or series.curve_rows(comparison, "train_loss")
    if not rows:
        return None
    figure = new_figure(7.0, 4.6)
    (gap_ax, joint_ax), (score_ax, loss_ax) = figure.subplots(2, 2)
    labels, factor = comparison.labels, factor_of(comparison.score)
    for label in rows:
        look: dict[str, Any] = {"colour": row_colour(label, labels, colours), "style": palette.dash(label, rows)}
        if (c := series.gap_curve(comparison, label)) is not None:
            _line(gap_ax, c, text=label, **look)
        if (c := series.curve(comparison, label, "phi_mi")) is not None:
            _line(joint_ax, c, text=label, **look)
        if (c := series.curve(comparison, label, "val_score")) is not None:
            _line(score_ax, c, text=label, factor=factor, **look)
        for i, record in enumerate(comparison.records[label]):
            loss = record.curves.get("train_loss", [])
            loss_ax.plot(range(1, len(loss) + 1), loss, color=look["colour"], lw=0.8, label="" if i else label)
    m = series.dominant(comparison)
    alone = series.curve(comparison, comparison.unimodal(m) or "", "val_score") if m else None
    if m and alone is not None:
        _line(score_ax, alone, palette.MODALITIES[palette.modality_slot(colours, m)], f"{m} alone", factor=factor)
    for ax, title, unit in (
        (gap_ax, "Contribution gap (max − min φ_CMI)", "nats"),
        (joint_ax, "Joint contribution (φ_MI of all)", "nats"),
        (
            score_ax,
            "Dominant modality against the methods",
            axis_label(comparison.score, f"validation {score_name(comparison)}"),
        ),
        (loss_ax, "Training loss of each seed", "loss (nats)"),
    ):
        ax.set_title(title)
        ax.set_xlabel("epoch")
        ax.set_ylabel(unit)
        if ax.lines:
            ax.legend()
        else:
            ax.text(0.5, 0.5, "not recorded", transform=ax.transAxes, ha="center", color=palette.MUTED)
    return figure


def draw_coefficients(comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """What the methods chose per modality and epoch, one panel per method and coefficient."""
    panels = [
        (label, kind, ms)
        for label in comparison.labels
        if " (" not in label or label.partition(" (")[0] not in comparison.labels
        for kind, ms in series.coefficient_names(comparison, label).items()
    ]
    if not panels:
        return None
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = new_figure(2.4 * columns + 0.4, 2.1 * lines)
    axes = figure.subplots(lines, columns, squeeze=False).flat
    for ax, (label, kind, ms) in zip(axes, panels, strict=False):
        for m in ms:
            if (c := series.curve(comparison, label, f"{kind}:{m}")) is not None:
                _line(ax, c, palette.MODALITIES[palette.modality_slot(colours, m)], m)
        ax.set_title(f"{label}: {kind}")
        ax.set_xlabel("epoch")
        ax.set_ylabel("nats" if kind == "phi" else "coefficient")
        ax.legend()
    for ax in list(axes):
        ax.set_axis_off()
    return figure


def draw_critical_difference(result: Ranking) -> Figure:
    """Demšar's diagram: mean ranks on a line, bars over methods that Nemenyi's test cannot tell apart."""
    order = sorted(range(len(result.labels)), key=lambda i: result.ranks[i])
    ranks = [result.ranks[i] for i in order]
    names = [result.labels[i] for i in order]
    k, cd = len(ranks), result.critical_difference
    groups = indistinct(ranks, cd)
    left = math.ceil(k / 2)
    depth = 1.3 + 0.16 * len(groups) + 0.45 * left
    figure = new_figure(6.0, 0.8 + 0.42 * depth)
    ax = figure.subplots()
    ax.set_axis_off()
    ax.grid(visible=False)
    ax.set_xlim(k + 0.5 + k * 0.35, 0.5 - k * 0.35)  # rank 1, the best, on the right
    ax.set_ylim(-depth, 1.1)
    ax.plot([1, k], [0, 0], color=palette.INK, lw=1)
    for tick in range(1, k + 1):
        ax.plot([tick, tick], [0, 0.12], color=palette.INK, lw=1)
        ax.text(tick, 0.18, str(tick), ha="center", va="bottom")
    ax.plot([1, 1 + min(cd, k - 1)], [0.75, 0.75], color=palette.INK, lw=1.5)
    ax.text(1 + min(cd, k - 1) / 2, 0.8, f"critical difference {cd:.2f}", ha="center", va="bottom", fontsize=7)
    for level, (first, last) in enumerate(groups):
        y = -0.22 - 0.16 * level
        ax.plot([ranks[first] - 0.04, ranks[last] + 0.04], [y, y], color=palette.FLAGSHIP, lw=3, solid_capstyle="round")
    base = -0.5 - 0.16 * len(groups)
    for i, (rank, name) in enumerate(zip(ranks, names, strict=True)):
        right = i < left
        y = base - 0.45 * (i if right else k - 1 - i)
        edge = 1 - k * 0.06 if right else k + k * 0.06
        ax.plot([rank, rank, edge], [0, y, y], color=palette.MUTED, lw=0.8)
        ax.text(edge, y, f" {name} ({rank:.2f}) ", ha="left" if right else "right", va="center")
    ax.set_title(f"Mean ranks over {result.datasets} data sets")
    ax.text(
        0.5,
        0,
        "1 is best; bars join what Nemenyi's test cannot tell apart at 5 %",
        transform=ax.transAxes,
        ha="center",
        fontsize=7,
    )
    return figure


def indistinct(ranks: Sequence[float], critical: float) -> list[tuple[int, int]]:
    """Return the maximal runs (first, last) of sorted mean ranks that span less than the critical difference.

    Example:
        >>> indistinct([1.0, 1.5, 2.6, 4.0], 1.2)
        [(0, 1), (1, 2)]
    """
    groups: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(i for i in range(first, len(ranks)) if ranks[i] - ranks[first] < critical)
        if last > first and not (groups and groups[-1][1] >= last):
            groups.append((first, last))
    return groups


_PER_DATA: Final[dict[str, Callable[[Comparison, Sequence[str]], Figure | None]]] = {
    "accuracy": draw_accuracy,
    "contributions": draw_contributions,
    "encoders": draw_encoders,
    "curves": draw_curves,
    "coefficients": draw_coefficients,
}


def draw_figures(records: Iterable[RunRecord]) -> dict[str, Figure]:
    """Return every figure that the records have numbers for, by name.

    Per data set: ``accuracy-<data>``, ``contributions-<data>``, ``encoders-<data>``, ``curves-<data>`` and
    ``coefficients-<data>``; for three data sets or more ``critical-difference``.
    """
    import matplotlib as mpl

    comparisons = compare(records)
    colours = series.colour_order(comparisons)
    figures: dict[str, Figure] = {}
    with mpl.rc_context(STYLE):
        slugs: set[str] = set()
        for comparison in comparisons:
            slug = _slug(comparison.data, slugs)
            for name, draw in _PER_DATA.items():
                figure = draw(comparison, colours)
                if figure is not None:
                    figures[f"{name}-{slug}"] = figure
        result = ranking(comparisons)
        if result is not None and len(comparisons) >= 3:
            figures["critical-difference"] = draw_critical_difference(result)
    return figures


def write_figures(
    records: Iterable[RunRecord], folder: Path | str, *, formats: Sequence[str] = FORMATS, dpi: int = 300
) -> list[Path]:
    """Write every figure of `draw_figures` into ``folder``, once per format, and return the paths.

    Args:
        records: the runs.
        folder: where to; made if it is not there.
        formats: any of matplotlib's (``png``, ``svg``, ``pdf``).
        dpi: resolution of PNG.

    Raises:
        OutputError: if the folder cannot be written to.
    """
    import matplotlib as mpl

    written = []
    with mpl.rc_context(STYLE):
        for name, figure in draw_figures(records).items():
            for suffix in formats:
                buffer = io.BytesIO()
                # No date in the file: the same runs give the same bytes.
                metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
                figure.savefig(buffer, format=suffix, dpi=dpi, metadata=metadata)
                path = Path(folder) / f"{name}.{suffix}"
                write_atomic(path, buffer.getvalue())
                written.append(path)
    return written


def _slug(name: str, taken: set[str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "data"
    slug, number = base, 2
    while slug in taken:
        slug, number = f"{base}-{number}", number + 1
    taken.add(slug)
    return slug


