"""Conclusions from the numbers of a comparison, as sentences with numbers and their uncertainty.

A difference is called a gain or a loss only if a two-sided paired t-test over seeds gives p < 0.05; otherwise the
sentence says that it is not significant. One seed has no error estimate, and the sentence says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from scipy import special

from counterpoise.report._format import number, p_text, plus_minus, unit
from counterpoise.report.analysis.comparison import REFERENCE, Comparison, compare, title
from counterpoise.report.analysis.robustness import CorruptedScore, corrupted_scores
from counterpoise.report.analysis.statistics import Paired, Summary, summarise
from counterpoise.runs import MetricId, RowId, RunRecord

__all__ = ["ALPHA", "Conclusions", "conclusions", "describe", "explain", "is_significant", "name_of", "seeds_needed"]

ALPHA: Final = 0.05
"""Differences with a smaller p-value are called gains or losses."""

SMALL: Final = 0.01
"""A change of a probe below one point is not reported, even if it is significant."""

MOST_SEEDS: Final = 50
"""Largest number of seeds that is suggested as sufficient."""


@dataclass(frozen=True)
class Conclusions:
    """Conclusions from the runs of one data set.

    Attributes:
        finding: Result of joint training (the reference), in one sentence with its cost in points.
        action: Advice, in one sentence.
        evidence: Sentences with the differences in points behind the finding and the action, and on robustness.
        details: Sentences with p-values and contributions in nats.
    """

    finding: str
    action: str = ""
    evidence: tuple[str, ...] = ()
    details: tuple[str, ...] = field(default=())

    @property
    def lead(self) -> str:
        """Finding and action."""
        return f"{self.finding} {self.action}".strip()


def explain(
    records: Iterable[RunRecord], *, reference: str = REFERENCE, focus: str | None = None, details: bool = True
) -> list[str]:
    """Return the conclusions of every data set as plain sentences, the most important first.

    Args:
        records: The runs.
        reference: Row to which the others are compared; see `compare`.
        focus: Row of the conclusions; see `compare`.
        details: Whether to add the sentences with p-values and nats.

    Example:
        >>> from counterpoise.runs import Metric, RowId
        >>> def run(row, seed, accuracy):
        ...     return RunRecord(f"{row}{seed}", "digits", row, seed, "multiclass", ("a", "b"),
        ...                      metrics=[Metric("accuracy", accuracy)])
        >>> runs = [run(RowId("joint"), s, 0.80 + 0.01 * s) for s in range(3)]
        >>> runs += [run(RowId("unimodal", modality="a"), s, 0.85 + 0.011 * s) for s in range(3)]
        >>> for sentence in explain(runs, details=False): print(sentence)
        Joint training reaches 81.0 %, 5.1 points less than a alone (86.1 %).
        Use a alone, or compare methods that balance the modalities: no other method was run.
    """
    sentences = []
    by_data = conclusions(records, reference=reference, focus=focus)
    for data, one in by_data.items():
        prefix = f"{data}: " if len(by_data) > 1 else ""
        parts = (one.finding, one.action, *one.evidence, *(one.details if details else ()))
        sentences += [prefix + text for text in parts if text]
    return sentences


def conclusions(
    records: Iterable[RunRecord], *, reference: str = REFERENCE, focus: str | None = None
) -> dict[str, Conclusions]:
    """Return the conclusions by data set; see `explain`."""
    return {c.data: describe(c) for c in compare(records, reference=reference, focus=focus)}


def describe(comparison: Comparison) -> Conclusions:
    """Return the conclusions of one data set."""
    reference, score = comparison.reference, comparison.score
    if not any(comparison.seeds(label, score) for label in comparison.labels):
        return Conclusions("No run reports a test score.")
    if reference is None or not comparison.seeds(reference, score):
        return Conclusions(_without_reference(comparison), f"Run `{REFERENCE}` as well to see what a method changes.")
    encoders = _encoders(comparison, reference)
    alone = _best_alone(comparison)
    evidence = (
        _methods(comparison, reference),
        _encoder_sentence(encoders, comparison),
        *_robustness(comparison, reference),
        *_apparent_contradictions(comparison, reference, alone),
    )
    details = (*_tests(comparison, reference, alone, encoders), _contributions(comparison))
    return Conclusions(
        _finding(comparison, reference, alone, encoders),
        _action(comparison, reference, alone),
        tuple(text for text in evidence if text),
        tuple(text for text in details if text),
    )


# -- words ---------------------------------------------------------------------------------------------------------


def name_of(comparison: Comparison, label: str) -> str:
    """Return the name of a row within a sentence."""
    row = comparison.rows[label]
    if row.modality is not None:
        return f"{row.modality} alone" + label.removeprefix(str(RowId(row.method, modality=row.modality)))
    if label == comparison.reference:
        return f"{title(row.method)} training" + label.removeprefix(row.method)
    return title(row.method) + label.removeprefix(row.method)


def _start(text: str) -> str:
    """Return a sentence with a capital letter, unless it starts with a name that has a spelling of its own."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() and first.islower() else text


