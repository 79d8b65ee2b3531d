"""Writing the self-contained HTML page, for screen, phone and print, with the numbers of every chart as a table."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from counterpoise._extras import extra
from counterpoise._files import write_atomic
from counterpoise.errors import DataError
from counterpoise.gallery import css as gallery_css
from counterpoise.pages import page_css, templates
from counterpoise.report.analysis.comparison import REFERENCE, compare
from counterpoise.report.analysis.series import colour_order
from counterpoise.report.figures._plotly import render
from counterpoise.report.page._gallery import pick
from counterpoise.report.page._view import Panel, overview, panel
from counterpoise.report.tables import COLUMNS, Row, comparison_rows, csv_number, rows_to_csv
from counterpoise.runs import RunRecord, read_records

__all__ = ["render_page", "write_page", "write_report"]


def write_page(
    records: Iterable[RunRecord],
    out: Path | str,
    *,
    skipped: Sequence[str] = (),
    reference: str = REFERENCE,
    focus: str | None = None,
) -> Path:
    """Write the page and return its path.

    Args:
        records: The runs.
        out: The ``.html`` file.
        skipped: Files and folders that could not be read as runs, one line each; the page lists them.
        reference: Row to which the others are compared; see `counterpoise.report.analysis.comparison.compare`.
        focus: Row of the conclusions; see there.

    Raises:
        DataError: If there is no record.
        NotFoundError: If no data set has the row ``reference`` or ``focus``.
        OutputError: If the file cannot be written.
    """
    write_atomic(Path(out), render_page(records, skipped=skipped, reference=reference, focus=focus))
    return Path(out)


def render_page(
    records: Iterable[RunRecord],
    *,
    skipped: Sequence[str] = (),
    reference: str = REFERENCE,
    focus: str | None = None,
) -> str:
    """Return the page as text; see `write_page`."""
    with extra("report"):
        from markupsafe import Markup

    records = list(records)
    if not records:
        raise DataError("A report needs at least one finished run. Found none. See the list of skipped files.")
    comparisons = compare(records, reference=reference, focus=focus)
    colours = colour_order(comparisons)
    rows = comparison_rows(comparisons)
    by_key = {(row.data, row.method, row.metric): row for row in rows}
    everything = overview(comparisons, by_key)
    galleries = pick(comparisons)
    panels = [everything] if everything else []
    panels += [panel(c, colours, by_key, shown) for c, shown in zip(comparisons, galleries, strict=True)]
    own_script = _template("page.js")
    plotly = _plotly()
    scripts = [plotly, own_script]
    return (
        templates("counterpoise.report.page")
        .get_template("page.html.j2")
        .render(
            title=comparisons[0].data if len(comparisons) == 1 else f"{len(comparisons)} data sets",
            modalities=colours,
            panels=panels,
            charts=Markup(_embed(_charts(panels))),
            columns=COLUMNS,
            numbers=[_plain(row) for row in rows],
            csv=base64.b64encode(rows_to_csv(rows).encode()).decode(),
            skipped=list(skipped),
            runs=len(records),
            # Only these two scripts may run, so that text from data cannot be executed.
            policy=" ".join(f"'sha256-{_sha256(script)}'" for script in scripts),
            css=Markup(page_css() + gallery_css()),
            plotly=Markup(plotly),
            script=Markup(own_script),
        )
    )


def _charts(panels: Sequence[Panel]) -> dict[str, list[dict[str, Any]]]:
    """Return the variants of every chart by the id of the chart in the template."""
    return {
        f"c{p}-{s}-{c}": [render(panel) for _, panel in chart.options]
        for p, one in enumerate(panels)
        for s, section in enumerate(one.sections)
        for c, (chart, _) in enumerate(section.charts)
    }


def _plain(row: Row) -> list[str]:
    return [
        v if isinstance(v := getattr(row, c), str) else str(v) if isinstance(v, int) else csv_number(v) for c in COLUMNS
    ]


def _rounded(value: Any) -> Any:
    """Round numbers to six significant digits, and replace values that JSON cannot hold."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


def _embed(value: Any) -> str:
    r"""Return JSON that is safe within a script element: no ``</script>``, no ``<!--``, no U+2028.

    Example:
        >>> _embed(["</script>"])
        '["\\u003c/script\\u003e"]'
    """
    text = json.dumps(_rounded(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _template(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _plotly() -> str:
    with extra("report"):
        from plotly.offline import get_plotlyjs

    # An HTML parser converts CR LF to LF, and the hash of the policy is computed after that.
    return str(get_plotlyjs()).replace("\r\n", "\n").replace("\r", "\n")


def write_report(
    runs: Iterable[RunRecord | Path | str], out: Path | str, *, reference: str = REFERENCE, focus: str | None = None
) -> list[str]:
    """Write the page from records, or from files and folders that hold them.

    Args:
        runs: RunRecords, ``runs.jsonl`` files, run folders or folders of runs, in any combination.
        out: The ``.html`` file.
        reference: Row to which the others are compared; see `counterpoise.report.analysis.comparison.compare`.
        focus: Row of the conclusions; see there.

    Returns:
        One line for every file or folder that could not be read as a run; the page lists them as well.

    Raises:
        DataError: If a path does not exist, or there is no record.
        OutputError: If the file cannot be written.
    """
    given = list(runs)
    read, skipped = read_records(item for item in given if not isinstance(item, RunRecord))
    write_page(
        [*(item for item in given if isinstance(item, RunRecord)), *read],
        out,
        skipped=skipped,
        reference=reference,
        focus=focus,
    )
    return skipped
