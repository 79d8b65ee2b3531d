"""The decision rules by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise.catalogue import Catalogue, Entry, user_name
from counterpoise.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from counterpoise.inference._rule import Rule
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
        Entry(
            "dynamic", "counterpoise.inference:Dynamic", "the same with weights that depend on the sample, label-free"
        ),
    ],
    base="counterpoise.inference:Rule",
)


def make_rule(
    name: str,
    modalities: tuple[str, ...],
    task: Task,
    *,
    modality: str | None = None,
    feature_dims: Mapping[str, int] | None = None,
) -> Rule:
    """Build a rule by name.

    Args:
        name: Name or import path of the rule.
        modalities: Modalities of the model.
        task: The likelihood.
        modality: Modality of the rule ``unimodal``.
        feature_dims: D_m by modality (`MultimodalClassifier.feature_dims`), for the rule ``dynamic``.

    Raises:
        NotFoundError: For an unknown rule.
        ModelError: For the rule ``dynamic`` without ``feature_dims``.
    """
    cls = RULES.resolve(user_name(name))
    more: list[object] = []
    if name == "unimodal":
        more = [modality or modalities[0]]
    elif name == "dynamic":
        if feature_dims is None:
            raise ModelError(
                "Rule `dynamic` needs the dimensions of the features. Give `feature_dims=model.feature_dims`."
            )
        more = [feature_dims]
    rule: Rule = cls(modalities, task, *more)
    return rule
