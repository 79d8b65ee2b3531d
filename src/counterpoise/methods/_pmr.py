"""PMR: prototypical modality rebalance (Fan et al., CVPR 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoise.methods.base import (
    EpochContext,
    Hyperparameter,
    Interval,
    NamedTensors,
    by_modality,
    present_rows,
    require_multiclass,
)
from counterpoise.methods.logits import class_weighted, modality_means, presence_masks
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.methods.passes import batch_rows, iterate_batches
from counterpoise.model import MultimodalClassifier, evaluation_mode
from counterpoise.records import Batch, Outputs

__all__ = ["PMR", "prototype_boost", "prototype_logits"]


def prototype_logits(features: Tensor, prototypes: Tensor, seen: Tensor) -> Tensor:
    r"""Return :math:`\sigma(i, c) = -\lVert h_i - \mu_c \rVert_2`, ``(B, C)``; -inf for classes without a prototype.

    The distance is smoothed at 0, where its gradient would be infinite.

    Example:
        >>> prototype_logits(torch.tensor([[3.0, 4.0]]), torch.zeros(2, 2), torch.tensor([True, False]))
        tensor([[-5., -inf]])
    """
    squared = (features.unsqueeze(1) - prototypes.to(features.dtype)).square().sum(-1)
    return -(squared + 1e-12).sqrt().masked_fill(~seen, float("inf"))


def prototype_boost(scores: Tensor) -> Tensor:
    r"""Return :math:`\beta_m = \mathrm{clip}(\max_j s_j / s_m - 1, 0, 1)`: 0 for the strongest modality.

    For M = 2 these are the paper's :math:`\mathrm{clip}(1/\rho - 1, 0, 1)` and :math:`\mathrm{clip}(\rho - 1, 0, 1)`.

    Args:
        scores: ``(M,)`` s.

    Example:
        >>> prototype_boost(torch.tensor([3.0, 2.0]))
        tensor([0.0000, 0.5000])
    """
    return (scores.max() / scores.clamp_min(1e-12) - 1).clamp(0, 1)


class PMR(ModulatedObjective):
    r"""Prototypical modality rebalance: the features of slow modalities are pulled towards their own class prototypes.

    Fan, Xu, Wang, Wang, Guo, "PMR: Prototypical Modal Rebalance for Multimodal Learning", CVPR 2023: :math:`L = CE(z,
    y) + \alpha \sum_m \beta_m CE(\sigma_m, y) - \eta H(\mathrm{softmax}\,\sigma_{m^*})` with `prototype_logits`,
    `prototype_boost`, and the last term for the dominant modality :math:`m^*` in the first epochs only. Prototypes are
    class means of features, updated at the start of each epoch in evaluation mode, :math:`\mu \leftarrow (1 -
    \epsilon)\mu_\mathrm{new} + \epsilon \mu`.

    Differs from the authors' code: the paper's soft :math:`\beta` (the code: 0 or 1) and its entropy term (absent from
    the code; its weight is chosen here); the 10 % of the samples that prototypes are computed on are spread over the
    training set; a class that is not among them keeps its old prototype, or is left out if it has none; the method acts
    to the end (the
    authors: in the first 100 of 150 epochs). For more than two modalities, all but the strongest are boosted.

    Args:
        strength: :math:`\alpha`, in [0, inf); the authors use 1.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        momentum: :math:`\epsilon`, share of the old prototypes that is kept.
        share: Share of the training set on which prototypes are computed.
        entropy: :math:`\eta`, weight of the entropy term.
        entropy_epochs: Number of first epochs with that term.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> PMR(strength=0.5)
        PMR(strength=0.5, smoothing=0.0, momentum=0.2, share=0.1, entropy=0.1, entropy_epochs=5)
    """

    momentum = Hyperparameter(0.2, Interval(0, 1, "[]"))
    share = Hyperparameter(0.1, Interval(0, 1, "(]"))
    entropy = Hyperparameter(0.1, Interval(0))
    entropy_epochs = Hyperparameter(5, Interval(0, integer=True))
    seen: Tensor

    epoch = 0

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register the prototypes."""
        require_multiclass(self, model, "it has a prototype per class")
        outputs = model.task.num_outputs
        for m, d in model.feature_dims.items():
            self.register_buffer(f"prototypes_{m}", torch.zeros(outputs, d))
        self.register_buffer("seen", torch.zeros(len(model.modalities), outputs, dtype=torch.bool))
        return model

    def prototypes(self, m: str) -> Tensor:
        """Return the prototypes of modality ``m``, ``(C, D_m)``."""
        prototypes: Tensor = getattr(self, f"prototypes_{m}")
        return prototypes

    @torch.no_grad()
    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Update the prototypes from a part of the training set."""
        self.epoch = epoch.number
        if not self.strength:
            return
        stride = max(1, round(1 / self.share))
        device, sums = self.seen.device, {m: torch.zeros_like(self.prototypes(m)) for m in model.modalities}
        counts = {m: torch.zeros(self.seen.shape[1], device=device, dtype=sums[m].dtype) for m in model.modalities}
        position = epoch.number
        with evaluation_mode(model):
            for whole in iterate_batches(self, epoch):
                rows = torch.arange(position, position + len(whole)).remainder(stride).eq(0).nonzero().flatten()
                position += len(whole)
                if not len(rows):
                    continue
                batch = batch_rows(whole, rows).to(device)
                for m, h in model.vectors(model.encode(batch.inputs, batch.present)).items():
                    h, target = present_rows(batch.mask(m), h, batch.target)
                    sums[m].index_add_(0, target, h.to(sums[m].dtype))
                    counts[m].index_add_(0, target, torch.ones_like(target, dtype=counts[m].dtype))
        for (m, total), seen in zip(sums.items(), self.seen, strict=True):
            mask = counts[m] > 0
            old, mean = self.prototypes(m), total / counts[m].clamp_min(1).unsqueeze(1)
            blended = torch.where(seen.unsqueeze(1), mean.lerp(old, self.momentum), mean)
            old.copy_(torch.where(mask.unsqueeze(1), blended, old))
            seen.logical_or_(mask)

    def boost(self, scores: Tensor) -> Tensor:
        """Return the boost of each modality, ``(M,)``."""
        return prototype_boost(scores)

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        known = self.seen[:, batch.target]  # (M, B)
        usable = self.seen.any(1)  # before the first prototypes: no term
        seen = self.seen | ~usable.unsqueeze(1)
        masks = presence_masks(model.modalities, outputs.present)
        known = known if masks is None else known & masks
        vectors = model.vectors(outputs.features)
        sigma = {
            m: prototype_logits(vectors[m], self.prototypes(m), s) for m, s in zip(model.modalities, seen, strict=True)
        }
        log_p = torch.stack([sigma[m].log_softmax(-1) for m in model.modalities])  # (M, B, C)
        true = log_p.gather(-1, batch.target.expand(log_p.shape[:2]).unsqueeze(-1)).squeeze(-1)
        true = torch.where(known, true, torch.zeros_like(true))
        likelihood = torch.where(known, true.exp(), torch.zeros_like(true)).detach()
        scores = likelihood.sum(-1) if masks is None else modality_means(likelihood, known)
        beta = self.boost(scores) * usable
        nll = -class_weighted(model.task, true, batch.target).sum(-1) / known.sum(-1).clamp_min(1)
        terms = {f"prototype:{m}": self.strength * b * n for m, b, n in zip(sigma, beta, nll, strict=True)}
        if self.entropy and self.epoch < self.entropy_epochs:
            finite = torch.where(seen.unsqueeze(1), log_p, torch.zeros_like(log_p))
            entropies = modality_means(-(log_p.exp() * finite).sum(-1), masks)
            dominant = (scores == scores.max()).to(entropies.dtype)
            share = dominant / dominant.sum() * usable
            terms["entropy"] = -self.strength * self.entropy * (share * entropies).sum()
        return terms, by_modality(model, "beta", beta)
