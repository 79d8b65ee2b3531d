"""Content of the page, panel by panel, independent of its layout."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from counterpoise.gallery import Gallery, render
from counterpoise.pages.colours import modality_slot
from counterpoise.pages.content import Cell, Sentence, Table, Tile, sentence
from counterpoise.report._format import p_text, plus_minus
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison, flat_config
from counterpoise.report.analysis.conclusions import describe
from counterpoise.report.analysis.ranking import ranking
from counterpoise.report.figures.classes import class_figure, robustness_figures, shift_grid
from counterpoise.report.figures.contributions import contribution_figure, parts_figure
from counterpoise.report.figures.curves import coefficient_figures, curve_figures
from counterpoise.report.figures.incomplete import pattern_grid, severity_figure
from counterpoise.report.figures.scores import cost_figure, difference_figure, encoder_figure, rank_figure, score_figure
from counterpoise.report.figures.spec import FigureSpec
from counterpoise.report.grids import Grid, contributions_by_modality, score_grid, summary_grid
from counterpoise.report.tables import Row, csv_number
from counterpoise.runs import RunRecord

__all__ = ["Panel", "Provenance", "Section", "cells", "overview", "panel"]


@dataclass(frozen=True)
class Section:
    """A section of a page: a heading, charts, visible tables, tables that open on demand, and galleries by run.

    A section with one chart has the chart's title.
    """

    title: str
    charts: list[tuple[FigureSpec, Table]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    folded: list[Table] = field(default_factory=list)
    wide: bool = False
    reading: str = ""
    galleries: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Provenance:
    """Origin of the numbers: settings, versions, machines and commands."""

    runs: Table
    shared: list[tuple[str, str]]
    environment: list[tuple[str, str]]
    commands: list[str]
    notes: list[str]


@dataclass(frozen=True)
class Panel:
    """The part of a page on one data set, or on all of them together.

    Attributes:
        name: The data set.
        legend: Modalities with the position of their colour.
        verdict: Sentences, the first the most important.
        tiles: The most important numbers.
        sections: Charts and tables.
        provenance: Origin of the numbers; None for the overview.
        details: Sentences with p-values and nats.
    """

    name: str
    legend: list[tuple[str, int]]
    verdict: list[Sentence]
    tiles: list[Tile]
    sections: list[Section]
    provenance: Provenance | None = None
    details: list[Sentence] = field(default_factory=list)


def cells(grid: Grid, rows: Mapping[tuple[str, str, str], Row]) -> Table:
    """Return a grid as a table whose numbers hold the values of ``table.csv``."""

    def cell(i: int, j: int, text: str) -> Cell:
        data, label, metric, column = grid.source.get((i, j), ("", "", "", ""))
        row = rows.get((data, label, metric))
        if row is None:
            return Cell(text, best=(i, j) in grid.best)
        return Cell(
            text, csv_number(getattr(row, column)), json.dumps([data, label, metric, column]), (i, j) in grid.best
        )

    body = [[cell(i, j, text) for j, text in enumerate(row)] for i, row in enumerate(grid.rows)]
    return Table(grid.title, grid.header, body, grid.note)


def _section(
    title: str,
    charts: Iterable[FigureSpec | None],
    rows: Mapping[tuple[str, str, str], Row],
    *,
    seen: Sequence[Grid] = (),
    folded: Sequence[Grid] = (),
    wide: bool = False,
) -> Section | None:
    figures = [(chart, cells(chart.table, rows)) for chart in charts if chart is not None]
    shown, closed = _tables(seen, rows), _tables(folded, rows)
    if not figures and not shown and not closed:
        return None
    single = len(figures) == 1 and not wide
    return Section(figures[0][0].title if single else title, figures, shown, closed, wide)


def _tables(grids: Iterable[Grid], rows: Mapping[tuple[str, str, str], Row]) -> list[Table]:
    return [cells(grid, rows) for grid in grids if grid.rows]


def _gallery_section(shown: Sequence[tuple[str, Gallery]], colours: Sequence[str]) -> Section | None:
    if not shown:
        return None
    slots = {m: modality_slot(colours, m) for m in colours}
    reading = (
        "Test samples as the models receive them, with the predictions. By itself: what can be known about the true "
        "label from the modality alone; added: what it adds to the others; both in nats, below zero if it points away "
        "from the true label. "
        f"{shown[0][1].source}"
    )
    galleries: list[tuple[str, str]] = [(name, render(gallery, slots)) for name, gallery in shown]
    return Section("Samples to inspect", reading=reading, galleries=galleries)


def panel(
    comparison: Comparison,
    colours: Sequence[str],
    rows: Mapping[tuple[str, str, str], Row],
    shown: Sequence[tuple[str, Gallery]] = (),
) -> Panel:
    """Return one data set's panel; ``shown`` are the galleries of its runs, by name."""
    said = describe(comparison)
    scores = score_grid(comparison)
    sections = [
        _gallery_section(shown, colours),
        _section(
            "Contributions",
            [contribution_figure(comparison, colours), parts_figure(comparison, colours)],
            rows,
            folded=[contributions_by_modality(comparison)],
        ),
        _section("Encoders", [encoder_figure(comparison, colours)], rows),
        _section(
            "Test scores",
            [score_figure(comparison, colours), difference_figure(comparison, colours)],
            rows,
            seen=[scores],
        ),
        _section("Over the epochs", curve_figures(comparison, colours).values(), rows, wide=True),
        _section("Classes", [class_figure(comparison)], rows),
        _section(
            "Robustness: the input of one modality corrupted",
            robustness_figures(comparison, colours),
            rows,
            seen=[shift_grid(comparison)],
            wide=True,
        ),
        _section(
            "Incomplete samples",
            [severity_figure(comparison, colours)],
            rows,
            seen=[pattern_grid(comparison)],
            wide=True,
        ),
        _section("Coefficients of the methods", coefficient_figures(comparison, colours), rows, wide=True),
        _section("Cost", [cost_figure(comparison, colours)], rows),
    ]
    return Panel(
        comparison.data,
        [(m, modality_slot(colours, m)) for m in comparison.modalities],
        [sentence(text) for text in (said.lead, *said.evidence)],
        _tiles(comparison),
        [section for section in sections if section],
        _provenance(comparison),
        [sentence(text) for text in said.details],
    )


