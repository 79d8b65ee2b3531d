"""MBSD: modality-bias self-distillation (Liu et al., WSDM 2023)."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from counterpoise.methods.base import NamedTensors, present_rows, require_multiclass
from counterpoise.methods.logits import unimodal_logits
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs

__all__ = ["MBSD", "pair_distillation"]


def pair_distillation(first: Tensor, second: Tensor, target: Tensor) -> Tensor:
    r"""Return the mean over samples of :math:`\omega_i [KL_i + RS_i]` for the logits ``(B, C)`` of two modalities.

    :math:`\omega_i = \mathrm{sg}|p_1(y_i) - p_2(y_i)|` if either is right, else 0; :math:`KL_i =
    KL(\mathrm{sg}(p_\mathrm{strong}) \Vert p_\mathrm{weak})` in nats, where the stronger one has the larger probability
    of the true class; :math:`RS_i = \frac1C \lVert z_1 - z_2 \rVert^2`.

    Args:
        first: Logits of one modality.
        second: Logits of the other.
        target: ``(B,)``.

    Example:
        >>> z = torch.tensor([[1.0, 0.0]])
        >>> pair_distillation(z, z, torch.tensor([0])).item()
        0.0
    """
    log_p = torch.stack([first, second]).log_softmax(-1)
    true = log_p.gather(-1, target.expand(2, -1).unsqueeze(-1)).squeeze(-1).exp().detach()
    right = (first.argmax(-1) == target) | (second.argmax(-1) == target)
    omega = (true[0] - true[1]).abs() * right
    stronger = (true[0] >= true[1]).unsqueeze(-1)
    strong = torch.where(stronger, log_p[0], log_p[1]).detach()
    weak = torch.where(stronger, log_p[1], log_p[0])
    kl = (strong.exp() * (strong - weak)).sum(-1)
    return (omega * (kl + (first - second).square().mean(-1))).mean()


class MBSD(ModulatedObjective):
    r"""Modality-bias self-distillation: on each sample, the weaker modality is trained towards the prediction of the
    stronger one.

    Liu et al., "Multimodal Pre-Training with Self-Distillation for Product Understanding in E-Commerce", WSDM 2023:
    :math:`L = CE(z, y) + \sum_m CE(u_m, y)` plus the mean over all pairs of modalities of `pair_distillation`. No code
    of the authors was found.

    Differs from a published toolkit, which passes probabilities to a function that expects their logarithms, lets
    gradient flow through :math:`\omega`, and takes logits for two but probabilities for three modalities.

    Args:
        strength: Factor of everything that is added to joint training, in [0, inf).
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> MBSD(strength=0.5)
        MBSD(strength=0.5, smoothing=0.0)
    """

    head_scale = 1.0

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check the task."""
        require_multiclass(self, model, "it compares the probabilities of the true class")
        return model

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        logits = unimodal_logits(model, outputs.features, sliced=False, present=outputs.present)
        pairs = []
        for (m, a), (k, b) in combinations(zip(model.modalities, logits, strict=True), 2):
            both = None if outputs.present is None else outputs.present[m] & outputs.present[k]
            first, second, target = present_rows(both, a, b, batch.target)
            pairs.append(pair_distillation(first, second, target) if len(target) else (0 * a).sum())
        return {"distillation": self.strength * torch.stack(pairs).mean()}, {}
