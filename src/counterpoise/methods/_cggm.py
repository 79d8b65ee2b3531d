"""CGGM: classifier-guided gradient modulation (Guo et al., NeurIPS 2024)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor

from counterpoise.methods.base import Hyperparameter, Interval, NamedTensors, require_multiclass
from counterpoise.methods.logits import unimodal_logits
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs

__all__ = ["CGGM", "gain_coefficients", "head_gradient_of"]


def gain_coefficients(gain: Tensor, rho: float) -> Tensor:
    r"""Return :math:`\kappa_m = \rho (\sum_j \Delta_j - \Delta_m) / \sum_j \Delta_j` of positive gains; 1 where nothing was gained.

    Args:
        gain: ``(M,)`` :math:`\Delta`, changes of accuracy; negative ones count as 0.
        rho: :math:`\rho`.

    Example:
        >>> gain_coefficients(torch.tensor([0.3, 0.1]), rho=1.2)
        tensor([0.3000, 0.9000])
    """
    positive = gain.clamp_min(0)
    total = positive.sum()
    kappa = rho * (total - positive) / total.clamp_min(1e-12)
    return torch.where(total > 0, kappa, torch.ones_like(kappa))


def head_gradient_of(logits: Tensor, features: Tensor, target: Tensor) -> Tensor:
    r"""Return the gradient of a linear head's cross-entropy by its weight, :math:`(p - y)^T h / B`, ``(C, D)``, differentiably.

    Example:
        >>> head_gradient_of(torch.zeros(1, 2), torch.tensor([[2.0]]), torch.tensor([0]))
        tensor([[-1.],
                [ 1.]])
    """
    residual = logits.softmax(-1) - F.one_hot(target, logits.shape[-1])
    return residual.T @ features / len(target)


class CGGM(ModulatedObjective):
    r"""Classifier-guided gradient modulation: the encoder whose classifier gained most gets the smallest gradient, and directions agree.

    Guo, Jin, Chen, Zhao, "Classifier-guided Gradient Modulation for Enhanced Multimodal Learning", NeurIPS 2024:
    `gain_coefficients` of the change of the unimodal heads' batch accuracy since the last step multiply the gradients that enter the
    encoders; to the loss is added :math:`\lambda\, \mathrm{mean}_m (1 - \cos(G_m, G^{fused}_m))` with the gradients of the unimodal head's and of
    the fused head's weights for m (`head_gradient_of`).

    Differs from the authors' code, which compares parameters where the paper says gradients. Inferred: negative gains count
    as 0 (else the coefficients have poles), and the fused head is taken as linear in the features for the direction.

    Args:
        strength: from joint training (0) to the method (1), in [0, 1].
        rho: :math:`\rho`; the authors use 1.3.
        direction: :math:`\lambda`; the authors use .05 to .2.

    Raises:
        ModelError: (at setup) for a task without classes.

    Example:
        >>> CGGM(direction=0.2)
        CGGM(strength=1.0, rho=1.3, direction=0.2)
    """

    strength = Hyperparameter(1.0, Interval(0, 1, "[]"))
    rho = Hyperparameter(1.3, Interval(0, ends="()"))
    direction = Hyperparameter(0.1, Interval(0))
    accuracy: Tensor
    started: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Make room for the last accuracies."""
        require_multiclass(self, model, "it is guided by accuracies")
        self.register_buffer("accuracy", torch.zeros(len(model.modalities)))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        return model

    def scales(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> NamedTensors:
        """See `ModulatedObjective.scales`."""
        alone = unimodal_logits(model, features, sliced=False)
        accuracy = model.task.sample_score(alone, batch.target).mean(-1).to(self.accuracy.dtype)
        gain = torch.where(self.started, accuracy - self.accuracy, torch.zeros_like(accuracy))
        self.accuracy.copy_(accuracy)
        self.started.fill_(True)
        kappa = 1 + self.strength * (gain_coefficients(gain, self.rho) - 1)
        return dict(zip(features, kappa, strict=True))

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        cosines = []
        for m, h in outputs.features.items():
            own = head_gradient_of(model.head(m)(h), h, batch.target)
            fused = head_gradient_of(outputs.logits, h, batch.target)
            cosines.append(F.cosine_similarity(own.flatten(), fused.flatten(), dim=0))
        return {"direction": self.strength * self.direction * (1 - torch.stack(cosines)).mean()}, {}
