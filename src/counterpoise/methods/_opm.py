"""OPM: on-the-fly prediction modulation (Wei et al., TPAMI 2024)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from counterpoise.methods._ogm import discrepancy_ratio
from counterpoise.methods.base import EpochContext, Hyperparameter, Interval, NamedTensors, by_modality
from counterpoise.methods.logits import is_additive, presence_masks, target_scale, true_scores, unimodal_logits
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

__all__ = ["OPM", "drop_probability"]


def drop_probability(scores: Tensor, base: float, sensitivity: float) -> Tensor:
    r"""Return the probability with which each modality's features are dropped, ``(M,)``.

    .. math:: q_m = q_0 (1 + \lambda \tanh(u_m - 1)) \text{ where } u_m = s_m / \mathrm{mean}_{j \ne m} s_j > 1,
        \text{ else } 0; \text{ at most } 1

    Args:
        scores: ``(M,)`` s.
        base: :math:`q_0`.
        sensitivity: :math:`\lambda`.

    Example:
        >>> drop_probability(torch.tensor([3.0, 1.0]), base=0.5, sensitivity=0.5)
        tensor([0.7410, 0.0000])
    """
    return _probability(discrepancy_ratio(scores), base, sensitivity)


def _probability(ratio: Tensor, base: float, sensitivity: float) -> Tensor:
    q = base * (1 + sensitivity * torch.tanh(ratio - 1))
    return torch.where(ratio > 1, q.clamp(max=1), torch.zeros_like(q))


class OPM(ModulatedObjective):
    r"""On-the-fly prediction modulation: the dominant modality's features are dropped from the fused head, at random.

    Wei, Hu, Du, Wen, "On-the-fly Modulation for Balanced Multimodal Learning", TPAMI 2024. With :math:`s_m` as in OGM:
    `drop_probability`. In a share of the batches every sample keeps modality m with probability :math:`1 - q_m`, and
    the kept features are divided by :math:`1 - \theta`, :math:`\theta = \sum_m D_m q_m / \sum_m D_m`.

    Differs from the authors' code: no number of classes and no data set is built in; more than two modalities are
    compared with the mean of the others (undefined in the paper). The weakest modality is never dropped, so that no
    sample loses all of them. A published toolkit divides in place, so that its second ratio is :math:`s_2^2 / s_1`.

    Args:
        strength: :math:`q_0`, in [0, 1]; the authors use 0.4 to 0.5.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        sensitivity: :math:`\lambda`.
        probability: Share of the batches that are modulated.
        start: First epoch of modulation, from 0; 6 in the authors' code.

    Example:
        >>> OPM(start=0)
        OPM(strength=0.5, smoothing=0.0, sensitivity=0.5, probability=0.7, start=0)
    """

    strength = Hyperparameter(0.5, Interval(0, 1, "[]"))
    sensitivity = Hyperparameter(0.5, Interval(0))
    probability = Hyperparameter(0.7, Interval(0, 1, "[]"))
    start = Hyperparameter(6, Interval(0, integer=True))

    scale: Tensor
    epoch = 0

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check whether the fusion has slices, and store the scale of real targets."""
        self.sliced = is_additive(model.fusion)
        self.register_buffer("scale", target_scale(model.task, target), persistent=False)
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Store the number of the epoch."""
        self.epoch = epoch.number

    def _scores(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        logits = unimodal_logits(model, features, sliced=self.sliced, present=batch.present)
        return true_scores(model, logits, batch.target, self.scale, batch.present)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the probability of each modality of a sample to be dropped, ``(M,)``."""
        return drop_probability(scores, self.strength, self.sensitivity)

    def modulate(
        self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Mapping[str, Tensor], NamedTensors]:
        """See `ModulatedObjective.modulate`."""
        if self.epoch < self.start:
            return features, {}
        with torch.no_grad():
            scores = self._scores(model, features, batch)
            q = self.probabilities(scores)
            q = q * (torch.rand((), device=q.device) < self.probability)
            dims = torch.tensor([model.feature_dims[m] for m in model.modalities], device=q.device, dtype=q.dtype)
            kept = (1 - (dims * q).sum() / dims.sum()).clamp_min(1e-6)
            chosen = torch.rand(len(batch), len(q), device=q.device) >= q
            masks = presence_masks(model.modalities, batch.present)
            if masks is not None:  # samples that would have no modality left keep those that they have
                chosen = chosen | ~(chosen & masks.T).any(1, keepdim=True)
            keep = chosen.to(q.dtype) / kept
        masked = {m: features[m] * k.unsqueeze(1).to(features[m].dtype) for m, k in zip(features, keep.T, strict=True)}
        return masked, by_modality(model, "q", q)
