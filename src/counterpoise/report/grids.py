"""Tables of formatted cells, which are then written as Markdown, LaTeX or HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from counterpoise.report._format import MISSING, is_share, number, p_text, plus_minus, unit
from counterpoise.report.analysis.comparison import LOWER_IS_BETTER, Comparison
from counterpoise.report.analysis.ranking import Ranking, ranking
from counterpoise.report.analysis.series import probe_rows
from counterpoise.report.analysis.statistics import holm
from counterpoise.runs import MetricId

__all__ = [
    "Grid",
    "best_labels",
    "compact_grid",
    "contribution_grid",
    "contributions_by_modality",
    "encoder_grid",
    "score_grid",
    "seeds_note",
    "summary_grid",
    "terminal_grids",
]


@dataclass(frozen=True)
class Grid:
    """A table of text.

    Attributes:
        name: Short name, for labels.
        title: Title.
        header: The columns.
        rows: The cells.
        note: Explanation of the table.
        best: (row, column) of the best values.
        source: (row, column) -> (data set, method, metric, column of ``table.csv``) of the number in that cell.
    """

    name: str
    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    best: set[tuple[int, int]] = field(default_factory=set)
    source: dict[tuple[int, int], tuple[str, str, str, str]] = field(default_factory=dict)


MOST_ROWS: Final = 10
"""Maximum number of rows of the table that a terminal shows first."""


_SCORE_NAMES: Final = {
    "accuracy": "accuracy",
    "r2": "R²",
    "macro_f1": "macro F1",
    "rmse": "RMSE",
    "nll": "NLL",
    "ece": "ECE",
}
_CONTRIBUTIONS: Final = {"phi_mi": "φ_MI", "phi_cmi": "φ_CMI", "phi_shared": "shared", "phi_synergy": "synergy"}
_BY_MODALITY: Final = _CONTRIBUTIONS | {"phi_mi": "by itself (φ_MI)", "phi_cmi": "added to the others (φ_CMI)"}


def seeds_note(comparisons: Sequence[Comparison], *, tests: bool = True) -> str:
    """Return a note on the meaning of ± (and p) for these runs."""
    counts = {s.n for c in comparisons for label in c.labels if (s := c.summary(label, c.score)).n}
    if not counts:
        return "No run has a score."
    if max(counts) == 1:
        return "One seed: there is no error estimate."
    span = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    note = f"Mean ± standard error over {span} seeds; differences are paired by seed"
    return f"{note}, p from the two-sided paired t-test, not corrected for the number of rows." if tests else f"{note}."


def best_labels(comparison: Comparison, metric: str) -> set[str]:
    """Return the rows with the best mean (several if tied)."""
    means = {label: comparison.summary(label, metric).mean for label in comparison.labels}
    means = {label: mean for label, mean in means.items() if math.isfinite(mean)}
    if not means:
        return set()
    top = (min if metric in LOWER_IS_BETTER else max)(means.values())
    return {label for label, mean in means.items() if math.isclose(mean, top, rel_tol=1e-12)}


def _head(name: str, metric: str) -> str:
    return f"{name} ({unit(metric)})" if unit(metric) else name


def score_grid(comparison: Comparison) -> Grid:
    """Return a table with methods as rows: the score, its difference to joint with p (also Holm's), the other scores,
    the cost.
    """
    score = comparison.score
    others = [m for m in _SCORE_NAMES if m != score and comparison.has(m)]
    adjusted = _adjusted(comparison)
    places = {score: 1, **{metric: 5 + j for j, metric in enumerate(others)}}
    rows = [_score_cells(comparison, label, others, adjusted.get(label)) for label in comparison.labels]
    best = _best_cells(comparison, places)
    source = _score_sources(comparison, {**places, "step_time_ratio": 5 + len(others)}, adjusted)
    note = seeds_note([comparison]) + " Best mean in bold."
    if any(math.isfinite(p) for p in adjusted.values()):
        note += " p (Holm) is corrected for the rows of this table."
    title = f"{comparison.data}: test scores"
    return Grid("methods", title, _score_header(score, others), rows, note, best, source)


def _score_sources(
    comparison: Comparison, places: Mapping[str, int], adjusted: Mapping[str, float]
) -> dict[tuple[int, int], tuple[str, str, str, str]]:
    """Return the sources of the numbers of ``score_grid``, by (row, column)."""
    means = {place: (metric, "mean") for metric, place in places.items()}
    differences = {2: (comparison.score, "diff_to_reference"), 3: (comparison.score, "p_value")}
    return {
        (i, j): (comparison.data, label, *column)
        for i, label in enumerate(comparison.labels)
        for j, column in (means | differences if label in adjusted else means).items()
    }


def _best_cells(comparison: Comparison, places: Mapping[str, int]) -> set[tuple[int, int]]:
    """Return (row, column) of the best values of each metric; ``places`` are the columns of the metrics."""
    order = {label: i for i, label in enumerate(comparison.labels)}
    return {(order[label], place) for metric, place in places.items() for label in best_labels(comparison, metric)}


def _score_header(score: str, others: Sequence[str]) -> list[str]:
    return [
        "method",
        _head(_SCORE_NAMES.get(score, score.replace("_", " ")), score),
        f"to joint{' (points)' if is_share(score) else ''}",
        "p",
        "p (Holm)",
        *(_head(_SCORE_NAMES[metric], metric) for metric in others),
        "step (× joint)",
        "seeds",
    ]


def _adjusted(comparison: Comparison) -> dict[str, float]:
    """Return Holm's p-values of the differences to the reference, by row."""
    rivals = [label for label in comparison.labels if not comparison.is_reference(label)]
    p_values = [comparison.difference(label, comparison.score).p_value for label in rivals]
    return dict(zip(rivals, holm(p_values), strict=True))


def _score_cells(comparison: Comparison, label: str, others: Sequence[str], adjusted: float | None) -> list[str]:
    """Return one row of ``score_grid``; ``adjusted`` is Holm's p-value, None for a row without a difference."""
    score = comparison.score
    s, d = comparison.summary(label, score), comparison.difference(label, score)
    cells = [label, plus_minus(s.mean, s.se, score)]
    if adjusted is None:
        cells += [MISSING] * 3
    else:
        cells += [plus_minus(d.diff, d.se, score, sign=True)]
        cells += [p_text(d.p_value, bare=True), p_text(adjusted, bare=True)]
    for metric in others:
        value = comparison.summary(label, metric)
        cells.append(plus_minus(value.mean, value.se, metric))
    return [*cells, number(comparison.summary(label, "step_time_ratio").mean, "step_time_ratio"), str(s.n)]


def contribution_grid(comparison: Comparison) -> Grid:
    """Return a table with methods as rows: held-out phi_MI of all and of each modality, phi_CMI of each."""
    metrics = _contribution_metrics(comparison)
    header = ["method", *(_contribution_head(comparison, metric) for metric in metrics)]
    rows: list[list[str]] = []
    source: dict[tuple[int, int], tuple[str, str, str, str]] = {}
    for label in comparison.labels:
        summaries = [comparison.summary(label, m.name, m.modality) for m in metrics]
        if any(s.n for s in summaries):
            source |= {(len(rows), j): (comparison.data, label, str(m), "mean") for j, m in enumerate(metrics, 1)}
            rows.append([label, *(plus_minus(s.mean, s.se, m.name) for s, m in zip(summaries, metrics, strict=True))])
    note = _contribution_note(comparison, shared=any(m.name == "phi_shared" for m in metrics))
    return Grid("contributions", f"{comparison.data}: contributions", header, rows, note, source=source)


def contributions_by_modality(comparison: Comparison) -> Grid:
    """Return the same numbers with one row per method and modality, which fits a page of any width."""
    kinds = [kind for kind in _CONTRIBUTIONS if any(comparison.has(kind, m) for m in comparison.modalities)]
    header = ["method", "modality", *(_BY_MODALITY[kind] for kind in kinds)]
    rows: list[list[str]] = []
    source: dict[tuple[int, int], tuple[str, str, str, str]] = {}
    for label, m in product(comparison.labels, (None, *comparison.modalities)):
        ids = [MetricId(kind, m) for kind in kinds]
        texts = _texts(comparison, label, ids)
        if texts:
            source |= {(len(rows), j): (comparison.data, label, str(i), "mean") for j, i in enumerate(ids, 2)}
            rows.append([label, m or "all together", *texts])
    note = _contribution_note(comparison, shared="phi_shared" in kinds)
    return Grid("contributions", f"{comparison.data}: contributions", header, rows, note, source=source)


def _texts(comparison: Comparison, label: str, metrics: Sequence[MetricId]) -> list[str]:
    """Return the means of metrics with their errors as texts; nothing if the row has none of them."""
    summaries = [comparison.summary(label, i.name, i.modality) for i in metrics]
    if not any(s.n for s in summaries):
        return []
    return [plus_minus(s.mean, s.se, i.name) for s, i in zip(summaries, metrics, strict=True)]


def _contribution_metrics(comparison: Comparison) -> list[MetricId]:
    """Return the columns; of two modalities, the shared and the synergistic information are shown once."""
    order = list(_CONTRIBUTIONS)
    metrics = [m for m in comparison.metrics if m.name in order and m.corruption is None]
    metrics.sort(key=lambda m: (order.index(m.name), m.modality is not None))
    if len(comparison.modalities) == 2:
        last = comparison.modalities[-1]
        metrics = [m for m in metrics if (m.name, m.modality) not in (("phi_shared", last), ("phi_synergy", last))]
    return metrics


def _contribution_head(comparison: Comparison, metric: MetricId) -> str:
    both = len(comparison.modalities) == 2 and metric.name in ("phi_shared", "phi_synergy")
    name = _CONTRIBUTIONS[metric.name]
    return name if both else f"{name} {metric.modality or 'joint'}"


def _contribution_note(comparison: Comparison, *, shared: bool) -> str:
    entropy = next((s.mean for label in comparison.labels if (s := comparison.summary(label, "entropy")).n), math.nan)
    note = "Nats, on test samples that no head was fitted on"
    note += f"; H(Y) = {number(entropy, 'entropy')} nats." if math.isfinite(entropy) else "."
    note += " φ_MI: alone. φ_CMI: added to the other modalities."
    return f"{note} φ_MI is shared + unique, φ_CMI unique + synergy (Williams and Beer)." if shared else note


def compact_grid(comparison: Comparison) -> Grid:
    """Return at most ten rows and six columns: score, difference to the reference, score under corruption, time,
    seeds.
    """
    score, mean = comparison.score, f"{comparison.score}_corrupted"
    what = "accuracy %" if comparison.in_percent else name_of_score(score)
    reference = comparison.reference or "reference"
    corrupted = comparison.has(mean)
    header = ["method", f"test\n{what}", f"to {reference}{chr(10) + 'points' if comparison.in_percent else ''}"]
    header += [f"one modality\ncorrupted {'%' * comparison.in_percent}".rstrip()] * corrupted
    header += [f"step\n× {reference}", "seeds"]
    shown = _most_important(comparison)
    best = best_labels(comparison, score)
    rows = [_compact_cells(comparison, label, mean if corrupted else None) for label in shown]
    more = len(comparison.labels) - len(shown)
    note = f"{more} more rows: --details." if more else ""
    bold = {(i, j) for i, label in enumerate(shown) if label in best for j in (0, 1)}
    return Grid("compact", f"{comparison.data}: test scores", header, rows, note, bold)


def _compact_cells(comparison: Comparison, label: str, corrupted: str | None) -> list[str]:
    """Return one row of ``compact_grid``; ``corrupted`` is the metric of the score under corruption, if it is known."""
    score = comparison.score
    s, d = comparison.summary(label, score), comparison.difference(label, score)
    cells = [label, plus_minus(s.mean, s.se, score)]
    cells.append(MISSING if comparison.is_reference(label) else plus_minus(d.diff, d.se, score, sign=True))
    if corrupted is not None:
        c = comparison.summary(label, corrupted)
        cells.append(MISSING if comparison.is_unimodal(label) else plus_minus(c.mean, c.se, score))
    ratio = comparison.summary(label, "step_time_ratio")
    return [*cells, number(ratio.mean, "step_time_ratio"), str(s.n)]


def name_of_score(score: str) -> str:
    """Return the written name of a score: ``R²`` for ``r2``."""
    return {"r2": "R²"}.get(score, score.replace("_", " "))


def _most_important(comparison: Comparison) -> list[str]:
    """Return the rows of the compact table, in the table's order: reference, focus, single modalities, best others."""

    def priority(label: str) -> tuple[int, float]:
        kind = 0 if label in (comparison.reference, comparison.focus) else 1 if comparison.is_unimodal(label) else 2
        s = comparison.summary(label, comparison.score)
        return kind, -s.mean if s.n else math.inf

    chosen = sorted(comparison.labels, key=priority)[:MOST_ROWS]
    return [label for label in comparison.labels if label in chosen]


def terminal_grids(comparison: Comparison) -> list[Grid]:
    """Return the same numbers as three narrow tables (scores, contributions, probes) with methods as rows."""
    score = comparison.score
    shown, digits = ("accuracy %", 1) if score == "accuracy" else ("R²", 1 + 2 * (score == "r2"))
    best = best_labels(comparison, score)
    header = ["method", f"test\n{shown}", "to joint", "p", "φ_MI joint\nnats", "step\n× joint"]
    rows = [_terminal_cells(comparison, label, digits) for label in comparison.labels]
    bold = {(i, j) for i, label in enumerate(comparison.labels) if label in best for j in (0, 1)}
    probes = f"linear probe of each encoder ({shown.removeprefix('accuracy ')})"
    return [
        Grid("scores", f"{comparison.data}: test scores", header, rows, "", bold),
        _modality_grid(
            comparison, "contributions", "held-out contributions (nats)", {"phi_mi": "φ_MI\n", "phi_cmi": "φ_CMI\n"}, 2
        ),
        _modality_grid(comparison, "probes", probes, {"probe": ""}, digits),
    ]


def _terminal_cells(comparison: Comparison, label: str, digits: int) -> list[str]:
    score = comparison.score
    s, d = comparison.summary(label, score), comparison.difference(label, score)
    total, ratio = comparison.summary(label, "phi_mi"), comparison.summary(label, "step_time_ratio")
    against = not comparison.is_reference(label)
    return [
        label,
        plus_minus(s.mean, s.se, score, digits=digits),
        plus_minus(d.diff, d.se, score, sign=True, digits=digits) if against else MISSING,
        p_text(d.p_value, bare=True) if against else MISSING,
        plus_minus(total.mean, total.se, "phi_mi", digits=2),
        number(ratio.mean, "step_time_ratio"),
    ]


def _modality_grid(comparison: Comparison, name: str, title: str, heads: Mapping[str, str], digits: int) -> Grid:
    """Return a table with one column per kind of metric (a key of ``heads``) and modality."""
    metrics = [(kind, m) for kind in heads for m in comparison.modalities if comparison.has(kind, m)]
    rows = []
    for label in comparison.labels:
        summaries = [(comparison.summary(label, kind, m), comparison.shown(kind)) for kind, m in metrics]
        if any(s.n for s, _ in summaries):
            rows.append([label, *(plus_minus(s.mean, s.se, shown, digits=digits) for s, shown in summaries)])
    header = ["method", *(heads[kind] + m for kind, m in metrics)]
    return Grid(name, f"{comparison.data}: {title}", header, rows)


def encoder_grid(comparison: Comparison) -> Grid:
    """Return a table with modalities as rows: the linear probe of the encoder trained alone, and inside every
    multimodal model.
    """
    inside = probe_rows(comparison)
    rows: list[list[str]] = []
    source: dict[tuple[int, int], tuple[str, str, str, str]] = {}
    for m in comparison.modalities:
        alone = comparison.unimodal(m)
        if alone is None or not comparison.seeds(alone, "probe", m) or not inside:
            continue
        summaries = [comparison.summary(label, "probe", m) for label in (alone, *inside)]
        labels = enumerate((alone, *inside), 1)
        source |= {(len(rows), j): (comparison.data, label, f"probe:{m}", "mean") for j, label in labels}
        rows.append([m, *(plus_minus(s.mean, s.se, comparison.shown("probe")) for s in summaries)])
    what = "accuracy (%)" if comparison.score == "accuracy" else "R²"
    note = f"Test {what} of a linear probe on each encoder's features."
    title = f"{comparison.data}: encoders alone and inside"
    return Grid("encoders", title, ["modality", "alone", *inside], rows, note, source=source)


def summary_grid(comparisons: Sequence[Comparison]) -> Grid:
    """Return a table with methods as rows and data sets as columns; the last column is the mean rank."""
    labels = dict.fromkeys(label for c in comparisons for label in c.labels if not c.is_unimodal(label))
    result = ranking(comparisons)
    ranks = _rank_texts(result)
    best: set[tuple[int, int]] = set()
    source: dict[tuple[int, int], tuple[str, str, str, str]] = {}
    alone = _best_alone(comparisons)
    rows = [alone] if alone else []
    for label in labels:
        for j, c in enumerate(comparisons, 1):
            source[len(rows), j] = (c.data, label, c.score, "mean")
            if label in best_labels(c, c.score):
                best.add((len(rows), j))
        rows.append([label, *(_score_text(c, label) for c in comparisons), ranks.get(label, MISSING)])
    header = ["method", *map(_column_head, comparisons), "mean rank"]
    return Grid("summary", "All data sets: test scores", header, rows, _summary_note(comparisons, result), best, source)


def _rank_texts(result: Ranking | None) -> dict[str, str]:
    """Return the mean ranks as text, by row."""
    if result is None:
        return {}
    return {label: f"{rank:.2f}" for label, rank in zip(result.labels, result.ranks, strict=True)}


def _column_head(comparison: Comparison) -> str:
    return comparison.data + (" (%)" if comparison.score == "accuracy" else " (R²)")


def _score_text(comparison: Comparison, label: str) -> str:
    if label not in comparison.labels:
        return MISSING
    s = comparison.summary(label, comparison.score)
    return plus_minus(s.mean, s.se, comparison.score)


def _summary_note(comparisons: Sequence[Comparison], result: Ranking | None) -> str:
    note = seeds_note(comparisons) + " Best mean per data set in bold, unless a single modality is best."
    note += " Ranks are over methods that were run on every data set"
    if result:
        note += f"; they differ at 5 % (Nemenyi) beyond {result.critical_difference:.2f}"
        if math.isfinite(result.p_value):
            note += f" (Friedman χ² = {result.statistic:.2f}, {p_text(result.p_value)})"
    return f"{note}."


def _best_alone(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the row of the best single modality of each data set, or nothing if no data set has one."""
    cells = []
    for c in comparisons:
        alone = [(s.mean, s.se, m) for m in c.modalities if (u := c.unimodal(m)) and (s := c.summary(u, c.score)).n]
        mean, se, m = max(alone, default=(float("nan"), float("nan"), ""))
        cells.append(f"{plus_minus(mean, se, c.score)} ({m})" if alone else MISSING)
    return ["best single modality", *cells, MISSING] if any(cell != MISSING for cell in cells) else []
