"""Figures for a paper: PNG at 300 dpi, SVG and PDF, drawn from RunRecords with matplotlib's Agg canvas."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from counterpoise._extras import extra
from counterpoise._files import write_atomic
from counterpoise.errors import ConfigError, DataError
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import REFERENCE, Comparison, compare
from counterpoise.report.analysis.ranking import ranking
from counterpoise.report.figures._matplotlib import STYLE, draw, sheet
from counterpoise.report.figures.classes import class_figure, robustness_figures
from counterpoise.report.figures.contributions import contribution_figure
from counterpoise.report.figures.curves import coefficient_figures, curve_figures
from counterpoise.report.figures.incomplete import severity_figure
from counterpoise.report.figures.scores import difference_figure, encoder_figure, rank_figure, score_figure
from counterpoise.report.figures.spec import FigureSpec, Heat, Panel
from counterpoise.runs import RunRecord

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "draw_figures", "plot_scores", "write_figures"]

FORMATS: Final = ("png", "svg", "pdf")

LARGEST_HEAT_MAP: Final = 60
"""Maximum number of classes of a heat map in a file."""


@dataclass(frozen=True)
class _Sheet:
    """The panels of one file and their arrangement."""

    panels: Sequence[Panel]
    columns: int = 1
    width: float = 4.6

    def drawn(self) -> Figure:
        """Draw the panels, in the present style of matplotlib."""
        return sheet(self.panels, columns=self.columns, width=self.width)


def _sheets(comparison: Comparison, colours: Sequence[str]) -> dict[str, _Sheet]:
    """Return the files of one data set, by name."""
    single = {
        "accuracy": score_figure(comparison, colours),
        "differences": difference_figure(comparison, colours),
        "contributions": contribution_figure(comparison, colours),
        "encoders": encoder_figure(comparison, colours),
    }
    sheets = {name: _Sheet([figure.panel]) for name, figure in single.items() if figure is not None}
    curves = curve_figures(comparison, colours)
    four = [figure.panel for name, figure in curves.items() if name not in ("dominant", "plane")]
    if four:
        sheets["curves"] = _Sheet(four, columns=2, width=7.0)
    absent = severity_figure(comparison, colours)
    grids = {
        "coefficients": [figure.panel for figure in coefficient_figures(comparison, colours)],
        "robustness": [figure.panel for figure in robustness_figures(comparison, colours)],
        "classes": _heat_maps(class_figure(comparison)),
        "severity": [] if absent is None else [panel for _, panel in absent.options],
    }
    for name, panels in grids.items():
        if panels:
            columns = min(3, len(panels))
            sheets[name] = _Sheet(panels, columns, 2.6 * columns + 0.4)
    own = ("dominant", "gap", "joint-contribution", "loss", "plane")
    return sheets | {name: _Sheet([curves[name].panel], width=3.5) for name in own if name in curves}


def _heat_maps(figure: FigureSpec | None) -> list[Panel]:
    """Return both heat maps of the first row, unless they have too many classes to be read."""
    panels = [panel for _, panel in figure.options[:2]] if figure is not None else []
    return [p for p in panels if all(len(h.rows) <= LARGEST_HEAT_MAP for h in p.marks if isinstance(h, Heat))]


def draw_figures(
    records: Iterable[RunRecord], *, reference: str = REFERENCE, focus: str | None = None
) -> dict[str, Figure]:
    """Return every figure for which the records have numbers, by name.

    Per data set: ``accuracy-<data>``, ``differences-<data>`` (paired, to the reference), ``contributions-<data>``,
    ``encoders-<data>``, ``classes-<data>`` (class x modality), ``robustness-<data>``, ``curves-<data>``,
    ``coefficients-<data>``, and single panels over epochs: ``dominant-<data>``, ``gap-<data>``,
    ``joint-contribution-<data>``, ``loss-<data>`` and ``plane-<data>``; for three data sets or more
    ``critical-difference``.

    Args:
        records: The runs.
        reference: Row to which the others are compared; see `counterpoise.report.analysis.comparison.compare`.
        focus: Row of the conclusions; see there.
    """
    with extra("report"):
        import matplotlib as mpl

    with mpl.rc_context(STYLE):
        return {name: one.drawn() for name, one in _all_sheets(records, reference, focus).items()}


def _all_sheets(records: Iterable[RunRecord], reference: str, focus: str | None) -> dict[str, _Sheet]:
    """Return every file, by name."""
    comparisons = compare(records, reference=reference, focus=focus)
    colours = series.colour_order(comparisons)
    sheets: dict[str, _Sheet] = {}
    slugs: set[str] = set()
    for comparison in comparisons:
        slug = _slug(comparison.data, slugs)
        sheets |= {f"{name}-{slug}": one for name, one in _sheets(comparison, colours).items()}
    result = ranking(comparisons)
    if result is not None and len(comparisons) >= 3:
        sheets["critical-difference"] = _Sheet([rank_figure(result).panel], width=6.0)
    return sheets


@dataclass(frozen=True)
class _Writer:
    """Draws a sheet and writes it in each format."""

    folder: Path
    formats: Sequence[str]
    dpi: int

    def __call__(self, item: tuple[str, _Sheet]) -> list[Path]:
        with extra("report"):
            import matplotlib as mpl

        name, one = item
        written = []
        with mpl.rc_context(STYLE):
            figure = one.drawn()
            for suffix in self.formats:
                buffer = io.BytesIO()
                # No date in the file: the same runs give the same bytes.
                metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
                figure.savefig(buffer, format=suffix, dpi=self.dpi, metadata=metadata)
                path = self.folder / f"{name}.{suffix}"
                write_atomic(path, buffer.getvalue())
                written.append(path)
        return written


def _in_order(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Yield the position and the result of each item."""
    return enumerate(map(function, items))


