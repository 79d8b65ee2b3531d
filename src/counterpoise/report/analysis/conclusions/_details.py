"""Sentences with p-values and contributions in nats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from counterpoise.report._format import p_text, plus_minus
from counterpoise.report.analysis.comparison import Comparison
from counterpoise.report.analysis.conclusions._encoders import Encoder
from counterpoise.report.analysis.conclusions._phrases import amount_error, name_of
from counterpoise.report.analysis.statistics import Summary


def paired_tests(comparison: Comparison, reference: str, alone: str | None, encoders: Sequence[Encoder]) -> list[str]:
    """Return the paired differences with their p-values."""
    pairs = []
    if alone is not None:
        d = comparison.difference(reference, comparison.score, to=alone)
        pairs.append((f"{name_of(comparison, reference)} against {name_of(comparison, alone)}", d))
    if comparison.focus is not None and comparison.seeds(comparison.focus, comparison.score):
        d = comparison.difference(comparison.focus, comparison.score, to=reference)
        pairs.append((f"{name_of(comparison, comparison.focus)} against {name_of(comparison, reference)}", d))
    pairs += [(f"encoder of {e.modality}, inside against alone", e.difference) for e in encoders]
    tested = [
        f"{what}: {amount_error(comparison, d)}, {p_text(d.p_value)}" for what, d in pairs if math.isfinite(d.p_value)
    ]
    if not tested:
        return ["No difference could be tested, because that takes two seeds that differ."] if pairs else []
    return [f"Paired t-tests over seeds: {'; '.join(tested)}."]


def contribution_sentence(comparison: Comparison) -> str:
    """Return the held-out contributions, as shares of what can be known first and in nats second."""
    rows = (comparison.reference, *comparison.labels)
    label = next((row for row in rows if row is not None and comparison.seeds(row, "phi_mi")), None)
    if label is None:
        return ""
    share = _share_text(comparison, label)
    total = comparison.summary(label, "phi_mi")
    text = f"On held-out test samples the features of {name_of(comparison, label)} carry {share(total)}"
    text += " of what can be known about the label" if "%" in share(total) else " about the label"
    parts = []
    for m in comparison.modalities:
        mi, cmi = comparison.summary(label, "phi_mi", m), comparison.summary(label, "phi_cmi", m)
        if cmi.n:
            own = f", and carries {share(mi)} by itself" if mi.n else ""
            parts.append(f"{m} adds {share(cmi)} to the other modalities{own}")
    return f"{text}. {'; '.join(parts)}." if parts else f"{text}."


def _share_text(comparison: Comparison, label: str) -> Callable[[Summary], str]:
    """Return a function that writes information as a share of what can be known, or in nats if there is no such
    share.
    """
    entropy = comparison.summary(label, "entropy")
    scale = entropy.mean if comparison.in_percent and entropy.n and entropy.mean > 0 else math.nan

    def share(s: Summary) -> str:
        text = f"{plus_minus(s.mean, s.se, 'phi_mi')} nats"
        return f"{100 * s.mean / scale:.0f} % ({text})".replace("-", "−") if s.mean <= scale else text

    return share
