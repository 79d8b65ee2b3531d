"""Prediction for new samples. The functions have no parameter for targets, so that no label can leak."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor

from counterpoise._tree import leaves
from counterpoise.inference._fixed import Fused
from counterpoise.inference._rule import Rule
from counterpoise.model import MultimodalClassifier, evaluation_mode
from counterpoise.records import Inputs, Nested, Outputs, Presence, batch_size

__all__ = ["Help", "Prediction", "predict", "what_would_help"]


class Prediction(NamedTuple):
    """A prediction and the contribution of each modality to it.

    Attributes:
        logits: ``(B, C)``.
        contributions: ``{m: (B,)}`` in nats: KL(q(y|z) || q(y|z_-m)), see `Rule.contributions`.
    """

    logits: Tensor
    contributions: dict[str, Tensor]


class Help(NamedTuple):
    """Expected gains of certainty from absent modalities.

    Attributes:
        gains: ``{m: (B,)}`` in nats: the expected reduction of the entropy of each prediction by a modality that the
            sample lacks; 0 for those that it has. See `Rule.expected_gains`.
        best: The absent modality of the largest gain, per sample; None for complete samples.
    """

    gains: dict[str, Tensor]
    best: list[str | None]


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
        inputs: One tensor (or nested mapping) per modality, on the model's device. A modality that is not among them is
            absent in all samples; a row of NaN marks it as absent in that sample.
        rule: Decision rule, on the model's device; None uses the fused head.
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
    outputs = _outputs(model, inputs, present)
    chosen = rule or Fused(model.modalities, model.task)
    logits = chosen(outputs)
    return Prediction(logits, chosen.contributions(outputs)) if return_contributions else logits


@torch.no_grad()
def what_would_help(
    model: MultimodalClassifier, inputs: Inputs, rule: Rule, *, present: Presence | None = None
) -> Help:
    """Return the absent modality that is expected to reduce the uncertainty of each prediction most. No label is used.

    Args:
        model: The model.
        inputs: See `predict`.
        rule: A rule that was fitted on held-out samples, `Calibrated` or `Dynamic`.
        present: See `predict`.

    Raises:
        ModelError: For another rule.

    Example:
        >>> from counterpoise.inference import make_rule
        >>> from counterpoise.model import build_model
        >>> model = build_model({"a": ("vector", (4,), 0), "b": ("vector", (6,), 0)}, num_outputs=3)
        >>> rule = make_rule("calibrated", model.modalities, model.task)
        >>> what_would_help(model, {"a": torch.zeros(2, 4)}, rule).gains["b"].shape
        torch.Size([2])
    """
    outputs = _outputs(model, inputs, present)
    gains = rule.expected_gains(outputs)
    best, which = torch.stack([gains[m] for m in model.modalities]).max(0)
    names = [model.modalities[k] if gain > 0 else None for gain, k in zip(best.tolist(), which.tolist(), strict=True)]
    return Help(gains, names)


def _outputs(model: MultimodalClassifier, inputs: Inputs, present: Presence | None) -> Outputs:
    """Return the outputs for inputs that may lack modalities, in evaluation mode."""
    inputs, present = _completed(model.modalities, inputs, present)
    with evaluation_mode(model):
        outputs = model(inputs, present=present)
        return replace(outputs, features=model.vectors(outputs.features))


def _completed(modalities: tuple[str, ...], inputs: Inputs, present: Presence | None) -> tuple[Inputs, Presence | None]:
    """Return inputs with a placeholder for every modality that is not among them, and the masks of presence.

    A row of NaN is absent, too. Absent modalities are never encoded, so that placeholders need no shape.
    """
    known = [m for m in modalities if m in inputs]
    lacking = {m: _empty_rows(inputs[m]) for m in known}
    if len(known) == len(modalities) and not any(rows is not None for rows in lacking.values()):
        return inputs, present
    if not known or set(inputs) - set(modalities):
        return inputs, present  # the model's own message explains the error
    size, device = batch_size(inputs), next(iter(leaves(inputs[known[0]]).values())).device
    masks: dict[str, Tensor] = {}
    for m in modalities:
        mask = torch.full((size,), m in inputs, device=device)
        mask = mask if present is None or m not in present else mask & present[m]
        rows = lacking.get(m)
        masks[m] = mask if rows is None else mask & ~rows
    return {m: inputs[m] if m in inputs else torch.zeros(size, 1, device=device) for m in modalities}, masks


def _empty_rows(value: Nested) -> Tensor | None:
    """Return ``(B,)``: the rows of a float tensor that hold only NaN; None if there are none."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.is_meta or value.ndim < 2:
        return None
    first = value.flatten(1)[:, :1].isnan().any(1)
    if not value.numel() or not first.any():
        return None
    return value.flatten(1).isnan().all(1)
