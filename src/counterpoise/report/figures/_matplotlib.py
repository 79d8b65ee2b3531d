"""Panels drawn by matplotlib, for files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from counterpoise._extras import extra
from counterpoise.pages import colours as palette
from counterpoise.report.figures.spec import Axis, Bars, Heat, Panel, Rule, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["STYLE", "draw", "new_figure", "sheet"]

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
    "grid.color": palette.RULE,
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
_DASHES: Final[dict[str, Any]] = {
    "": "none",
    "solid": "-",
    "dash": "--",
    "dot": ":",
    "dashdot": "-.",
    "longdash": (0, (7, 2)),
    "longdashdot": (0, (7, 2, 1, 2)),
}
_MARKERS: Final = {"": None, "circle": "o", "square": "s", "diamond": "D", "cross": "P"}
_PIXELS_PER_INCH: Final = 112
_SCALE: Final = 0.55
"""Points of a marker or line per pixel of the page."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure (inches) on the Agg canvas; pyplot and its global state are not used."""
    with extra("report"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def sheet(panels: Sequence[Panel], *, columns: int = 1, width: float = 4.6) -> Figure:
    """Return a figure of several panels; unused cells of the grid stay empty."""
    lines = -(-len(panels) // columns)
    heights = [max(p.height for p in panels[i * columns : (i + 1) * columns]) / _PIXELS_PER_INCH for i in range(lines)]
    figure = new_figure(width, sum(heights) + 0.3)
    axes = list(figure.subplots(lines, columns, squeeze=False, height_ratios=heights).flat)
    room = round(40 * width / columns / 3.5)
    for ax, panel in zip(axes, panels, strict=False):
        draw(panel, ax)
        above = any(rule.text and not rule.horizontal for rule in panel.rules)
        ax.set_title(textwrap.fill(panel.title, room), pad=14 if above else None)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    return figure


def draw(panel: Panel, ax: Axes) -> None:
    """Draw a panel into axes."""
    for mark in panel.marks:
        if isinstance(mark, Series):
            _series(mark, ax)
        elif isinstance(mark, Bars):
            _bars(mark, ax)
        else:
            _heat(mark, ax)
    for rule in panel.rules:
        _rule(rule, ax)
    _axes(panel, ax)


def _axes(panel: Panel, ax: Axes) -> None:
    _axis(ax, "x", panel.x)
    _axis(ax, "y", panel.y)
    if panel.legend and ax.get_legend_handles_labels()[1]:
        ax.legend()


def _axis(ax: Axes, name: Literal["x", "y"], axis: Axis) -> None:
    getattr(ax, f"set_{name}label")(axis.title)
    if axis.ticks:
        names = [t if len(t) <= 30 else t[:29] + "…" for _, t in axis.ticks]
        getattr(ax, f"set_{name}ticks")([place for place, _ in axis.ticks], names)
    elif axis.title == "epoch":
        ax.locator_params(axis=name, integer=True)
    if axis.range is not None:
        getattr(ax, f"set_{name}lim")(*axis.range)
    if not axis.grid:
        ax.grid(visible=False, axis=name)


def _colours(mark: Series) -> list[str]:
    given = [mark.colour] * len(mark.x) if isinstance(mark.colour, str) else list(mark.colour)
    return [palette.resolve(c) for c in given]


def _series(mark: Series, ax: Axes) -> None:
    colours = _colours(mark)
    if mark.dash:
        style = {"ls": _DASHES[mark.dash], "lw": mark.width * _SCALE * 1.3, "alpha": mark.opacity}
        label = mark.name or None
        ax.plot(mark.x, mark.y, color=colours[0] if colours else None, label=label, **style)
    if mark.band and mark.intervals:
        low, high = zip(*mark.intervals, strict=True)
        ax.fill_between(mark.x, low, high, color=colours[0], alpha=0.15, lw=0)
        return
    if mark.marker or mark.intervals:
        _points(mark, colours, ax)
    for x, y, note in zip(mark.x, mark.y, mark.texts, strict=False):
        ax.annotate(f" {note}", (x, y), va="center", fontsize=7)


def _points(mark: Series, colours: Sequence[str], ax: Axes) -> None:
    """Draw markers with whiskers, one container per point so that each has its colour."""
    low, high = mark.lengths() if mark.intervals else ([], [])
    for i, (x, y, colour) in enumerate(zip(mark.x, mark.y, colours, strict=True)):
        error: dict[str, Any] = {"xerr" if mark.across else "yerr": [[low[i]], [high[i]]]} if mark.intervals else {}
        ax.errorbar(
            x,
            y,
            **error,
            fmt=_MARKERS[mark.marker] or "none",
            ms=mark.size * _SCALE,
            color=colour,
            mfc="white" if mark.hollow else colour,
            ecolor=palette.resolve(mark.whiskers) if mark.whiskers not in ("", "@muted") else colour,
            elinewidth=1,
            capsize=2,
            label=mark.name if mark.name and not mark.dash and not i else None,
        )


def _bars(mark: Bars, ax: Axes) -> None:
    for y, base, length, colour in zip(mark.y, mark.base, mark.length, mark.colours, strict=True):
        shade = palette.resolve(colour)
        look: dict[str, Any] = {"color": shade, "alpha": mark.opacity}
        if mark.hatched:
            look = {"facecolor": "white", "edgecolor": shade, "hatch": "/////"}
        ax.barh(y, length, mark.height, left=base, lw=0, **look)


def _heat(mark: Heat, ax: Axes) -> None:
    with extra("report"):
        from matplotlib.colors import TwoSlopeNorm

    top = max((abs(v) for row in mark.values for v in row), default=0.0) or 1.0
    ax.imshow(mark.values, aspect="auto", cmap="PuOr", norm=TwoSlopeNorm(0.0, -1.6 * top, 1.6 * top))
    for i, row in enumerate(mark.values):
        for j, value in enumerate(row):
            ax.text(j, i, f"{value:.2f}".replace("-", "−"), ha="center", va="center", fontsize=6)
    several = len(mark.columns) > 2
    ax.set_xticks(
        range(len(mark.columns)), mark.columns, rotation=30 if several else 0, ha="right" if several else "center"
    )
    ax.set_yticks(range(len(mark.rows)), [name if len(name) <= 30 else name[:29] + "…" for name in mark.rows])
    ax.grid(visible=False)


def _rule(rule: Rule, ax: Axes) -> None:
    look = {"color": palette.resolve(rule.colour), "lw": 0.9, "ls": _DASHES[rule.dash]}
    if rule.horizontal:
        ax.axhline(rule.value, **look)
        return
    ax.axvline(rule.value, **look)
    if rule.text:
        ax.text(
            rule.value,
            1.0,
            f" {rule.text} ",
            transform=ax.get_xaxis_transform(),
            fontsize=7,
            va="bottom",
            ha=rule.anchor,
        )
