"""The records of one data set, arranged as rows (methods) of metrics over seeds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from counterpoise.report.analysis.statistics import Paired, Summary, paired_difference, summarise
from counterpoise.runs import RunRecord

__all__ = ["LOWER_IS_BETTER", "REFERENCE", "Comparison", "compare", "flat_config"]

REFERENCE: Final = "joint"
LOWER_IS_BETTER: Final = frozenset({"nll", "ece", "rmse", "step_ms", "step_time_ratio"})

_FIRST: Final = ("unimodal:", "unimodal-ensemble", REFERENCE, "uniform")
_METRICS: Final = (
    *("accuracy", "macro_f1", "r2", "rmse", "nll", "ece", "accuracy:", "probe:"),
    *("entropy", "phi_mi", "phi_mi:", "phi_cmi:", "step_ms", "step_time_ratio"),
)


@dataclass(frozen=True)
class Comparison:
    """One data set: ``values[label][metric][seed]`` and what explains it.

    Attributes:
        data: the data set's name.
        modalities: the union of the runs' modalities, in order of appearance.
        labels: the rows, single modalities first, then joint training, flagship last.
        values: the numbers (test set); ``step_time_ratio`` is ``step_ms`` over that of the reference, seed by seed.
        records: the runs by label.
        notes: what a reader should know of how the runs were arranged.
    """

    data: str
    modalities: tuple[str, ...]
    labels: tuple[str, ...]
    values: Mapping[str, Mapping[str, Mapping[int, float]]]
    records: Mapping[str, Sequence[RunRecord]]
    notes: tuple[str, ...] = ()

    @cached_property
    def score(self) -> str:
        """The metric that rows are judged by: ``accuracy``, or ``r2`` for regression."""
        return "r2" if not any("accuracy" in v for v in self.values.values()) and self.has("r2") else "accuracy"

    def shown(self, metric: str) -> str:
        """Return the metric in whose unit ``metric`` is written: scores of heads and probes are R² in regression."""
        return "r2" if self.score == "r2" and metric.partition(":")[0] in {"accuracy", "probe"} else metric

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that some row has, in a fixed order."""
        names = {metric for row in self.values.values() for metric in row}
        return tuple(sorted(names, key=self._metric_order))

    def has(self, metric: str) -> bool:
        """Does any row know ``metric``."""
        return any(metric in row for row in self.values.values())

    def seeds(self, label: str, metric: str) -> Mapping[int, float]:
        """Return number by seed (empty if the row does not know the metric)."""
        return self.values.get(label, {}).get(metric, {})

    def summary(self, label: str, metric: str) -> Summary:
        """Return mean, standard error and number of seeds."""
        return summarise(list(self.seeds(label, metric).values()))

    def reference(self, label: str) -> str:
        """Return the row that ``label`` is compared with: joint training under the same settings."""
        _, bracket, rest = label.partition(" [")
        same = REFERENCE + bracket + rest
        return same if same in self.labels else REFERENCE

    def difference(self, label: str, metric: str, *, to: str | None = None) -> Paired:
        """Return ``label`` minus ``to`` (default: the reference) over their common seeds."""
        other = self.reference(label) if to is None else to
        return paired_difference(self.seeds(label, metric), self.seeds(other, metric))

    def unimodal(self, m: str) -> str | None:
        """Return the row of modality ``m`` trained alone, if there is one."""
        label = f"unimodal:{m}"
        return label if label in self.labels else None

    def _metric_order(self, metric: str) -> tuple[int, int, str]:
        name, colon, m = metric.partition(":")
        kind = _METRICS.index(name + colon) if name + colon in _METRICS else len(_METRICS)
        return kind, self.modalities.index(m) if m in self.modalities else len(self.modalities), metric


def compare(records: Iterable[RunRecord]) -> list[Comparison]:
    """Group records by data set, in order of appearance.

    Runs of one label and seed whose settings differ become rows of their own, named by what differs
    (``arm [optim.lr=0.01]``). Of runs that even agree in their settings the last one counts, and a note says so.

    Example:
        >>> run = RunRecord("k", "digits", "joint", "fused", 0, "multiclass", ("a", "b"), metrics={"accuracy": 0.5})
        >>> compare([run])[0].summary("joint", "accuracy")
        Summary(mean=0.5, se=nan, n=1)
    """
    by_data: dict[str, list[RunRecord]] = {}
    for record in records:
        by_data.setdefault(record.data, []).append(record)
    return [_compare_one(data, group) for data, group in by_data.items()]


def _compare_one(data: str, records: list[RunRecord]) -> Comparison:
    records = _distinguish(records)
    notes: list[str] = []
    rows: dict[str, dict[int, RunRecord]] = {}
    for record in records:
        if record.seed in rows.setdefault(record.label, {}):
            notes.append(
                f"{data}: more than one run of {record.label}, seed {record.seed}, with the same settings; "
                f"the last one read is shown ({record.key})."
            )
        rows[record.label][record.seed] = record
    modalities = tuple(dict.fromkeys(m for record in records for m in record.modalities))
    labels = tuple(sorted(rows, key=lambda label: _row_order(label, modalities, list(rows))))
    values: dict[str, dict[str, dict[int, float]]] = {}
    for label in labels:
        row: dict[str, dict[int, float]] = {}
        for seed, record in sorted(rows[label].items()):
            for metric, value in record.metrics.items():
                if value is not None and math.isfinite(value):
                    row.setdefault(metric, {})[seed] = float(value)
        values[label] = row
    comparison = Comparison(
        data, modalities, labels, values, {k: [rows[k][s] for s in sorted(rows[k])] for k in labels}, tuple(notes)
    )
    for label in labels:
        base = comparison.seeds(comparison.reference(label), "step_ms")
        ratio = {s: v / base[s] for s, v in comparison.seeds(label, "step_ms").items() if base.get(s, 0) > 0}
        if ratio:
            values[label]["step_time_ratio"] = ratio
    return comparison


def _row_order(label: str, modalities: Sequence[str], known: list[str]) -> tuple[int, int, int]:
    base = label.partition(" ")[0]
    kind = next((i for i, prefix in enumerate(_FIRST) if base == prefix), len(_FIRST))
    if base.startswith("unimodal:"):
        kind = 0
        m = label.removeprefix("unimodal:")
        place = next((i for i, name in enumerate(modalities) if m == name or m.startswith(f"{name} ")), 99)
        return kind, place, known.index(label)
    if base == "arm":
        kind = len(_FIRST) + 1
    first = next(i for i, name in enumerate(known) if name.partition(" ")[0] == base)
    return kind, first, known.index(label)


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
    """Give runs that share a label but not their settings labels of their own."""
    by_label: dict[str, list[dict[str, str]]] = {}
    flats = [{k: v for k, v in flat_config(r.config).items() if k != "seed"} for r in records]
    for record, flat in zip(records, flats, strict=True):
        by_label.setdefault(record.label, []).append(flat)
    out = []
    for record, flat in zip(records, flats, strict=True):
        group = by_label[record.label]
        keys = [k for k in dict.fromkeys(k for f in group for k in f) if len({f.get(k, "") for f in group}) > 1]
        if keys:
            differs = ", ".join(f"{k}={flat.get(k, '(none)')}" for k in keys)
            out.append(dataclasses.replace(record, label=f"{record.label} [{differs}]"))
        else:
            out.append(record)
    return out
