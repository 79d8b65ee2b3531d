"""CGGM: classifier-guided gradient modulation (Guo et al., NeurIPS 2024)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor

from counterpoise.methods.base import Hyperparameter, Interval, NamedTensors
from counterpoise.methods.logits import modality_means, presence_masks, unimodal_logits
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs

__all__ = ["CGGM", "gain_shares", "head_gradient_of"]


def gain_shares(gain: Tensor) -> Tensor:
    r"""Return :math:`B_m = (\sum_j \Delta_j - \Delta_m) / \sum_j \Delta_j` of positive gains, or 1 without gains.

    Args:
        gain: ``(M,)`` :math:`\Delta`, changes of accuracy; negative ones count as 0.

    Example:
        >>> gain_shares(torch.tensor([0.3, 0.1]))
        tensor([0.2500, 0.7500])
    """
    positive = gain.clamp_min(0)
    total = positive.sum()
    shares = (total - positive) / total.clamp_min(1e-12)
    return torch.where(total > 0, shares, torch.ones_like(shares))


def head_gradient_of(residual: Tensor, features: Tensor) -> Tensor:
    r"""Return the gradient of a linear head's loss by its weight, :math:`r^T h / B`, ``(C, D)``, differentiably.

    Args:
        residual: Residual r, ``(B, C)``, the gradient of each sample's loss by the logits (p - y for classes).
        features: Features h, ``(B, D)``.

    Example:
        >>> head_gradient_of(torch.tensor([[-0.5, 0.5]]), torch.tensor([[2.0]]))
        tensor([[-1.],
                [ 1.]])
    """
    return residual.T @ features / len(features)


class CGGM(ModulatedObjective):
    r"""Classifier-guided gradient modulation: the encoder whose classifier gained most gets the smallest gradient.

    Guo, Jin, Chen, Zhao, "Classifier-guided Gradient Modulation for Enhanced Multimodal Learning", NeurIPS 2024. With
    :math:`\Delta_m` the change of the unimodal head's accuracy on the batch since the last step, and `gain_shares` B:
    the gradient that enters encoder m is multiplied by :math:`\kappa_m = \rho B_m`, and the loss gets :math:`\lambda\,
    \mathrm{mean}_m (|B_m| - B_m \cos(G_m, G^{fused}_m))` with the gradients of the unimodal head's and of the fused
    head's weights for m (`head_gradient_of`).

    Known from the authors' code: both formulas. Differs from it: the direction compares gradients, as the paper says
    (the code: parameters), and negative gains count as 0 (the code: coefficients below 0 and with poles). The clamp has
    a side effect: whenever the accuracy of only one of two heads rose, its encoder's coefficient is exactly 0, which
    happens in more than half of the steps with small batches. ``floor`` bounds the coefficients from below. Inferred:
    the fused head is taken as linear in the features for the direction, and for other tasks than classes the score per
    sample replaces the accuracy (for real targets minus the squared error, of which only ratios of changes count).

    Args:
        strength: From joint training (0) to the method (1), in [0, 1].
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        rho: :math:`\rho`; the authors use 1.3.
        direction: :math:`\lambda`; the authors use .05 to .2.
        floor: Smallest coefficient, in [0, 1].

    Example:
        >>> CGGM(direction=0.2)
        CGGM(strength=1.0, smoothing=0.0, rho=1.3, direction=0.2, floor=0.0)
    """

    strength = Hyperparameter(1.0, Interval(0, 1, "[]"))
    rho = Hyperparameter(1.3, Interval(0, ends="()"))
    direction = Hyperparameter(0.1, Interval(0))
    floor = Hyperparameter(0.0, Interval(0, 1, "[]"))
    accuracy: Tensor
    shares: Tensor
    started: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register the accuracies of the last step, and the shares of this one."""
        self.register_buffer("accuracy", torch.zeros(len(model.modalities)))
        self.register_buffer("shares", torch.ones(len(model.modalities)))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        return model

    def scales(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> NamedTensors:
        """See `ModulatedObjective.scales`."""
        logits = unimodal_logits(model, features, sliced=False, present=batch.present)
        masks = presence_masks(model.modalities, batch.present)
        accuracy = modality_means(model.task.sample_score(logits, batch.target), masks).to(self.accuracy.dtype)
        if masks is not None:  # a modality that no sample of the batch has gains 0
            accuracy = torch.where(masks.any(-1), accuracy, self.accuracy)
        gain = torch.where(self.started, accuracy - self.accuracy, torch.zeros_like(accuracy))
        self.accuracy.copy_(accuracy)
        self.shares.copy_(gain_shares(gain))
        # The first step has no gains: its coefficients are 1, as where nothing was gained.
        gained = (gain > 0).any()
        kappa = torch.where(gained, (self.rho * self.shares).clamp_min(self.floor), torch.ones_like(gain))
        self.started.fill_(True)
        return dict(zip(features, 1 + self.strength * (kappa - 1), strict=True))

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        fused = model.task.residual(outputs.logits, batch.target)
        cosines = []
        for m, h in outputs.features.items():
            own = head_gradient_of(model.task.residual(model.head(m)(h), batch.target), h)
            cosines.append(F.cosine_similarity(own.flatten(), head_gradient_of(fused, h).flatten(), dim=0))
        shares = self.shares.to(cosines[0].dtype)
        distance = (shares.abs() - shares * torch.stack(cosines)).mean()
        return {"direction": self.strength * self.direction * distance}, {}