def _tiles(comparison: Comparison) -> list[Tile]:
    known = [label for label in comparison.labels if comparison.seeds(label, comparison.score)]
    unimodal = [label for label in known if comparison.is_unimodal(label)]
    others = [label for label in known if label not in (*unimodal, comparison.reference)]
    tiles = []
    if comparison.reference in known:
        tiles.append(_score_tile(comparison, comparison.reference, comparison.reference))
    if unimodal:
        tiles.append(_best_tile(comparison, "Best single modality", unimodal))
    if others:
        tiles.append(_best_tile(comparison, "Best other method", others))
    information = _information_tile(comparison)
    return tiles if information is None else [*tiles, information]


def _score_tile(comparison: Comparison, heading: str, label: str) -> Tile:
    """Return a row's test score, with its difference to the reference."""
    score, percent = comparison.score, " %" if comparison.score == "accuracy" else ""
    name = "test accuracy" if score == "accuracy" else "test R²"
    s = comparison.summary(label, score)
    d = comparison.difference(label, score)
    detail = series.short(comparison, label) if heading.lower() != label else name
    if not comparison.is_reference(label) and d.n:
        against = plus_minus(d.diff, d.se, score, sign=True)
        detail += f", {against} to joint" + (f", {p_text(d.p_value)}" if math.isfinite(d.p_value) else "")
    return Tile(heading, plus_minus(s.mean, s.se, score) + percent, detail)


def _best_tile(comparison: Comparison, heading: str, labels: Sequence[str]) -> Tile:
    """Return the test score of the best of several rows."""
    best = max(labels, key=lambda label: comparison.summary(label, comparison.score).mean)
    return _score_tile(comparison, heading, best)


def _information_tile(comparison: Comparison) -> Tile | None:
    """Return the share of what can be known about the label that the reference's features hold, if it is known."""
    total = comparison.summary(comparison.reference, "phi_mi")
    entropy = comparison.summary(comparison.reference, "entropy")
    if not (total.n and entropy.n and entropy.mean > 0 and comparison.score == "accuracy"):
        return None
    return Tile(
        "Known from the features",
        f"{100 * total.mean / entropy.mean:.0f} %",
        f"of what can be known, in {comparison.reference} ({total.mean:.2f} of {entropy.mean:.2f} nats)",
    )