def is_significant(d: Paired) -> bool:
    """Return whether a paired difference is significant at `ALPHA`."""
    return math.isfinite(d.p_value) and d.p_value < ALPHA


def seeds_needed(d: Paired) -> int | None:
    """Return the number of seeds at which a difference of this size and spread would be significant.

    None if the spread is unknown, or if more than `MOST_SEEDS` would be needed.

    Example:
        >>> seeds_needed(Paired(0.01, 0.005, 0.2, 3))      # s = 0.0087: t = 3.06 > 2.57 with 6 seeds is enough
        6
    """
    if d.n < 2 or not d.se > 0 or not d.diff:
        return None
    spread = d.se * math.sqrt(d.n)
    for n in range(d.n + 1, MOST_SEEDS + 1):
        if abs(d.diff) > float(special.stdtrit(n - 1, 1 - ALPHA / 2)) * spread / math.sqrt(n):
            return n
    return None


def _score(comparison: Comparison, s: Summary) -> str:
    return (
        f"{number(s.mean, comparison.score)} %" if comparison.in_percent else f"R² = {number(s.mean, comparison.score)}"
    )


def _score_error(comparison: Comparison, s: Summary) -> str:
    text = plus_minus(s.mean, s.se, comparison.score)
    return f"{text} %" if comparison.in_percent else text


def _amount(comparison: Comparison, value: float) -> str:
    """Return the size of a difference with its unit."""
    what = unit(comparison.score, difference=True) or "in R²" * (comparison.score == "r2")
    return f"{number(abs(value), comparison.score)} {what}".strip()


def _amount_error(comparison: Comparison, d: Paired, *, sign: bool = True) -> str:
    what = unit(comparison.score, difference=True) or "in R²" * (comparison.score == "r2")
    return f"{plus_minus(d.diff if sign else abs(d.diff), d.se, comparison.score, sign=sign)} {what}".strip()


def _relation(comparison: Comparison, d: Paired, other: str) -> str:
    """Return the predicate of a sentence about a row: a gain or a loss only if the test supports it."""
    if d.n == 0:
        return f"has no seed in common with {other}"
    if is_significant(d):
        verb, to = ("gains", "over") if d.diff > 0 else ("loses", "against")
        return f"{verb} {_amount_error(comparison, d, sign=False)} {to} {other}"
    if math.isfinite(d.p_value):
        needed = seeds_needed(d)
        more = f"; about {needed} seeds would decide" if needed else ""
        return f"does not differ significantly from {other} ({_amount_error(comparison, d)}, {d.n} seeds{more})"
    seeds = "one seed" if d.n == 1 else f"the same in {d.n} seeds"
    if not round(d.diff, 6):
        return f"scores the same as {other} ({seeds}, no error estimate)"
    place = "above" if d.diff > 0 else "below"
    return f"is {_amount(comparison, d.diff)} {place} {other} ({seeds}, no error estimate)"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


