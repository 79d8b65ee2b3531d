"""From numbers to verdicts: balanced, under-trained, uninformative, overfitting, or undecided.

Pure functions of estimates. The rules, in the order in which they are tried, with H for H(Y):

1. *overfitting*: the training information of a modality in the predictions of a model does not generalise. The gap
   between training and held-out information is significant, at least `Thresholds.overfit` of the training information,
   and at least `Thresholds.memorised` of H.
2. *uninformative*: neither the unimodal nor the conditional information of the modality is both significant and at
   least `Thresholds.negligible` of H. *Undecided* if one of them is that large but not significant, or if an interval
   reaches beyond `Thresholds.room` of H; also if the use of the modality by a model could not be measured.
3. *under-trained*: information is available and unused. Either what the modality adds to the others is missing in the
   predictions, or what it carries alone and its fair share (Shapley value) both are. "Missing" means significant, at
   least `Thresholds.unused` of the available information, and at least `Thresholds.negligible` of H. Where the training
   samples do show it, it was learnt and does not carry over: *overfitting* again. If the predictions with all
   modalities miss nothing, a modality is only under-trained if less than `Thresholds.unused` of what it carries alone
   is used: the others carry the same, and the model ignores it.
4. *balanced* otherwise.

The exact posterior of its inputs misses nothing of what a modality adds to the others, and its predictions with all
modalities miss nothing. So it is never under-trained, unless it ignores a modality whose information the others carry
as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from counterpoise.diagnosis._evidence import BALANCED, ORDER, Evidence, Finding, Thresholds, Verdict, is_present
from counterpoise.valuation import Estimate

__all__ = ["decide", "in_nats", "overall", "unmeasured"]


def decide(
    m: str, evidence: Evidence, scale: float, thresholds: Thresholds | None = None, *, nats_only: bool = False
) -> Finding:
    """Return the verdict on modality ``m``.

    Args:
        m: Name of the modality.
        evidence: Estimates for the modality.
        scale: H(Y) in nats (one nat per output for regression).
        thresholds: Cut-offs.
        nats_only: Whether sentences give nats only, because H(Y) is not a scale (regression).

    Example:
        >>> def e(value): return Estimate(value, 0.01, value - 0.02, value + 0.02)
        >>> decide("b", Evidence(e(0.5), e(0.3), e(0.1), e(0.4), e(0.2)), scale=0.69).verdict
        'under-trained'
        >>> print(decide("b", Evidence(e(0.0), e(0.01)), scale=0.69).sentence)
        b is uninformative: it carries less than 5 % of what can be known about the label, alone (0.000 nats ...
    """
    t = thresholds or Thresholds()
    words = Words(scale, nats_only, t.negligible)
    small = t.negligible * scale
    if evidence.realised is not None and (finding := _overfitting(m, evidence, scale, t, words)) is not None:
        return finding
    if not (is_present(evidence.mi, small) or is_present(evidence.cmi, small)):
        return _nothing(m, evidence, scale, t, words)
    if (finding := _wasted(m, evidence, small, t, words)) is not None:
        return finding
    return _balanced(m, evidence, small, words)


def in_nats(e: Estimate) -> str:
    """Return an estimate with its unit and its interval.

    Example:
        >>> in_nats(Estimate(0.325, 0.02, 0.28, 0.37))
        '0.325 nats [0.280, 0.370]'
    """
    value, interval = e.shown().split(" ", 1)
    return f"{value} nats {interval}"


@dataclass(frozen=True)
class Words:
    """Numbers in words: per cent of what can be known first, nats second.

    Attributes:
        scale: H(Y) in nats.
        nats_only: Whether per cent of H(Y) are undefined (regression).
        negligible: Share of H(Y) below which information is negligible.
    """

    scale: float
    nats_only: bool = False
    negligible: float = 0.05

    def amount(self, e: Estimate) -> str:
        """Return "47 % of what can be known (0.325 nats [0.28, 0.37])"."""
        nats = in_nats(e)
        if self.nats_only:
            return nats
        return f"{self.share(e.value)} of what can be known ({nats})"

    def share(self, value: float) -> str:
        """Return per cent of H(Y), never above 100."""
        return f"{min(max(value / self.scale, 0.0), 1.0):.0%}".replace("%", " %")

    @property
    def small(self) -> str:
        """The threshold of negligible information, in words."""
        per_cent = f"{self.negligible:.0%}".replace("%", " %")
        return (
            f"less than {self.negligible * self.scale:.2g} nats"
            if self.nats_only
            else (f"less than {per_cent} of what can be known about the label")
        )


def _per_cent(part: float, whole: float) -> str:
    return f"{min(max(part / whole, 0.0), 1.0):.0%}".replace("%", " %") if whole > 0 else "0 %"


def _balanced(m: str, evidence: Evidence, small: float, words: Words) -> Finding:
    best = max(evidence.mi.value, evidence.cmi.value)
    used = evidence.realised
    if used is None:
        text = f"alone it carries {words.amount(evidence.mi)}, and it adds {in_nats(evidence.cmi)} to the other"
        if evidence.joint_lost is not None:  # there is a model
            return Finding("undecided", best, f"{m} is undecided: {text} modalities, but its use was not measured.")
        return Finding(BALANCED, best, f"{m} is informative: {text} modalities.")
    if is_present(evidence.mi, small):
        text = f"{m} is balanced: it carries {words.amount(evidence.mi)}, and the predictions use "
        text += f"{_per_cent(used.value, evidence.mi.value)} of that ({used.value:.3f} nats)."
    else:
        missed = evidence.joint_lost is not None and evidence.joint_lost.value >= 0.5 * evidence.cmi.value
        outcome = "the predictions miss it with the modality that they ignore" if missed else "the predictions use it"
        text = f"{m} is balanced: it adds {words.amount(evidence.cmi)} to the other modalities, and {outcome}."
    return Finding(BALANCED, used.value, text)


def _overfitting(m: str, evidence: Evidence, scale: float, t: Thresholds, words: Words) -> Finding | None:
    shown, gap = evidence.shown, evidence.gap
    if shown is None or gap is None or not gap.low > 0:
        return None
    if gap.value < t.overfit * shown.value or gap.value < t.memorised * scale:
        return None
    return _memorised(m, shown, gap, words)


def _memorised(m: str, shown: Estimate, gap: Estimate, words: Words, available: Estimate | None = None) -> Finding:
    held_out = shown.value - gap.value
    text = (
        f"{m} is overfitting: on training samples it is worth {words.amount(shown)}, on other samples "
        f"{max(held_out, 0.0):.3f} nats"
    )
    text += "." if available is None else f", although {available.value:.3f} nats are available."
    return Finding("overfitting", gap.value, text)


def _learnt(shown: Estimate, gap: Estimate, available: Estimate, t: Thresholds) -> bool:
    """Return whether training samples show the available information, and held-out samples do not."""
    enough = shown.value >= (1 - t.unused) * available.value
    return enough and gap.low > 0 and gap.value >= t.unused * shown.value


def _nothing(m: str, evidence: Evidence, scale: float, t: Thresholds, words: Words) -> Finding:
    number = max(evidence.mi.value, evidence.cmi.value)
    reach = max(evidence.mi.high, evidence.cmi.high)
    unclear = any(e.value >= t.negligible * scale and e.low <= 0 for e in (evidence.mi, evidence.cmi))
    if unclear or reach > t.room * scale:
        text = f"{m} is undecided: there are too few samples. It may carry nothing, or up to "
        text += (
            f"{reach:.3f} nats" if words.nats_only else f"{words.share(reach)} of what can be known ({reach:.3f} nats)"
        )
        return Finding("undecided", number, text + ".")
    text = (
        f"{m} is uninformative: it carries {words.small}, alone ({in_nats(evidence.mi)}) and given the other "
        f"modalities ({in_nats(evidence.cmi)})."
    )
    return Finding("uninformative", number, text)


def unmeasured(m: str, *, grouped: bool) -> Finding:
    """Return the finding on a modality for which there are too few samples.

    Args:
        m: Name of the modality.
        grouped: Whether groups, rather than samples, are too few.
    """
    what = "groups" if grouped else "samples"
    return Finding("undecided", float("nan"), f"{m} is undecided: there are too few {what} to measure it.")


def _missing(lost: Estimate | None, available: Estimate, small: float, t: Thresholds) -> bool:
    return is_present(lost, max(t.unused * available.value, small))


def _wasted(m: str, evidence: Evidence, small: float, t: Thresholds, words: Words) -> Finding | None:
    alone = _missing(evidence.lost, evidence.mi, small, t) and _short(evidence, small, t)
    given = _missing(evidence.lost_cmi, evidence.cmi, small, t)
    if not (alone or given):
        return None
    shown, gap = evidence.shown, evidence.gap
    if alone and shown is not None and gap is not None and _learnt(shown, gap, evidence.mi, t):
        return _memorised(m, shown, gap, words, evidence.mi)
    return _under_trained(m, evidence, small, words, alone=alone)


def _under_trained(m: str, evidence: Evidence, small: float, words: Words, *, alone: bool) -> Finding:
    """Return the finding: how much information is available (alone or given the others), how much is used, and where it
    is lost.
    """
    lost, available = (evidence.lost, evidence.mi) if alone else (evidence.lost_cmi, evidence.cmi)
    assert lost is not None  # one of them is missing
    used = max(available.value - lost.value, 0.0)
    verb = "carries" if alone else "adds"
    text = f"{m} is under-trained: it {verb} {words.amount(available)}"
    text += ", " if alone else " to the other modalities, "
    text += f"and the predictions use {_per_cent(used, available.value)} of that ({used:.3f} nats)"
    text += _where(evidence, lost, available, small, alone=alone)
    return Finding("under-trained", lost.value, text + ".")


def _short(evidence: Evidence, small: float, t: Thresholds) -> bool:
    """Return whether the predictions use less of the modality than its share of the available information."""
    short, joint, lost = evidence.shortfall, evidence.joint_lost, evidence.lost
    if joint is not None and lost is not None and not is_present(joint, small):
        return lost.value >= (1 - t.unused) * evidence.mi.value
    if short is None:
        return True
    share = 0.5 * (evidence.mi.value + max(evidence.cmi.value, 0.0))
    return short.low > 0 and short.value >= t.unused * share


def _where(evidence: Evidence, lost: Estimate, available: Estimate, small: float, *, alone: bool) -> str:
    """Return the part of a sentence on where the information is lost, and how much replacing the modality changes."""
    parts = []
    if alone and evidence.encoder is not None:
        parts.append(_encoder_text(evidence.encoder.value, lost, available))
    if evidence.changed is not None:
        parts.append(_changed_text(evidence.changed, evidence.decodable, small))
    if alone and evidence.cmi.value < small:
        parts.append("the other modalities carry the same, so using it would gain robustness rather than accuracy")
    return "".join(f"; {part}" for part in parts)


def _encoder_text(kept: float, lost: Estimate, available: Estimate) -> str:
    """Return the part of a sentence on whether the encoder or the fusion loses the information."""
    if available.value - kept > 0.5 * lost.value:
        return f"its encoder keeps only {max(kept, 0.0):.3f} nats"
    return f"its encoder keeps {max(kept, 0.0):.3f} nats, so the fusion does not read it"


def _changed_text(share: float, decodable: Estimate | None, small: float) -> str:
    """Return the part of a sentence on how many predictions change when the modality is replaced."""
    shown = _per_cent(share, 1)
    if share < 0.1:
        shown = f"{share:.1%}".replace("%", " %") if share else "none"
    text = f"replacing it by that of another sample changes {shown} of the predictions"
    if decodable is not None and share < 0.01 and is_present(decodable, small):
        text += f" ({decodable.value:.3f} nats can be decoded from the outputs, but change no prediction)"
    return text


def overall(findings: Mapping[str, Finding], evidence: Mapping[str, Evidence]) -> tuple[Verdict, str]:
    """Return the verdict on all modalities, and its sentence.

    Args:
        findings: Verdicts by modality.
        evidence: The evidence; the sentence on balanced modalities names only what was measured.

    Example:
        >>> a = Finding("balanced", 0.5, "a is balanced.", "dominant")
        >>> overall({"a": a, "b": Finding("uninformative", 0.0, "b is uninformative.")}, {})
        ('uninformative', 'b is uninformative. a dominates.')
    """
    ordered = sorted(findings.values(), key=lambda f: ORDER.index(f.verdict))
    verdict = ordered[0].verdict
    text = " ".join(f.sentence for f in ordered if f.verdict != BALANCED)
    text = text or _all_balanced(evidence)
    leader = [m for m, f in findings.items() if f.role == "dominant"]
    return verdict, text + (f" {leader[0]} dominates." if leader else "")


def _all_balanced(evidence: Mapping[str, Evidence]) -> str:
    text = "Every modality carries information"
    if any(e.realised is not None for e in evidence.values()):
        text += " and is used"
    return f"{text}, and none is memorised." if any(e.gap is not None for e in evidence.values()) else f"{text}."
