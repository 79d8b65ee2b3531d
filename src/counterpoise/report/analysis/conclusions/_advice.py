"""The advice: what to use, or what to run next."""

from __future__ import annotations

import math

from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.conclusions._phrases import amount, name_of, score_text
from counterpoise.report.analysis.conclusions._significance import is_better, is_significant, seeds_needed
from counterpoise.report.analysis.statistics import Paired


def advice(comparison: Comparison, reference: str, alone: str | None) -> str:
    """Return the advice: use the focus if it gains, else the best row that gains, else a number of seeds that would
    decide.
    """
    focus = comparison.focus
    better = alone if alone is not None and is_better(comparison, alone, reference) else None
    if focus is None or not comparison.seeds(focus, comparison.score):
        return _compare_methods(comparison, better)
    if is_better(comparison, focus, reference):
        return _use_focus(comparison, focus, reference, better)
    d = comparison.difference(focus, comparison.score, to=reference)
    name = name_of(comparison, focus)
    if math.isfinite(d.p_value) and not is_significant(d):
        return _more_robust(comparison, focus, reference) or _undecided(name, d)
    if better is not None:
        return f"{_verb(comparison, better, reference)} {name_of(comparison, better)}: {name} is no better."
    return f"Stay with {name_of(comparison, reference)}: {name} is no better."


def _compare_methods(comparison: Comparison, better: str | None) -> str:
    start = "Compare it with" if better is None else f"Use {name_of(comparison, better)}, or compare"
    return f"{start} methods that balance the modalities: no other method was run."


def _undecided(name: str, d: Paired) -> str:
    needed = seeds_needed(d)
    outlook = f"about {needed} seeds would decide" if needed else "more seeds are unlikely to decide"
    return f"{name} is not significantly different; {outlook}."


def _use_focus(comparison: Comparison, focus: str, reference: str, single: str | None) -> str:
    """Return the advice if the focus gains; ``single`` is a single modality that is above the reference."""
    name, reached = name_of(comparison, focus), score_text(comparison, comparison.summary(focus, comparison.score))
    if single is not None and is_better(comparison, single, focus):
        verb = _verb(comparison, single, focus)
        return f"{verb} {name_of(comparison, single)}: {name} reaches {reached}, less than that."
    d = comparison.difference(focus, comparison.score, to=reference)
    more = f"{amount(comparison, d.diff)} more than {name_of(comparison, reference)}"
    return f"{_verb(comparison, focus, reference)} {name}: it reaches {reached}, {more}."


def _more_robust(comparison: Comparison, focus: str, reference: str) -> str:
    """Return the advice if the focus gains significantly, but only when a modality is corrupted."""
    mean = f"{comparison.score}_corrupted"
    d = comparison.difference(focus, mean, to=reference)
    if not (d.n and d.diff > 0 and is_significant(d)):
        return ""
    keeps, has = (score_text(comparison, comparison.summary(label, mean)) for label in (focus, reference))
    name, other = name_of(comparison, focus), name_of(comparison, reference)
    return f"Use {name} if an input can fail: with one modality corrupted it keeps {keeps}, {other} {has}."


def _verb(comparison: Comparison, label: str, other: str) -> str:
    """Return ``Use`` if a significant difference supports the advice, else ``Try``."""
    return "Use" if is_significant(comparison.difference(label, comparison.score, to=other)) else "Try"