# -- the finding and what to do ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Encoder:
    """Comparison of the linear probe of an encoder inside the reference with that of the encoder trained alone."""

    modality: str
    alone: Summary
    inside: Summary
    difference: Paired

    @property
    def is_under_trained(self) -> bool:
        """Whether it loses a point or more, significantly."""
        return self.difference.diff <= -SMALL and is_significant(self.difference)


def _encoders(comparison: Comparison, reference: str) -> list[_Encoder]:
    """Return the encoders that were also trained alone, the one that loses most first."""
    encoders = []
    for m in comparison.modalities:
        alone = comparison.unimodal(m)
        if alone is None:
            continue
        d = comparison.difference(reference, "probe", m, to=alone)
        if d.n:
            summaries = (comparison.summary(alone, "probe", m), comparison.summary(reference, "probe", m))
            encoders.append(_Encoder(m, *summaries, d))
    return sorted(encoders, key=lambda e: e.difference.diff)


def _best_alone(comparison: Comparison) -> str | None:
    rows = [u for m in comparison.modalities if (u := comparison.unimodal(m)) and comparison.seeds(u, comparison.score)]
    return max(rows, key=lambda u: comparison.summary(u, comparison.score).mean, default=None)


def _without_reference(comparison: Comparison) -> str:
    rows = [label for label in comparison.labels if comparison.seeds(label, comparison.score)]
    best = max(rows, key=lambda label: comparison.summary(label, comparison.score).mean)
    s = comparison.summary(best, comparison.score)
    return (
        "There is no run of the reference to compare with; the highest score is that of "
        f"{name_of(comparison, best)} ({_score_error(comparison, s)})."
    )


def _finding(comparison: Comparison, reference: str, alone: str | None, encoders: Sequence[_Encoder]) -> str:
    s = comparison.summary(reference, comparison.score)
    text = f"{_start(name_of(comparison, reference))} reaches {_score(comparison, s)}{' with one seed' * (s.n == 1)}"
    d = _against(comparison, reference, alone)
    weak = [e for e in encoders if e.is_under_trained]
    if alone is not None and d is not None and d.diff < 0 and not _is_noise(d):
        other = comparison.summary(alone, comparison.score)
        less = f"{_amount(comparison, d.diff)} less than {name_of(comparison, alone)} ({_score(comparison, other)})"
        return f"{text}, {less}{_and_weak(weak)}."
    if weak:
        worst = weak[0]
        cost = _amount(comparison, worst.difference.diff)
        return f"{text} and leaves {worst.modality} under-trained: its encoder loses {cost} against training it alone."
    if alone is None or d is None:
        return f"{text}; no modality was trained alone to compare with."
    if is_significant(d):
        none = "; no modality is under-trained" * (bool(encoders) and encoders[0].difference.diff > -SMALL)
        return f"{text}, {_amount(comparison, d.diff)} more than {name_of(comparison, alone)}{none}."
    return f"{text}; {name_of(comparison, alone)} is {_close(comparison, d)}."


def _against(comparison: Comparison, label: str, other: str | None) -> Paired | None:
    """Return the difference of two rows, or None without seeds in common."""
    d = comparison.difference(label, comparison.score, to=other) if other is not None else None
    return d if d is not None and d.n else None


def _is_noise(d: Paired) -> bool:
    """Return whether a test finds no significant difference; without a test (one seed) the difference is reported."""
    return math.isfinite(d.p_value) and d.p_value >= ALPHA


def _and_weak(weak: Sequence[_Encoder]) -> str:
    if not weak:
        return ""
    names = [e.modality for e in weak]
    return f"; it leaves {_joined(names[:2] if len(names) < 3 else [*names[:2], 'others'])} under-trained"


def _close(comparison: Comparison, d: Paired) -> str:
    if math.isfinite(d.p_value):
        return "not significantly different"
    if not round(d.diff, 6):
        return "as good"
    return f"{_amount(comparison, d.diff)} {'lower' if d.diff > 0 else 'higher'}"


