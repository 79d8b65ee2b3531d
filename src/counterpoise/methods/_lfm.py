"""LFM: learning and aligning with a schedule between them (Yang et al., NeurIPS 2024)."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from counterpoise.methods._base import STRENGTH, Epoch
from counterpoise.methods._families import Named, Shaped, alone_logits, is_additive, require_multiclass
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs

__all__ = ["LFM", "classification_weight", "jensen_shannon"]

POLYNOMIAL = (0.2046, 3.355e-3, 1.230e-4, -2.929e-6, 2.238e-8, -5.397e-11)
EPOCHS = 200
"""The authors' schedule is written for so many epochs."""


def classification_weight(progress: float) -> float:
    r"""Return :math:`a_0(e) = 0.2046 + 3.355\,10^{-3} e + 1.230\,10^{-4} e^2 - \dots` at epoch e = 200 ``progress``, in [0, 1].

    Example:
        >>> classification_weight(0.0), round(classification_weight(0.5), 4)
        (0.2046, 0.5394)
    """
    epoch = EPOCHS * progress
    return min(max(sum(c * epoch**k for k, c in enumerate(POLYNOMIAL)), 0.0), 1.0)


def jensen_shannon(logits: Tensor) -> Tensor:
    r"""Return the mean over samples of :math:`\frac1M \sum_m KL(p_m \Vert \bar p)`, in nats, between 0 and log M.

    Args:
        logits: ``(M, B, C)``.

    Example:
        >>> import torch
        >>> round(jensen_shannon(torch.tensor([[[90.0, 0.0]], [[0.0, 90.0]]])).item(), 4)     # log 2
        0.6931
    """
    log_p = logits.log_softmax(-1)
    log_mean = log_p.logsumexp(0) - math.log(len(logits))
    return (log_p.exp() * (log_p - log_mean)).sum(-1).mean()


class LFM(Shaped):
    r"""Learning and aligning: first the modalities' predictions are brought together, later the classification counts more.

    Yang, Wan, Jiang, Xu, "Facilitating Multimodal Classification via Dynamically Learning Modality Gap", NeurIPS 2024:
    :math:`L = 2 [a_0 CE(z, y) + a_1 JS(p_1, \dots, p_M)]`, :math:`a_1 = 1 - a_0`, with the authors' heuristic schedule
    `classification_weight` (stretched to the length of the run). :math:`p_m` is the softmax of M times the modality's slice of the fused
    logits, or of its own head for fusions without slices.

    Differs from the authors' code, whose divergence is :math:`KL(\bar p \Vert p_m)`, the reverse of Jensen and Shannon's; their learned
    schedule is not here: it reduces the hypergradient to the first parameter tensor. More than two modalities: the generalised
    divergence.

    Args:
        strength: from joint training (0) to the method (1); weights :math:`1 + s(2 a_0 - 1)` and :math:`2 s a_1`.

    Raises:
        ModelError: (at setup) for a task without classes.

    Example:
        >>> LFM(strength=0.5)
        LFM(strength=0.5)
    """

    constraints: ClassVar = {"strength": STRENGTH}

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__(strength=strength)
        self.a0 = classification_weight(0.0)

    def setup(self, model: MultimodalClassifier, target: Tensor) -> None:
        """See whether the fusion has slices."""
        require_multiclass(self, model, "it compares distributions over classes")
        self.sliced = is_additive(model.fusion)

    def on_epoch_start(self, model: MultimodalClassifier, epoch: Epoch) -> None:
        """Follow the schedule."""
        self.a0 = classification_weight(epoch.number / epoch.total)

    def fused_weight(self) -> float:
        """See `Shaped.fused_weight`."""
        return 1 + self.strength * (2 * self.a0 - 1)

    def divergence(self, logits: Tensor) -> Tensor:
        """Return how far the modalities' predictions ``(M, B, C)`` are apart, in nats."""
        return jensen_shannon(logits)

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[Named, Named]:
        """See `Shaped.terms`."""
        alone = alone_logits(model, outputs.features, sliced=self.sliced)
        divergence = self.divergence(alone * len(alone) if self.sliced else alone)
        return {"alignment": 2 * self.strength * (1 - self.a0) * divergence}, {}
