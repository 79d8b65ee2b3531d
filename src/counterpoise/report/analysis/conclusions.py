"""What the numbers of a comparison mean, in plain sentences that carry their numbers and their uncertainty.

A difference is called a gain or a loss only if a two-sided paired t-test over seeds gives p < 0.05; otherwise the
sentence says that it cannot be told from noise. One seed has no error estimate, and the sentence says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from counterpoise.report._format import number, p_text, plus_minus, unit
from counterpoise.report.analysis.comparison import REFERENCE, Comparison, compare, title
from counterpoise.report.analysis.statistics import Paired
from counterpoise.runs import RunRecord

__all__ = ["ALPHA", "ONE_SEED", "Verdict", "describe", "explain"]

ALPHA: Final = 0.05
"""Differences with a smaller p-value are called gains or losses."""

ONE_SEED: Final = "one seed, so there is no error estimate"

SMALL: Final = 0.01
"""A change of a probe below one point is not worth a word, however sure it is."""


@dataclass(frozen=True)
class Verdict:
    """What one data set's runs say.

    Attributes:
        joint: joint training against the single modalities, and its encoders against those trained alone.
        methods: the flagship (or the best method) against joint training and its strongest rival.
        contributions: what each modality contributes; empty without held-out contributions.
    """

    joint: str
    methods: str
    contributions: str


def explain(records: Iterable[RunRecord], *, reference: str = REFERENCE, focus: str | None = None) -> list[str]:
    """Return two plain sentences per data set, made from the numbers.

    Example:
        >>> from counterpoise.runs import Metric, RowId
        >>> def run(row, seed, accuracy):
        ...     return RunRecord(f"{row}{seed}", "digits", row, seed, "multiclass", ("a", "b"),
        ...                      metrics=[Metric("accuracy", accuracy)])
        >>> runs = [run(RowId("joint"), s, 0.80 + 0.01 * s) for s in range(3)]
        >>> runs += [run(RowId("unimodal", modality="a"), s, 0.85 + 0.011 * s) for s in range(3)]
        >>> for sentence in explain(runs): print(sentence)
        Joint training reaches 81.0 ± 0.6 % test accuracy (± s.e., 3 seeds) and loses 5.1 ± 0.1 points against a alone (p < 0.001).
        No other method was run, so whether the modalities could be used better is open.
    """
    comparisons = compare(records, reference=reference, focus=focus)
    sentences = []
    for comparison in comparisons:
        verdict = describe(comparison)
        prefix = f"{comparison.data}: " if len(comparisons) > 1 else ""
        sentences += [prefix + verdict.joint, prefix + verdict.methods]
    return sentences


def describe(comparison: Comparison) -> Verdict:
    """Put one data set into words."""
    said = (_joint(comparison), _methods(comparison), _contributions(comparison))
    return Verdict(*(_once(comparison, text) for text in said))


def _once(comparison: Comparison, text: str) -> str:
    """Say at the end, and once, that there is one seed, if that holds for every row."""
    lone = all(comparison.summary(label, comparison.score).n <= 1 for label in comparison.labels)
    if not lone or ONE_SEED not in text:
        return text
    return text.replace(f" ({ONE_SEED})", "").replace(f", {ONE_SEED})", ")").removesuffix(".") + f"; {ONE_SEED}."


def _name(comparison: Comparison, label: str) -> str:
    """Return how a row is called within a sentence."""
    row = comparison.rows[label]
    if row.modality is not None:
        return f"{row.modality} alone" + str(row).removeprefix(str(type(row)(row.method, modality=row.modality)))
    if label == comparison.reference:
        return f"{title(row.method)} training"
    return title(row.method) + label.removeprefix(row.method)


def _start(text: str) -> str:
    return text[:1].upper() + text[1:] if text.partition(" ")[0].islower() else text


def _score_text(comparison: Comparison, label: str) -> str:
    s = comparison.summary(label, comparison.score)
    text = plus_minus(s.mean, s.se, comparison.score)
    return f"{text} %" if comparison.score == "accuracy" else f"R² = {text}"


def _amount(diff: float, se: float, metric: str, *, sign: bool = False) -> str:
    what = unit(metric, difference=True) or ("in R²" if metric == "r2" else "")
    text = plus_minus(diff if sign else abs(diff), se, metric, sign=sign)
    return f"{text} {what}" if what else text


def _sure(d: Paired) -> bool:
    return math.isfinite(d.p_value) and d.p_value < ALPHA


def _relation(d: Paired, metric: str, name: str) -> str:
    """Return what follows the row's name: a gain or loss only where the test says so."""
    if _sure(d):
        verb, to = ("gains", "over") if d.diff > 0 else ("loses", "against")
        return f"{verb} {_amount(d.diff, d.se, metric)} {to} {name} ({p_text(d.p_value)})"
    if math.isfinite(d.p_value):
        return f"cannot be told from {name} by {d.n} seeds ({_amount(d.diff, d.se, metric, sign=True)}, {p_text(d.p_value)})"
    place = "above" if d.diff > 0 else "below"
    place = f"lies {_amount(d.diff, math.nan, metric)} {place}" if d.diff else "is exactly as good as"
    seeds = ONE_SEED if d.n == 1 else f"in each of {d.n} seeds, so there is no error estimate"
    return f"{place} {name} ({seeds})"