def _action(comparison: Comparison, reference: str, alone: str | None) -> str:
    """Return the advice: use the focus if it gains, else the best row that gains, else a number of seeds that would
    decide.
    """
    focus = comparison.focus
    better = alone if alone is not None and _is_better(comparison, alone, reference) else None
    if focus is None or not comparison.seeds(focus, comparison.score):
        return _compare_methods(comparison, better)
    if _is_better(comparison, focus, reference):
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
    name, reached = name_of(comparison, focus), _score(comparison, comparison.summary(focus, comparison.score))
    if single is not None and _is_better(comparison, single, focus):
        verb = _verb(comparison, single, focus)
        return f"{verb} {name_of(comparison, single)}: {name} reaches {reached}, less than that."
    d = comparison.difference(focus, comparison.score, to=reference)
    more = f"{_amount(comparison, d.diff)} more than {name_of(comparison, reference)}"
    return f"{_verb(comparison, focus, reference)} {name}: it reaches {reached}, {more}."


def _more_robust(comparison: Comparison, focus: str, reference: str) -> str:
    """Return the advice if the focus gains significantly, but only when a modality is corrupted."""
    mean = f"{comparison.score}_corrupted"
    d = comparison.difference(focus, mean, to=reference)
    if not (d.n and d.diff > 0 and is_significant(d)):
        return ""
    keeps, has = (_score(comparison, comparison.summary(label, mean)) for label in (focus, reference))
    name, other = name_of(comparison, focus), name_of(comparison, reference)
    return f"Use {name} if an input can fail: with one modality corrupted it keeps {keeps}, {other} {has}."


def _verb(comparison: Comparison, label: str, other: str) -> str:
    """Return ``Use`` if a significant difference supports the advice, else ``Try``."""
    return "Use" if is_significant(comparison.difference(label, comparison.score, to=other)) else "Try"


def _is_better(comparison: Comparison, label: str, other: str) -> bool:
    """Return whether a row is significantly above another one, or with a single seed, whether its score is higher."""
    d = comparison.difference(label, comparison.score, to=other)
    return d.n > 0 and d.diff > 0 and not _is_noise(d)


# -- evidence ------------------------------------------------------------------------------------------------------


def _methods(comparison: Comparison, reference: str) -> str:
    """Return the focus against the reference and against its strongest rival."""
    focus, score = comparison.focus, comparison.score
    if focus is None or not comparison.seeds(focus, score):
        return ""
    name = name_of(comparison, focus)
    d = comparison.difference(focus, score, to=reference)
    text = f"{_start(name)} {_relation(comparison, d, name_of(comparison, reference))}"
    ratio = comparison.summary(focus, "step_time_ratio")
    if ratio.n:
        text += f", at {number(ratio.mean, 'step_time_ratio')} × its time per step"
    rivals = [x for x in comparison.labels if x not in (focus, reference) and comparison.seeds(x, score)]
    if not rivals:
        return f"{text}."
    rival = max(rivals, key=lambda label: comparison.summary(label, score).mean)
    s, against = comparison.summary(rival, score), comparison.difference(focus, score, to=rival)
    text += f"; the strongest other row is {name_of(comparison, rival)} ({_score_error(comparison, s)})"
    return f"{text}, and {name} {_relation(comparison, against, 'it')}."


def _encoder_sentence(encoders: Sequence[_Encoder], comparison: Comparison) -> str:
    """Return which encoders are under-trained inside the reference, by their linear probes."""
    if not encoders:
        return ""
    weak = [e for e in encoders if e.is_under_trained]
    if weak:
        return _weak_encoders(weak, comparison)
    worst = encoders[0]
    span = _probe_span(worst, comparison)
    if worst.difference.diff > -SMALL:
        return f"By a linear probe no encoder is under-trained (closest: {worst.modality}, {span})."
    if math.isfinite(worst.difference.p_value):
        return f"No encoder is significantly under-trained (closest: {worst.modality}, {span})."
    return f"The encoder that loses most is that of {worst.modality} ({span}, no error estimate)."


