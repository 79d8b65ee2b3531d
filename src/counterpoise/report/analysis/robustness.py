"""Scores of a row with the input of one modality corrupted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from counterpoise._corruption import Corruption
from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.series import Point
from counterpoise.report.analysis.statistics import t_interval

__all__ = ["CorruptedScore", "corrupted_scores", "place_of"]

_APART: Final = {"zeros": 2.65, "permute": 3.4, "mean": 4.15, "dropout": 4.9, "mix": 5.65}
"""Positions on the axis of the kinds other than noise; noise is placed at its strength."""


@dataclass(frozen=True)
class CorruptedScore:
    """The score of a row under one corruption.

    Attributes:
        corruption: The corruption; None for clean inputs.
        point: Mean over seeds with its interval.
    """

    corruption: Corruption | None
    point: Point

    @property
    def words(self) -> str:
        """Name of the corruption."""
        return "clean" if self.corruption is None else str(self.corruption)

    @property
    def place(self) -> float:
        """Place on the axis."""
        return place_of(self.corruption)

    @property
    def is_noise(self) -> bool:
        """Whether the score belongs to the curve over the noise (clean inputs are its start)."""
        return self.corruption is None or self.corruption.kind == "noise"


def place_of(corruption: Corruption | None) -> float:
    """Return the place of a corruption on the axis."""
    if corruption is None:
        return 0.0
    return corruption.strength if corruption.kind == "noise" else _APART[corruption.kind]


def corrupted_scores(comparison: Comparison, label: str, m: str) -> list[CorruptedScore]:
    """Return the score of a row for clean inputs and under every corruption of ``m``; empty if none was recorded."""
    corruptions = [
        metric.corruption
        for metric in comparison.values.get(label, {})
        if metric.corruption is not None and (metric.name, metric.modality) == (comparison.score, m)
    ]
    if not corruptions:
        return []
    clean = series.point(comparison, label, comparison.score)
    rows = [CorruptedScore(None, clean)] if clean.n else []
    for corruption in sorted(corruptions, key=lambda c: (place_of(c), c)):
        s = comparison.summary(label, comparison.score, m, corruption)
        low, high = t_interval(s.mean, s.se, s.n) if s.n > 1 else (math.nan, math.nan)
        rows.append(CorruptedScore(corruption, Point(s.mean, low, high, s.n, "seeds" if s.n > 1 else "none")))
    return rows
