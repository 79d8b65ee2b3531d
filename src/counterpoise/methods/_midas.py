"""MIDAS: misaligned samples whose modalities come from different classes (NeurIPS 2025)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor

from counterpoise.methods.base import (
    EpochContext,
    Hyperparameter,
    Interval,
    NamedTensors,
    by_modality,
    require_multiclass,
)
from counterpoise.methods.logits import class_weighted, presence_masks, unimodal_logits
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier, Scale
from counterpoise.records import Batch, Outputs

__all__ = ["MIDAS", "mixing_sources", "swap_similarity", "weak_factor"]


def mixing_sources(modalities: int, size: int, device: torch.device) -> Tensor:
    """Return which sample each modality of a mixed sample comes from, ``(M, M * B)``.

    In block r the sources of the modalities are M permutations of the batch, the identity among them, in an order that
    is shifted by r. For two modalities and partners j: ``(i, j)`` and ``(j, i)``.

    Args:
        modalities: M.
        size: B.
        device: Device.
    """
    drawn = torch.rand(modalities - 1, size, device=device).argsort(-1)
    sources = torch.cat([torch.arange(size, device=device).unsqueeze(0), drawn])
    return torch.cat([sources.roll(-r, 0) for r in range(modalities)], dim=1)


def swap_similarity(features: Mapping[str, Tensor], sources: Tensor) -> Tensor:
    """Return the mean cosine of the features that were swapped in and those that they replaced, ``(M * B,)``.

    Args:
        features: ``{m: (B, D_m)}``.
        sources: ``(M, M * B)``, see `mixing_sources`.
    """
    anchor = torch.arange(sources.shape[1] // len(sources), device=sources.device).repeat(len(sources))
    pairs = zip(features.values(), sources, strict=True)
    cosines = torch.stack([F.cosine_similarity(h[s], h[anchor], dim=-1) for h, s in pairs])
    replaced = sources != anchor
    return (cosines * replaced).sum(0) / replaced.sum(0).clamp_min(1)


def weak_factor(alpha: Tensor, confidence: Tensor, reliance: Tensor, rate: float) -> Tensor:
    r"""Return the next :math:`\alpha`, ``(M,)``: it changes for the weakest modality and is 1 for the others.

    :math:`\alpha_m \leftarrow \max(1, \alpha_m + \eta (\bar c_m - \bar p_m))` for the modality of least confidence.

    Args:
        alpha: ``(M,)``.
        confidence: Mean :math:`c_m`, ``(M,)``.
        reliance: Mean share of the fused prediction that goes to the label of m, ``(M,)``.
        rate: :math:`\eta`.

    Example:
        >>> weak_factor(torch.ones(2), torch.tensor([0.8, 0.2]), torch.tensor([0.9, 0.1]), rate=0.5)
        tensor([1.0000, 1.0500])
    """
    weakest = confidence == confidence.min()
    moved = (alpha + rate * (confidence - reliance)).clamp_min(1)
    return torch.where(weakest, moved, torch.ones_like(alpha))


class MIDAS(ModulatedObjective):
    r"""Misalignment-based augmentation: features of samples of different classes are mixed, with both their labels.

    "MIDAS", NeurIPS 2025 (arXiv 2509.25831): :math:`L = CE(z, y) + \sum_m CE(u_m, y) + \lambda L_{mix}`. Modality m of
    a mixed sample comes from sample :math:`s_m`. With :math:`c_m \propto p_m(y_{s_m})` of the unimodal heads, its loss
    is :math:`(1 + \frac{1 + \mathrm{sim}}{2}) \sum_m -\alpha_m c_m \log \tilde p(y_{s_m})`, where sim is the cosine of
    the features that were swapped in and those that they replaced. :math:`\alpha` increases the weight of the weakest
    modality (`weak_factor`). In the first epochs, only encoders and unimodal heads are trained.

    Known from the paper: all of this for two modalities; :math:`\lambda = 5` (Kinetics-Sounds) or 1, :math:`\eta =
    .05`; :math:`\alpha` starts at 1 in every epoch. The paper's own table shows a large loss with 5 on Food-101, so it
    should be tuned. Inferred: the number of first epochs; no gradient flows through c and sim; mixed samples of one
    class only are left out; for more modalities M permutations of the batch are combined (`mixing_sources`), and sim is
    the mean over the replaced modalities.

    Args:
        strength: From joint training (0) to the method (1), in [0, 1].
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        mix: :math:`\lambda`.
        rate: :math:`\eta`.
        warmup: Number of first epochs without the fused loss.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> MIDAS(mix=5.0)
        MIDAS(strength=1.0, smoothing=0.0, mix=5.0, rate=0.05, warmup=5)
    """

    strength = Hyperparameter(1.0, Interval(0, 1, "[]"))
    mix = Hyperparameter(1.0, Interval(0))
    rate = Hyperparameter(0.05, Interval(0))
    warmup = Hyperparameter(5, Interval(0, integer=True))
    head_scale = 1.0
    alpha: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check the task, and register the factors."""
        require_multiclass(self, model, "it mixes samples of different classes")
        self.warming = self.warmup > 0
        self.register_buffer("alpha", torch.ones(len(model.modalities)))
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Start the factors at 1, as the paper's algorithm does in every epoch."""
        self.warming = epoch.number < self.warmup
        self.alpha.fill_(1)

    def fused_weight(self) -> Scale:
        """See `ModulatedObjective.fused_weight`."""
        return 1 - self.strength if self.warming else 1.0

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        alpha = self.alpha.clone()
        if self.warming or not self.mix:
            return {}, by_modality(model, "alpha", alpha)
        sources = mixing_sources(len(model.modalities), len(batch), batch.target.device)
        labels = batch.target[sources]  # (M, M * B)
        valid = (labels != labels[0]).any(0)
        masks = presence_masks(model.modalities, outputs.present)
        taken = None
        if masks is not None:  # a modality that its sample lacks cannot be mixed
            valid = valid & masks.gather(1, sources).all(0)
            taken = {m: mask[s] for m, mask, s in zip(model.modalities, masks, sources, strict=True)}
        count = valid.sum()
        parts = {m: h[s] for (m, h), s in zip(outputs.features.items(), sources, strict=True)}
        mixed = model.fusion.fuse(parts, taken)
        fused = model.task.log_likelihood(mixed.expand(len(labels), -1, -1), labels)
        with torch.no_grad():
            alone = unimodal_logits(model, outputs.features, sliced=False, present=outputs.present)
            own = model.task.log_likelihood(alone, batch.target)
            confidence = own.gather(1, sources).softmax(0)
            similarity = swap_similarity(outputs.features, sources)
        weighted = class_weighted(model.task, fused, labels)
        loss = (1.5 + similarity / 2) * -(alpha.to(fused.dtype).unsqueeze(1) * confidence * weighted).sum(0)
        term = torch.where(valid, loss, torch.zeros_like(loss)).sum() / count.clamp_min(1)
        with torch.no_grad():
            means = [(x * valid).sum(1).to(alpha.dtype) / count.clamp_min(1) for x in (confidence, fused.softmax(0))]
            moved = weak_factor(alpha, means[0], means[1], self.rate)
            self.alpha.copy_(torch.where((count > 0) & moved.isfinite().all(), moved, alpha))
        return {"mix": self.strength * self.mix * term}, by_modality(model, "alpha", alpha)
