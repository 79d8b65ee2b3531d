"""The records of one data set, arranged as rows of metrics over seeds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any, Final

from counterpoise._corruption import Corruption
from counterpoise._validation import unknown
from counterpoise.report._format import is_share
from counterpoise.report.analysis.statistics import Paired, Summary, paired_difference, summarise
from counterpoise.runs import MetricId, RowId, RunRecord

__all__ = ["LOWER_IS_BETTER", "REFERENCE", "Comparison", "compare", "flat_config", "title"]

REFERENCE: Final = "joint"
"""The default reference row."""
LOWER_IS_BETTER: Final = frozenset({"nll", "ece", "rmse", "step_ms", "step_time_ratio"})

_METRICS: Final = (
    *("accuracy", "macro_f1", "r2", "rmse", "nll", "ece", "probe", "entropy", "phi_mi", "phi_cmi"),
    *("phi_shared", "phi_synergy", "step_ms", "step_time_ratio"),
)


def title(method: str) -> str:
    """Return the name of a method for a sentence; short parts of the name are written as acronyms.

    Example:
        >>> title("ogm-ge"), title("joint"), title("my_package.MyMethod")
        ('OGM-GE', 'joint', 'my_package.MyMethod')
    """
    if "." in method or ":" in method:
        return method
    return "-".join(part.upper() if len(part) <= 4 else part for part in method.split("-"))


@dataclass(frozen=True)
class Comparison:
    """The runs of one data set, with their numbers as ``values[label][metric][seed]``.

    Attributes:
        data: Name of the data set, unique among the comparisons of one report.
        modalities: Union of the runs' modalities, in order of appearance.
        rows: Rows by label, in the order of the tables: unimodal rows, the reference, the others, the focus.
        values: Numbers on the test set; ``step_time_ratio`` is ``step_ms`` divided by that of the reference, seed by
            seed.
        records: Runs by label.
        score: Name of the metric by which rows are judged; larger is better.
        reference: Label of the row to which the others are compared; None if it was not run.
        focus: Label of the row of the conclusions; None if no other method was run.
        notes: Notes on the grouping of the runs that affect the interpretation of the numbers.
    """

    data: str
    modalities: tuple[str, ...]
    rows: Mapping[str, RowId]
    values: Mapping[str, Mapping[MetricId, Mapping[int, float]]]
    records: Mapping[str, Sequence[RunRecord]]
    score: str = "accuracy"
    reference: str | None = None
    focus: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the rows, in order."""
        return tuple(self.rows)

    @property
    def in_percent(self) -> bool:
        """Whether the score is a share that is written in per cent."""
        return is_share(self.score)

    def shown(self, name: str) -> str:
        """Return the metric in whose unit ``name`` is written: probes have the unit of the score."""
        return self.score if name == "probe" else name

    @cached_property
    def metrics(self) -> tuple[MetricId, ...]:
        """Every metric that some row has, in a fixed order."""
        names = {metric for row in self.values.values() for metric in row}
        return tuple(sorted(names, key=self._metric_order))

    def has(self, name: str, m: str | None = None) -> bool:
        """Return whether any row has the metric."""
        return any(MetricId(name, m) in row for row in self.values.values())

    def seeds(
        self, label: str | None, name: str, m: str | None = None, corruption: Corruption | None = None
    ) -> Mapping[int, float]:
        """Return number by seed (empty if the row does not have the metric)."""
        return self.values.get(label or "", {}).get(MetricId(name, m, corruption), {})

    def summary(
        self, label: str | None, name: str, m: str | None = None, corruption: Corruption | None = None
    ) -> Summary:
        """Return mean, standard error and number of seeds."""
        return summarise(list(self.seeds(label, name, m, corruption).values()))

    def reference_of(self, label: str) -> str | None:
        """Return the row with which ``label`` is compared: the reference with the same settings, if it was run."""
        if self.reference is None:
            return None
        same = dataclasses.replace(self.rows[self.reference], settings=self.rows[label].settings)
        return next((other for other, row in self.rows.items() if row == same), self.reference)

    def is_reference(self, label: str) -> bool:
        """Return whether a row is compared with itself."""
        return label == self.reference_of(label)

    def difference(self, label: str, name: str, m: str | None = None, *, to: str | None = None) -> Paired:
        """Return ``label`` minus ``to`` (default: the reference) over their common seeds."""
        other = self.reference_of(label) if to is None else to
        return paired_difference(self.seeds(label, name, m), self.seeds(other, name, m))

    def is_unimodal(self, label: str) -> bool:
        """Return whether a row trains a single modality."""
        return self.rows[label].modality is not None

    def unimodal(self, m: str) -> str | None:
        """Return the row of modality ``m`` trained alone, if there is one."""
        rows = [label for label, row in self.rows.items() if row.modality == m]
        return min(rows, key=lambda label: not self.rows[label].is_plain, default=None)

    def same_network(self, label: str) -> bool:
        """Return whether a row differs from an earlier one by its decision rule only."""
        row = self.rows[label]
        own = dataclasses.replace(row, rule="default")
        return row != own and own in self.rows.values()

    def _metric_order(self, metric: MetricId) -> tuple[int, int, str]:
        kind = _METRICS.index(metric.name) if metric.name in _METRICS else len(_METRICS)
        place = self.modalities.index(metric.modality) + 1 if metric.modality in self.modalities else 0
        return kind, place, str(metric)


