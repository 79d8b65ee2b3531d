"""The finding: the result of the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.conclusions._encoders import Encoder
from counterpoise.report.analysis.conclusions._phrases import (
    amount,
    capitalised,
    joined,
    name_of,
    score_error,
    score_text,
)
from counterpoise.report.analysis.conclusions._significance import SMALL, is_noise, is_significant
from counterpoise.report.analysis.statistics import Paired


def best_alone(comparison: Comparison) -> str | None:
    """Return the best row of those that train one modality."""
    rows = [u for m in comparison.modalities if (u := comparison.unimodal(m)) and comparison.seeds(u, comparison.score)]
    return max(rows, key=lambda u: comparison.summary(u, comparison.score).mean, default=None)


def without_reference(comparison: Comparison) -> str:
    """Return the sentence for a data set without runs of the reference."""
    rows = [label for label in comparison.labels if comparison.seeds(label, comparison.score)]
    best = max(rows, key=lambda label: comparison.summary(label, comparison.score).mean)
    s = comparison.summary(best, comparison.score)
    return (
        "There is no run of the reference to compare with; the highest score is that of "
        f"{name_of(comparison, best)} ({score_error(comparison, s)})."
    )


def finding(comparison: Comparison, reference: str, alone: str | None, encoders: Sequence[Encoder]) -> str:
    """Return the result of the reference, and its cost if there is one."""
    s = comparison.summary(reference, comparison.score)
    name = capitalised(name_of(comparison, reference))
    text = f"{name} reaches {score_text(comparison, s)}{' with one seed' * (s.n == 1)}"
    d = _against(comparison, reference, alone)
    weak = [e for e in encoders if e.is_under_trained]
    if alone is not None and _is_loss(d):
        other = comparison.summary(alone, comparison.score)
        less = f"{amount(comparison, d.diff)} less than {name_of(comparison, alone)} ({score_text(comparison, other)})"
        return f"{text}, {less}{_and_weak(weak)}."
    if weak:
        worst = weak[0]
        cost = amount(comparison, worst.difference.diff)
        return f"{text} and leaves {worst.modality} under-trained: its encoder loses {cost} against training it alone."
    if alone is None or d is None:
        return f"{text}; no modality was trained alone to compare with."
    if is_significant(d):
        none = "; no modality is under-trained" * (bool(encoders) and encoders[0].difference.diff > -SMALL)
        return f"{text}, {amount(comparison, d.diff)} more than {name_of(comparison, alone)}{none}."
    return f"{text}; {name_of(comparison, alone)} is {_close(comparison, d)}."


def _against(comparison: Comparison, label: str, other: str | None) -> Paired | None:
    """Return the difference of two rows, or None without seeds in common."""
    d = comparison.difference(label, comparison.score, to=other) if other is not None else None
    return d if d is not None and d.n else None


def _is_loss(d: Paired | None) -> TypeGuard[Paired]:
    """Return whether a difference is negative and no test finds it to be noise."""
    return d is not None and d.diff < 0 and not is_noise(d)


def _and_weak(weak: Sequence[Encoder]) -> str:
    if not weak:
        return ""
    names = [e.modality for e in weak]
    return f"; it leaves {joined(names[:2] if len(names) < 3 else [*names[:2], 'others'])} under-trained"


def _close(comparison: Comparison, d: Paired) -> str:
    if math.isfinite(d.p_value):
        return "not significantly different"
    if not round(d.diff, 6):
        return "as good"
    return f"{amount(comparison, d.diff)} {'lower' if d.diff > 0 else 'higher'}"
