"""Prediction. There is no target parameter, so no label can leak into it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor

from counterpoise.inference._rules import Fused, Rule
from counterpoise.model import MultimodalClassifier, evaluation_mode
from counterpoise.records import Inputs, Presence

__all__ = ["Prediction", "predict"]


class Prediction(NamedTuple):
    """A prediction and the contribution of each modality to it.

    Attributes:
        logits: ``(B, C)``.
        contributions: ``{m: (B,)}`` in nats: KL(q(y|z) || q(y|z_-m)), see `Rule.contributions`.
    """

    logits: Tensor
    contributions: dict[str, Tensor]


@overload
def predict(
    model: MultimodalClassifier,
    inputs: Inputs,
    rule: Rule | None = ...,
    *,
    return_contributions: Literal[False] = ...,
    present: Presence | None = ...,
) -> Tensor: ...


@overload
def predict(
    model: MultimodalClassifier,
    inputs: Inputs,
    rule: Rule | None = ...,
    *,
    return_contributions: Literal[True],
    present: Presence | None = ...,
) -> Prediction: ...


@torch.no_grad()
def predict(
    model: MultimodalClassifier,
    inputs: Inputs,
    rule: Rule | None = None,
    *,
    return_contributions: bool = False,
    present: Presence | None = None,
) -> Tensor | Prediction:
    """Return the logits of one prediction per sample, ``(B, C)``, in evaluation mode.

    Args:
        model: The model.
        inputs: One tensor (or nested mapping) per modality, on the model's device.
        rule: Decision rule, on the model's device; None takes the fused head.
        return_contributions: Whether to return a `Prediction`, which also holds the contribution of each modality to
            each sample's prediction, in nats and without labels.
        present: Which samples have which modality, ``{m: (B,) bool}``; None if nothing is missing.

    Example:
        >>> from counterpoise.model import build_model
        >>> model = build_model({"a": ("vector", (4,), 0), "b": ("vector", (6,), 0)}, num_outputs=3)
        >>> inputs = {"a": torch.zeros(5, 4), "b": torch.zeros(5, 6)}
        >>> predict(model, inputs).shape
        torch.Size([5, 3])
        >>> predict(model, inputs, return_contributions=True).contributions["a"].shape
        torch.Size([5])
    """
    with evaluation_mode(model):
        outputs = model(inputs, present=present)
        outputs = replace(outputs, features=model.vectors(outputs.features))
    chosen = rule or Fused(model.modalities, model.task)
    logits = chosen(outputs)
    return Prediction(logits, chosen.contributions(outputs)) if return_contributions else logits
