"""Figures of classes and of damage: a heat map class x modality, scores under noise, missing and swapped modalities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from counterpoise._extras import extra
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.robustness import corrupted_scores
from counterpoise.report.figures import _palette as palette
from counterpoise.report.figures._draw import (
    DASHES,
    axis_label,
    factor_of,
    new_figure,
    row_colour,
    score_name,
    whiskers,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_classes", "draw_robustness"]

ROWS = 60
COLUMNS = 3


def draw_classes(comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """Heat maps of the first row of `series.class_rows`: what each modality says by class, alone and beside the others."""
    with extra("report"):
        from matplotlib.colors import TwoSlopeNorm

    label = next(iter(series.class_rows(comparison)), None)
    if label is None:
        return None
    kinds = (("mi", "alone (φ_MI)"), ("cmi", "added to the rest (φ_CMI)"))
    found = [(words, v) for kind, words in kinds if (v := series.class_values(comparison, label, kind))]
    if not found or len(found[0][1][0]) > ROWS:
        return None
    names, ms, _ = found[0][1]
    figure = new_figure(1.6 + (0.75 * len(ms) + 0.5) * len(found), 1.1 + 0.2 * len(names))
    axes = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for ax, (words, (_, _, values)) in zip(axes, found, strict=True):
        top = max(max(abs(v) for v in row) for row in values) or 1.0
        image = ax.imshow(values, aspect="auto", cmap="PuOr", norm=TwoSlopeNorm(0.0, -1.6 * top, 1.6 * top))
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                ax.text(j, i, f"{value:.2f}".replace("-", "−"), ha="center", va="center", fontsize=6)
        ax.set_xticks(range(len(ms)), ms, rotation=30 if len(ms) > 2 else 0, ha="right" if len(ms) > 2 else "center")
        ax.set_yticks(range(len(names)), [name if len(name) <= 30 else name[:29] + "…" for name in names])
        ax.grid(visible=False)
        ax.set_title(words, fontsize=8)
        image.set_clim(-1.6 * top, 1.6 * top)
    figure.suptitle(
        f"{comparison.data}: contributions by class in {label} (nats)", fontsize=9, fontweight="bold", x=0.02, ha="left"
    )
    return figure


def draw_robustness(comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """One panel per damaged modality: a line per method over the noise, points for missing and swapped."""
    methods = [label for label in comparison.labels if not comparison.is_unimodal(label)]
    rows = {m: {k: d for k in methods if (d := corrupted_scores(comparison, k, m))} for m in comparison.modalities}
    rows = {m: found for m, found in rows.items() if found}
    if not rows:
        return None
    columns = min(COLUMNS, len(rows))
    lines = math.ceil(len(rows) / columns)
    figure = new_figure(2.7 * columns + 0.3, 2.5 * lines + 0.3)
    axes = list(figure.subplots(lines, columns, squeeze=False, sharey=True).flat)
    factor = factor_of(comparison.score)
    for ax, (m, found) in zip(axes, rows.items(), strict=False):
        for label, points in found.items():
            look = {"color": row_colour(comparison, label, colours), "lw": 1.2, "ms": 3, "elinewidth": 0.7}
            style = DASHES[palette.dash(comparison, label)]
            for noisy in (True, False):
                part = [d for d in points if d.is_noise == noisy]
                if part:
                    ax.errorbar(
                        [d.place for d in part],
                        [factor * d.point.mean for d in part],
                        yerr=whiskers([d.point for d in part], factor),
                        fmt="o",
                        ls=style if noisy else "none",
                        label=label if noisy else None,
                        **look,
                    )
        shown = sorted({(d.place, d.words.removeprefix("noise ")) for points in found.values() for d in points})
        ax.set_xticks([p for p, _ in shown], [n for _, n in shown], fontsize=6)
        ax.set_title(f"{m} damaged")
        ax.set_xlabel("noise (s.d. of the input); missing; swapped", fontsize=7)
    means = [factor * d.point.mean for found in rows.values() for points in found.values() for d in points]
    room = 0.08 * (max(means) - min(means)) or 0.05 * factor
    axes[0].set_ylim(min(means) - room, max(means) + room)  # two seeds' intervals may be wider than the axis
    for ax in axes[::columns]:
        ax.set_ylabel(axis_label(comparison.score, f"test {score_name(comparison)}"))
    axes[0].legend(fontsize=6)
    for ax in axes[len(rows) :]:
        ax.set_axis_off()
    return figure
