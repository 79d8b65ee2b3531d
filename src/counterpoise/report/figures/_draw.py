"""What the paper's figures are made of: style, empty figures, colours, whiskers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from counterpoise._extras import extra
from counterpoise.report._format import is_share
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.series import Point
from counterpoise.report.figures import _palette as palette

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DASHES", "STYLE", "axis_label", "factor_of", "new_figure", "row_colour", "score_name", "whiskers"]

STYLE: Final[Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": palette.MUTED,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "#E5E7EB",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "text.color": palette.INK,
    "axes.labelcolor": palette.INK,
    "xtick.color": palette.INK,
    "ytick.color": palette.INK,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.4,
    "figure.dpi": 100,
    "svg.hashsalt": "counterpoise",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,
}
DASHES: Final[dict[str, Any]] = {
    "solid": "-",
    "dash": "--",
    "dot": ":",
    "dashdot": "-.",
    "longdash": (0, (7, 2)),
    "longdashdot": (0, (7, 2, 1, 2)),
}


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure (inches) on the Agg canvas; pyplot and its global state stay out of it."""
    with extra("report"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def factor_of(metric: str) -> float:
    """Return what a metric is multiplied by to be drawn in its unit."""
    return 100.0 if is_share(metric) else 1.0


def axis_label(metric: str, what: str) -> str:
    """Return an axis label with its unit."""
    return f"{what} (%)" if is_share(metric) else what


def score_name(comparison: Comparison) -> str:
    """Return what rows are judged by."""
    return "accuracy" if comparison.score == "accuracy" else "R²"


def row_colour(comparison: Comparison, label: str, colours: Sequence[str]) -> str:
    """Return a row's colour."""
    return palette.resolve(palette.token(comparison, label, colours))


def whiskers(points: Sequence[Point], factor: float) -> list[list[float]]:
    """Return the lengths to both ends of the intervals; 0 where there is none."""

    def length(end: float, mean: float) -> float:
        return factor * abs(end - mean) if math.isfinite(end) else 0.0

    return [[length(p.low, p.mean) for p in points], [length(p.high, p.mean) for p in points]]
