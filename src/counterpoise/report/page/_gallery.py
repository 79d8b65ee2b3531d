"""Choice of the runs whose samples the page shows: joint training and the best other method of each data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from counterpoise.errors import DataError
from counterpoise.gallery import Gallery
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.runs import RunRecord

__all__ = ["BUDGET", "Shown", "pick"]

BUDGET: Final = 1_500_000
"""Maximum size of all galleries of a page in bytes, as JSON."""
RUNS: Final = 2
"""Maximum number of galleries of one data set."""

Shown = list[tuple[str, Gallery]]
"""Galleries by the run's name."""


def pick(comparisons: Sequence[Comparison], budget: int = BUDGET) -> list[Shown]:
    """Return the galleries of every data set. The data sets take turns, so that a budget shortens all equally."""
    candidates = [_candidates(c) for c in comparisons]
    chosen: list[Shown] = [[] for _ in comparisons]
    for turn in range(RUNS):
        for shown, records in zip(chosen, candidates, strict=True):
            if turn >= len(records):
                continue
            record = records[turn]
            size = len(json.dumps(record.samples, default=str))
            if size > budget:
                continue
            try:
                gallery = Gallery.read(record.samples)
            except DataError:
                continue
            if gallery.cards:
                budget -= size
                shown.append((f"{record.label}, seed {record.seed}", gallery))
    return chosen


def _candidates(comparison: Comparison) -> list[RunRecord]:
    """Return the first seed of joint training, then of the other rows, best first."""
    rows = [label for label in comparison.labels if any(r.samples for r in comparison.records[label])]

    def order(label: str) -> tuple[bool, float]:
        s = comparison.summary(label, comparison.score)
        return label != comparison.reference, -s.mean if s.n else 0.0

    rows.sort(key=order)
    return [next(r for r in comparison.records[label] if r.samples) for label in rows]