def _provenance(comparison: Comparison) -> Provenance:
    records: list[RunRecord] = [r for label in comparison.labels for r in comparison.records[label]]
    settings = [_flat_settings(record) for record in records]
    shared = _shared_settings(settings)
    return Provenance(
        _run_table(records, settings, shared),
        shared,
        _environments(records),
        list(dict.fromkeys(r.command for r in records if r.command)),
        [
            *comparison.notes,
            *_notes(records),
        ],
    )


def _notes(records: Sequence[RunRecord]) -> list[str]:
    """Return the distinct notes of the runs, each with its runs unless it applies to all."""
    runs: dict[str, dict[str, list[str]]] = {}
    for record in records:
        for note in record.notes:
            runs.setdefault(note, {}).setdefault(record.label, []).append(str(record.seed))
    notes = []
    for note, seeds in runs.items():
        everywhere = sum(map(len, seeds.values())) == len(records)
        about = "; ".join(f"{label}, seed {', '.join(numbers)}" for label, numbers in seeds.items())
        notes.append(note if everywhere else f"{about}: {note}")
    return notes


def _flat_settings(record: RunRecord) -> dict[str, str]:
    return {key: value for key, value in flat_config(record.config).items() if key != "seed"}


def _shared_settings(settings: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return the settings with the same value in all runs."""
    keys = dict.fromkeys(key for run in settings for key in run)
    return [(key, settings[0].get(key, "")) for key in keys if len({run.get(key) for run in settings}) == 1]


def _run_table(
    records: Sequence[RunRecord], settings: Sequence[Mapping[str, str]], shared: Sequence[tuple[str, str]]
) -> Table:
    fixed = {key for key, _ in shared} | {"method", "rule", "data"}
    body = [_run_cells(record, run, fixed) for record, run in zip(records, settings, strict=True)]
    header = ["method", "seed", "rule", "selected epoch", "seconds", "own settings", "key"]
    return Table(f"The {len(records)} runs", header, body)


def _run_cells(record: RunRecord, settings: Mapping[str, str], fixed: Collection[str]) -> list[Cell]:
    own = ", ".join(f"{k}={v}" for k, v in settings.items() if k not in fixed and v not in ("{}", "null"))
    best = str(record.best_epoch + 1) if record.best_epoch >= 0 else "–"
    seconds = f"{record.seconds:.1f}" if math.isfinite(record.seconds) and record.seconds else "–"
    line = [record.label, str(record.seed), record.rule, best, seconds, own or "–", record.key]
    return [Cell(text) for text in line]


def _environments(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Return the versions and machines of the runs, each with all its values."""
    values: dict[str, dict[str, None]] = {}
    for record in records:
        for name, value in record.environment.items():
            values.setdefault(name, {})[value] = None
    return [(name, ", ".join(distinct)) for name, distinct in values.items()]


def overview(comparisons: Sequence[Comparison], rows: Mapping[tuple[str, str, str], Row]) -> Panel | None:
    """Return the panel over all data sets, or None if there is only one."""
    if len(comparisons) < 2:
        return None
    result = ranking(comparisons)
    verdict = []
    if result is not None:
        best = min(range(len(result.labels)), key=lambda i: result.ranks[i])
        text = (
            f"Over {result.datasets} data sets {result.labels[best]} has the best mean rank, {result.ranks[best]:.2f} "
            f"among {len(result.labels)} methods that were run on all of them"
        )
        if math.isfinite(result.p_value):
            word = "differ significantly" if result.p_value < 0.05 else "do not differ significantly"
            text += f"; by Friedman's test the methods {word} ({p_text(result.p_value)})"
        text += f", and two of them differ if their mean ranks are more than {result.critical_difference:.2f} apart."
        verdict.append(sentence(text))
    verdict += [sentence(f"{c.data}: {describe(c).lead}") for c in comparisons]
    sections = [
        _section("All data sets", [rank_figure(result)] if result else [], rows, seen=[summary_grid(comparisons)]),
    ]
    return Panel("All data sets", [], verdict, [], [section for section in sections if section])
