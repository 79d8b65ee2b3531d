"""PDMP: prioritising the modality that performs best (2026)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from counterpoise.methods._mslr import rescaled_steps
from counterpoise.methods._teachers import Taught
from counterpoise.methods.base import (
    STRENGTH,
    Backward,
    EpochContext,
    Hyperparameter,
    Interval,
    backward,
    joint_step,
)
from counterpoise.methods.logits import modality_means
from counterpoise.methods.passes import iterate_batches
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord

__all__ = ["PDMP", "priority_rates"]


def priority_rates(scores: Tensor, best: float, rest: float) -> Tensor:
    """Return the factor of each modality's update, ``(M,)``: ``best`` for the highest score, ``rest`` for the others.

    Equally good modalities are all best.

    Example:
        >>> priority_rates(torch.tensor([0.7, 0.4]), best=2.0, rest=1.0)
        tensor([2., 1.])
    """
    return torch.where(scores == scores.max(), torch.full_like(scores, best), torch.full_like(scores, rest))


class PDMP(Taught):
    r"""Priority of the best modality: the encoder of the modality that performs best alone takes larger steps than the
    others.

    arXiv 2604.05773, 2026: modalities are ranked by independently trained unimodal models, and throughout joint
    training the gradients of the best are multiplied by :math:`\gamma_p`, those of the others by :math:`\gamma_r <
    \gamma_p`. The paper argues against balancing, so the method is a control for methods that balance.

    Known from the paper: the ranking and the two factors. Not found: their values; the defaults are chosen here.
    Differs from
    it: the update is multiplied after the step instead of the gradient before it, which is the same under SGD, while
    under Adam a constant factor of the gradient has no effect (`rescaled_steps`). The ranking uses samples that are
    held out of the training set. If several modalities are equally good, all of them count as best.

    Args:
        strength: From joint training (0) to the method (1), in [0, inf): the factor is :math:`1 + s (\gamma - 1)`.
        best: :math:`\gamma_p`, at least 1.
        rest: :math:`\gamma_r`, at most 1.

    Example:
        >>> PDMP(best=4.0)
        PDMP(strength=1.0, best=4.0, rest=1.0)
    """

    strength = Hyperparameter(1.0, STRENGTH)
    best = Hyperparameter(2.0, Interval(1))
    rest = Hyperparameter(1.0, Interval(0, 1, "(]"))
    needs_held_out = True
    rate: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register the factors."""
        self.register_buffer("rate", torch.ones(len(model.modalities)))
        return model

    @torch.no_grad()
    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Rank the modalities before the first epoch."""
        if not self.strength or epoch.number:
            return
        scores: list[Tensor] = []
        masks: list[Tensor] = []
        for whole in iterate_batches(self, epoch, "held_out"):
            batch = whole.to(self.rate.device)
            outputs = self.teach(batch)
            logits = torch.stack([outputs.unimodal_logits[m] for m in model.modalities])
            scores.append(model.task.sample_score(logits, batch.target))
            masks.append(torch.ones_like(scores[-1], dtype=torch.bool))
            if batch.present is not None:
                masks[-1] = torch.stack([batch.present[m] for m in model.modalities])
        known = torch.cat(masks, dim=1)
        means = modality_means(torch.cat(scores, dim=1), None if bool(known.all()) else known)
        rates = priority_rates(means, self.best, self.rest)
        self.rate.copy_(1 + self.strength * (rates - 1))

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`; after the step the updates of the encoders are rescaled."""
        records = joint_step(model, batch, backward)
        factors = dict(zip(model.modalities, self.rate, strict=True))
        yield from rescaled_steps(model, records, factors, self.rate.clone()) if self.strength else records
