"""Detection of contradictions between the numbers of a diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from counterpoise.diagnosis._evidence import Evidence, Finding
from counterpoise.evaluation.robustness import CorruptionScore
from counterpoise.valuation import Estimate, Valuation
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["contradictions", "joint_available"]

ERRORS: Final = 3.0
"""Standard errors beyond which two numbers contradict each other."""


def joint_available(valuation: Valuation, evidence: Mapping[str, Evidence]) -> Estimate:
    """Return the available information of all modalities together: at least that of each modality."""
    known = [e for one in evidence.values() for e in (one.joint, one.mi) if e is not None]
    return max([valuation.joint_mi, *known], key=lambda e: e.value)


def contradictions(
    problem: EstimatorInput,
    evidence: Mapping[str, Evidence],
    findings: Mapping[str, Finding],
    clean: Mapping[str, float],
    corrupted: Sequence[CorruptionScore],
) -> list[str]:
    """Return a note for every verdict that seems to contradict the effect of replacing the modality, with the likely
    reason.

    Args:
        problem: Labels and task.
        evidence: Evidence by modality.
        findings: Verdicts by modality.
        clean: Scores of the model.
        corrupted: Scores with a modality corrupted.
    """
    notes: list[str] = []
    name = problem.task.score_name
    permuted = {d.modality: d.scores.get(name) for d in corrupted if d.corruption.kind == "permute"}
    before = clean.get(name)
    if before is None or not problem.task.has_classes:
        return notes
    for m, e in evidence.items():
        after = permuted.get(m)
        if after is not None:
            notes += _dependence(m, e, findings[m], problem, before, before - after)
    return notes


def _dependence(m: str, e: Evidence, finding: Finding, problem: EstimatorInput, score: float, lost: float) -> list[str]:
    """Compare the verdict with the effect of replacing the modality on the score.

    Args:
        m: The modality.
        e: Its evidence.
        finding: Its verdict.
        problem: Labels and task.
        score: Share of right predictions.
        lost: Decrease of this share when the modality is replaced by that of another sample.
    """
    noise = (2 * max(score * (1 - score), 0.25 / problem.n) / problem.n) ** 0.5
    if finding.verdict == "uninformative" and lost > max(ERRORS * noise, 0.05):
        return [
            f"replacing {m} costs {100 * lost:.1f} points of accuracy although it is uninformative: the model depends "
            "on it, but the other modalities alone would do as well"
        ]
    scale = problem.task.information_scale(problem.target)
    if e.realised is not None and e.realised.low > 0.1 * scale and e.changed is not None and e.changed < 0.005:
        return [
            f"{m} alone predicts the label ({e.realised.value:.3f} nats), but replacing it changes {e.changed:.1%} of "
            "the predictions: the other modalities decide on these samples"
        ]
    return []
