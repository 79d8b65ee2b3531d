"""TCMax: maximisation of the total correlation between modalities and labels (ICLR 2026)."""

from __future__ import annotations

import math

from torch import Tensor

from counterpoise.methods.base import Hyperparameter, Interval, NamedTensors, require_multiclass
from counterpoise.methods.logits import require_additive, unimodal_logits
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs

__all__ = ["TCMax", "total_correlation_loss"]


def total_correlation_loss(slices: Tensor, target: Tensor) -> Tensor:
    r"""Return minus a lower bound of the total correlation of modalities and label, in nats.

    .. math:: -\mathrm{mean}_i z(i, \ldots, i)_{y_i} + \log \sum_{j_1, \ldots, j_M, c} \exp z(j_1, \ldots, j_M)_c
        - \log(B^M C)

    where :math:`z(j_1, \ldots, j_M)` are the fused logits of modality m of sample :math:`j_m`. For logits that are a
    sum over modalities the sum over samples is a product, so all :math:`B^M` combinations cost no more than the batch.

    Args:
        slices: ``(M, B, C)`` logits that sum to the fused ones.
        target: ``(B,)``.

    Example:
        >>> import torch
        >>> total_correlation_loss(torch.zeros(2, 4, 3), torch.tensor([0, 1, 2, 0]))      # nothing is known
        tensor(0.)
    """
    modalities, size, classes = slices.shape
    fused = slices.sum(0)
    right = fused.gather(-1, target.unsqueeze(-1)).mean()
    # log sum_c prod_m sum_j exp z_m(j)_c: logsumexp over samples, the sum over modalities, logsumexp over classes.
    every = slices.logsumexp(1).sum(0).logsumexp(0)
    return every - right - modalities * math.log(size) - math.log(classes)


class TCMax(ModulatedObjective):
    r"""Total correlation maximisation: true combinations of modalities and label are separated from all others.

    "TCMax", ICLR 2026 (arXiv 2602.13015). `total_correlation_loss` replaces the cross-entropy of the fused head. The
    prediction is the largest fused logit of the sample. The logits are not calibrated class probabilities: use a
    calibrated rule before likelihoods are compared.

    Known from the paper: the loss for two modalities. Differs from the authors' code: all exponentials are taken in
    logarithms (the code subtracts the mean, and overflows where logits spread by 88), and the constant is
    :math:`\log(B^M C)` as in the formula. Inferred: more than two modalities use all :math:`B^M` combinations. Fusions
    that are not additive are refused: their combinations need :math:`B^M` passes through the fusion.

    Args:
        strength: From joint training (0) to the method (1), in [0, 1].
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).

    Raises:
        ModelError: (by `prepare`) for a task without classes, or a fusion without slices.

    Example:
        >>> TCMax()
        TCMax(strength=1.0, smoothing=0.0)
    """

    incomplete = "its loss contrasts each modality of a sample with those of all other samples"
    strength = Hyperparameter(1.0, Interval(0, 1, "[]"))
    unweighted = "its loss contrasts every sample with all combinations of the batch's features"

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check task and fusion."""
        require_multiclass(self, model, "it contrasts classes")
        require_additive(self, model, "combines the logits of single modalities")
        return model

    def fused_weight(self) -> float:
        """See `ModulatedObjective.fused_weight`."""
        return 1 - self.strength

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        slices = unimodal_logits(model, outputs.features, sliced=True, present=outputs.present)
        return {"total-correlation": self.strength * total_correlation_loss(slices, batch.target)}, {}