def _best_alone(comparison: Comparison) -> str | None:
    rows = [u for m in comparison.modalities if (u := comparison.unimodal(m)) and comparison.seeds(u, comparison.score)]
    return max(rows, key=lambda u: comparison.summary(u, comparison.score).mean, default=None)


def _joint(comparison: Comparison) -> str:
    score = comparison.score
    what = "test accuracy" if score == "accuracy" else "on the test set"
    reference = comparison.reference
    if reference is None or not comparison.seeds(reference, score):
        rows = [label for label in comparison.labels if comparison.seeds(label, score)]
        if not rows:
            return "No run reports a test score, so nothing can be said."
        best = max(rows, key=lambda label: comparison.summary(label, score).mean)
        return (
            f"There is no run of the reference to compare with; the highest score is that of {_name(comparison, best)}, "
            f"{_score_text(comparison, best)} {what}{_seeds_note(comparison, best)}."
        )
    text = f"{_start(_name(comparison, reference))} reaches {_score_text(comparison, reference)} {what}{_seeds_note(comparison, reference)}"
    alone = _best_alone(comparison)
    if alone is None:
        text += ", and no modality was trained alone to compare with"
    else:
        d, name = comparison.difference(reference, score, to=alone), _name(comparison, alone)
        text += f" and {_relation(d, score, name)}" if d.n else f", but has no seed in common with {name}"
    encoders = _encoders(comparison)
    return f"{text}; {encoders}." if encoders else f"{text}."


def _seeds_note(comparison: Comparison, label: str) -> str:
    n = comparison.summary(label, comparison.score).n
    return f" ({ONE_SEED})" if n == 1 else f" (± s.e., {n} seeds)"


def _encoders(comparison: Comparison) -> str:
    """Return which encoders are worse inside the joint model than alone, by their linear probes."""
    found: list[tuple[Paired, str, str]] = []
    reference = comparison.reference
    shown, percent = comparison.shown("probe"), " %" if comparison.score == "accuracy" else ""
    for m in comparison.modalities:
        alone = comparison.unimodal(m)
        d = comparison.difference(reference, "probe", m, to=alone) if alone and reference else None
        if alone and d and d.n:
            before = number(comparison.summary(alone, "probe", m).mean, shown)
            after = number(comparison.summary(reference, "probe", m).mean, shown)
            found.append((d, m, f"linear probe {after}{percent} against {before}{percent} alone"))
    if not found:
        return ""
    found.sort(key=lambda f: f[0].diff)
    worse = [f for f in found if f[0].diff <= -SMALL and _sure(f[0])]
    if worse:
        parts = [
            f"{m} ({span}, {_amount(d.diff, d.se, shown, sign=True)}, {p_text(d.p_value)})" for d, m, span in worse[:2]
        ]
        more = f" and {len(worse) - 2} more" if len(worse) > 2 else ""
        plural = len(worse) > 1
        joined = (", " if more else " and ").join(parts) + more
        return f"inside it the encoder{'s' * plural} of {joined} {'are' if plural else 'is'} under-trained"
    d, m, span = found[0]
    if d.diff >= 0:
        return f"no encoder's linear probe is lower inside it than alone (closest: {m}, {span})"
    if not math.isfinite(d.p_value):
        seeds = ONE_SEED if d.n == 1 else f"the same in each of {d.n} seeds, so there is no error estimate"
        return f"the encoder that changes most for the worse is that of {m} ({span}, {seeds})"
    change = f"{_amount(d.diff, d.se, shown, sign=True)}, {p_text(d.p_value)}"
    if d.diff > -SMALL:
        return f"no encoder's linear probe is lower by a point inside it (closest: {m}, {span}, {change})"
    return f"the encoder of {m} may be under-trained, but {d.n} seeds cannot tell it from noise ({span}, {change})"


