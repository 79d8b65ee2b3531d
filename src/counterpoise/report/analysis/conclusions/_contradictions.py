"""Sentences that explain charts which seem to contradict each other."""

from __future__ import annotations

import math
from itertools import pairwise

from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.conclusions._phrases import amount, capitalised, name_of
from counterpoise.report.analysis.conclusions._significance import SMALL
from counterpoise.report.analysis.robustness import corrupted_scores
from counterpoise.report.analysis.statistics import summarise
from counterpoise.runs import MetricId


def apparent_contradictions(comparison: Comparison, reference: str, alone: str | None) -> list[str]:
    """Return sentences that explain charts which seem to contradict each other."""
    return [*_validation_against_test(comparison, reference, alone), *_rising_curves(comparison)]


def _validation_against_test(comparison: Comparison, reference: str, alone: str | None) -> list[str]:
    if alone is None:
        return []
    test = comparison.difference(reference, comparison.score, to=alone)
    gap = _validation_score(comparison, reference) - _validation_score(comparison, alone)
    if not (math.isfinite(gap) and abs(gap) > SMALL and abs(test.diff) > SMALL and gap * test.diff < 0):
        return []
    place = "below" if gap > 0 else "above"
    other = "above" if gap > 0 else "below"
    return [
        f"On the validation set {name_of(comparison, alone)} is {amount(comparison, gap)} {place} "
        f"{name_of(comparison, reference)}, on the test set {amount(comparison, test.diff)} {other}: "
        "the two sets hold different samples, and all conclusions are about the test set."
    ]


def _validation_score(comparison: Comparison, label: str) -> float:
    """Return the mean validation score of a row, NaN where it is unknown."""
    wanted = MetricId(comparison.score)
    return summarise([m.value for r in comparison.records[label] for m in r.validation if m.id == wanted]).mean


def _rising_curves(comparison: Comparison) -> list[str]:
    """Return a sentence for the row in focus if its score rises with the noise."""
    if comparison.focus is None:
        return []
    for m in comparison.modalities:
        noisy = [s for s in corrupted_scores(comparison, comparison.focus, m) if s.is_noise and s.corruption]
        rises = [b for a, b in pairwise(noisy) if b.point.mean - a.point.mean > SMALL]
        if rises:
            return [
                f"{capitalised(name_of(comparison, comparison.focus))} scores higher with more noise on {m} "
                f"({rises[0].words}): strong noise is easier for a decision rule to recognise and to ignore "
                "than weak noise."
            ]
    return []
