"""What Plotly charts are made of, as plain dictionaries: layout, whiskers, lines, and the table behind each chart.

Colours are names (``@m0`` is the first modality's, ``@ink`` the text's) that the page resolves in its light or dark
theme. Every string that comes from data goes through `text`: Plotly reads pseudo-HTML in labels.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from counterpoise.report._format import is_share, number, unit
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.series import Point
from counterpoise.report.figures._layout import Grid

__all__ = [
    "Chart",
    "Spec",
    "factor_of",
    "interval_text",
    "layout",
    "note_above",
    "points_grid",
    "text",
    "upright",
    "whence",
    "whiskers",
]

Spec = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A chart and the table behind it.

    Attributes:
        title: what it shows.
        reading: how to read it, one sentence.
        options: named variants (one, if there is nothing to choose), each a Plotly figure as a dictionary.
        table: the same numbers.
        choice: what the reader chooses by the options' names.
    """

    title: str
    reading: str
    options: list[tuple[str, Spec]]
    table: Grid
    choice: str = field(default="")


def text(value: str) -> str:
    """Escape a string from data for Plotly's labels, on one line and of bounded length."""
    value = " ".join(value.split())
    return html.escape(value if len(value) <= 40 else value[:39] + "…", quote=False)


def layout(height: int, *, x: str, y: str = "", legend: bool = False, **axes: Spec) -> Spec:
    """Return the common layout: quiet axes with units, no title (the page has it), no zoom by dragging."""
    axis: Spec = {
        "gridcolor": "@rule",
        "zerolinecolor": "@muted",
        "linecolor": "@rule",
        "automargin": True,
        "tickfont": {"size": 12},
        "fixedrange": True,
        "zeroline": False,
    }
    return {
        "height": height,
        "margin": {"l": 8, "r": 16, "t": 36 if legend else 12, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "@ink", "family": "system-ui, sans-serif", "size": 12},
        "hoverlabel": {"bgcolor": "@surface", "bordercolor": "@rule", "font": {"color": "@ink"}},
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 12}},
        "dragmode": False,
        "xaxis": {**axis, "title": {"text": x, "standoff": 8}, **axes.get("xaxis", {})},
        "yaxis": {**axis, "title": {"text": y, "standoff": 8}, **axes.get("yaxis", {})},
    }


def factor_of(metric: str) -> float:
    """Return what a metric is multiplied by to be drawn in its unit."""
    return 100.0 if is_share(metric) else 1.0


def whiskers(points: Sequence[Point], factor: float, shade: str) -> Spec:
    """Return error bars to the ends of the intervals; none where there is no interval."""

    def length(end: float, mean: float) -> float:
        return factor * abs(end - mean) if math.isfinite(end) else 0.0

    return {
        "type": "data",
        "symmetric": False,
        "array": [length(p.high, p.mean) for p in points],
        "arrayminus": [length(p.low, p.mean) for p in points],
        "color": shade,
        "thickness": 1.5,
        "width": 4,
    }


def interval_text(p: Point, metric: str) -> str:
    """Return a point with its unit and interval, for hovering."""
    if not (math.isfinite(p.low) and math.isfinite(p.high)):
        return f"{number(p.mean, metric)} {unit(metric)}, no interval".replace("  ", " ")
    return f"{number(p.mean, metric)} {unit(metric)} [{number(p.low, metric)}, {number(p.high, metric)}]"


def points_grid(
    name: str, title: str, comparison: Comparison, rows: Sequence[tuple[list[str], str, str, Point]], head: list[str]
) -> Grid:
    """Return the table behind a chart of points: names, mean, ends of the interval, seeds."""
    cells: list[list[str]] = []
    source: dict[tuple[int, int], tuple[str, str, str, str]] = {}
    for names, label, metric, p in rows:
        source[len(cells), len(names)] = (comparison.data, label, metric, "mean")
        cells.append(
            [
                *names,
                *(
                    number(v, comparison.shown("probe" if metric.startswith("probe") else metric))
                    for v in (p.mean, p.low, p.high)
                ),
                str(p.n),
            ]
        )
    header = [*head, "mean", "95 % low", "95 % high", "seeds"]
    return Grid(name, title, header, cells, source=source)


def upright(value: float, shade: str, style: str, y1: float = 1.0) -> Spec:
    """Return a vertical line through the plot."""
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": value,
        "x1": value,
        "y0": 0,
        "y1": y1,
        "line": {"color": shade, "width": 1.5, "dash": style},
        "layer": "below",
    }


def note_above(value: float, label: str, anchor: str) -> Spec:
    """Return a label above the plot."""
    return {
        "x": value,
        "y": 1,
        "xref": "x",
        "yref": "paper",
        "yanchor": "bottom",
        "xanchor": anchor,
        "text": label,
        "showarrow": False,
        "font": {"size": 12, "color": "@muted"},
    }


def whence(rows: Sequence[tuple[list[str], str, str, Point]]) -> str:
    """Say where the intervals come from."""
    sources = {row[3].source for row in rows}
    if sources == {"seeds"}:
        return "whiskers are 95 % intervals over seeds"
    if "samples" in sources:
        return "whiskers are 95 % intervals over test samples (over seeds where there are several)"
    return (
        "with one seed there is no interval"
        if sources == {"none"}
        else "whiskers are 95 % intervals where there is one"
    )
