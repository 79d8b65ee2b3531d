"""Prediction. There is no target parameter, so no label can leak into it."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoise.inference._rules import Rule
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Inputs

__all__ = ["predict"]


@torch.no_grad()
def predict(model: MultimodalClassifier, inputs: Inputs, rule: Rule | None = None) -> Tensor:
    """Return the logits of one prediction per sample, ``(B, C)``, in evaluation mode.

    Args:
        model: the model.
        inputs: one tensor (or nested mapping) per modality.
        rule: how its heads are combined; None takes the fused head.

    Example:
        >>> from counterpoise.model import build_model
        >>> model = build_model({"a": ("vector", (4,), 0), "b": ("vector", (6,), 0)}, num_outputs=3)
        >>> predict(model, {"a": torch.zeros(5, 4), "b": torch.zeros(5, 6)}).shape
        torch.Size([5, 3])
    """
    was_training = model.training
    model.eval()
    try:
        outputs = model(inputs)
    finally:
        model.train(was_training)
    return outputs.logits if rule is None else rule(outputs)
