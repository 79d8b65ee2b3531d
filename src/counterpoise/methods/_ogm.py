"""OGM-GE: on-the-fly gradient modulation with generalisation enhancement (Peng et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from counterpoise._validation import Interval, Options
from counterpoise.methods.base import STRENGTH, Backward, Epoch, GradientModulation
from counterpoise.methods.objective import alone_logits, is_additive, true_scores
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

__all__ = ["OGMGE", "discrepancy_ratio", "modulation"]

LEAST = 1e-6


def discrepancy_ratio(scores: Tensor) -> Tensor:
    r"""Return OGM's discrepancy ratio :math:`\rho_m = s_m / \operatorname{mean}_{j \ne m} s_j` (its Eq. 8 for M = 2).

    Args:
        scores: ``(M,)`` positive scores, the summed probability that each modality alone gives to the true class.

    Example:
        >>> discrepancy_ratio(torch.tensor([3.0, 1.0]))
        tensor([3.0000, 0.3333])
    """
    others = (scores.sum() - scores) / (len(scores) - 1)
    return scores / others


def modulation(ratio: Tensor, alpha: float) -> Tensor:
    r"""Return :math:`\kappa_m = 1 - \tanh(\alpha \rho_m)` where :math:`\rho_m > 1`, else 1 (its Eq. 10).

    In floating point tanh reaches 1; :math:`\kappa` is at least 1e-6, for the noise is as large as the gradient before it.

    Example:
        >>> modulation(torch.tensor([3.0, 0.3333]), alpha=0.5)
        tensor([0.0949, 1.0000])
    """
    return torch.where(ratio > 1, (1 - torch.tanh(alpha * ratio)).clamp_min(LEAST), torch.ones_like(ratio))


class OGMGE(GradientModulation):
    r"""On-the-fly gradient modulation: the dominant modality's encoder learns more slowly, and noise makes up for it.

    Peng, Wei, Deng, Wang, Hu, "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022: with the
    slices
    :math:`z_m = W_m h_m + b/M` of the fused logits, :math:`s_m = \sum_i \mathrm{softmax}(z_m)_{i, y_i}`,
    `discrepancy_ratio`
    and `modulation`, :math:`\theta_m \leftarrow \theta_m - \eta (\kappa_m g_m + \epsilon)`, :math:`\epsilon \sim N(0,
    \mathrm{std}(g_m)^2)` (its Eqs. 11-13).

    Differs from the authors' code: all parameters of an encoder are modulated as the paper's equation says (the code:
    convolution weights only); the noise goes to
    weights (two or more dimensions) of any layer; more than two modalities are compared with the mean of the others
    (undefined in the paper); for fusions without slices the unimodal heads take their place (the code computes slices that are none).

    Args:
        strength: :math:`\alpha`, in [0, inf); the authors use 0.8 (CREMA-D) and 0.1 (VGGSound), in the first 50 of 100 epochs.
        noise: add the generalisation-enhancing noise (GE).
        start: first epoch of modulation, from 0.
        end: first epoch after it, or None for never.

    Example:
        >>> OGMGE(strength=0.3, noise=False)
        OGMGE(strength=0.3, noise=False, start=0, end=None)
    """

    constraints: ClassVar = {
        "strength": STRENGTH,
        "noise": Options((True, False)),
        "start": Interval(0, integer=True),
    }
    strength: float
    noise: bool
    start: int
    end: int | None

    def __init__(self, strength: float = 0.3, *, noise: bool = True, start: int = 0, end: int | None = None) -> None:
        super().__init__(strength=strength, noise=noise, start=start, end=end)
        self.active = start == 0

    def on_epoch_start(self, model: MultimodalClassifier, epoch: Epoch) -> None:
        """Switch the modulation on and off."""
        self.active = self.start <= epoch.number and (self.end is None or epoch.number < self.end)

    def coefficients(
        self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        """See `GradientModulation.coefficients`."""
        if not self.active:
            return {}
        scores = true_scores(model, alone_logits(model, features, sliced=is_additive(model.fusion)), batch.target)
        return dict(zip(features, modulation(discrepancy_ratio(scores), self.strength), strict=True))

    def modulated_backward(
        self, model: MultimodalClassifier, loss: Tensor, kappa: Mapping[str, Tensor], backward: Backward
    ) -> None:
        """Back-propagate, with noise added to each weight's gradient as it arrives (so accumulation adds whole steps)."""
        handles = []
        if self.noise:
            handles = [
                p.register_hook(_noisy(kappa[m]))
                for m in model.modalities
                for p in model.encoder_parameters(m)
                if p.requires_grad and p.ndim >= 2
            ]
        try:
            backward(loss)
        finally:
            for handle in handles:
                handle.remove()


def _noisy(kappa: Tensor) -> Callable[[Tensor], Tensor]:
    def hook(grad: Tensor) -> Tensor:
        return torch.addcmul(grad, torch.randn_like(grad), grad.std(correction=0) / kappa.to(grad.dtype))

    return hook
