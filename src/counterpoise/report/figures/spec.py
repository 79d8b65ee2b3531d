"""Description of a figure: data, axes and marks. Plotly draws it on the page, matplotlib into files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from counterpoise.report._format import is_share, number, unit
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.series import Point
from counterpoise.report.grids import Grid

__all__ = [
    "Axis",
    "Bars",
    "FigureSpec",
    "Heat",
    "Panel",
    "PointRow",
    "Rule",
    "Series",
    "factor_of",
    "interval_text",
    "points_grid",
    "rows_axis",
    "score_axis",
    "whence",
]

Ends = tuple[float, float]
"""Low and high end of an interval; NaN if there is none."""


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        title: Name of the quantity, with its unit.
        ticks: Positions and names of ticks; empty for automatic ones.
        range: Ends; None for automatic ones. A first end above the second reverses the axis.
        grid: Whether to draw grid lines.
        from_zero: Whether an automatic range starts at zero.
    """

    title: str = ""
    ticks: tuple[tuple[float, str], ...] = ()
    range: Ends | None = None
    grid: bool = True
    from_zero: bool = False


@dataclass(frozen=True)
class Series:
    """Points, joined by a line, marked, or both.

    Attributes:
        x: Positions on the horizontal axis.
        y: Places on the vertical axis.
        colour: Colour of all points, or one per point.
        name: Entry of the legend; none if empty.
        dash: Style of the line; no line if empty.
        marker: Shape of the points; no markers if empty, except on a line of one point.
        size: Size of the markers in pixels.
        hollow: Whether the markers are outlines.
        intervals: Ends of an interval per point.
        across: Whether the intervals lie along the horizontal axis.
        band: Whether the intervals are drawn as a band instead of whiskers.
        whiskers: Colour of the whiskers; that of the points if empty.
        hover: Text per point for hovering.
        texts: Text per point next to the marker.
        width: Width of the line in pixels.
        opacity: Opacity of line and markers.
    """

    x: Sequence[float]
    y: Sequence[float]
    colour: str | Sequence[str]
    name: str = ""
    dash: str = ""
    marker: str = ""
    size: float = 9
    hollow: bool = False
    intervals: Sequence[Ends] = ()
    across: bool = False
    band: bool = False
    whiskers: str = ""
    hover: Sequence[str] = ()
    texts: Sequence[str] = ()
    width: float = 2
    opacity: float = 1

    def __post_init__(self) -> None:
        if self.dash and not self.marker and len(self.x) == 1:
            object.__setattr__(self, "marker", "circle")  # a line of one point (one epoch) would be invisible

    def lengths(self) -> tuple[list[float], list[float]]:
        """Return the lengths of the whiskers to the low and to the high end, 0 where there is none."""
        places = self.x if self.across else self.y
        pairs = list(zip(places, self.intervals, strict=True))
        low = [p - a if math.isfinite(a) else 0.0 for p, (a, _) in pairs]
        high = [b - p if math.isfinite(b) else 0.0 for p, (_, b) in pairs]
        return [max(v, 0.0) for v in low], [max(v, 0.0) for v in high]


@dataclass(frozen=True)
class Bars:
    """Horizontal bars.

    Attributes:
        y: Places on the vertical axis.
        base: Starts of the bars.
        length: Lengths of the bars.
        colours: One colour per bar.
        name: Name of the bars, for the legend.
        height: Thickness of the bars.
        opacity: Opacity of the bars.
        hatched: Whether they are hatched instead of filled.
        hover: Text per bar for hovering.
    """

    y: Sequence[float]
    base: Sequence[float]
    length: Sequence[float]
    colours: Sequence[str]
    name: str = ""
    height: float = 0.56
    opacity: float = 1
    hatched: bool = False
    hover: Sequence[str] = ()


@dataclass(frozen=True)
class Heat:
    """A heat map of numbers; rows run from top to bottom."""

    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Sequence[float]]
    unit: str


