"""From numbers to verdicts: balanced, under-trained, uninformative, overfitting, or too few samples to say.

Pure functions of estimates. The rules, in the order in which they are tried, with H for H(Y):

1. *overfitting*: what the training samples show of a modality does not carry over to others. The gap between the two
   is significant, at least `Thresholds.overfit` of what training shows, and at least `Thresholds.memorised` of H.
2. *uninformative*: neither what the modality says alone nor what it adds to the others is significant and at least
   `Thresholds.negligible` of H. *Undecided* where one of them is as large but not significant, or where an interval
   reaches beyond `Thresholds.room` of H.
3. *under-trained*: the information is there and unused. What is lost on the way to the predictions, of I(X_m; Y) or of
   I(X_m; Y | X_-m), is significant, at least `Thresholds.unused` of it, and at least `Thresholds.negligible` of H. But
   where the training samples do show it, it was learnt and does not carry over: *overfitting* again.
4. *balanced* otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal, TypeAlias

from counterpoise import coalitions
from counterpoise._validation import Interval
from counterpoise.valuation import Estimate

__all__ = ["BALANCED", "ORDER", "Evidence", "Finding", "Thresholds", "Verdict", "decide", "overall"]

Verdict: TypeAlias = Literal["balanced", "under-trained", "uninformative", "overfitting", "undecided"]
BALANCED: Final[Verdict] = "balanced"
ORDER: Final[tuple[Verdict, ...]] = ("overfitting", "under-trained", "uninformative", "undecided", "balanced")
"""The verdict on the whole is the first of these that a modality has."""


@dataclass(frozen=True)
class Thresholds:
    """Where the verdicts part. All are fractions; see the rules at the top of this module.

    Attributes:
        negligible: information below this fraction of H(Y) is not worth a verdict.
        room: an interval that reaches beyond this fraction of H(Y) leaves it open whether there is information.
        unused: the share of a modality's information that predictions may leave unused.
        overfit: the share of what training samples show that may be missing on others.
        memorised: a gap between training and other samples below this fraction of H(Y) is no overfitting.
        dominance: a modality dominates if it says so many times as much as the next one.

    Example:
        >>> Thresholds(unused=1.5)
        Traceback (most recent call last):
        ...
        counterpoise.errors.ConfigError: Parameter `unused` of `Thresholds` should be in (0, 1]. Found `unused = 1.5`.
    """

    negligible: float = 0.05
    room: float = 0.25
    unused: float = 0.3
    overfit: float = 0.5
    memorised: float = 0.25
    dominance: float = 2.0

    def __post_init__(self) -> None:
        for name in ("negligible", "room", "unused", "overfit", "memorised"):
            Interval(0, 1, "(]").check("Thresholds", name, getattr(self, name))
        Interval(1).check("Thresholds", "dominance", self.dominance)


@dataclass(frozen=True)
class Evidence:
    """What is known about one modality, in nats.

    Attributes:
        mi: I(X_m; Y), the most that was found in its inputs or in its features.
        cmi: I(X_m; Y | X_-m), the same beside the others.
        realised: what predictions take from it alone, or None without a model.
        lost: ``mi - realised``, paired over the samples.
        lost_cmi: ``cmi`` less what predictions take from it beside the others.
        encoder: I(Z_m; Y) of its features, or None without features.
        shown: what the training samples show, or None where they were not given.
        gap: ``shown`` less the same on other samples.
    """

    mi: Estimate
    cmi: Estimate
    realised: Estimate | None = None
    lost: Estimate | None = None
    lost_cmi: Estimate | None = None
    encoder: Estimate | None = None
    shown: Estimate | None = None
    gap: Estimate | None = None


@dataclass(frozen=True)
class Finding:
    """The verdict on one modality.

    Attributes:
        verdict: balanced, under-trained, uninformative, overfitting or undecided.
        number: the number that decided, in nats: unused, overfitted or present information.
        sentence: the verdict in plain words with its numbers.
        role: ``dominant``, ``redundant`` (what it says the others say too), ``complementary`` or ``silent``.
    """

    verdict: Verdict
    number: float
    sentence: str
    role: str = ""


def decide(m: str, evidence: Evidence, scale: float, thresholds: Thresholds | None = None) -> Finding:
    """Return the verdict on modality ``m``.

    Args:
        m: its name.
        evidence: what is known about it.
        scale: H(Y) in nats (one nat per output for regression).
        thresholds: where the verdicts part.

    Example:
        >>> def e(value): return Estimate(value, 0.01, value - 0.02, value + 0.02)
        >>> decide("b", Evidence(e(0.5), e(0.3), e(0.1), e(0.4), e(0.2)), scale=0.69).verdict
        'under-trained'
        >>> print(decide("b", Evidence(e(0.0), e(0.01)), scale=0.69).sentence)
        b is uninformative: no head found more than 0.000 [-0.020, 0.020] nats in it alone and 0.010 [-0.010, 0.030] beside the others, of H(Y) = 0.690.
    """
    t = thresholds or Thresholds()
    small = t.negligible * scale
    if (finding := _overfitting(m, evidence, scale, t)) is not None:
        return finding
    present = [e for e in (evidence.mi, evidence.cmi) if e.value >= small and e.low > 0]
    if not present:
        return _nothing(m, evidence, scale, t)
    if (finding := _wasted(m, evidence, small, t)) is not None:
        return finding
    best = max(evidence.mi.value, evidence.cmi.value)
    if evidence.realised is None:
        text = f"{m} is balanced: it says {_show(evidence.mi)} nats alone and adds {_show(evidence.cmi)} to the others."
        return Finding(BALANCED, best, text)
    share = f" ({evidence.realised.value / evidence.mi.value:.0%})" if evidence.mi.value >= small else ""
    text = (
        f"{m} is balanced: of {_show(evidence.mi)} nats found in it, predictions use {_show(evidence.realised)}{share}."
    )
    return Finding(BALANCED, evidence.realised.value, text)


def _overfitting(m: str, evidence: Evidence, scale: float, t: Thresholds) -> Finding | None:
    shown, gap = evidence.shown, evidence.gap
    if shown is None or gap is None or not gap.low > 0:
        return None
    if gap.value < t.overfit * shown.value or gap.value < t.memorised * scale:
        return None
    return _memorised(m, shown, gap)


def _memorised(m: str, shown: Estimate, gap: Estimate, there: Estimate | None = None) -> Finding:
    text = (
        f"{m} is overfitting: training samples show {_show(shown)} nats of it, others {shown.value - gap.value:.3f}; "
        f"{_show(gap)} nats do not carry over"
    )
    text += "." if there is None else f", though heads find {_show(there)} in it."
    return Finding("overfitting", gap.value, text)


def _learnt(shown: Estimate, gap: Estimate, there: Estimate, t: Thresholds) -> bool:
    """Tell whether training samples show what is there, and others do not."""
    enough = shown.value >= (1 - t.unused) * there.value
    return enough and gap.low > 0 and gap.value >= t.unused * shown.value


def _nothing(m: str, evidence: Evidence, scale: float, t: Thresholds) -> Finding:
    number = max(evidence.mi.value, evidence.cmi.value)
    reach = max(evidence.mi.high, evidence.cmi.high)
    open_ = any(e.value >= t.negligible * scale and e.low <= 0 for e in (evidence.mi, evidence.cmi))
    if open_ or reach > t.room * scale:
        text = (
            f"{m} is undecided: there are too few samples to tell nothing from {reach:.3f} nats (alone "
            f"{_show(evidence.mi)}, beside the others {_show(evidence.cmi)}, of H(Y) = {scale:.3f})."
        )
        return Finding("undecided", number, text)
    text = (
        f"{m} is uninformative: no head found more than {_show(evidence.mi)} nats in it alone and "
        f"{_show(evidence.cmi)} beside the others, of H(Y) = {scale:.3f}."
    )
    return Finding("uninformative", number, text)


def _wasted(m: str, evidence: Evidence, small: float, t: Thresholds) -> Finding | None:
    def wasted(lost: Estimate | None, there: Estimate) -> bool:
        return lost is not None and lost.low > 0 and lost.value >= max(t.unused * there.value, small)

    alone, beside = wasted(evidence.lost, evidence.mi), wasted(evidence.lost_cmi, evidence.cmi)
    if not (alone or beside):
        return None
    shown, gap = evidence.shown, evidence.gap
    if alone and shown is not None and gap is not None and _learnt(shown, gap, evidence.mi, t):
        return _memorised(m, shown, gap, evidence.mi)
    lost, there = (evidence.lost, evidence.mi) if alone else (evidence.lost_cmi, evidence.cmi)
    assert lost is not None  # for the type checker
    what = "in it" if alone else "in it beside the others"
    text = (
        f"{m} is under-trained: of {_show(there)} nats found {what}, predictions leave {_show(lost)} unused "
        f"({min(lost.value / there.value, 1):.0%})"
    )
    if alone and evidence.encoder is not None:
        kept = evidence.encoder.value
        lost_before = there.value - kept > 0.5 * lost.value
        text += f"; its encoder {'holds only' if lost_before else 'holds'} {kept:.3f}"
        text += "" if lost_before else ", so the fusion does not read it"
    if alone and evidence.cmi.value < small:
        text += "; the others say the same, so it is robustness rather than accuracy that would gain"
    return Finding("under-trained", lost.value, text + ".")


def _show(e: Estimate) -> str:
    return f"{e:.3f}"


def overall(findings: Mapping[str, Finding]) -> tuple[Verdict, str]:
    """Return the verdict on the whole and what it says in words.

    Example:
        >>> overall({"a": Finding("balanced", 0.5, "a is balanced.", "dominant"), "b": Finding("uninformative", 0.0, "b is uninformative.")})
        ('uninformative', 'b is uninformative. a dominates.')
    """
    verdict = next(v for v in ORDER if any(f.verdict == v for f in findings.values()))
    if verdict == BALANCED:
        text = "Balanced: no modality is wasted, none is empty, none is memorised."
    else:
        text = " ".join(f.sentence for v in ORDER[:-1] for f in findings.values() if f.verdict == v)
    leader = [m for m, f in findings.items() if f.role == "dominant"]
    return verdict, text + (f" {leader[0]} dominates." if leader else "")


def roles(
    share: Mapping[str, float],
    lead: Mapping[str, Estimate],
    evidence: Mapping[str, tuple[Estimate, Estimate]],
    scale: float,
    t: Thresholds,
) -> dict[str, str]:
    """Return what part each modality plays: dominant, redundant, complementary or silent.

    Args:
        share: Shapley values of the information, in nats.
        lead: by how much each modality says more alone than the next (paired).
        evidence: mi and cmi by modality.
        scale: H(Y).
        t: where the lines are.
    """
    small, found = t.negligible * scale, {}
    for m, (mi, cmi) in evidence.items():
        rest = max(value for k, value in share.items() if k != m)
        if share[m] >= t.dominance * max(rest, 0.0) and share[m] >= small and lead[m].low > 0:
            found[m] = "dominant"
        elif cmi.value >= small and cmi.low > 0:
            found[m] = "complementary"
        else:
            found[m] = "redundant" if mi.value >= small and mi.low > 0 else "silent"
    return found


def shapley(
    subsets: Mapping[str, Estimate], mi: Mapping[str, Estimate], cmi: Mapping[str, Estimate]
) -> dict[str, float]:
    """Return Shapley values of I(X_S; Y), or the mean of mi and cmi where not all subsets were valued.

    Args:
        subsets: I(X_S; Y) by names joined with ``+``.
        mi: I(X_m; Y).
        cmi: I(X_m; Y | X_-m).

    Example:
        >>> def e(value): return Estimate(value, 0, value, value)
        >>> shapley({"a+b": e(1.0), "a": e(0.75), "b": e(0.5)}, {"a": e(0.75), "b": e(0.5)}, {"a": e(0.5), "b": e(0.25)})
        {'a': 0.625, 'b': 0.375}
    """
    modalities = tuple(mi)
    every = [s for k in range(1, len(modalities) + 1) for s in combinations(modalities, k)]
    if any("+".join(s) not in subsets for s in every):
        return {m: 0.5 * (mi[m].value + cmi[m].value) for m in modalities}
    value = {frozenset(s): subsets["+".join(s)].value for s in every} | {frozenset(): 0.0}
    return {m: float(share) for m, share in coalitions.shapley(value, modalities).items()}
