"""AGM: adaptive gradient modulation (Li et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from counterpoise._tree import take, zeros_like
from counterpoise.coalitions import shapley_weights
from counterpoise.errors import ModelError
from counterpoise.methods.base import (
    STRENGTH,
    Backward,
    Hyperparameter,
    Interval,
    Method,
    NamedTensors,
    backward,
    by_modality,
    detached,
    joint_step,
    unimodal_losses,
)
from counterpoise.methods.logits import modality_means, output_losses, presence_masks, subset_logits, target_scale
from counterpoise.methods.objective import keep_finite
from counterpoise.model import MultimodalClassifier, evaluation_mode, scale_gradient
from counterpoise.records import Batch, Presence, StepRecord

__all__ = ["AGM", "adaptive_coefficients", "strength_ratio"]

MAX_MODALITIES = 10
MAX_EXPONENT = 30.0
"""Bound of exponents: two mean losses that differ by 88 nats would overflow single precision."""


def strength_ratio(scores: Tensor) -> Tensor:
    r"""Return :math:`r_m = \exp(\tfrac{M}{M-1} (\bar s - s_m))`, larger for a stronger modality.

    For M = 2 that is :math:`r_a = \exp(s_v - s_a)`. The exponent is bounded by 30 in absolute value.

    Args:
        scores: ``(M,)`` mean negative log-likelihoods of the modalities' shares, in nats.

    Example:
        >>> strength_ratio(torch.tensor([0.5, 1.5]))
        tensor([2.7183, 0.3679])
    """
    count = len(scores)
    return (count / (count - 1) * (scores.mean() - scores)).clamp(-MAX_EXPONENT, MAX_EXPONENT).exp()


def adaptive_coefficients(scores: Tensor, usual: Tensor, alpha: float, cap: float = 10.0) -> Tensor:
    r"""Return :math:`\kappa_m = \exp(\alpha \min(\hat r_m - r_m, \mathrm{cap}))`: below 1 for a modality stronger than
    usual.

    Args:
        scores: ``(M,)`` losses of the modalities' shares in this step.
        usual: ``(M,)`` their mean over the earlier steps.
        alpha: :math:`\alpha`.
        cap: Largest difference of ratios.

    Example:
        >>> adaptive_coefficients(torch.tensor([0.5, 1.5]), torch.tensor([1.0, 1.0]), alpha=1.0)
        tensor([0.1794, 1.8816])
    """
    return (alpha * (strength_ratio(usual) - strength_ratio(scores)).clamp_max(cap)).clamp_max(MAX_EXPONENT).exp()


class AGM(Method):
    r"""Adaptive gradient modulation: the share of each modality in the fused logits gets its own gradient factor.

    Li et al., "Boosting Multi-modal Model Performance with Adaptive Gradient Modulation", ICCV 2023. With :math:`f(S)`
    the fused logits when the inputs outside S are zeros, :math:`z_m` the Shapley value of m plus :math:`f(\emptyset)/M`
    (so that :math:`\sum_m z_m = f`), :math:`s_m = CE(z_m, y)`, and `strength_ratio` of :math:`s` and of its mean over
    all earlier steps (0 before the first): `adaptive_coefficients` multiply the gradient that flows back through
    :math:`z_m`.

    Known from the authors' code: each step is compared with the mean of the earlier ones. Differs from it: zeros are
    encoded once per modality (one sample, evaluation mode) instead of once per subset, so that a step costs 2M encoder
    passes for any M and the fusion sees all :math:`2^M` subsets in one pass; exponents are bounded; clipping of
    gradients is left to the loop. For other tasks than classes the losses are `output_losses`. A published toolkit
    reverses the sign of the ratio.

    Args:
        strength: :math:`\alpha`, in [0, inf); the authors use 1.5 (CREMA-D), 2.5 (AV-MNIST) and 4 (UR-Funny).
        cap: Largest difference of ratios; the authors use 10, and 7 on UR-Funny.

    Raises:
        ModelError: (by `prepare`) for more than ten modalities, since every subset is evaluated.

    Example:
        >>> AGM(strength=2.5)
        AGM(strength=2.5, cap=10.0)
    """

    strength = Hyperparameter(1.5, STRENGTH)
    cap = Hyperparameter(10.0, Interval(0, ends="()"))
    scale: Tensor
    usual: Tensor
    count: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register the running means of the scores."""
        if not model.separable:
            raise ModelError(
                "`AGM` runs each encoder on an input of zeros. The encoders of a wrapped model run only inside it. Use "
                "another method, or build a `MultimodalClassifier`."
            )
        count = len(model.modalities)
        if count > MAX_MODALITIES:
            raise ModelError(
                f"`AGM` evaluates all 2^M subsets, so it takes at most {MAX_MODALITIES} modalities. Found {count}."
            )
        self.register_buffer("scale", target_scale(model.task, target), persistent=False)
        self.register_buffer("usual", torch.zeros(count))
        self.register_buffer("count", torch.zeros(()))
        return model

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        if not self.strength:
            yield from joint_step(model, batch, backward)
            return
        features = model.encode(batch.inputs, batch.present)
        shares = self.shares(model, features, self._absent(model, batch), batch.present)
        with torch.no_grad():
            masks = presence_masks(model.modalities, batch.present)
            losses = output_losses(model, shares, batch.target, self.scale)
            scores = modality_means(losses, masks).to(self.usual.dtype)
            kappa = self.coefficients(scores)
            # The mean of the earlier steps is compared with this step, which is added to it afterwards.
            self.count.add_(1)
            self.usual.copy_(keep_finite(self.usual, (scores - self.usual) / self.count))
        logits = torch.stack([scale_gradient(z, k) for z, k in zip(shares, kappa, strict=True)]).sum(0)
        fused = model.task.loss(logits, batch.target)
        unimodal = unimodal_losses(model, model.decode(features, 0.0, batch.present), batch.target)
        loss = fused + torch.stack(list(unimodal.values())).sum()
        backward(loss)
        yield StepRecord(loss.detach(), detached({"fused": fused, **unimodal}), by_modality(model, "kappa", kappa))

    def coefficients(self, scores: Tensor) -> Tensor:
        """Return the factors of the gradients, ``(M,)``, given this step's scores."""
        return adaptive_coefficients(scores, self.usual, self.strength, self.cap)

    @staticmethod
    def shares(
        model: MultimodalClassifier, features: NamedTensors, absent: NamedTensors, present: Presence | None = None
    ) -> Tensor:
        """Return each modality's share of the fused logits, ``(M, B, C)``; they sum to the fused logits."""
        values = subset_logits(model, features, absent, present=present)
        weights = shapley_weights(len(features)).to(values)
        weights[:, 0] += 1 / len(features)
        return torch.einsum("ms,sbc->mbc", weights, values)

    @staticmethod
    def _absent(model: MultimodalClassifier, batch: Batch) -> NamedTensors:
        """Return each encoder's features of a single all-zero input, in evaluation mode, with gradients."""
        features = {}
        for m in model.modalities:
            with evaluation_mode(model.encoder(m)):
                features[m] = model.encoder(m)(zeros_like(take(batch.inputs[m], slice(1))))
        return features
