"""MLB: multi-loss balancing (Kontras et al., BMVC 2024)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from counterpoise.methods._ogm import discrepancy_ratio
from counterpoise.methods.base import Hyperparameter, Interval, NamedTensors
from counterpoise.methods.logits import target_scale, true_scores, unimodal_logits
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

__all__ = ["MLB", "balancing_factors"]


def balancing_factors(scores: Tensor, alpha: float) -> Tensor:
    r"""Return :math:`\kappa_m = 1 + \tanh(\alpha (\rho_m - 1))`, :math:`\rho_m = \mathrm{mean}_{j \ne m} s_j / s_m`.

    It lies between :math:`1 - \tanh \alpha` and 2, and is 1 for equal scores.

    Args:
        scores: ``(M,)`` mean probabilities of the true class.
        alpha: :math:`\alpha`.

    Example:
        >>> balancing_factors(torch.tensor([0.8, 0.4]), alpha=0.8)
        tensor([0.6201, 1.6640])
    """
    return 1 + torch.tanh(alpha * (1 / discrepancy_ratio(scores.clamp_min(1e-12)) - 1))


class MLB(ModulatedObjective):
    r"""Multi-loss balancing: multitask training in which weak encoders are accelerated and strong ones slowed down.

    Kontras et al., "Improving Multimodal Learning with Multi-Loss Gradient Modulation", BMVC 2024 (arXiv 2405.07930):
    :math:`L = CE(z, y) + \sum_m CE(u_m, y)`. The whole gradient of encoder m, of both losses, is multiplied by
    :math:`\kappa_m` (`balancing_factors`), with :math:`s_m` the mean probability of the true class by the unimodal
    head, from the first step to the last.

    Known from the authors' code: all of this. Differs from it: the optional second slope for :math:`\rho > 1`, which is
    off in the released configurations, is left out. Inferred: the unimodal heads keep their own gradient; scores for
    several labels and real targets are those of `true_scores`. Under Adam, a constant factor of the gradient has little
    effect.

    Args:
        strength: Factor of everything that is added to joint training, in [0, inf); 1 is the method.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        alpha: :math:`\alpha`; the authors use .8 (CREMA-D, AVE, MOSEI) and 1 (UCF-101). 0 is uniform training.

    Example:
        >>> MLB(alpha=1.0)
        MLB(strength=1.0, smoothing=0.0, alpha=1.0)
    """

    alpha = Hyperparameter(0.8, Interval(0))
    head_scale = 1.0
    scale: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Store the scale of real targets."""
        self.register_buffer("scale", target_scale(model.task, target), persistent=False)
        return model

    def scales(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> NamedTensors:
        """See `ModulatedObjective.scales`."""
        logits = unimodal_logits(model, features, sliced=False, present=batch.present)
        scores = true_scores(model, logits, batch.target, self.scale, batch.present) / len(batch)
        kappa = 1 + self.strength * (balancing_factors(scores, self.alpha) - 1)
        return dict(zip(features, kappa, strict=True))
