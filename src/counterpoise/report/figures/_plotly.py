"""Panels as plotly figures, for the page.

Colours stay tokens (``@m0``) that the page resolves in its light or dark theme. Every text that comes from data is
escaped by `text`, because plotly interprets HTML in labels.
"""

from __future__ import annotations

import html
from typing import Any

from counterpoise.report._format import number
from counterpoise.report.figures.spec import Axis, Bars, Heat, Panel, Rule, Series

__all__ = ["render", "text"]

Figure = dict[str, Any]


def text(value: str) -> str:
    """Escape a text for plotly's labels, on one line and of bounded length."""
    value = " ".join(value.split())
    return html.escape(value if len(value) <= 60 else value[:59] + "…", quote=False)


def render(panel: Panel) -> Figure:
    """Return a panel as a plotly figure."""
    layout: Figure = {
        "height": panel.height,
        "margin": {"l": 8, "r": 16, "t": 36 if panel.legend else 12, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "@ink", "family": "system-ui, sans-serif", "size": 12},
        "hoverlabel": {"bgcolor": "@surface", "bordercolor": "@rule", "font": {"color": "@ink"}},
        "showlegend": panel.legend,
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 12}},
        "dragmode": False,
        "barmode": "overlay",
        "xaxis": _axis(panel.x),
        "yaxis": _axis(panel.y),
    }
    if panel.shared_hover:
        layout["hovermode"] = "x unified"
    traces = [trace for mark in panel.marks for trace in _traces(mark)]
    if any(isinstance(mark, Heat) for mark in panel.marks):
        layout["margin"] |= {"t": 52, "b": 12}
        layout["xaxis"] |= {"side": "top", "type": "category"}
        layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    layout["shapes"] = [_shape(rule) for rule in panel.rules]
    layout["annotations"] = [_annotation(rule) for rule in panel.rules if rule.text]
    if layout["annotations"]:
        layout["margin"]["t"] = max(layout["margin"]["t"], 28)
    return {"data": traces, "layout": layout}


def _axis(axis: Axis) -> Figure:
    layout: Figure = {
        "gridcolor": "@rule",
        "zerolinecolor": "@muted",
        "linecolor": "@rule",
        "automargin": True,
        "tickfont": {"size": 12},
        "fixedrange": True,
        "zeroline": False,
        "showgrid": axis.grid,
        "title": {"text": axis.title, "standoff": 8},
    }
    if axis.ticks:
        layout |= {"tickvals": [place for place, _ in axis.ticks], "ticktext": [text(name) for _, name in axis.ticks]}
    if axis.range is not None:
        layout["range"] = list(axis.range)
    if axis.from_zero:
        layout["rangemode"] = "tozero"
    return layout


def _traces(mark: Series | Bars | Heat) -> list[Figure]:
    if isinstance(mark, Series):
        return [*([_band(mark)] if mark.band and mark.intervals else []), _series(mark)]
    return [_bars(mark) if isinstance(mark, Bars) else _heat(mark)]


def _series(mark: Series) -> Figure:
    modes = ["lines"] * bool(mark.dash) + ["markers"] * bool(mark.marker) + ["text"] * bool(mark.texts)
    trace: Figure = {
        "type": "scatter",
        "mode": "+".join(modes),
        "name": text(mark.name),
        "legendgroup": text(mark.name),
        "showlegend": bool(mark.name),
        "x": list(mark.x),
        "y": list(mark.y),
        "opacity": mark.opacity,
    }
    if mark.dash:
        trace["line"] = {"color": mark.colour, "width": mark.width, "dash": mark.dash}
    if mark.marker:
        trace["marker"] = _marker(mark)
    if mark.texts:
        trace |= {"text": list(map(text, mark.texts)), "textposition": "middle right"}
    trace |= {"hovertext": list(map(text, mark.hover)), "hoverinfo": "text"} if mark.hover else _hover(mark)
    if mark.intervals and not mark.band:
        trace["error_x" if mark.across else "error_y"] = _whiskers(mark)
    return trace


