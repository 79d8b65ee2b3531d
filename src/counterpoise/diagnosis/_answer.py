"""The summary of a diagnosis: the modality that the verdict is about, how much of it is used, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise.valuation import Estimate

if TYPE_CHECKING:
    from counterpoise.diagnosis._diagnosis import Diagnosis

__all__ = ["action", "finding", "title"]


def title(d: Diagnosis) -> str:
    """Return the verdict with the modalities that it is about, as a sentence without a full stop."""
    if d.verdict == "balanced":
        return "Every modality is used" if d.joint_realised is not None else "Every modality is informative"
    names = _names(d)
    return f"{_joined(names)} {'is' if len(names) == 1 else 'are'} {d.verdict}"


def finding(d: Diagnosis) -> str:
    """Return how much of what can be known the modalities carry and the predictions use, in one sentence."""
    entropy, share = d.valuation.entropy, not d.valuation.differential and d.valuation.entropy > 0

    def amount(e: Estimate) -> str:
        return f"{100 * min(max(e.value / entropy, 0.0), 1.0):.0f} %" if share else f"{e.value:.2f} nats"

    if "mi" in d.valuation.too_few_samples:
        return "There are too few samples to measure how much is known about the label."
    start = "Of what can be known about the label, all modalities" if share else "All modalities"
    text = f"{start} together carry {amount(d.joint_available)}"
    return f"{text}." if d.joint_realised is None else f"{text} and the predictions use {amount(d.joint_realised)}."


def action(d: Diagnosis) -> str:
    """Return what to do about the verdict, in one sentence."""
    names = _names(d)
    it = names[0] if len(names) == 1 else "them"
    if d.verdict == "under-trained":
        small = d.thresholds.negligible * d.valuation.entropy
        if all(d.evidence[m].cmi.value < small for m in names):
            return (
                "The other modalities carry the same: balance the modalities (counterpoise compare) if "
                f"{it} should help when another one fails."
            )
        return "Train with a method that balances the modalities: counterpoise compare finds one for your data."
    if d.verdict == "undecided" and all(_unmeasured_use(d, m) for m in names):
        return "See the notes on what could not be measured."
    return {
        "overfitting": f"Regularise the encoder of {it}, make it smaller, or collect more training samples.",
        "uninformative": f"Leave {it} out or improve the data: no training method can change that.",
        "undecided": "Diagnose with more labelled test samples.",
    }.get(d.verdict, "Nothing needs to be changed.")


def _unmeasured_use(d: Diagnosis, m: str) -> bool:
    """Return whether there is a model whose use of a modality could not be measured."""
    return d.joint_realised is not None and d.evidence[m].realised is None


def _names(d: Diagnosis) -> list[str]:
    return [m for m in d.modalities if d.findings[m].verdict == d.verdict]


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
