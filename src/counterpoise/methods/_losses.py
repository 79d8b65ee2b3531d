"""Losses of heads over the samples that have their modality, and tensors for the record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from counterpoise.methods._backward import Backward
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs, StepRecord
from counterpoise.tasks import Task

NamedTensors: TypeAlias = dict[str, Tensor]
"""Tensors by name: loss terms or coefficients, one scalar each."""


def unimodal_losses(
    model: MultimodalClassifier, outputs: Outputs, target: Tensor, smoothing: float = 0.0
) -> NamedTensors:
    """Return each unimodal head's mean negative log-likelihood in nats, ``{m: scalar}``.

    The mean is over the samples that have the modality; it is 0, without a gradient, if none has it.

    Args:
        model: Model, for its task.
        outputs: Outputs for the batch.
        target: Targets of the batch.
        smoothing: Share of every label that is spread evenly over all classes.
    """
    task = model.task.with_smoothing(smoothing) if smoothing else model.task
    return {m: present_loss(task, z, target, outputs.mask(m)) for m, z in outputs.unimodal_logits.items()}


def watching_losses(model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> NamedTensors:
    """Return the losses of unimodal heads that read detached features, ``{m: scalar}``; see `unimodal_losses`."""
    return {
        m: present_loss(model.task, model.head(m)(h.detach()), batch.target, batch.mask(m)) for m, h in features.items()
    }


def present_loss(task: Task, logits: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean loss over the samples that have a modality; 0 if no sample of the batch has it.

    Args:
        task: Likelihood.
        logits: ``(B, C)``.
        target: Targets of the batch.
        mask: Which samples have the modality, ``(B,)``; None if all have it.
    """
    logits, target = present_rows(mask, logits, target)
    return task.loss(logits, target) if len(target) else (0 * logits).sum()


def present_rows(mask: Tensor | None, *values: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of tensors ``(B, ...)`` whose samples have a modality; the tensors themselves without a mask.

    Example:
        >>> present_rows(torch.tensor([True, False]), torch.tensor([3, 4]), torch.tensor([5, 6]))
        (tensor([3]), tensor([5]))
    """
    if mask is None or bool(mask.all()):
        return values
    rows = mask.nonzero().flatten()
    return tuple(value[rows] for value in values)


def detached(terms: Mapping[str, Tensor]) -> NamedTensors:
    """Return tensors without their graph, for a record."""
    return {name: value.detach() for name, value in terms.items()}


def by_modality(model: MultimodalClassifier, letter: str, values: Tensor) -> NamedTensors:
    """Name a coefficient per modality, ``{"<letter>:<m>": scalar}``, for the record."""
    return {f"{letter}:{m}": v.detach() for m, v in zip(model.modalities, values, strict=True)}


def joint_step(
    model: MultimodalClassifier, batch: Batch, backward: Backward, head_gradient: float = 0.0
) -> Iterator[StepRecord]:
    """Take one step of joint training, with unimodal heads that read detached features.

    Args:
        model: Model.
        batch: Samples.
        backward: Function that back-propagates a scalar.
        head_gradient: Factor of the unimodal heads' gradient before it enters the encoders.
    """
    outputs = model(batch.inputs, head_gradient=head_gradient, present=batch.present)
    fused = model.task.loss(outputs.logits, batch.target)
    unimodal = unimodal_losses(model, outputs, batch.target)
    loss = fused + torch.stack(list(unimodal.values())).sum()
    backward(loss)
    yield StepRecord(loss.detach(), detached({"fused": fused, **unimodal}))
