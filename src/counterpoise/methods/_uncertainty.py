"""Uncertainty weighting of the fused and the unimodal losses (Kendall, Gal, Cipolla, CVPR 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from counterpoise.methods.base import NamedTensors
from counterpoise.methods.logits import error_losses, expert_masks
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier, Scale
from counterpoise.records import Batch, Outputs

__all__ = ["UncertaintyWeighting"]


class UncertaintyWeighting(ModulatedObjective):
    r"""Uncertainty weighting: each loss is weighted by a learned uncertainty, :math:`\sum_i e^{-s_i} L_i + \frac12
    s_i`.

    Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics",
    CVPR 2018. The losses are the fused one and that of each unimodal head; the log-variances :math:`s_i` start at 0
    (uniform training) and are parameters of the method, which the optimizer trains. At the optimum
    :math:`e^{s_i} = 2 L_i`. For real targets :math:`L_i = \frac12 \lVert y - f \rVert^2` and the second term counts per
    output.

    A baseline of multi-task learning. The unimodal heads themselves get their full gradient: their weights are factors
    of the gradient that enters the encoders.

    Args:
        strength: From joint training (0) to the method (1), in [0, inf).
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).

    Example:
        >>> UncertaintyWeighting(strength=0.5)
        UncertaintyWeighting(strength=0.5, smoothing=0.0)
    """

    log_variance: nn.Parameter

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register the log-variances: that of the fused loss first."""
        self.log_variance = nn.Parameter(torch.zeros(len(model.modalities) + 1))
        return model

    @property
    def weights(self) -> Tensor:
        """The weights of the losses, ``(M + 1,)``, without gradient."""
        return (-self.log_variance.detach()).exp()

    def fused_weight(self) -> Scale:
        """See `ModulatedObjective.fused_weight`."""
        return 1 + self.strength * (self.weights[0] - 1)

    def head_gradient(self, model: MultimodalClassifier, batch: Batch) -> dict[str, Scale]:
        """Return each modality's weight."""
        return dict(zip(model.modalities, self.strength * self.weights[1:], strict=True))

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """Return the term that trains the log-variances; no gradient of it reaches the model."""
        with torch.no_grad():
            losses = error_losses(model, outputs.experts(), batch.target, expert_masks(outputs))
        outputs_per_loss = model.task.num_outputs if model.task.is_gaussian else 1
        # Its value is that of the penalty; the weighted losses themselves are counted elsewhere.
        weighted = (-self.log_variance).exp() * losses
        penalty = weighted - weighted.detach() + 0.5 * outputs_per_loss * self.log_variance
        coefficients = {
            f"weight:{m}": w for m, w in zip(("fused", *model.modalities), self.weights.clone(), strict=True)
        }
        return {"uncertainty": self.strength * penalty.sum()}, coefficients
