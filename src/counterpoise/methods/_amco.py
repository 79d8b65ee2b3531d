"""AMCo: adaptive mask co-optimisation (Zhou et al., ICASSP 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from counterpoise.methods.base import (
    EpochContext,
    Hyperparameter,
    Interval,
    NamedTensors,
    by_modality,
    require_multiclass,
)
from counterpoise.methods.logits import modality_means, presence_masks, unimodal_logits
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

__all__ = ["AMCo", "mask_share", "modality_mass"]


def modality_mass(logits: Tensor, masks: Tensor | None = None) -> Tensor:
    """Return each modality's share ``(M,)`` of a softmax over all M·C unimodal logits, averaged over the batch.

    Where samples lack modalities, the softmax is over the k that a sample has, and k / M times the share is averaged
    over the samples that have the modality, so that 1 / M is the share of equal modalities.

    Args:
        logits: ``(M, B, C)``.
        masks: Which samples have which modality, ``(M, B)``; None if nothing is missing.

    Example:
        >>> modality_mass(torch.tensor([[[1.0, 1.0]], [[1.0, 1.0]]]))
        tensor([0.5000, 0.5000])
    """
    count, _, classes = logits.shape
    if masks is not None:
        logits = logits.masked_fill(~masks.unsqueeze(-1), -math.inf)
    together = logits.transpose(0, 1).flatten(1).softmax(-1)
    shares = together.unflatten(-1, (count, classes)).sum(-1)
    return shares.mean(0) if masks is None else modality_means(shares.T * masks.sum(0) / count, masks)


def mask_share(progress: float, ramp: float) -> float:
    r"""Return :math:`\sin(\frac\pi2 \min(\epsilon, l)/\epsilon)`, from 0 to 1 in the first part of the training.

    Args:
        progress: Share l of the training that is done.
        ramp: :math:`\epsilon`, length of that part as a share of the training.

    Example:
        >>> mask_share(0.0, 0.3), mask_share(0.3, 0.3), mask_share(0.9, 0.3)
        (0.0, 1.0, 1.0)
    """
    return math.sin(math.pi / 2 * min(ramp, progress) / ramp)


class AMCo(ModulatedObjective):
    r"""Adaptive mask co-optimisation: more and more features of a modality that the prediction depends on are masked.

    Zhou, Liang, Zheng, Xuan, Kumada, "Adaptive Mask Co-optimization for Modal Dependence in Multimodal Learning",
    ICASSP 2023. :math:`L = CE(z, y) + \sum_m CE(u_m, y)`. If the `modality_mass` of a modality exceeds 1/M (the paper's
    .5 for two), :math:`\lfloor p_t D_m \rfloor` of its features, drawn at random, are set to 0 before the fusion, with
    :math:`p_t = p\,` `mask_share`.

    Differs from a published toolkit (no code of the authors was found), which masks class logits instead of features,
    restarts the ramp at every epoch and lets it grow by the batch, so that soon every logit of the dependent modality
    is 0. Inferred: the largest share p (the paper's ramp goes to 1, which removes the modality).

    Args:
        strength: Strength p, largest share of masked features, in [0, 1]; 0 is joint training.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        ramp: :math:`\epsilon`, share of the training in which the mask grows.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> AMCo(strength=0.3)
        AMCo(strength=0.3, smoothing=0.0, ramp=0.3)
    """

    strength = Hyperparameter(0.5, Interval(0, 1, "[]"))
    ramp = Hyperparameter(0.3, Interval(0, 1, "(]"))

    share = 0.0

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check the task."""
        require_multiclass(self, model, "dependence is a softmax over all modalities' classes")
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Compute the share of masked features."""
        self.share = self.strength * mask_share(epoch.number / epoch.total, self.ramp)

    def head_gradient(self, model: MultimodalClassifier, batch: Batch) -> float:
        """Return 1: the unimodal losses are part of the method."""
        return 1.0

    def modulate(
        self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Mapping[str, Tensor], NamedTensors]:
        """See `ModulatedObjective.modulate`."""
        with torch.no_grad():
            masks = presence_masks(model.modalities, batch.present)
            mass = modality_mass(unimodal_logits(model, features, sliced=False, present=batch.present), masks)
            dependent = mass > 1 / len(mass) + 1e-6
        masked = {}
        for m, on in zip(features, dependent, strict=True):
            size = features[m].shape[1]
            rank = torch.rand(size, device=features[m].device).argsort()
            keep = rank >= int(self.share * size)
            masked[m] = torch.where(on & ~keep, torch.zeros_like(features[m]), features[m])
        return masked, by_modality(model, "mass", mass)
