"""Sentences on corrupted modalities."""

from __future__ import annotations

import math

from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.conclusions._phrases import (
    capitalised,
    name_of,
    relation,
    score_error,
    score_text,
)
from counterpoise.report.analysis.robustness import CorruptedScore, corrupted_scores
from counterpoise.report.analysis.statistics import Summary


def robustness(comparison: Comparison, reference: str) -> list[str]:
    """Return the mean score with one modality corrupted, and where the reference loses most."""
    mean = f"{comparison.score}_corrupted"
    if not comparison.seeds(reference, mean):
        return []
    focus = comparison.focus if comparison.focus and comparison.seeds(comparison.focus, mean) else None
    rows = [x for x in (focus, reference, _same_rule(comparison, reference, focus)) if x is not None]
    parts = [
        f"{name_of(comparison, x)} {'keeps ' if i == 0 else ''}{score_error(comparison, comparison.summary(x, mean))}"
        for i, x in enumerate(dict.fromkeys(rows))
    ]
    text = f"With one modality corrupted, {', '.join(parts)}"
    if focus is not None:
        d = comparison.difference(focus, mean, to=reference)
        text += f"; {name_of(comparison, focus)} {relation(comparison, d, name_of(comparison, reference))}"
    return [f"{text}.", _largest_drop(comparison, reference, focus)]


def _same_rule(comparison: Comparison, reference: str, focus: str | None) -> str | None:
    """Return the row of the reference's network with the rule of the focus, if there is one."""
    if focus is None:
        return None
    rules = {label: records[0].rule for label, records in comparison.records.items() if records}
    method = comparison.rows[reference].method
    return next(
        (
            label
            for label, row in comparison.rows.items()
            if row.method == method and label != reference and rules.get(label) and rules[label] == rules.get(focus)
        ),
        None,
    )


def _largest_drop(comparison: Comparison, reference: str, focus: str | None) -> str:
    """Return the corruption under which the reference loses most, if it loses anything."""
    clean = comparison.summary(reference, comparison.score)
    scores = [(m, s) for m in comparison.modalities for s in corrupted_scores(comparison, reference, m) if s.corruption]
    if not scores:
        return ""
    m, worst = min(scores, key=lambda pair: pair[1].point.mean)
    at = score_text(comparison, Summary(worst.point.mean, math.nan, worst.point.n))
    if worst.point.mean >= clean.mean or at == score_text(comparison, clean):
        return f"No corruption of one modality lowers the score of {name_of(comparison, reference)}."
    text = (
        f"{capitalised(name_of(comparison, reference))} depends most on {m}: with its input {_words(worst)} "
        f"the score falls from {score_text(comparison, clean)} to {at}"
    )
    if focus is not None:
        own = comparison.summary(focus, comparison.score, m, worst.corruption)
        if own.n:
            text += f"; {name_of(comparison, focus)} reaches {score_text(comparison, own)}"
    return f"{text}."


def _words(score: CorruptedScore) -> str:
    """Return a corruption as a participle."""
    kind = score.corruption.kind if score.corruption is not None else ""
    strength = score.corruption.strength if score.corruption is not None else 0.0
    return {
        "noise": f"noisy ({strength:g} standard deviations)",
        "zeros": "set to zero",
        "mean": "replaced by its mean",
        "permute": "taken from other samples",
        "dropout": f"partly set to zero ({100 * strength:.0f} %)",
        "mix": f"mixed with other samples ({strength:g})",
    }.get(kind, "clean")
