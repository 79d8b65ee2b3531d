"""OGM-GE: on-the-fly gradient modulation with generalisation enhancement (Peng et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from counterpoise.errors import ConfigError
from counterpoise.methods.base import STRENGTH, Backward, EpochContext, Hyperparameter, Interval, NamedTensors
from counterpoise.methods.logits import is_additive, target_scale, true_scores, unimodal_logits
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

__all__ = ["OGMGE", "discrepancy_ratio", "modulation"]

MIN_KAPPA = 1e-6


def discrepancy_ratio(scores: Tensor) -> Tensor:
    r"""Return OGM's discrepancy ratio :math:`\rho_m = s_m / \operatorname{mean}_{j \ne m} s_j` (its Eq. 8 for M = 2).

    Args:
        scores: ``(M,)`` positive scores: the summed probability of the true class by each modality alone.

    Example:
        >>> discrepancy_ratio(torch.tensor([3.0, 1.0]))
        tensor([3.0000, 0.3333])
    """
    others = (scores.sum() - scores) / (len(scores) - 1)
    return scores / others


def modulation(ratio: Tensor, alpha: float) -> Tensor:
    r"""Return :math:`\kappa_m = 1 - \tanh(\alpha \rho_m)` where :math:`\rho_m > 1`, else 1 (its Eq. 10).

    In floating point tanh reaches 1; :math:`\kappa` is clamped to at least 1e-6 so that the noise scale
    :math:`\mathrm{std}(g) / \kappa` stays finite.

    Args:
        ratio: ``(M,)`` :math:`\rho`.
        alpha: :math:`\alpha`.

    Example:
        >>> modulation(torch.tensor([3.0, 0.3333]), alpha=0.5)
        tensor([0.0949, 1.0000])
    """
    return torch.where(ratio > 1, (1 - torch.tanh(alpha * ratio)).clamp_min(MIN_KAPPA), torch.ones_like(ratio))


class OGMGE(ModulatedObjective):
    r"""On-the-fly gradient modulation: the dominant modality's encoder learns more slowly, and noise is added to its
    gradients to keep generalisation.

    Peng, Wei, Deng, Wang, Hu, "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022. With the
    slices :math:`z_m = W_m h_m + b/M` of the fused logits, :math:`s_m = \sum_i \mathrm{softmax}(z_m)_{i, y_i}`
    (`true_scores`), `discrepancy_ratio` and `modulation`: :math:`\theta_m \leftarrow \theta_m - \eta (\kappa_m g_m +
    \epsilon)`, :math:`\epsilon \sim N(0, \mathrm{std}(g_m)^2)` (its Eqs. 11-13).

    Differs from the authors' code: all parameters of an encoder are modulated, as the equation of the paper says (the
    code: convolution weights only); the noise is added to weights (two or more dimensions) of any layer; more than two
    modalities are compared with the mean of the others (undefined in the paper); for fusions without slices, the
    unimodal heads are used instead.

    Args:
        strength: :math:`\alpha`, in [0, inf); the authors use 0.8 (CREMA-D) and 0.1 (VGGSound), in the first 50 of 100
            epochs.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        noise: Whether to add the generalisation-enhancing noise (GE).
        start: First epoch of modulation, from 0.
        end: First epoch after the modulation; None for never.

    Raises:
        ConfigError: If ``end`` is not larger than ``start``.

    Example:
        >>> OGMGE(strength=0.3, noise=False)
        OGMGE(strength=0.3, smoothing=0.0, noise=False, start=0, end=None)
    """

    strength = Hyperparameter(0.3, STRENGTH)
    noise = Hyperparameter(True)
    start = Hyperparameter(0, Interval(0, integer=True))
    end = Hyperparameter[int | None](None, Interval(1, integer=True))

    scale: Tensor
    epoch = 0

    def validate(self) -> None:
        """Check that the modulation starts before it ends."""
        if self.end is not None and self.end <= self.start:
            raise ConfigError(
                f"Parameter `end` of `OGMGE` should be larger than `start = {self.start}`. Found `end = {self.end}`."
            )

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check whether the fusion has slices, and store the scale of real targets."""
        self.sliced = is_additive(model.fusion)
        self.register_buffer("scale", target_scale(model.task, target), persistent=False)
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Store the number of the epoch, which switches the modulation on and off."""
        self.epoch = epoch.number

    def scales(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> NamedTensors:
        """See `ModulatedObjective.scales`."""
        if self.epoch < self.start or (self.end is not None and self.epoch >= self.end):
            return {}
        logits = unimodal_logits(model, features, sliced=self.sliced, present=batch.present)
        scores = true_scores(model, logits, batch.target, self.scale, batch.present)
        return dict(zip(features, modulation(discrepancy_ratio(scores), self.strength), strict=True))

    def backpropagate(
        self, model: MultimodalClassifier, loss: Tensor, kappa: Mapping[str, Tensor], backward: Backward
    ) -> None:
        """Back-propagate, with noise added to each weight's gradient as it arrives."""
        handles = []
        if self.noise and kappa:
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
