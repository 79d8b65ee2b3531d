"""GradNorm: weights of the losses that balance their gradients (Chen et al., ICML 2018)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from counterpoise.methods.base import Backward, Hyperparameter, Interval, NamedTensors, unimodal_losses
from counterpoise.methods.logits import error_losses, expert_masks
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier, Scale
from counterpoise.records import Batch, Outputs, Presence

__all__ = ["GradNorm", "balanced_weights", "feature_gradient_norms"]

FLOOR = 1e-3
"""Smallest weight of a loss before the weights are rescaled."""


def balanced_weights(weights: Tensor, norms: Tensor, progress: Tensor, alpha: float, rate: float) -> Tensor:
    r"""Return the weights after one step of gradient descent on :math:`\sum_i |w_i n_i - t_i|`, ``(T,)``.

    The targets :math:`t_i = \bar G r_i^\alpha` are constants, with :math:`\bar G` the mean of :math:`G_i = w_i n_i` and
    :math:`r_i` the progress of a loss over the mean of all. The result is scaled to the sum T.

    Args:
        weights: :math:`w`, ``(T,)``.
        norms: :math:`n_i`, the norm of the gradient of each loss without its weight, ``(T,)``.
        progress: :math:`L_i / L_i(0)`, ``(T,)``.
        alpha: :math:`\alpha`.
        rate: Step size, relative to the mean norm.

    Example:
        >>> balanced_weights(torch.ones(2), torch.tensor([3.0, 1.0]), torch.ones(2), alpha=1.5, rate=0.1)
        tensor([0.8947, 1.1053])
    """
    now = weights * norms
    goal = now.mean() * (progress / progress.mean().clamp_min(1e-12)) ** alpha
    step = rate * torch.sign(now - goal) * norms / norms.mean().clamp_min(1e-30)
    moved = (weights - step).clamp_min(FLOOR)
    return moved * len(weights) / moved.sum()


def feature_gradient_norms(
    model: MultimodalClassifier, features: Mapping[str, Tensor], target: Tensor, present: Presence | None = None
) -> Tensor:
    """Return the norm of the gradient of the fused and of each unimodal loss by the features, ``(M + 1,)``.

    Args:
        model: Model.
        features: ``{m: (B, D_m)}``.
        target: Targets of the batch.
        present: Which samples have which modality.
    """
    with torch.enable_grad():
        leaves = {m: h.detach().requires_grad_() for m, h in features.items()}
        outputs = model.decode(leaves, present=present)
        fused = torch.autograd.grad(model.task.loss(outputs.logits, target), list(leaves.values()), allow_unused=True)
        unimodal = torch.stack(list(unimodal_losses(model, outputs, target).values())).sum()
        own = torch.autograd.grad(unimodal, list(leaves.values()))
    whole = torch.stack([g.norm() for g in fused if g is not None]).norm()
    return torch.stack([whole, *(g.norm() for g in own)])


class GradNorm(ModulatedObjective):
    r"""Gradient normalisation: losses are weighed so that their gradients are equally large, or follow their progress.

    Chen, Badrinarayanan, Lee, Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
    Multitask Networks", ICML 2018: :math:`L = \sum_i w_i L_i` over the fused loss and each unimodal one. After every
    step the weights follow `balanced_weights`, so that losses that have fallen less get larger gradients.

    A baseline of multi-task learning. Known from the paper: the objective of the weights and their constant sum. Ours:
    encoders share no layer, so the norms are those of the gradients by the features; the step of the weights is
    relative to the mean norm (the paper: Adam); :math:`L_i(0)` are the losses of the first batch. The unimodal heads
    themselves get their full gradient.

    Args:
        strength: From joint training (0) to the method (1), in [0, inf).
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        alpha: :math:`\alpha`; 0 makes all gradients equally large, the paper uses 1.5.
        rate: Step size of the weights; 0 is uniform training.

    Example:
        >>> GradNorm(alpha=0.5)
        GradNorm(strength=1.0, smoothing=0.0, alpha=0.5, rate=0.025)
    """

    alpha = Hyperparameter(1.5, Interval(0))
    rate = Hyperparameter(0.025, Interval(0, 1, "[]"))
    weights: Tensor
    initial: Tensor
    started: Tensor
    _next: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register the weights, that of the fused loss first, and the first losses."""
        count = len(model.modalities) + 1
        self.register_buffer("weights", torch.ones(count))
        self.register_buffer("initial", torch.ones(count))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        return model

    def fused_weight(self) -> Scale:
        """See `ModulatedObjective.fused_weight`."""
        return 1 + self.strength * (self.weights[0] - 1)

    def head_gradient(self, model: MultimodalClassifier, batch: Batch) -> dict[str, Scale]:
        """Return each modality's weight."""
        return dict(zip(model.modalities, self.strength * self.weights[1:], strict=True))

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """Compute the weights of the next step; there is no further term."""
        norms = feature_gradient_norms(model, outputs.features, batch.target, batch.present).to(self.weights.dtype)
        with torch.no_grad():
            losses = error_losses(model, outputs.experts(), batch.target, expert_masks(outputs)).to(self.weights.dtype)
            self.initial.copy_(torch.where(self.started, self.initial, losses.clamp_min(1e-12)))
            weights = balanced_weights(self.weights, norms, losses / self.initial, self.alpha, self.rate)
            self._next = torch.where(weights.isfinite().all(), weights, self.weights)
        shown = self.weights.clone()
        return {}, {f"weight:{m}": w for m, w in zip(("fused", *model.modalities), shown, strict=True)}

    def backpropagate(
        self, model: MultimodalClassifier, loss: Tensor, kappa: Mapping[str, Tensor], backward: Backward
    ) -> None:
        """Back-propagate with the weights of this step, and then replace them."""
        backward(loss)
        self.weights.copy_(self._next)
        self.started.fill_(True)
