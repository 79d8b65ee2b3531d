"""What is left of a row's score with one modality damaged, as numbers: the page and the figures draw from here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from counterpoise.report.analysis import series
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.series import Point
from counterpoise.report.analysis.statistics import summarise, t_interval

__all__ = ["AT", "Damage", "damages"]

AT: Final = (
    ("none", 0.0, 0.0, "none"),
    ("noise", 0.5, 0.5, "0.5"),
    ("noise", 1.0, 1.0, "1"),
    ("noise", 2.0, 2.0, "2"),
    ("missing", 1.0, 2.65, "missing"),
    ("swap", 1.0, 3.4, "swapped"),
)
"""Kind, strength, place on the axis, and name of every damage; missing and swapped stand apart from the noise."""


@dataclass(frozen=True)
class Damage:
    """A score under one damage.

    Attributes:
        kind: none, noise, missing or swap.
        place: on the axis.
        words: what was done.
        point: mean over seeds with its interval.
    """

    kind: str
    place: float
    words: str
    point: Point


def damages(comparison: Comparison, label: str, m: str) -> list[Damage]:
    """Return the score of a row as it is and under every damage to ``m``; empty where none was recorded."""
    found: dict[tuple[str, float], dict[int, float]] = {}
    for record in comparison.records.get(label, ()):
        for row in record.robustness:
            score = _score(row, comparison.score)
            if isinstance(row, Mapping) and row.get("modality") == m and score is not None:
                key = (str(row.get("corruption")), float(row.get("strength") or 0))
                found.setdefault(key, {})[record.seed] = score
    if not found:
        return []
    clean = series.point(comparison, label, comparison.score)
    rows = [Damage("none", 0.0, "undamaged", clean)] if clean.n else []
    for kind, strength, place, name in AT:
        values = list(found.get((kind, strength), {}).values())
        if values:
            s = summarise(values)
            low, high = t_interval(s.mean, s.se, s.n) if s.n > 1 else (math.nan, math.nan)
            point = Point(s.mean, low, high, s.n, "seeds" if s.n > 1 else "none")
            rows.append(Damage(kind, place, f"noise {name}" if kind == "noise" else name, point))
    return rows


def _score(row: Any, name: str) -> float | None:
    value = row.get(name) if isinstance(row, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
