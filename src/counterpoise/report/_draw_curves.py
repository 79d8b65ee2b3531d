"""Figures over epochs: the paper's curves, and what the methods chose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from counterpoise.report import _palette as palette
from counterpoise.report import _series as series
from counterpoise.report._comparison import Comparison
from counterpoise.report._draw import DASHES, axis_label, factor_of, new_figure, row_colour, score_name
from counterpoise.report._series import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_coefficients", "draw_curves"]


def draw_line(ax: Axes, c: Curve, colour: str, text: str, *, style: str = "solid", factor: float = 1.0) -> None:
    """Draw a curve with its band of one standard error."""
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
            draw_line(gap_ax, c, text=label, **look)
        if (c := series.curve(comparison, label, "phi_mi")) is not None:
            draw_line(joint_ax, c, text=label, **look)
        if (c := series.curve(comparison, label, "val_score")) is not None:
            draw_line(score_ax, c, text=label, factor=factor, **look)
        for i, record in enumerate(comparison.records[label]):
            loss = record.curves.get("train_loss", [])
            loss_ax.plot(range(1, len(loss) + 1), loss, color=look["colour"], lw=0.8, label="" if i else label)
    m = series.dominant(comparison)
    alone = series.curve(comparison, comparison.unimodal(m) or "", "val_score") if m else None
    if m and alone is not None:
        draw_line(score_ax, alone, palette.MODALITIES[palette.modality_slot(colours, m)], f"{m} alone", factor=factor)
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
                draw_line(ax, c, palette.MODALITIES[palette.modality_slot(colours, m)], m)
        ax.set_title(f"{label}: {kind}")
        ax.set_xlabel("epoch")
        ax.set_ylabel("nats" if kind == "phi" else "coefficient")
        ax.legend()
    for ax in list(axes):
        ax.set_axis_off()
    return figure
