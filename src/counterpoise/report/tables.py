"""Comparison tables: one long table of all numbers, and formatted tables for Markdown, LaTeX and the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from counterpoise._extras import extra
from counterpoise._files import csv_text, replacing, write_atomic
from counterpoise._html import html_paragraph, html_table
from counterpoise.report.analysis.comparison import REFERENCE, Comparison, compare
from counterpoise.report.analysis.conclusions import describe
from counterpoise.report.grids import (
    Grid,
    compact_grid,
    contribution_grid,
    encoder_grid,
    score_grid,
    seeds_note,
    summary_grid,
    terminal_grids,
)
from counterpoise.runs import RunRecord

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Group, RenderableType
    from rich.table import Table

__all__ = [
    "COLUMNS",
    "Row",
    "compact_table",
    "comparison_rows",
    "comparison_table",
    "csv_number",
    "rich_table",
    "to_csv",
    "to_html",
    "to_latex",
    "to_markdown",
    "write_tables",
]

COLUMNS: Final = ("data", "method", "metric", "mean", "se", "seeds", "diff_to_reference", "diff_se", "p_value")
"""The columns of ``table.csv``."""


@dataclass(frozen=True)
class Row:
    """One line of ``table.csv``: one metric of one method on one data set.

    Attributes:
        data: Data set.
        method: The row's label.
        metric: The metric's name, as in `counterpoise.runs.RunRecord`.
        mean: Mean over seeds.
        se: Standard error of the mean; NaN for one seed.
        seeds: Number of seeds.
        diff_to_reference: Mean difference to the reference row over common seeds (0 for the reference itself; NaN if no
            run of the reference has the metric).
        diff_se: Standard error of the difference; NaN for one common seed.
        p_value: Two-sided paired t-test; NaN for one common seed, no spread, or joint itself.
    """

    data: str
    method: str
    metric: str
    mean: float
    se: float
    seeds: int
    diff_to_reference: float
    diff_se: float
    p_value: float


def comparison_rows(comparisons: Iterable[Comparison]) -> list[Row]:
    """Return one `Row` per data set x method x metric that has a number."""
    rows = []
    for comparison in comparisons:
        for label in comparison.labels:
            for metric in comparison.metrics:
                if metric.corruption is not None:
                    continue
                s = comparison.summary(label, metric.name, metric.modality)
                if s.n:
                    d = comparison.difference(label, metric.name, metric.modality)
                    rows.append(Row(comparison.data, label, str(metric), s.mean, s.se, s.n, d.diff, d.se, d.p_value))
    return rows


def comparison_table(records: Iterable[RunRecord], *, reference: str = REFERENCE) -> pd.DataFrame:
    """Return the long table with exactly `COLUMNS`.

    Args:
        records: The runs.
        reference: Row to which the others are compared.

    Example:
        >>> from counterpoise.runs import Metric, RowId
        >>> runs = [RunRecord(f"k{s}", "digits", RowId("joint"), s, metrics=[Metric("accuracy", 0.5 + s / 10)])
        ...         for s in (0, 1)]
        >>> comparison_table(runs)[["data", "method", "metric", "mean", "seeds"]].values.tolist()
        [['digits', 'joint', 'accuracy', 0.55, 2]]
    """
    return _frame(comparison_rows(compare(records, reference=reference)))


def compact_table(records: Iterable[RunRecord], *, reference: str = REFERENCE) -> pd.DataFrame:
    """Return one row per data set and method, with few columns.

    They are ``data``, ``method``, ``score`` (accuracy or R² on the test set, mean over seeds), ``score_se``,
    ``diff_to_reference``, ``diff_se``, ``p_value``, ``score_corrupted`` (mean over corruptions of one modality),
    ``step_time_ratio`` and ``seeds``.

    Args:
        records: The runs.
        reference: Row to which the others are compared.

    Example:
        >>> from counterpoise.runs import Metric, RowId
        >>> runs = [RunRecord(f"k{s}", "digits", RowId("joint"), s, metrics=[Metric("accuracy", 0.5 + s / 10)])
        ...         for s in (0, 1)]
        >>> compact_table(runs)[["method", "score", "seeds"]].values.tolist()
        [['joint', 0.55, 2]]
    """
    with extra("report"):
        import pandas as pd

    rows = [_compact_row(c, label) for c in compare(records, reference=reference) for label in c.labels]
    return pd.DataFrame(rows)


def _compact_row(comparison: Comparison, label: str) -> dict[str, str | float | int]:
    score = comparison.score
    s, d = comparison.summary(label, score), comparison.difference(label, score)
    return {
        "data": comparison.data,
        "method": label,
        "score": s.mean,
        "score_se": s.se,
        "diff_to_reference": d.diff,
        "diff_se": d.se,
        "p_value": d.p_value,
        "score_corrupted": comparison.summary(label, f"{score}_corrupted").mean,
        "step_time_ratio": comparison.summary(label, "step_time_ratio").mean,
        "seeds": s.n,
    }


def to_html(records: Iterable[RunRecord], *, reference: str = REFERENCE, focus: str | None = None) -> str:
    """Return the finding, the action and a compact table of each data set as HTML for a notebook.

    Args:
        records: The runs.
        reference: Row to which the others are compared; see `counterpoise.report.analysis.comparison.compare`.
        focus: Row of the conclusions; see there.
    """
    comparisons = compare(records, reference=reference, focus=focus)
    parts = []
    for comparison in comparisons:
        grid = compact_grid(comparison)
        parts += [html_paragraph(f"{comparison.data}: {describe(comparison).lead}", strong=True)]
        parts += [html_table([grid.header, *grid.rows])]
    return "".join([*parts, html_paragraph(seeds_note(comparisons))])


def _frame(rows: Iterable[Row]) -> pd.DataFrame:
    with extra("report"):
        import pandas as pd

    return pd.DataFrame([[getattr(row, c) for c in COLUMNS] for row in rows], columns=list(COLUMNS))


def csv_number(value: float) -> str:
    """Write a number as ``table.csv`` and the page both do: ten significant digits, empty for NaN."""
    return f"{value:.10g}" if math.isfinite(value) else ""


def rows_to_csv(rows: Iterable[Row]) -> str:
    """Return rows as CSV text without formulas."""
    frame = _frame(rows)
    for column in ("data", "method", "metric"):
        frame[column] = frame[column].map(csv_text)
    return frame.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def to_csv(records: Iterable[RunRecord], *, reference: str = REFERENCE) -> str:
    """Return `comparison_table` as CSV text; text cells that a spreadsheet would interpret as formulas begin with an
    apostrophe.
    """
    return rows_to_csv(comparison_rows(compare(records, reference=reference)))


def _grids(comparison: Comparison) -> list[Grid]:
    grids = [score_grid(comparison), contribution_grid(comparison), encoder_grid(comparison)]
    return [grid for grid in grids if grid.rows]


def _escape_markdown(text: str) -> str:
    """Escape the characters that Markdown or HTML would interpret; ``<0.001`` and ``snake_case`` are not changed."""
    text = " ".join(text.split()).replace("&", "&amp;")
    text = re.sub(r"([\\`*\[|~]|(?<!\w)_|_(?!\w))", r"\\\1", text)
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def _markdown(grid: Grid) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    body = [
        [
            f"**{text}**" if (i, j) in grid.best else text
            for j, text in enumerate(_escape_markdown(cell) for cell in row)
        ]
        for i, row in enumerate(grid.rows)
    ]
    rule = ["---"] + ["---:"] * (len(grid.header) - 1)
    head = [_escape_markdown(cell) for cell in grid.header]
    return "\n".join([f"**{_escape_markdown(grid.title)}**", "", *map(line, [head, rule, *body]), "", grid.note])


def to_markdown(records: Iterable[RunRecord], *, reference: str = REFERENCE, focus: str | None = None) -> str:
    """Return formatted tables, one section per data set, and a summary if there are several data sets."""
    comparisons = compare(records, reference=reference, focus=focus)
    parts = []
    if len(comparisons) > 1:
        parts += ["## All data sets", _markdown(summary_grid(comparisons))]
    for comparison in comparisons:
        parts.append(f"## {_escape_markdown(comparison.data)}")
        parts += [_markdown(grid) for grid in _grids(comparison)]
        parts += [f"Note: {_escape_markdown(note)}" for note in comparison.notes]
    return "\n\n".join(parts) + "\n"


_LATEX: Final = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "−": r"$-$",
        "×": r"$\times$",
        "χ": r"$\chi$",
        "φ": r"$\phi$",
        "–": "--",
        "²": r"\textsuperscript{2}",
    }
    | {character: rf"\{character}" for character in "{}&%$#_"}
)


def _escape_latex(text: str) -> str:
    escaped = " ".join(text.split()).translate(_LATEX)
    for kind in ("MI", "CMI"):
        escaped = escaped.replace(rf"$\phi$\_{kind}", rf"$\phi_{{\mathrm{{{kind}}}}}$")
    # A row that begins with one of these would be interpreted as an option of the line break before it.
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped[:1] in ("[", "*") else escaped


def _latex(grid: Grid, label: str) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    body = [
        line(
            [
                rf"\textbf{{{text}}}" if (i, j) in grid.best else text
                for j, text in enumerate(_escape_latex(cell) for cell in row)
            ]
        )
        for i, row in enumerate(grid.rows)
    ]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape_latex(grid.title)}. {_escape_latex(grid.note)}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(grid.header) - 1)}}}",
            r"\toprule",
            line([_escape_latex(cell) for cell in grid.header]),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def to_latex(records: Iterable[RunRecord], *, reference: str = REFERENCE, focus: str | None = None) -> str:
    r"""Return the same tables for LaTeX; they need ``\usepackage{booktabs}``."""
    comparisons = compare(records, reference=reference, focus=focus)
    tables = [r"% needs \usepackage{booktabs}"]
    if len(comparisons) > 1:
        tables.append(_latex(summary_grid(comparisons), "summary"))
    for number, comparison in enumerate(comparisons, 1):
        tables += [_latex(grid, f"data{number}-{grid.name}") for grid in _grids(comparison)]
    return "\n\n".join(tables) + "\n"


def rich_table(
    records: Iterable[RunRecord], *, reference: str = REFERENCE, focus: str | None = None, details: bool = False
) -> Group:
    """Return tables for the terminal.

    One table per data set of at most ten rows and six columns: the score, its difference to the reference in points,
    the score with one modality corrupted, and the time of a step.

    Args:
        records: The runs.
        reference: Row to which the others are compared; see `counterpoise.report.analysis.comparison.compare`.
        focus: Row of the conclusions; see there.
        details: Whether to show every row with p-values, and two more tables: held-out contributions in nats, and the
            linear probe of each encoder.
    """
    from rich.console import Group
    from rich.text import Text

    comparisons = compare(records, reference=reference, focus=focus)
    parts: list[RenderableType] = []
    for comparison in comparisons:
        grids = terminal_grids(comparison) if details else [compact_grid(comparison)]
        for grid in (grid for grid in grids if grid.rows):
            parts += [_rich(grid), Text(grid.note, style="dim")] if grid.note else [_rich(grid)]
            parts.append(Text())
    return Group(*parts, Text(seeds_note(comparisons, tests=details), style="dim"))


def _rich(grid: Grid) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(grid.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.padding = (0, 1, 0, 0)
    for i, head in enumerate(grid.header):
        table.add_column(
            Text(head), justify="right" if i else "left", no_wrap=not i, overflow="fold", vertical="bottom"
        )
    for i, row in enumerate(grid.rows):
        table.add_row(*(Text(cell, style="bold" if (i, j) in grid.best else "") for j, cell in enumerate(row)))
    return table


def write_tables(
    records: Iterable[RunRecord], folder: Path | str, *, reference: str = REFERENCE, focus: str | None = None
) -> list[Path]:
    """Write ``table.csv``, ``table.parquet``, ``table.md`` and ``table.tex`` into ``folder`` and return their paths.

    ``table.parquet`` holds the same rows as ``table.csv``. It is left out if pyarrow is not installed.

    Args:
        records: The runs.
        folder: The folder.
        reference: Row to which the others are compared; see `counterpoise.report.analysis.comparison.compare`.
        focus: Row of the conclusions; see there.

    Raises:
        OutputError: If the folder cannot be written to.
    """
    records = list(records)
    written = []
    for name, text in (
        ("table.csv", to_csv(records, reference=reference)),
        ("table.md", to_markdown(records, reference=reference, focus=focus)),
        ("table.tex", to_latex(records, reference=reference, focus=focus)),
    ):
        written.append(write_atomic(Path(folder) / name, text))
    if find_spec("pyarrow") is not None:
        path = Path(folder) / "table.parquet"
        with replacing(path) as temporary:
            comparison_table(records, reference=reference).to_parquet(temporary, index=False)
        written.append(path)
    return written
