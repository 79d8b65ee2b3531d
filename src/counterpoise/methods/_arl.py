"""ARL: asymmetric representation learning (Wei et al., ICCV 2025)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from counterpoise.methods.base import EpochContext, Hyperparameter, Interval, NamedTensors, require_multiclass
from counterpoise.methods.logits import is_additive, modality_means, presence_masks, unimodal_logits
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

__all__ = ["ARL", "asymmetric_weights"]


def asymmetric_weights(entropy: Tensor, magnitude: Tensor, temperature: float) -> Tensor:
    r"""Return :math:`w = \mathrm{softmax}_m(T\, a_m\, \mathrm{mean}_{j \ne m} b_j)`, ``(M,)``, summing to 1.

    :math:`a_m \propto 1 / \max(H_m / \sum H, 0.6/M)` (confidence of the modality) and :math:`b_m \propto |z_m|` (how
    much the fused prediction relies on it), both summing to 1. For M = 2 the floor is the authors' 0.3.

    Args:
        entropy: ``(M,)`` mean entropies in nats.
        magnitude: ``(M,)`` mean absolute logits.
        temperature: T.

    Example:
        >>> import torch
        >>> entropy, magnitude = torch.tensor([0.5, 0.5]), torch.tensor([3.0, 1.0])
        >>> asymmetric_weights(entropy, magnitude, temperature=8.0)            # less relied on: more
        tensor([0.1192, 0.8808])
    """
    count = len(entropy)
    share = (entropy / entropy.sum().clamp_min(1e-12)).clamp_min(0.6 / count)
    a = (1 / share) / (1 / share).sum()
    b = magnitude / magnitude.sum().clamp_min(1e-12)
    others = (b.sum() - b) / (count - 1)
    return (temperature * a * others).softmax(0)


class ARL(ModulatedObjective):
    r"""Asymmetric representation learning: confident encoders that are relied on little get more gradient.

    Wei et al., "Improving Multimodal Learning via Imbalanced Learning", ICCV 2025 (arXiv 2507.10203): :math:`L = CE(z,
    y) + g \sum_m CE(u_m, y)`, with g = 1 before epoch ``start`` and :math:`g = \gamma` from it on. From then on, the
    gradient that enters encoder m is also multiplied by :math:`1 + w_m` with `asymmetric_weights`.

    Known from the authors' code: the losses before and after the start. Differs from it: there the weights are never
    assigned, so that both gradients are multiplied by 1.5; and its unimodal heads are slices of the fused one (here
    separate heads). Inferred: the weights for more than two modalities, and their floor.

    Args:
        strength: Factor of everything that is added to joint training, in [0, inf).
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        gamma: :math:`\gamma`; the authors use 4 (CREMA-D), 3 (Kinetics-Sounds), 5 (AVE) and 1 (VGGSound).
        temperature: T; the authors use 8 on CREMA-D and 4 on the others.
        start: First epoch of modulation, from 0; 6 in the authors' code.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> ARL(gamma=1.0)
        ARL(strength=1.0, smoothing=0.0, gamma=1.0, temperature=8.0, start=6)
    """

    gamma = Hyperparameter(4.0, Interval(0))
    temperature = Hyperparameter(8.0, Interval(0))
    start = Hyperparameter(6, Interval(0, integer=True))
    epoch = 0

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check the task, and whether the fusion has slices."""
        require_multiclass(self, model, "it reads the entropy over classes")
        self.sliced = is_additive(model.fusion)
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Store the number of the epoch."""
        self.epoch = epoch.number

    def head_gradient(self, model: MultimodalClassifier, batch: Batch) -> float:
        r"""Return 1 before the start, :math:`\gamma` from it on, times the strength."""
        return self.strength * (self.gamma if self.epoch >= self.start else 1.0)

    def scales(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> NamedTensors:
        """See `ModulatedObjective.scales`."""
        if self.epoch < self.start:
            return {}
        logits = unimodal_logits(model, features, sliced=self.sliced, present=batch.present)
        log_p = logits.log_softmax(-1)
        masks = presence_masks(model.modalities, batch.present)
        entropy = modality_means(-(log_p.exp() * log_p).sum(-1), masks)
        size = logits.abs().mean((-1, -2)) if masks is None else modality_means(logits.abs().mean(-1), masks)
        weights = asymmetric_weights(entropy, size, self.temperature)
        return dict(zip(features, 1 + self.strength * weights, strict=True))
