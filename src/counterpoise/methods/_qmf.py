"""QMF: quality-aware multimodal fusion by energies (Zhang et al., ICML 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from counterpoise.fusion import Fusion, only_present
from counterpoise.methods.base import (
    Backward,
    Hyperparameter,
    Interval,
    Method,
    backward,
    by_modality,
    detached,
    require_fusion,
    require_multiclass,
    watching_losses,
)
from counterpoise.methods.logits import class_weighted, modality_means, presence_masks
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Presence, StepRecord

__all__ = ["QMF", "EnergyFusion", "rank_loss", "relative_difficulty"]


class EnergyFusion(Fusion):
    r"""Branches weighted by their energy, sample by sample.

    :math:`z = \sum_m c_m(x)\, z_m`, :math:`c_m = \log \sum_c e^{z_{m,c}} / T`.

    Args:
        heads: One linear layer per modality; copied.
        temperature: T.

    Example:
        >>> fusion = EnergyFusion({"a": nn.Linear(2, 4), "b": nn.Linear(3, 4)})
        >>> fusion({"a": torch.ones(5, 2), "b": torch.ones(5, 3)}).shape
        torch.Size([5, 4])
    """

    def __init__(self, heads: Mapping[str, nn.Linear], temperature: float = 10.0) -> None:
        super().__init__({m: h.in_features for m, h in heads.items()}, next(iter(heads.values())).out_features)
        self.temperature = temperature
        self.weights = nn.ParameterDict({f"weight_{m}": h.weight.detach().clone() for m, h in heads.items()})
        self.biases = nn.ParameterDict({f"bias_{m}": h.bias.detach().clone() for m, h in heads.items()})

    absent = "skip"

    def branch_logits(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """Return :math:`z_m`, ``(M, B, C)``; 0 for absent modalities."""
        branches = {
            m: features[m] @ self.weights[f"weight_{m}"].T + self.biases[f"bias_{m}"] for m in self.feature_dims
        }
        return torch.stack([only_present(z, m, present) for m, z in branches.items()])

    def confidence(self, logits: Tensor) -> Tensor:
        """Return :math:`c_m`, ``(M, B)``, for branches ``(M, B, C)``."""
        return logits.logsumexp(-1) / self.temperature

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """See `Fusion.forward`."""
        return self.mix(self.branch_logits(features, present))

    def mix(self, logits: Tensor) -> Tensor:
        """Return the weighted sum ``(B, C)``; no gradient flows through the weights."""
        return (self.confidence(logits).detach().unsqueeze(-1) * logits).sum(0)


def rank_loss(confidence: Tensor, difficulty: Tensor, masks: Tensor | None = None) -> Tensor:
    r"""Return the rank loss between each sample and the next one of the batch, summed over modalities.

    .. math:: \sum_m \mathrm{mean}_i \max(0, |d_i - d_j| - \mathrm{sgn}(d_j - d_i)(c_i - c_j)), \qquad j = i + 1

    A sample with smaller losses so far should have a higher confidence, by at least the difference in difficulty.

    Args:
        confidence: ``(M, B)``.
        difficulty: ``(M, B)``, in [0, 1].
        masks: Which samples have which modality, ``(M, B)``; both samples of a pair should have it.

    Example:
        >>> rank_loss(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
        tensor(0.)
    """
    gap = difficulty.roll(-1, dims=1) - difficulty
    losses = (gap.abs() - gap.sign() * (confidence - confidence.roll(-1, dims=1))).relu()
    if masks is None:
        return losses.mean(-1).sum()
    pairs = masks & masks.roll(-1, dims=1)
    return (losses.masked_fill(~pairs, 0).sum(-1) / pairs.sum(-1).clamp_min(1)).sum()


def relative_difficulty(total: Tensor) -> Tensor:
    """Return the summed losses ``(M, N)`` of all training samples, scaled to [0, 1] within each modality.

    Example:
        >>> relative_difficulty(torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]]))
        tensor([[0.0000, 1.0000, 0.5000],
                [0.0000, 0.0000, 0.0000]])
    """
    low, high = total.aminmax(dim=1, keepdim=True)
    return (total - low) / (high - low).clamp_min(1e-12)


class QMF(Method):
    r"""Quality-aware fusion: the energy of a modality's logits is their weight, sample by sample.

    Zhang et al., "Provable Dynamic Fusion for Low-Quality Multimodal Data", ICML 2023: :math:`L = CE(z, y) + \sum_m
    CE(z_m, y) + \lambda` `rank_loss`. The difficulty of a sample is the sum of its losses so far in that modality,
    scaled to [0, 1] by the smallest and the largest of the whole training set (`relative_difficulty`). The model to
    train has `EnergyFusion`, whose branches start as the unimodal heads.

    Known from the authors' code: the history, its scaling, and the pairs. Differs from it: the margin is added, so that
    a larger gap in difficulty requires a larger gap in confidence (the code: subtracted). No gradient flows through the
    weights of the fusion, as in the code for image and text (the code for RGB and depth: it does). Inferred: the rank
    losses of the modalities are added. There is no strength, because the fusion is replaced.

    Args:
        rank: :math:`\lambda`; the authors use .1 (NYUD2) and 1 (SUN RGB-D, image and text).
        temperature: T of the energies.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> QMF(rank=0.0)
        QMF(rank=0.0, temperature=10.0)
    """

    rank = Hyperparameter(0.1, Interval(0))
    temperature = Hyperparameter(10.0, Interval(0, ends="()"))
    total: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Replace the fusion, and register the history of losses."""
        require_multiclass(self, model, "energies are those of a softmax")
        if not isinstance(model.fusion, EnergyFusion):
            heads = {m: head for m in model.modalities if isinstance(head := model.head(m), nn.Linear)}
            model = model.with_fusion(EnergyFusion(heads, self.temperature))
        self.register_buffer("total", torch.zeros(len(model.modalities), len(target)))
        return model

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        fusion = require_fusion(self, model, EnergyFusion)
        features = model.encode(batch.inputs, batch.present)
        branches, masks = fusion.branch_logits(features, batch.present), presence_masks(model.modalities, batch.present)
        confidence = fusion.confidence(branches)
        nll = -model.task.log_likelihood(branches, batch.target)  # (M, B)
        weighted = class_weighted(model.task, nll, batch.target)
        losses = modality_means(weighted, masks)
        if masks is not None:  # where a modality is absent, the middle of the range is added to the history
            nll = torch.where(masks, nll, modality_means(nll, masks).unsqueeze(1))
        with torch.no_grad():
            finite = torch.where(nll.isfinite(), nll, torch.zeros_like(nll))
            self.total.index_add_(1, batch.index, finite.to(self.total.dtype))
            difficulty = relative_difficulty(self.total)[:, batch.index]
        fused = model.task.loss(fusion.mix(branches), batch.target)
        parts = {"fused": fused} | {f"branch:{m}": x for m, x in zip(model.modalities, losses, strict=True)}
        parts["rank"] = self.rank * rank_loss(confidence, difficulty, masks)
        parts |= watching_losses(model, features, batch)
        loss = torch.stack(list(parts.values())).sum()
        backward(loss)
        yield StepRecord(loss.detach(), detached(parts), by_modality(model, "confidence", confidence.mean(-1)))
