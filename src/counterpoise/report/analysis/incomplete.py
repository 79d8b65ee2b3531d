"""Scores on incomplete data in records: by pattern of presence, over rates of absence, and indices of equity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.statistics import Summary, summarise
from counterpoise.runs import RunRecord

__all__ = ["INDICES", "index_of", "pattern_counts", "pattern_score", "severity"]

INDICES: Final = {"mei": "MEI", "mli": "MLI", "equity": "pattern equity"}
"""Indices of a record, and their names in tables."""


def _entries(record: RunRecord, part: str) -> Iterator[Mapping[str, Any]]:
    """Yield the valid entries of a part of a record, which may come from an untrusted source."""
    listed = record.presence.get(part)
    if isinstance(listed, list):
        yield from (entry for entry in listed if isinstance(entry, Mapping))


def _names(entry: Mapping[str, Any]) -> tuple[str, ...]:
    names = entry.get("present")
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def pattern_counts(comparison: Comparison) -> dict[tuple[str, ...], int]:
    """Return the number of test samples of each pattern of presence (the first run's), the most frequent first."""
    for records in comparison.records.values():
        for record in records:
            sizes = {_names(entry): _number(entry.get("n")) for entry in _entries(record, "patterns")}
            counts = {names: int(n) for names, n in sizes.items() if names and math.isfinite(n)}
            if counts:
                return dict(sorted(counts.items(), key=lambda item: -item[1]))
    return {}


def pattern_score(comparison: Comparison, label: str, names: tuple[str, ...]) -> Summary:
    """Return the score of a row on the samples that have exactly these modalities, over seeds."""
    values = {
        record.seed: _number(entry.get("score"))
        for record in comparison.records.get(label, ())
        for entry in _entries(record, "patterns")
        if _names(entry) == names
    }
    return _summary(values)


def severity(comparison: Comparison, label: str, modality: str | None) -> list[tuple[float, Summary]]:
    """Return a row's scores over the rates at which samples lack a modality (all modalities, if None), over seeds."""
    by_rate: dict[float, dict[int, float]] = {}
    for record in comparison.records.get(label, ()):
        for entry in _entries(record, "severity"):
            rate = _number(entry.get("rate"))
            if entry.get("modality") == modality and 0 <= rate <= 1:
                by_rate.setdefault(rate, {})[record.seed] = _number(entry.get("score"))
    return [(rate, _summary(by_rate[rate])) for rate in sorted(by_rate)]


def index_of(comparison: Comparison, label: str, name: str) -> Summary:
    """Return an index (one of `INDICES`) of a row over seeds."""
    return _summary({record.seed: _number(record.presence.get(name)) for record in comparison.records.get(label, ())})


def _summary(values: Mapping[int, float]) -> Summary:
    return summarise(list(values.values()))
