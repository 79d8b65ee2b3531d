"""OPM: on-the-fly prediction modulation (Wei et al., TPAMI 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from counterpoise._validation import Interval
from counterpoise.methods._ogm import discrepancy_ratio
from counterpoise.methods.base import Epoch
from counterpoise.methods.objective import Named, Shaped, alone_logits, by_modality, is_additive, true_scores
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

__all__ = ["OPM", "drop_probability"]


def drop_probability(scores: Tensor, base: float, sensitivity: float) -> Tensor:
    r"""Return :math:`q_m = q_0 (1 + \lambda \tanh(u_m - 1))` where :math:`u_m = s_m / \mathrm{mean}_{j \ne m} s_j > 1`, else 0; at most 1.

    Example:
        >>> drop_probability(torch.tensor([3.0, 1.0]), base=0.5, sensitivity=0.5)
        tensor([0.7410, 0.0000])
    """
    return _probability(discrepancy_ratio(scores), base, sensitivity)


def _probability(ratio: Tensor, base: float, sensitivity: float) -> Tensor:
    q = base * (1 + sensitivity * torch.tanh(ratio - 1))
    return torch.where(ratio > 1, q.clamp(max=1), torch.zeros_like(q))


class OPM(Shaped):
    r"""On-the-fly prediction modulation: the dominant modality's features are dropped from the fused head, at random.

    Wei, Hu, Du, Wen, "On-the-fly Modulation for Balanced Multimodal Learning", TPAMI 2024. With :math:`s_m` as in OGM:
    `drop_probability`; in a share of the batches every sample keeps modality m with probability :math:`1 - q_m`, and what is
    kept is divided by :math:`1 - \theta`, :math:`\theta = \sum_m D_m q_m / \sum_m D_m`.

    Differs from the authors' code: no number of classes and no data set is built in; more than two modalities are compared with
    the mean of the others (undefined in the paper). Not every modality of a sample can be dropped, for the weakest never is, so no sample is left out.
    A published toolkit divides in place, so that its second ratio is :math:`s_2^2 / s_1`.

    Args:
        strength: :math:`q_0`, in [0, 1]; the authors use 0.4 to 0.5.
        sensitivity: :math:`\lambda`.
        probability: share of the batches that are modulated.
        start: first epoch of modulation, from 0.

    Example:
        >>> OPM(start=0)
        OPM(strength=0.5, sensitivity=0.5, probability=0.7, start=0)
    """

    constraints: ClassVar = {
        "strength": Interval(0, 1, "[]"),
        "sensitivity": Interval(0),
        "probability": Interval(0, 1, "[]"),
        "start": Interval(0, integer=True),
    }
    sensitivity: float
    probability: float
    start: int

    def __init__(
        self, strength: float = 0.5, *, sensitivity: float = 0.5, probability: float = 0.7, start: int = 5
    ) -> None:
        super().__init__(strength=strength, sensitivity=sensitivity, probability=probability, start=start)
        self.active = start == 0

    def setup(self, model: MultimodalClassifier, target: Tensor) -> None:
        """See whether the fusion has slices."""
        self.sliced = is_additive(model.fusion)

    def on_epoch_start(self, model: MultimodalClassifier, epoch: Epoch) -> None:
        """Start after the warm-up."""
        self.active = epoch.number >= self.start

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return how likely each modality of a sample is to be dropped, ``(M,)``."""
        return drop_probability(scores, self.strength, self.sensitivity)

    def modulate(
        self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Mapping[str, Tensor], Named]:
        """See `Shaped.modulate`."""
        if not self.active:
            return features, {}
        with torch.no_grad():
            scores = true_scores(model, alone_logits(model, features, sliced=self.sliced), batch.target)
            q = self.probabilities(scores)
            q = q * (torch.rand((), device=q.device) < self.probability)
            dims = torch.tensor([model.feature_dims[m] for m in model.modalities], device=q.device, dtype=q.dtype)
            kept = (1 - (dims * q).sum() / dims.sum()).clamp_min(1e-6)
            keep = (torch.rand(len(batch), len(q), device=q.device) >= q).to(q.dtype) / kept
        masked = {m: features[m] * k.unsqueeze(1).to(features[m].dtype) for m, k in zip(features, keep.T, strict=True)}
        return masked, by_modality(model, "q", q)
