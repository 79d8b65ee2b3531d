"""Figures of points and bars: scores, contributions, encoders, mean ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.ranking import Ranking, indistinct
from counterpoise.report.analysis.series import Point
from counterpoise.report.analysis.statistics import t_interval
from counterpoise.report.figures import _palette as palette
from counterpoise.report.figures._draw import axis_label, factor_of, new_figure, row_colour, score_name, whiskers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_accuracy", "draw_contributions", "draw_critical_difference", "draw_differences", "draw_encoders"]

PARTS: Final = ("phi_mi", "phi_cmi", "phi_shared", "phi_synergy")


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
        colour = row_colour(comparison, label, colours)
        ax.errorbar(
            factor * p.mean, y, xerr=whiskers([p], factor), fmt="o", ms=5, color=colour, elinewidth=1.2, capsize=2
        )
    ax.set_yticks(range(len(rows)), [series.short(comparison, label) for label, _ in rows])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    joint = comparison.summary(comparison.reference, score)
    if joint.n:
        ax.axvline(factor * joint.mean, color=palette.MUTED, lw=0.8, ls="--")
    how = "95 % intervals over seeds" if any(p.source == "seeds" for _, p in rows) else "one seed, no interval"
    ax.set_xlabel(f"{axis_label(score, f'test {score_name(comparison)}')}; {how}")
    ax.set_title(comparison.data)
    return figure


def draw_differences(comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """One row per method: the paired difference to joint training with its 95 % interval over seeds."""
    score, factor = comparison.score, factor_of(comparison.score)
    found = [(label, comparison.difference(label, score)) for label in comparison.labels]
    rows = [(label, d) for label, d in found if not comparison.is_reference(label) and d.n > 1]
    if not rows:
        return None
    rows.sort(key=lambda row: row[1].diff)
    figure = new_figure(4.6, 0.9 + 0.24 * len(rows))
    ax = figure.subplots()
    for y, (label, d) in enumerate(rows):
        low, high = t_interval(d.diff, d.se, d.n)
        p = series.Point(d.diff, low, high, d.n, "seeds")
        colour = row_colour(comparison, label, colours)
        ax.errorbar(
            factor * d.diff, y, xerr=whiskers([p], factor), fmt="o", ms=5, color=colour, elinewidth=1.2, capsize=2
        )
    ax.axvline(0, color=palette.MUTED, lw=0.8, ls="--")
    ax.set_yticks(range(len(rows)), [series.short(comparison, label) for label, _ in rows])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlabel(
        f"test {score_name(comparison)} less joint training's ({'points' if factor > 1 else 'R²'}); paired 95 % intervals"
    )
    ax.set_title(f"{comparison.data}: differences to joint training")
    return figure


def draw_contributions(comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """Per modality: a pale bar for phi_MI alone, a dark one for phi_CMI; H(Y) and the joint contribution as lines."""
    rows = series.contributions(comparison)
    if not rows:
        return None
    label = comparison.reference if comparison.reference in rows else rows[0]
    ms = [m for m in comparison.modalities if comparison.seeds(label, "phi_cmi", m)]
    figure = new_figure(4.6, 1.1 + 0.42 * len(ms))
    ax = figure.subplots()
    split = all(comparison.seeds(label, k, m) for k in ("phi_shared", "phi_synergy") for m in ms)
    for y, m in enumerate(reversed(ms)):
        colour = palette.MODALITIES[palette.modality_slot(colours, m)]
        if split:
            _stacked(ax, y, {k: series.point(comparison, label, k, m) for k in PARTS}, colour)
            continue
        for metric, height, alpha, shift in (("phi_mi", 0.66, 0.35, 0.2), ("phi_cmi", 0.3, 1.0, 0.0)):
            p = series.point(comparison, label, metric, m)
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
    key = "pale: shared; solid: unique; hatched: synergy\npale + solid = φ_MI (alone), solid + hatched = φ_CMI (added)"
    if not split:
        key = "pale: alone (φ_MI); dark: added to the rest (φ_CMI)"
    ax.set_xlabel(f"held-out contribution (nats)\n{key}")
    ax.set_title(f"{comparison.data}: contributions in {label}")
    return figure


def _stacked(ax: Axes, y: int, parts: Mapping[str, Point], colour: str) -> None:
    """Shared, unique and synergistic information as one bar; whiskers of phi_MI above its end, of phi_CMI below the bar's."""
    shared = max(parts["phi_shared"].mean, 0.0)
    unique = max(parts["phi_mi"].mean - shared, 0.0)
    synergy = max(parts["phi_synergy"].mean, 0.0)
    ax.barh(y, shared, 0.5, color=colour, alpha=0.35, lw=0)
    ax.barh(y, unique, 0.5, left=shared, color=colour, lw=0)
    ax.barh(y, synergy, 0.5, left=shared + unique, facecolor="white", edgecolor=colour, hatch="/////", lw=0)
    for kind, place, shift in (("phi_mi", parts["phi_mi"].mean, 0.13), ("phi_cmi", shared + unique + synergy, -0.13)):
        lengths = whiskers([parts[kind]], 1)
        ax.errorbar(place, y + shift, xerr=lengths, fmt="none", ecolor=palette.INK, elinewidth=1, capsize=2)


def draw_encoders(comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """Paired dots: the linear probe of each encoder trained alone (hollow), and inside joint training and the rest."""
    rows = series.probe_rows(comparison)
    rows = [label for label in rows if not comparison.same_network(label)]
    alone = {m: series.point(comparison, u, "probe", m) for m in comparison.modalities if (u := comparison.unimodal(m))}
    ms = [m for m in comparison.modalities if any(comparison.seeds(label, "probe", m) for label in rows)]
    if not rows or not ms:
        return None
    figure = new_figure(4.6, 1.0 + (0.2 * len(rows) + 0.15) * len(ms))
    ax = figure.subplots()
    ticks, y, factor = [], 0.0, factor_of(comparison.score)
    for m in reversed(ms):
        colour, base = palette.MODALITIES[palette.modality_slot(colours, m)], alone.get(m)
        start = y
        for label in reversed(rows):
            p = series.point(comparison, label, "probe", m)
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
        if k <= 15 or tick == 1 or tick % 5 == 0:
            ax.text(tick, 0.18, str(tick), ha="center", va="bottom")
    ax.plot([1, 1 + min(cd, k - 1)], [0.75, 0.75], color=palette.INK, lw=1.5)
    ax.text(1 + min(cd, k - 1) / 2, 0.8, f"critical difference {cd:.2f}", ha="center", va="bottom", fontsize=7)
    for level, (first, last) in enumerate(groups):
        y = -0.22 - 0.16 * level
        ax.plot([ranks[first] - 0.04, ranks[last] + 0.04], [y, y], color=palette.FOCUS, lw=3, solid_capstyle="round")
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