@dataclass(frozen=True)
class Rule:
    """A straight line across the whole panel.

    Attributes:
        value: Position of the line.
        colour: Colour of the line.
        dash: Style of the line.
        text: Label at its end.
        horizontal: Whether it runs along the horizontal axis.
        anchor: Side of the line on which the label is: left, center or right.
    """

    value: float
    colour: str = "@reference"
    dash: str = "dash"
    text: str = ""
    horizontal: bool = False
    anchor: str = "center"


Mark = Series | Bars | Heat


@dataclass(frozen=True)
class Panel:
    """Axes and marks of one drawing.

    Attributes:
        x: The horizontal axis.
        y: The vertical axis.
        marks: Series, bars and heat maps, the first below the others.
        rules: Lines across the panel.
        height: Height on the page in pixels.
        legend: Whether to draw a legend.
        title: Title in a file; the page has its own.
        shared_hover: Whether hovering shows all series at one position.
    """

    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    rules: tuple[Rule, ...] = ()
    height: int = 320
    legend: bool = False
    title: str = ""
    shared_hover: bool = False


@dataclass(frozen=True)
class FigureSpec:
    """A figure: one panel, or several variants between which the reader of the page can switch.

    Attributes:
        title: Title.
        reading: Explanation of the figure.
        options: Panels by the name of the variant.
        table: The same numbers as a table.
        choice: Name of the property in which the variants differ.
    """

    title: str
    reading: str
    options: tuple[tuple[str, Panel], ...]
    table: Grid
    choice: str = ""

    @property
    def panel(self) -> Panel:
        """The first variant."""
        return self.options[0][1]


PointRow = tuple[list[str], str, str, Point]
"""Names of a row of the table behind a figure, label and metric in ``table.csv``, and the point."""


def factor_of(metric: str) -> float:
    """Return the factor by which a metric is multiplied to be drawn in its unit."""
    return 100.0 if is_share(metric) else 1.0


def score_axis(comparison: Comparison, what: str) -> str:
    """Return the title of an axis of scores: ``test accuracy (%)`` for ``test``."""
    name = {"r2": "R²"}.get(comparison.score, comparison.score.replace("_", " "))
    return f"{what} {name}{' (%)' * comparison.in_percent}".strip()


def rows_axis(names: Sequence[str], places: Sequence[float] = ()) -> Axis:
    """Return a vertical axis of named rows, the first on top."""
    at = tuple(places) or tuple(map(float, range(len(names))))
    last = max(at, default=0.0)
    return Axis(ticks=tuple(zip(at, names, strict=True)), range=(last + 0.6, -0.6), grid=False)


def interval_text(p: Point, metric: str) -> str:
    """Return a point with its unit and interval."""
    if not (math.isfinite(p.low) and math.isfinite(p.high)):
        return f"{number(p.mean, metric)} {unit(metric)}, no interval".replace("  ", " ")
    return f"{number(p.mean, metric)} {unit(metric)} [{number(p.low, metric)}, {number(p.high, metric)}]"


def scaled(p: Point, factor: float) -> Ends:
    """Return the ends of a point's interval in the unit of the drawing."""
    return factor * p.low, factor * p.high


def points_grid(
    name: str, title: str, comparison: Comparison, rows: Sequence[PointRow], head: list[str], shown: str
) -> Grid:
    """Return the table behind a figure of points: names, mean, ends of the interval, seeds."""
    cells: list[list[str]] = []
    source: dict[tuple[int, int], tuple[str, str, str, str]] = {}
    for names, label, metric, p in rows:
        if metric:
            source[len(cells), len(names)] = (comparison.data, label, metric, "mean")
        cells.append([*names, *(number(v, shown) for v in (p.mean, p.low, p.high)), str(p.n)])
    header = [*head, "mean", "95 % low", "95 % high", "seeds"]
    return Grid(name, title, header, cells, source=source)


def whence(rows: Sequence[PointRow]) -> str:
    """Return a clause about the source of the intervals."""
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
