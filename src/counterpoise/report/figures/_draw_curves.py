"""Figures over epochs: the paper's curves, and what the methods chose."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.series import Curve
from counterpoise.report.figures import _palette as palette
from counterpoise.report.figures._draw import DASHES, axis_label, factor_of, new_figure, row_colour, score_name
from counterpoise.runs import CurveId

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_coefficients", "draw_curves", "draw_panel"]

WIDEST: Final = 40
"""Characters of a title that a single panel has room for."""


def draw_line(ax: Axes, c: Curve, colour: str, text: str, *, style: str = "solid", factor: float = 1.0) -> None:
    """Draw a curve with its band of one standard error."""
    ax.plot(c.epochs, [factor * v for v in c.mean], color=colour, ls=DASHES[style], label=text)
    if c.n > 1:
        ax.fill_between(
            c.epochs, [factor * v for v in c.low], [factor * v for v in c.high], color=colour, alpha=0.15, lw=0
        )


@dataclass(frozen=True)
class _Sheet:
    """What every panel over epochs is drawn from."""

    comparison: Comparison
    colours: Sequence[str]
    rows: list[str]

    def look(self, label: str) -> dict[str, Any]:
        """Return colour and dash of a row."""
        colour = row_colour(self.comparison, label, self.colours)
        return {"colour": colour, "style": palette.dash(self.comparison, label)}

    def lines(self, ax: Axes, name: CurveId, *, factor: float = 1.0) -> None:
        """Draw one curve of every row."""
        for label in self.rows:
            if (c := series.curve(self.comparison, label, name)) is not None:
                draw_line(ax, c, text=label, factor=factor, **self.look(label))

    def alone(self, ax: Axes, m: str, factor: float) -> None:
        """Draw the validation score of a modality trained alone."""
        c = series.curve(self.comparison, self.comparison.unimodal(m), CurveId("score", self.comparison.score))
        if c is not None:
            draw_line(ax, c, palette.MODALITIES[palette.modality_slot(self.colours, m)], f"{m} alone", factor=factor)


def _gap(sheet: _Sheet, ax: Axes) -> None:
    """The paper's Fig. 3."""
    for label in sheet.rows:
        if (c := series.gap_curve(sheet.comparison, label)) is not None:
            draw_line(ax, c, text=label, **sheet.look(label))
    _finish(ax, "Contribution gap (max − min φ_CMI)", "nats")


def _joint(sheet: _Sheet, ax: Axes) -> None:
    """The paper's Fig. 4."""
    sheet.lines(ax, CurveId("contribution", "phi_mi"))
    _finish(ax, "Joint contribution (φ_MI of all)", "nats")


def _score(sheet: _Sheet, ax: Axes) -> None:
    """Every method's score, and the dominant modality alone."""
    c = sheet.comparison
    sheet.lines(ax, CurveId("score", c.score), factor=factor_of(c.score))
    if m := series.dominant(c):
        sheet.alone(ax, m, factor_of(c.score))
    _finish(ax, "Dominant modality against the methods", axis_label(c.score, f"validation {score_name(c)}"))


def _dominant(sheet: _Sheet, ax: Axes) -> None:
    """The paper's Fig. 1: what the dominant modality's own head does inside each method, beside joint training and itself alone."""
    c, factor = sheet.comparison, factor_of(sheet.comparison.score)
    m = series.dominant(c)
    if m:
        sheet.lines(ax, CurveId("score", c.score, m), factor=factor)
        sheet.alone(ax, m, factor)
        whole = series.curve(c, c.reference, CurveId("score", c.score))
        if whole is not None:
            draw_line(ax, whole, palette.MUTED, f"{c.reference}, all modalities", style="dot", factor=factor)
    _finish(ax, f"The dominant modality ({m}) inside each method", axis_label(c.score, f"validation {score_name(c)}"))


def _loss(sheet: _Sheet, ax: Axes) -> None:
    """The paper's Fig. 5: for runs from one initialisation set ``model.init_seed``."""
    for label in sheet.rows:
        for i, record in enumerate(sheet.comparison.records[label]):
            loss = record.curve("loss", "total")
            colour = sheet.look(label)["colour"]
            ax.plot(range(1, len(loss) + 1), loss, color=colour, lw=0.8, label="" if i else label)
    _finish(ax, "Training loss of each seed", "loss (nats)")


def _finish(ax: Axes, title: str, unit: str) -> None:
    ax.set_title(title)
    ax.set_xlabel("epoch")
    ax.locator_params(axis="x", integer=True)
    ax.set_ylabel(unit)
    if ax.lines:
        ax.legend()
    else:
        ax.text(0.5, 0.5, "not recorded", transform=ax.transAxes, ha="center", color=palette.MUTED)


_PANELS: Final = {"dominant": _dominant, "gap": _gap, "joint-contribution": _joint, "loss": _loss}


def _sheet(comparison: Comparison, colours: Sequence[str]) -> _Sheet | None:
    rows = series.curve_rows(comparison, "score", comparison.score) or series.curve_rows(comparison, "loss", "total")
    return _Sheet(comparison, colours, rows) if rows else None


def draw_curves(comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """Contribution gap, joint contribution, dominant modality against joint training, training loss of every seed."""
    sheet = _sheet(comparison, colours)
    if sheet is None:
        return None
    figure = new_figure(7.0, 4.6)
    for panel, ax in zip((_gap, _joint, _score, _loss), figure.subplots(2, 2).flat, strict=True):
        panel(sheet, ax)
    return figure


def draw_panel(name: str, comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """One of ARM's figures by itself: dominant (Fig. 1), gap (Fig. 3), joint-contribution (Fig. 4) or loss (Fig. 5)."""
    sheet = _sheet(comparison, colours)
    if sheet is None:
        return None
    figure = new_figure(3.5, 2.6)
    ax = figure.subplots()
    _PANELS[name](sheet, ax)
    ax.set_title(textwrap.fill(ax.get_title(loc="left"), WIDEST), loc="left")
    return figure if ax.lines else None


def draw_coefficients(comparison: Comparison, colours: Sequence[str]) -> Figure | None:
    """What the methods chose per modality and epoch, one panel per method and coefficient."""
    panels = [
        (label, kind, ms)
        for label in comparison.labels
        if not comparison.same_network(label)
        for kind, ms in series.coefficients(comparison, label).items()
    ]
    if not panels:
        return None
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = new_figure(2.4 * columns + 0.4, 2.1 * lines)
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for ax, (label, kind, ms) in zip(axes, panels, strict=False):
        for m in ms:
            if (c := series.curve(comparison, label, CurveId("coefficient", kind, m))) is not None:
                draw_line(ax, c, palette.resolve(palette.modality_token(colours, m)), m or kind)
        ax.set_title(f"{label}: {kind}")
        ax.set_xlabel("epoch")
        ax.set_ylabel("coefficient")
        ax.legend()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    return figure