def _weak_encoders(weak: Sequence[_Encoder], comparison: Comparison) -> str:
    parts = [
        f"{e.modality} ({_probe_span(e, comparison)}, {_amount_error(comparison, e.difference)})" for e in weak[:3]
    ]
    plural = len(weak) > 1
    more = f" and {len(weak) - 3} more" if len(weak) > 3 else ""
    return (
        f"A linear probe shows that the encoder{'s' * plural} of {_joined(parts)}{more} "
        f"{'are' if plural else 'is'} under-trained{_in_focus(comparison, weak[:3])}."
    )


def _probe_span(e: _Encoder, comparison: Comparison) -> str:
    shown, percent = comparison.shown("probe"), " %" if comparison.in_percent else ""
    return f"{number(e.inside.mean, shown)}{percent} against {number(e.alone.mean, shown)}{percent} alone"


def _in_focus(comparison: Comparison, weak: Sequence[_Encoder]) -> str:
    """Return the probes of the same encoders inside the row in focus."""
    focus = comparison.focus
    if focus is None:
        return ""
    summaries = [comparison.summary(focus, "probe", e.modality) for e in weak]
    if not all(s.n for s in summaries):
        return ""
    shown, percent = comparison.shown("probe"), " %" if comparison.in_percent else ""
    reached = [f"{number(s.mean, shown)}{percent}" for s in summaries]
    return f"; in {name_of(comparison, focus)} {'they reach' if len(weak) > 1 else 'it reaches'} {_joined(reached)}"


def _robustness(comparison: Comparison, reference: str) -> list[str]:
    """Return the mean score with one modality corrupted, and where the reference loses most."""
    mean = f"{comparison.score}_corrupted"
    if not comparison.seeds(reference, mean):
        return []
    focus = comparison.focus if comparison.focus and comparison.seeds(comparison.focus, mean) else None
    rows = [x for x in (focus, reference, _same_rule(comparison, reference, focus)) if x is not None]
    parts = [
        f"{name_of(comparison, x)} {'keeps ' if i == 0 else ''}{_score_error(comparison, comparison.summary(x, mean))}"
        for i, x in enumerate(dict.fromkeys(rows))
    ]
    text = f"With one modality corrupted, {', '.join(parts)}"
    if focus is not None:
        d = comparison.difference(focus, mean, to=reference)
        text += f"; {name_of(comparison, focus)} {_relation(comparison, d, name_of(comparison, reference))}"
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
    at = _score(comparison, Summary(worst.point.mean, math.nan, worst.point.n))
    if worst.point.mean >= clean.mean or at == _score(comparison, clean):
        return f"No corruption of one modality lowers the score of {name_of(comparison, reference)}."
    text = (
        f"{_start(name_of(comparison, reference))} depends most on {m}: with its input {_words(worst)} "
        f"the score falls from {_score(comparison, clean)} to {at}"
    )
    if focus is not None:
        own = comparison.summary(focus, comparison.score, m, worst.corruption)
        if own.n:
            text += f"; {name_of(comparison, focus)} reaches {_score(comparison, own)}"
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


def _apparent_contradictions(comparison: Comparison, reference: str, alone: str | None) -> list[str]:
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
        f"On the validation set {name_of(comparison, alone)} is {_amount(comparison, gap)} {place} "
        f"{name_of(comparison, reference)}, on the test set {_amount(comparison, test.diff)} {other}: "
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
                f"{_start(name_of(comparison, comparison.focus))} scores higher with more noise on {m} "
                f"({rises[0].words}): strong noise is easier for a decision rule to recognise and to ignore "
                "than weak noise."
            ]
    return []


# -- details -------------------------------------------------------------------------------------------------------


def _tests(comparison: Comparison, reference: str, alone: str | None, encoders: Sequence[_Encoder]) -> list[str]:
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
        f"{what}: {_amount_error(comparison, d)}, {p_text(d.p_value)}" for what, d in pairs if math.isfinite(d.p_value)
    ]
    if not tested:
        return ["No difference could be tested, because that takes two seeds that differ."] if pairs else []
    return [f"Paired t-tests over seeds: {'; '.join(tested)}."]


def _contributions(comparison: Comparison) -> str:
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