def _methods(comparison: Comparison) -> str:
    score = comparison.score
    rows = [label for label in comparison.labels if comparison.seeds(label, score)]
    trained = [label for label in rows if not comparison.is_unimodal(label) and label != comparison.reference]
    if not trained:
        return "No other method was run, so whether the modalities could be used better is open."
    if comparison.reference not in rows:
        return "Without joint training no gain or loss of a method can be stated."

    def mean(label: str) -> float:
        return comparison.summary(label, score).mean

    shown = [comparison.focus if comparison.focus in trained else max(trained, key=mean)]
    text = _start("; ".join(_against_joint(comparison, label) for label in shown))
    rest = [label for label in rows if label != comparison.reference and label not in shown]
    if not rest:
        return f"{text}."
    best, rival = max(shown, key=mean), max(rest, key=mean)
    d, name = comparison.difference(best, score, to=rival), _name(comparison, rival)
    text += f"; the strongest other row is {name} ({_score_text(comparison, rival)})"
    if d.n:
        text += f", and {_name(comparison, best)} {_relation(d, score, 'it')}"
    return f"{text}."


def _against_joint(comparison: Comparison, label: str) -> str:
    d, name = comparison.difference(label, comparison.score, to=comparison.reference), _name(comparison, label)
    if d.n == 0:
        return f"{name} has no seed in common with joint training"
    text = f"{name} {_relation(d, comparison.score, 'joint training')}"
    ratio = comparison.summary(label, "step_time_ratio")
    return f"{text} at {number(ratio.mean, 'step_time_ratio')} × its time per step" if ratio.n else text


def _contributions(comparison: Comparison) -> str:
    label = comparison.reference if comparison.seeds(comparison.reference, "phi_mi") else None
    label = label or next((row for row in comparison.labels if comparison.seeds(row, "phi_mi")), None)
    if label is None:
        return ""
    total, entropy = comparison.summary(label, "phi_mi"), comparison.summary(label, "entropy")
    text = (
        f"Held out, the features of {_name(comparison, label)} carry {plus_minus(total.mean, total.se, 'phi_mi')} nats"
    )
    if entropy.n and entropy.mean > 0 and comparison.score == "accuracy":
        text += f" of the label's {number(entropy.mean, 'entropy')} ({100 * total.mean / entropy.mean:.0f} %)"
    else:
        text += " about the label"
    parts = []
    for m in comparison.modalities:
        mi, cmi = comparison.summary(label, "phi_mi", m), comparison.summary(label, "phi_cmi", m)
        if not cmi.n:
            continue
        clause = f"{m} adds {plus_minus(cmi.mean, cmi.se, 'phi_cmi', sign=cmi.mean < 0)} to the rest"
        aside = [f"alone it has {plus_minus(mi.mean, mi.se, 'phi_mi')}"] if mi.n else []
        clause += f" ({'; '.join(aside)})" if aside else ""
        parts.append(clause)
    if parts:
        text += ": " + ", ".join(parts)
    return f"{text} ({ONE_SEED})." if total.n == 1 else f"{text}."