def write_figures(
    records: Iterable[RunRecord],
    folder: Path | str,
    *,
    formats: Sequence[str] = FORMATS,
    dpi: int = 300,
    on_figure: Callable[[int, int], None] | None = None,
    reference: str = REFERENCE,
    focus: str | None = None,
    mapped: Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[tuple[int, Any]]] = _in_order,
) -> list[Path]:
    """Write every figure of `draw_figures` into ``folder``, once per format, and return the paths.

    Args:
        records: The runs.
        folder: Folder of the files; it is created if needed.
        formats: Formats of matplotlib (``png``, ``svg``, ``pdf``).
        dpi: Resolution of PNG files, in dots per inch.
        on_figure: Function that is called after each figure, with the numbers of written figures and of all figures.
        reference: Row to which the others are compared; see `counterpoise.report.analysis.comparison.compare`.
        focus: Row of the conclusions; see there.
        mapped: Function that yields the position and the result of a function of each item, for example in parallel
            processes; by default one figure is drawn after the other.

    Raises:
        OutputError: If the folder cannot be written to.
    """
    with extra("report"):
        import matplotlib  # noqa: F401

    sheets = list(_all_sheets(records, reference, focus).items())
    written: dict[int, list[Path]] = {}
    for position, paths in mapped(_Writer(Path(folder), formats, dpi), sheets):
        written[position] = paths
        if on_figure is not None:
            on_figure(len(written), len(sheets))
    return [path for position in sorted(written) for path in written[position]]


def plot_scores(
    records: Iterable[RunRecord], ax: Axes | None = None, *, reference: str = REFERENCE
) -> Axes | np.ndarray:
    """Draw the test score of every method with its interval.

    Args:
        records: The runs.
        ax: Axes to draw on, if the runs are of one data set; None makes a pyplot figure, which a notebook shows.
        reference: Row that is drawn as a dashed line.

    Returns:
        ``ax``, or the array of the new figure's Axes, one per data set.

    Raises:
        ConfigError: If ``ax`` is given and the runs are of several data sets.
        DataError: If no run has a score.
    """
    with extra("report"):
        import matplotlib as mpl
        from matplotlib import pyplot as plt

    comparisons = compare(records, reference=reference)
    colours = series.colour_order(comparisons)
    figures = [figure for c in comparisons if (figure := score_figure(c, colours)) is not None]
    if not figures:
        raise DataError("A plot needs at least one finished run with a test score. Found none.")
    if ax is not None and len(figures) > 1:
        raise ConfigError(f"Parameter `ax` should be None for several data sets. Found {len(figures)} data sets.")
    with mpl.rc_context(STYLE):
        if ax is not None:
            draw(figures[0].panel, ax)
            return ax
        height = sum(figure.panel.height for figure in figures) / 100 + 0.3
        _, grid = plt.subplots(len(figures), 1, squeeze=False, figsize=(6.0, height), layout="constrained")
        axes: np.ndarray = grid[:, 0]
        for axis, figure in zip(axes, figures, strict=True):
            draw(figure.panel, axis)
            axis.set_title(figure.panel.title, pad=14)
    return axes


def _slug(name: str, taken: set[str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "data"
    slug, number = base, 2
    while slug in taken:
        slug, number = f"{base}-{number}", number + 1
    taken.add(slug)
    return slug