def compare(records: Iterable[RunRecord], *, reference: str = REFERENCE, focus: str | None = None) -> list[Comparison]:
    """Group records by data set, in order of appearance.

    Runs of one row and seed whose settings differ become separate rows, named by the difference (``arm
    [optim.lr=0.01]``). Of runs with equal settings, the last one is used, and a note is added.

    Args:
        records: The runs.
        reference: Row to which the others are compared: a method's name, or the text of a row.
        focus: Row of the conclusions, in the same form. By default it is the method with an import path if there is
            exactly one, else the row with the best score. Variants of a method that was also run with its defaults are
            never the default focus.

    Raises:
        NotFoundError: If no data set has a row called ``reference`` or ``focus`` (a missing default reference is not
            an error).

    Example:
        >>> from counterpoise.runs import Metric
        >>> run = RunRecord("k", "digits", RowId("joint"), 0, metrics=(Metric("accuracy", 0.5),))
        >>> compare([run])[0].summary("joint", "accuracy")
        Summary(mean=0.5, se=nan, n=1)
    """
    comparisons = [_compare_one(data, group, reference, focus) for data, group in _by_data(list(records)).items()]
    if comparisons:
        _check_rows(comparisons, reference, focus)
    return comparisons


def _check_rows(comparisons: Sequence[Comparison], reference: str, focus: str | None) -> None:
    labels = list(dict.fromkeys(label for c in comparisons for label in c.labels))
    if reference != REFERENCE and all(c.reference is None for c in comparisons):
        raise unknown("row", reference, labels)
    if focus is not None and all(_row_called(focus, c.rows) is None for c in comparisons):
        raise unknown("row", focus, labels)


# -- data sets -----------------------------------------------------------------------------------------------------


