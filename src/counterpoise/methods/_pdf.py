"""PDF: predictive dynamic fusion (Cao et al., ICML 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor, nn

from counterpoise.methods._qmf import EnergyFusion
from counterpoise.methods.base import (
    Backward,
    Method,
    backward,
    by_modality,
    detached,
    require_fusion,
    require_multiclass,
    watching_losses,
)
from counterpoise.methods.logits import class_weighted, presence_masks
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Presence, StepRecord, present_mean

__all__ = ["PDF", "PredictiveFusion", "holo_confidence", "relative_calibration"]


def holo_confidence(log_confidence: Tensor, masks: Tensor | None = None) -> Tensor:
    r"""Return :math:`o_m = \sum_{j \ne m} \log c_j / ((M - 1) \sum_j \log c_j)`, ``(M, B)``; the sum over m is 1.

    Args:
        log_confidence: :math:`\log c_m`, ``(M, B)``, negative.
        masks: Which samples have which modality, ``(M, B)``; M counts those that a sample has.

    Example:
        >>> holo_confidence(torch.tensor([[0.5], [0.25]]).log())
        tensor([[0.6667],
                [0.3333]])
    """
    # Away from 0, so that the quotient is defined where every confidence is nearly 1.
    log_confidence = log_confidence.clamp_max(-1e-6)
    others: int | Tensor = len(log_confidence) - 1
    if masks is not None:
        log_confidence = log_confidence.masked_fill(~masks, 0)
        others = (masks.sum(0) - 1).clamp_min(1)
    total = log_confidence.sum(0)
    return (total - log_confidence) / (others * total)


def relative_calibration(logits: Tensor) -> Tensor:
    r"""Return :math:`k_m = D_m / \max_j D_j` with :math:`D_m = \mathrm{mean}_c |p_m(c) - 1 / C|`, ``(M, B)``.

    Args:
        logits: ``(M, B, C)``.

    Example:
        >>> relative_calibration(torch.tensor([[[0.0, 0.0]], [[2.0, 0.0]]]))
        tensor([[0.],
                [1.]])
    """
    distance = (logits.softmax(-1) - 1 / logits.shape[-1]).abs().mean(-1)
    return distance / distance.amax(0).clamp_min(1e-12)


class PredictiveFusion(EnergyFusion):
    r"""Branches weighted by their predicted confidence: :math:`z = \sum_m w_m z_m`, sample by sample.

    In training :math:`w = \mathrm{softmax}_m(c_m + o_m)` (`holo_confidence`), in evaluation :math:`w =
    \mathrm{softmax}_m((c_m + o_m) k_m)` (`relative_calibration`). :math:`c_m` is the sigmoid of a linear map of the
    features, which starts at 1/2.

    Args:
        heads: One linear layer per modality; copied.

    Example:
        >>> fusion = PredictiveFusion({"a": nn.Linear(2, 4), "b": nn.Linear(3, 4)})
        >>> fusion({"a": torch.ones(5, 2), "b": torch.ones(5, 3)}).shape
        torch.Size([5, 4])
    """

    def __init__(self, heads: Mapping[str, nn.Linear]) -> None:
        super().__init__(heads)
        self.gates = nn.ParameterDict({f"gate_{m}": torch.zeros_like(h.weight[0]) for m, h in heads.items()})
        self.offsets = nn.ParameterDict({f"offset_{m}": torch.zeros_like(h.bias[0]) for m, h in heads.items()})

    def confidence_logits(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of :math:`c_m`, ``(M, B)``; no gradient flows into the features."""
        return torch.stack(
            [features[m].detach() @ self.gates[f"gate_{m}"] + self.offsets[f"offset_{m}"] for m in self.feature_dims]
        )

    def weights_of(
        self, confidence_logits: Tensor, branches: Tensor, *, calibrated: bool, masks: Tensor | None = None
    ) -> Tensor:
        """Return :math:`w_m`, ``(M, B)``, without gradient.

        Args:
            confidence_logits: ``(M, B)``.
            branches: ``(M, B, C)``.
            calibrated: Whether to use the weights of evaluation mode.
            masks: Which samples have which modality, ``(M, B)``; the others have no weight.
        """
        odds = confidence_logits.detach()
        score = odds.sigmoid() + holo_confidence(F.logsigmoid(odds), masks)
        score = score * relative_calibration(branches.detach()) if calibrated else score
        if masks is not None:
            score = score.masked_fill(~masks, torch.finfo(score.dtype).min)
        return score.softmax(0)

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """See `Fusion.forward`."""
        branches, masks = self.branch_logits(features, present), presence_masks(tuple(self.feature_dims), present)
        odds = self.confidence_logits(features)
        weights = self.weights_of(odds, branches, calibrated=not self.training, masks=masks)
        return (weights.unsqueeze(-1) * branches).sum(0)


class PDF(Method):
    r"""Predictive dynamic fusion: branches are weighted by a learned prediction of the probability that each of them is
    right.

    Cao, Xia, Ding, Zhang, Hu, "Predictive Dynamic Fusion", ICML 2024 (arXiv 2406.04802): :math:`L = CE(z, y) + \sum_m
    CE(z_m, y) + \sum_m \mathrm{mean}_i |c_m - p_m(y_i)|`. The model to train has `PredictiveFusion`, whose branches
    start as the unimodal heads. No gradient of the confidence loss reaches the encoders or branches, and none of the
    fused loss the confidences.

    Known from the authors' code: the losses and both forms of the weights. Differs from it: the confidence is one
    linear layer (the code: three without a non-linearity between them, which is the same function); logarithms of the
    confidence are those of a sigmoid, bounded away from 0 (the code adds 1e-8, which can change the sign). Inferred:
    more than two modalities. There is no strength, because the fusion is replaced.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> PDF()
        PDF()
    """

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Replace the fusion."""
        require_multiclass(self, model, "its confidences are probabilities of the true class")
        if isinstance(model.fusion, PredictiveFusion):
            return model
        heads = {m: head for m in model.modalities if isinstance(head := model.head(m), nn.Linear)}
        return model.with_fusion(PredictiveFusion(heads))

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        fusion = require_fusion(self, model, PredictiveFusion)
        features = model.encode(batch.inputs, batch.present)
        branches, masks = fusion.branch_logits(features, batch.present), presence_masks(model.modalities, batch.present)
        odds = fusion.confidence_logits(features)
        weights = fusion.weights_of(odds, branches, calibrated=False, masks=masks)
        likelihood = model.task.log_likelihood(branches, batch.target)  # (M, B)
        known = [None] * len(odds) if masks is None else list(masks)
        fused = model.task.loss((weights.unsqueeze(-1) * branches).sum(0), batch.target)
        weighted = class_weighted(model.task, likelihood, batch.target)
        parts = {"fused": fused}
        parts |= {f"branch:{m}": -present_mean(x, k) for m, x, k in zip(model.modalities, weighted, known, strict=True)}
        distance = (odds.sigmoid() - likelihood.detach().exp()).abs()
        parts["confidence"] = torch.stack([present_mean(x, k) for x, k in zip(distance, known, strict=True)]).sum()
        parts |= watching_losses(model, features, batch)
        loss = torch.stack(list(parts.values())).sum()
        backward(loss)
        yield StepRecord(loss.detach(), detached(parts), by_modality(model, "confidence", odds.sigmoid().mean(1)))
