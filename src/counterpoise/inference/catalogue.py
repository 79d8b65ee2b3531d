"""The rules of inference by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise.catalogue import Catalogue, Entry

if TYPE_CHECKING:
    from counterpoise.inference._rules import Rule
    from counterpoise.tasks import Task

__all__ = ["RULES", "make_rule"]

RULES = Catalogue(
    "rule",
    [
        Entry("fused", "counterpoise.inference:Fused", "the fused head alone"),
        Entry("unimodal", "counterpoise.inference:UnimodalRule", "one modality's head alone"),
        Entry("ensemble", "counterpoise.inference:Ensemble", "mean of the unimodal log-probabilities"),
        Entry("fused+unimodal", "counterpoise.inference:FusedUnimodal", "mean over all heads' log-probabilities"),
        Entry("calibrated", "counterpoise.inference:Calibrated", "product of experts with held-out calibrated weights"),
    ],
)


def make_rule(name: str, modalities: tuple[str, ...], task: Task, *, modality: str | None = None) -> Rule:
    """Build a rule by name.

    Args:
        name: the rule's name or import path.
        modalities: the model's modalities.
        task: the likelihood.
        modality: for the rule ``unimodal``: which one.

    Raises:
        NotFoundError: for an unknown rule.
    """
    cls = RULES.resolve(name)
    rule: Rule = cls(modalities, task, modality or modalities[0]) if name == "unimodal" else cls(modalities, task)
    return rule