def _by_data(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return the records by a name of their data set; data sets with the same name get different ones."""
    groups: dict[str, list[list[RunRecord]]] = {}
    for record in records:
        same: list[RunRecord] = []
        apart: list[list[RunRecord]] = []
        for group in groups.get(record.data, []):
            if any(_same_data(record, other) for other in group):
                same += group
            else:
                apart.append(group)
        groups[record.data] = [*apart, [*same, record]]
    named: dict[str, list[RunRecord]] = {}
    for name, same_name in groups.items():
        named |= dict(zip(_distinct_names(name, [g[0].source for g in same_name]), same_name, strict=True))
    return named


def _same_data(a: RunRecord, b: RunRecord) -> bool:
    return a.source == b.source or bool(a.fingerprint and a.fingerprint == b.fingerprint)


def _distinct_names(name: str, sources: Sequence[str]) -> list[str]:
    """Return one name per source: the name itself, or the shortest end of the path that differs.

    Example:
        >>> _distinct_names("features", ["/a/day1/features.npz", "/a/day2/features.npz"])
        ['day1/features', 'day2/features']
    """
    if len(sources) == 1:
        return [name]
    parts = [PurePath(source).parts for source in sources]
    for depth in range(1, max(map(len, parts), default=0)):
        parents = ["/".join(p[-1 - depth : -1]) for p in parts]
        names = [f"{parent}/{name}" if parent else name for parent in parents]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({i})" for i in range(1, len(sources) + 1)]


def _compare_one(data: str, records: list[RunRecord], reference: str, focus: str | None) -> Comparison:
    runs, notes = _runs_by_row(data, records)
    modalities = tuple(dict.fromkeys(m for record in records for m in record.modalities))
    by_label = {str(row): row for row in runs}
    score = _score_of(records)
    base = _row_called(reference, by_label)
    values = {label: _values(runs[row]) for label, row in by_label.items()}
    chosen = _row_called(focus, by_label) if focus is not None else _default_focus(by_label, values, score, base)
    order = sorted(by_label, key=lambda label: _row_order(label, by_label, modalities, base, chosen))
    comparison = Comparison(
        data,
        modalities,
        {label: by_label[label] for label in order},
        values,
        {label: [run for _, run in sorted(runs[by_label[label]].items())] for label in order},
        score,
        base,
        chosen,
        notes,
    )
    _add_step_time_ratios(comparison, values)
    return comparison


def _score_of(records: Sequence[RunRecord]) -> str:
    """Return the name of the score by which the runs were selected."""
    return next((r.score for r in records if math.isfinite(r.value(r.score))), records[0].score)


def _add_step_time_ratios(comparison: Comparison, values: Mapping[str, dict[MetricId, dict[int, float]]]) -> None:
    """Add the time of a step as a multiple of the reference's to the values of every row."""
    for label in comparison.labels:
        ratio = _step_time_ratio(comparison, label)
        if ratio:
            values[label][MetricId("step_time_ratio")] = ratio


def _runs_by_row(data: str, records: list[RunRecord]) -> tuple[dict[RowId, dict[int, RunRecord]], tuple[str, ...]]:
    """Return the runs by row and seed, and notes on repeated runs and on differing tasks."""
    notes: list[str] = []
    runs: dict[RowId, dict[int, RunRecord]] = {}
    for record in _distinguish(records):
        if record.seed in runs.setdefault(record.row, {}):
            notes.append(
                f"{data}: more than one run of {record.label}, seed {record.seed}, with the same settings; "
                f"the last one read is shown ({record.key})."
            )
        runs[record.row][record.seed] = record
    tasks = sorted({record.task for record in records})
    if len(tasks) > 1:
        notes.append(f"{data}: the runs have different tasks ({', '.join(tasks)}).")
    return runs, tuple(notes)


def _step_time_ratio(comparison: Comparison, label: str) -> dict[int, float]:
    """Return the time of a step divided by the reference's, by seed."""
    base = comparison.seeds(comparison.reference_of(label), "step_ms")
    return {s: v / base[s] for s, v in comparison.seeds(label, "step_ms").items() if base.get(s, 0) > 0}


def _values(runs: Mapping[int, RunRecord]) -> dict[MetricId, dict[int, float]]:
    values: dict[MetricId, dict[int, float]] = {}
    for seed, record in sorted(runs.items()):
        for metric in record.metrics:
            if math.isfinite(metric.value):
                values.setdefault(metric.id, {})[seed] = metric.value
    return values


# -- rows ----------------------------------------------------------------------------------------------------------


def _row_called(name: str, rows: Mapping[str, RowId]) -> str | None:
    """Return the label of the row ``name``: the row with this text, else the row of that method with the fewest
    changes.
    """
    if name in rows:
        return name
    matching = [label for label, row in rows.items() if row.method == name]
    return min(matching, key=lambda label: _variation(rows[label]), default=None)


def _variation(row: RowId) -> int:
    """Return how far a row is from its method's defaults."""
    return len(row.arguments) + len(row.settings) + (row.rule != "default")


def _default_focus(
    rows: Mapping[str, RowId],
    values: Mapping[str, Mapping[MetricId, Mapping[int, float]]],
    score: str,
    reference: str | None,
) -> str | None:
    """Return the row of the only method with an import path, else the best row.

    Variants of a row that was also run with its defaults are left out.
    """
    own = {row.method for row in rows.values() if "." in row.method}
    if len(own) == 1:
        return _row_called(own.pop(), rows)
    means = {
        label: summarise(list(values[label].get(MetricId(score), {}).values())).mean
        for label in _focus_candidates(rows, reference)
    }
    means = {label: mean for label, mean in means.items() if math.isfinite(mean)}
    return max(means, key=lambda label: means[label], default=None)


def _focus_candidates(rows: Mapping[str, RowId], reference: str | None) -> list[str]:
    """Return the multimodal rows of other methods than the reference's, without variants of plain rows."""
    plain = {row.method for row in rows.values() if row.is_plain}
    methods = {rows[reference].method} if reference is not None else set()
    return [
        label
        for label, row in rows.items()
        if row.modality is None and row.method not in methods and (row.is_plain or row.method not in plain)
    ]


def _row_order(
    label: str, rows: Mapping[str, RowId], modalities: Sequence[str], reference: str | None, focus: str | None
) -> tuple[int, int, int]:
    """Return the place of a row: single modalities, the reference's method, the others, the focus's method."""
    row, known = rows[label], list(rows)
    first = next(i for i, other in enumerate(rows.values()) if other.method == row.method)
    place = known.index(label)
    if row.modality is not None:
        return 0, modalities.index(row.modality) if row.modality in modalities else len(modalities), place
    if reference is not None and row.method == rows[reference].method:
        return 1, _variation(row), place
    if focus is not None and row.method == rows[focus].method:
        return 3, first, place
    return 2, first, place


def flat_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as ``{"optim.lr": "0.001"}``."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= flat_config(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def _distinguish(records: list[RunRecord]) -> list[RunRecord]:
    """Put runs of one row whose settings differ into separate rows."""
    flats = [{k: v for k, v in flat_config(r.config).items() if k not in ("seed", "data", "rule")} for r in records]
    by_row: dict[RowId, list[dict[str, str]]] = {}
    for record, flat in zip(records, flats, strict=True):
        by_row.setdefault(record.row, []).append(flat)
    differing = {row: _differing(group) for row, group in by_row.items()}
    out = []
    for record, flat in zip(records, flats, strict=True):
        settings = {key: flat.get(key, "(none)") for key in differing[record.row]}
        row = dataclasses.replace(record.row, settings=settings)
        out.append(dataclasses.replace(record, row=row) if settings else record)
    return out


def _differing(group: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the settings that differ between the runs of a group."""
    keys = dict.fromkeys(key for flat in group for key in flat)
    return [key for key in keys if len({flat.get(key, "") for flat in group}) > 1]
