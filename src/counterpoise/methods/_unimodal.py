"""Unimodal training: one modality alone, and all of them in parallel without any fusion."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from counterpoise.methods.base import (
    Backward,
    Hyperparameter,
    Method,
    backward,
    present_loss,
    require_modality,
    unimodal_losses,
)
from counterpoise.methods.hyperparameters import Names
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord

__all__ = ["Unimodal", "UnimodalEnsemble"]


class Unimodal(Method):
    """One modality alone: :math:`L = CE(u_m, y)`. No other encoder runs or gets gradients.

    Args:
        modality: Name of the modality; None takes the model's first.

    Raises:
        ModelError: (by `prepare`) if the model has no such modality.

    Example:
        >>> Unimodal(modality="audio")
        Unimodal(modality='audio')
    """

    modality = Hyperparameter[str | None](None, Names())
    default_rule = "unimodal"
    family = "unimodal"
    trains_fusion = False

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check that the model has the modality."""
        self.single_modality = self.modality or model.modalities[0]
        require_modality(model, self.single_modality)
        return model

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        m = self.single_modality or model.modalities[0]
        logits = model.unimodal(batch.inputs, m, batch.present)
        loss = present_loss(model.task, logits, batch.target, batch.mask(m))
        backward(loss)
        yield StepRecord(loss.detach(), {m: loss.detach()})


class UnimodalEnsemble(Method):
    r"""Every modality alone, in parallel: :math:`L = \sum_m CE(u_m, y)`.

    The prediction is the mean of the unimodal log-probabilities. No parameter depends on two modalities, so that after
    any number of steps the encoder and head of ``m`` equal those of ``Unimodal(m)`` bit for bit (tested). One run
    therefore trains all unimodal models.

    Example:
        >>> UnimodalEnsemble()
        UnimodalEnsemble()
    """

    default_rule = "ensemble"
    family = "unimodal"
    trains_fusion = False

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        outputs = model(batch.inputs, present=batch.present)
        unimodal = unimodal_losses(model, outputs, batch.target)
        loss = torch.stack(list(unimodal.values())).sum()
        backward(loss)
        yield StepRecord(loss.detach(), {m: part.detach() for m, part in unimodal.items()})