def _marker(mark: Series) -> Figure:
    marker: Figure = {"color": mark.colour, "size": mark.size, "symbol": mark.marker}
    if mark.hollow:
        marker |= {"color": "@surface", "line": {"color": mark.colour, "width": 2}}
    return marker


def _whiskers(mark: Series) -> Figure:
    low, high = mark.lengths()
    shade = mark.whiskers or (mark.colour if isinstance(mark.colour, str) else "@muted")
    error = {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "color": shade}
    return error | {"thickness": 1.5, "width": 4}


def _hover(mark: Series) -> Figure:
    return {"hovertemplate": "%{y:.4g}"} if mark.name and mark.dash else {"hoverinfo": "skip"}


def _band(mark: Series) -> Figure:
    low, high = [a for a, _ in mark.intervals], [b for _, b in mark.intervals]
    return {
        "type": "scatter",
        "mode": "lines",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "fill": "toself",
        "fillcolor": mark.colour,
        "opacity": 0.15,
        "showlegend": False,
        "legendgroup": text(mark.name),
        "x": [*mark.x, *reversed(mark.x)],
        "y": [*high, *reversed(low)],
    }


def _bars(mark: Bars) -> Figure:
    marker: Figure = {"color": list(mark.colours), "line": {"width": 0}}
    if mark.hatched:
        marker["pattern"] = {"shape": "/", "fillmode": "replace", "size": 7, "solidity": 0.45}
    return {
        "type": "bar",
        "orientation": "h",
        "name": text(mark.name),
        "width": mark.height,
        "opacity": mark.opacity,
        "base": list(mark.base),
        "x": list(mark.length),
        "y": list(mark.y),
        "marker": marker,
        "hovertext": [text(t) for t in mark.hover],
        "hoverinfo": "text",
    }


def _heat(mark: Heat) -> Figure:
    values = [v for row in mark.values for v in row]
    top = max(map(abs, values), default=0.0) or 1.0
    signed = min(values, default=0.0) < -0.02 * top
    low = [[0, "@heat-low"], [0.5, "@heat-mid"]] if signed else [[0, "@heat-mid"]]
    tall = len(mark.rows) > 8
    return {
        "type": "heatmap",
        "x": list(map(text, mark.columns)),
        "y": list(map(text, mark.rows)),
        "z": list(map(list, mark.values)),
        "text": [[number(v, "phi_mi", digits=2) for v in row] for row in mark.values],
        "texttemplate": "%{text}",
        "textfont": {"size": 12, "color": "@ink"},
        "hovertemplate": f"%{{y}}, %{{x}}: %{{text}} {mark.unit}<extra></extra>",
        "zmin": -top if signed else 0,
        "zmax": top,
        "colorscale": [*low, [1, "@heat-high"]],
        "xgap": 2,
        "ygap": 2,
        "colorbar": {
            "title": {"text": mark.unit, "side": "top"},
            "thickness": 10,
            "outlinewidth": 0,
            "len": min(1.0, 200 / (24 * len(mark.rows) + 20)) if tall else 1,
            "y": 1,
            "yanchor": "top",
            "tickfont": {"size": 11},
        },
    }


def _shape(rule: Rule) -> Figure:
    line = {"color": rule.colour, "width": 1.5, "dash": rule.dash}
    along, across = ("y", "x") if rule.horizontal else ("x", "y")
    ends = {f"{along}0": rule.value, f"{along}1": rule.value, f"{across}0": 0, f"{across}1": 1}
    return {"type": "line", f"{along}ref": along, f"{across}ref": "paper", **ends, "line": line, "layer": "below"}


def _annotation(rule: Rule) -> Figure:
    place: Figure = {"x": rule.value, "y": 1, "xref": "x", "yref": "paper", "yanchor": "bottom", "xanchor": rule.anchor}
    if rule.horizontal:
        place = {"x": 1, "y": rule.value, "xref": "paper", "yref": "y", "yanchor": "bottom", "xanchor": "right"}
    return place | {"text": text(rule.text), "showarrow": False, "font": {"size": 12, "color": "@muted"}}
