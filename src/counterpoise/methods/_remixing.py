"""Data Remixing: every sample trains the modality whose prediction is least certain (Ma et al., ICML 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from counterpoise.methods.base import (
    EpochContext,
    Hyperparameter,
    Interval,
    NamedTensors,
    by_modality,
    require_multiclass,
)
from counterpoise.methods.logits import presence_masks
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.methods.passes import iterate_batches
from counterpoise.model import MultimodalClassifier, Scale, evaluation_mode
from counterpoise.records import Batch

__all__ = ["DataRemixing", "group_order", "least_confident"]


def least_confident(logits: Tensor, masks: Tensor | None = None) -> Tensor:
    r"""Return the modality that is least confident on each sample, ``(B,)``; -1 for a tie.

    The least confident modality has the smallest :math:`KL(p_m \Vert \mathrm{uniform}) = \log C - H(p_m)`.

    Args:
        logits: ``(M, B, C)``.
        masks: Which samples have which modality, ``(M, B)``; the choice is among those that a sample has.

    Example:
        >>> least_confident(torch.tensor([[[9.0, 0.0]], [[1.0, 0.0]]]))
        tensor([1])
    """
    log_p = logits.log_softmax(-1)
    sureness = (log_p.exp() * log_p).sum(-1)
    if masks is not None:
        sureness = sureness.masked_fill(~masks, math.inf)
    tied = (sureness == sureness.amin(0)).sum(0) > 1
    return torch.where(tied, -1, sureness.argmin(0))


def group_order(order: Tensor, group: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Return the order rearranged so that as many batches of ``size`` as possible hold a single group.

    Full batches of single groups come first, in random order; the remaining samples of all groups come last.

    Args:
        order: ``(n,)`` a shuffled epoch.
        group: ``(n,)`` the group of each of its entries.
        size: Number of samples per batch.
        generator: Generator of the order of the batches.

    Example:
        >>> order, group = torch.tensor([5, 6, 7, 8, 9]), torch.tensor([0, 1, 0, 1, 1])
        >>> group_order(order, group, 2, torch.Generator().manual_seed(0)).tolist()
        [5, 7, 6, 8, 9]
    """
    full, rest = [], []
    for g in group.unique().tolist():
        chunks = list(order[group == g].split(size))
        rest += [c for c in chunks if len(c) < size]
        full += [c for c in chunks if len(c) == size]
    shuffled = [full[i] for i in torch.randperm(len(full), generator=generator).tolist()]
    return torch.cat([*shuffled, *rest])


class DataRemixing(ModulatedObjective):
    r"""Data remixing: each sample trains the modality that is least confident on it, in batches of single modalities.

    Ma, Chen, Deng, "Improving Multimodal Learning Balance and Sufficiency through Data Remixing", ICML 2025. A warm-up
    trains on :math:`\frac12 CE(z, y) + \frac12 \sum_m CE(u_m, y)`. After it, at the start of every epoch, each sample
    is assigned to the modality that is `least_confident` on it; the features of its other modalities are zeros in the
    fused head, :math:`L = CE(z, y) + CE(u_m, y)`, and batches hold a single modality (`group_order`). A sample with a
    tie keeps all its modalities.

    Known from the authors' code: both losses. Differs from it: any number of classes and modalities (there six and two
    are built in). The size of the batches is that of the largest so far. In a loop without re-sampling, batches mix
    modalities.

    Args:
        strength: Weight s of the unimodal losses, in [0, inf); 1/(1+s) and s/(1+s) in the warm-up. 0 is joint training.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        warmup: Number of first epochs of multitask training.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> DataRemixing(warmup=2)
        DataRemixing(strength=1.0, smoothing=0.0, warmup=2)
    """

    warmup = Hyperparameter(10, Interval(0, integer=True))
    warming = False
    assigned: Tensor
    batch_size: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register one modality per sample; -1 stands for all of them."""
        require_multiclass(self, model, "confidence is a distance from the uniform distribution over classes")
        self.register_buffer("assigned", torch.full((len(target),), -1))
        self.register_buffer("batch_size", torch.ones((), dtype=torch.long))
        return model

    @torch.no_grad()
    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Assign every training sample, in evaluation mode, after the warm-up."""
        self.warming = epoch.number < self.warmup
        if not self.strength or self.warming:
            return
        with evaluation_mode(model):
            for whole in iterate_batches(self, epoch):
                batch = whole.to(self.assigned.device)
                outputs = model(batch.inputs, present=batch.present)
                masks = presence_masks(model.modalities, outputs.present)
                self.assigned[batch.index] = least_confident(outputs.experts()[1:], masks)

    def resample(self, order: Tensor, generator: torch.Generator) -> Tensor:
        """Return the epoch's order in batches of single modalities."""
        group = self.assigned.cpu()[order]
        size = int(self.batch_size)
        if not self.strength or size < 2 or bool((group < 0).all()):
            return order
        return group_order(order, group, size, generator)

    def _shown(self, model: MultimodalClassifier, batch: Batch) -> Tensor:
        """Return which modalities of the samples the fused head reads, ``(B, M)`` bool."""
        chosen = self.assigned[batch.index].unsqueeze(1)
        return (chosen < 0) | (chosen == torch.arange(len(model.modalities), device=chosen.device))

    def fused_weight(self) -> Scale:
        """Return the weight of the fused loss: 1 / (1 + strength) in the warm-up, 1 after it."""
        return 1 / (1 + self.strength) if self.warming else 1.0

    def head_gradient(self, model: MultimodalClassifier, batch: Batch) -> Mapping[str, Scale]:
        """Return the weight for the samples that show the modality, ``(B, 1)``, and 0 for the others."""
        weight = self.strength / (1 + self.strength) if self.warming else self.strength
        shown = self._shown(model, batch) * weight
        return {m: s.unsqueeze(1) for m, s in zip(model.modalities, shown.T, strict=True)}

    def modulate(
        self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Mapping[str, Tensor], NamedTensors]:
        """See `ModulatedObjective.modulate`."""
        self.batch_size.clamp_(min=len(batch))
        shown = self._shown(model, batch)
        masked = {m: features[m] * s.unsqueeze(1) for m, s in zip(features, shown.T, strict=True)}
        return masked, by_modality(model, "shown", shown.double().mean(0))
