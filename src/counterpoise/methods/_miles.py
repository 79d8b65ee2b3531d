"""MILES: modality-informed learning rate scheduler (Guerra-Manzanares & Shamout, IJCNN 2025)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from counterpoise.coalitions import subsets
from counterpoise.methods._mslr import rescaled_steps
from counterpoise.methods.base import (
    STRENGTH,
    Backward,
    EpochContext,
    Hyperparameter,
    Interval,
    Method,
    backward,
    joint_step,
)
from counterpoise.methods.logits import output_losses, subset_logits, target_scale
from counterpoise.methods.passes import iterate_batches
from counterpoise.model import MultimodalClassifier, evaluation_mode
from counterpoise.records import Batch, StepRecord

__all__ = ["MILES", "conditional_utilisation", "scheduled_rates"]


def conditional_utilisation(performance: Tensor, modalities: int) -> Tensor:
    r"""Return :math:`u_m = (A(\text{all}) - A(\text{all but m})) / A(\text{all})`, ``(M,)``.

    Args:
        performance: A of every subset of modalities, ``(2^M,)``, in the order of `counterpoise.coalitions.subsets`. If
            that of all modalities is not positive, all utilisations are 0.
        modalities: M.

    Example:
        >>> conditional_utilisation(torch.tensor([0.1, 0.7, 0.2, 0.8]), 2)
        tensor([0.7500, 0.1250])
    """
    every = subsets(modalities)
    without = torch.tensor([every.index(tuple(k for k in range(modalities) if k != m)) for m in range(modalities)])
    whole = performance[-1]
    utilisation = (whole - performance[without.to(performance.device)]) / whole.clamp_min(1e-12)
    return torch.where(whole > 0, utilisation, torch.zeros_like(utilisation))


def scheduled_rates(utilisation: Tensor, threshold: float, factor: float) -> Tensor:
    r"""Return the learning rates relative to the loop's, ``(M,)``: the factor for modalities that are used too much.

    Args:
        utilisation: :math:`u`, ``(M,)``.
        threshold: Difference from the mean of the others above which a modality is slowed down.
        factor: Relative learning rate of such a modality.

    Example:
        >>> scheduled_rates(torch.tensor([0.75, 0.12]), threshold=0.2, factor=0.5)
        tensor([0.5000, 1.0000])
    """
    gap = utilisation - (utilisation.sum() - utilisation) / (len(utilisation) - 1)
    return torch.where(gap > threshold, torch.full_like(gap, factor), torch.ones_like(gap))


class MILES(Method):
    r"""Learning rates by utilisation: an encoder whose modality the prediction depends on too much is slowed down.

    Guerra-Manzanares, Shamout, "MILES: Modality-Informed Learning Rate Scheduler for Balancing Multimodal Learning",
    IJCNN 2025 (arXiv 2510.17394). After every epoch of joint training, the learning rate of each encoder follows the
    differences of the `conditional_utilisation` of the modalities (`scheduled_rates`).

    Known from the abstract and a public summary: learning rates by epoch, and the utilisation they depend on. Inferred,
    because the schedule was not accessible: the threshold and the factor, the performance (the mean score per sample on
    the training set, for real targets the share of the variance that is explained, with zeros for the features of
    absent modalities), and more than two modalities. The update is multiplied after the step (`rescaled_steps`).

    Args:
        strength: From joint training (0) to the method (1), in [0, inf): the rate is :math:`r_m^s`.
        threshold: Difference of utilisation above which a modality is slowed down.
        factor: Relative learning rate of such a modality.

    Example:
        >>> MILES(factor=0.1)
        MILES(strength=1.0, threshold=0.2, factor=0.1)
    """

    strength = Hyperparameter(1.0, STRENGTH)
    threshold = Hyperparameter(0.2, Interval(0))
    factor = Hyperparameter(0.5, Interval(0, 1, "(]"))
    rate: Tensor
    scale: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register the rates, and the scale of real targets."""
        self.register_buffer("scale", target_scale(model.task, target), persistent=False)
        self.register_buffer("rate", torch.ones(len(model.modalities)))
        return model

    @torch.no_grad()
    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Measure the utilisation after the first epoch, and set the rates."""
        if not self.strength or not epoch.number:
            return
        scores = []
        with evaluation_mode(model):
            for whole in iterate_batches(self, epoch):
                batch = whole.to(self.rate.device)
                logits = subset_logits(model, model.encode(batch.inputs, batch.present), present=batch.present)
                if model.task.is_gaussian:
                    scores.append(1 - 2 * output_losses(model, logits, batch.target, self.scale))
                else:
                    scores.append(model.task.sample_score(logits, batch.target))
        used = conditional_utilisation(torch.cat(scores, dim=1).double().mean(1), len(model.modalities))
        self.rate.copy_(scheduled_rates(used, self.threshold, self.factor) ** self.strength)

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`; after the step the updates of the encoders are rescaled."""
        records = joint_step(model, batch, backward)
        factors = dict(zip(model.modalities, self.rate, strict=True))
        yield from rescaled_steps(model, records, factors, self.rate.clone()) if self.strength else records
