"""Figures for a paper: PNG at 300 dpi, SVG and PDF, drawn from RunRecords with matplotlib's Agg canvas."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from counterpoise._extras import extra
from counterpoise._files import write_atomic
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import REFERENCE, Comparison, compare
from counterpoise.report.analysis.ranking import ranking
from counterpoise.report.figures._draw import STYLE
from counterpoise.report.figures._draw_classes import draw_classes, draw_robustness
from counterpoise.report.figures._draw_curves import draw_coefficients, draw_curves, draw_panel
from counterpoise.report.figures._draw_points import (
    draw_accuracy,
    draw_contributions,
    draw_critical_difference,
    draw_differences,
    draw_encoders,
)
from counterpoise.runs import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "draw_figures", "write_figures"]

FORMATS: Final = ("png", "svg", "pdf")

_PER_DATA: Final[dict[str, Callable[[Comparison, Sequence[str]], Figure | None]]] = {
    "accuracy": draw_accuracy,
    "differences": draw_differences,
    "contributions": draw_contributions,
    "encoders": draw_encoders,
    "curves": draw_curves,
    "coefficients": draw_coefficients,
    "classes": draw_classes,
    "robustness": draw_robustness,
    **{name: partial(draw_panel, name) for name in ("dominant", "gap", "joint-contribution", "loss")},
}


def draw_figures(
    records: Iterable[RunRecord], *, reference: str = REFERENCE, focus: str | None = None
) -> dict[str, Figure]:
    """Return every figure that the records have numbers for, by name.

    Per data set: ``accuracy-<data>``, ``differences-<data>`` (paired, to joint training), ``contributions-<data>``,
    ``encoders-<data>``, ``classes-<data>`` (class x modality), ``robustness-<data>``, ``curves-<data>``,
    ``coefficients-<data>``, and ARM's own figures one by one: ``dominant-<data>`` (its Fig. 1), ``gap-<data>`` (3),
    ``joint-contribution-<data>`` (4) and ``loss-<data>`` (5); for three data sets or more ``critical-difference``.
    """
    with extra("report"):
        import matplotlib as mpl

    comparisons = compare(records, reference=reference, focus=focus)
    colours = series.colour_order(comparisons)
    figures: dict[str, Figure] = {}
    with mpl.rc_context(STYLE):
        slugs: set[str] = set()
        for comparison in comparisons:
            slug = _slug(comparison.data, slugs)
            for name, draw in _PER_DATA.items():
                figure = draw(comparison, colours)
                if figure is not None:
                    figures[f"{name}-{slug}"] = figure
        result = ranking(comparisons)
        if result is not None and len(comparisons) >= 3:
            figures["critical-difference"] = draw_critical_difference(result)
    return figures


def write_figures(
    records: Iterable[RunRecord],
    folder: Path | str,
    *,
    formats: Sequence[str] = FORMATS,
    dpi: int = 300,
    on_figure: Callable[[int, int], None] | None = None,
    reference: str = REFERENCE,
    focus: str | None = None,
) -> list[Path]:
    """Write every figure of `draw_figures` into ``folder``, once per format, and return the paths.

    Args:
        records: the runs.
        folder: where to; made if it is not there.
        formats: any of matplotlib's (``png``, ``svg``, ``pdf``).
        dpi: resolution of PNG.
        on_figure: called after each figure, with how many are written and how many there are.
        reference: Row that differences are taken to; see `counterpoise.report.analysis.comparison.compare`.
        focus: Row that the conclusions are about; see there.

    Raises:
        OutputError: if the folder cannot be written to.
    """
    with extra("report"):
        import matplotlib as mpl

    written = []
    with mpl.rc_context(STYLE):
        figures = draw_figures(records, reference=reference, focus=focus)
        for count, (name, figure) in enumerate(figures.items(), 1):
            for suffix in formats:
                buffer = io.BytesIO()
                # No date in the file: the same runs give the same bytes.
                metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
                figure.savefig(buffer, format=suffix, dpi=dpi, metadata=metadata)
                path = Path(folder) / f"{name}.{suffix}"
                write_atomic(path, buffer.getvalue())
                written.append(path)
            if on_figure is not None:
                on_figure(count, len(figures))
    return written


def _slug(name: str, taken: set[str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "data"
    slug, number = base, 2
    while slug in taken:
        slug, number = f"{base}-{number}", number + 1
    taken.add(slug)
    return slug
