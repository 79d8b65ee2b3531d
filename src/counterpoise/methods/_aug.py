"""AUG: sustained boosting of the weak modality's classifier (Jiang et al., NeurIPS 2025)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from counterpoise.fusion import Fusion, count_present, only_present
from counterpoise.methods._ogm import discrepancy_ratio
from counterpoise.methods.base import (
    Backward,
    EpochContext,
    Hyperparameter,
    Interval,
    backward,
    by_modality,
    detached,
    present_rows,
    require_fusion,
    require_multiclass,
)
from counterpoise.methods.logits import discounted_loss
from counterpoise.methods.objective import Alternation
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Presence, StepRecord

__all__ = ["AUG", "BoostedFusion", "boosting_loss"]


def boosting_loss(old: Tensor, added: Tensor, target: Tensor, discount: float, weights: Tensor | None = None) -> Tensor:
    r"""Return the cross-entropy of the newest block, with lower weights on samples that the older blocks predict
    correctly.

    .. math:: \mathrm{mean}_i (1 - \delta\, \mathrm{sg}\, p^{old}_i(y_i)) (-\log p^{add}_i(y_i))

    Args:
        old: Summed logits of the older blocks, ``(B, C)``.
        added: Logits of the newest block, ``(B, C)``.
        target: ``(B,)``.
        discount: :math:`\delta`; the authors use 1/2.
        weights: Factor of each sample, ``(B,)``, see `Task.sample_weights`; None for 1.

    Example:
        >>> y, zero = torch.tensor([0]), torch.zeros(1, 2)
        >>> right = torch.tensor([[50.0, 0.0]])
        >>> round((boosting_loss(right, zero, y, 0.5) / boosting_loss(zero, zero, y, 0.0)).item(), 4)
        0.5
    """
    return discounted_loss(added, old, target, discount, weights)


class BoostedFusion(Fusion):
    r"""Mean over modalities of growing sums of blocks, which share one head.

    .. math:: z_m = \sum_{t < n_m} K\, \mathrm{ReLU}(W_{m,t} h_m + b_{m,t}), \qquad z = \frac1M \sum_m z_m

    All blocks that may ever be added are parameters from the start, so that every optimizer knows them. Blocks that are
    not added yet have no effect. The initial weights are drawn from a separate generator.

    Args:
        feature_dims: D_m by modality.
        num_outputs: C.
        blocks: Largest number of blocks per modality.

    Example:
        >>> fusion = BoostedFusion({"a": 2, "b": 3}, num_outputs=4, blocks=3)
        >>> fusion({"a": torch.ones(5, 2), "b": torch.ones(5, 3)}).shape, fusion.count
        (torch.Size([5, 4]), tensor([1, 1]))
    """

    count: Tensor

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int, blocks: int) -> None:
        super().__init__(feature_dims, num_outputs)
        width = max(feature_dims.values())
        self.weights = nn.ParameterDict({f"weight_{m}": _uniform(blocks, width, d) for m, d in feature_dims.items()})
        self.biases = nn.ParameterDict({f"bias_{m}": torch.zeros(blocks, width) for m in feature_dims})
        self.head = nn.Parameter(_uniform(1, num_outputs, width)[0])
        self.register_buffer("count", torch.ones(len(feature_dims), dtype=torch.long))

    def block_weights(self, m: str) -> tuple[Tensor, Tensor]:
        """Return the weights ``(T, width, D_m)`` and biases ``(T, width)`` of a modality's blocks."""
        return self.weights[f"weight_{m}"], self.biases[f"bias_{m}"]

    def block_logits(self, m: str, features: Tensor) -> Tensor:
        """Return the logits of every block of a modality, ``(T, B, C)``, including those that are not added yet."""
        weight, bias = self.block_weights(m)
        return (torch.einsum("bd,twd->tbw", features, weight) + bias.unsqueeze(1)).relu() @ self.head.T

    def split(self, m: str, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed logits of all added blocks but the newest, and those of the newest, ``(B, C)`` each."""
        logits = self.block_logits(m, features)
        number = torch.arange(len(logits), device=logits.device).view(-1, 1, 1)
        newest = self.count[list(self.feature_dims).index(m)] - 1
        return (logits * (number < newest)).sum(0), (logits * (number == newest)).sum(0)

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """See `Fusion.forward`."""
        return torch.stack(list(self.slice_logits(features, present).values())).sum(0)

    def slice_logits(self, features: Mapping[str, Tensor], present: Presence | None = None) -> dict[str, Tensor]:
        """Return :math:`z_m / M`, where M counts the modalities that a sample has; 0 for the others."""
        count = count_present(self.feature_dims, present)
        return {
            m: only_present(torch.stack(self.split(m, features[m])).sum(0) / count, m, present)
            for m in self.feature_dims
        }


def _uniform(blocks: int, rows: int, columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (2 * torch.rand(blocks, rows, columns, generator=generator) - 1) * columns**-0.5


class AUG(Alternation):
    r"""Sustained boosting: the weaker modality's classifier gets further blocks, and modalities are trained in turn.

    Jiang, Huang, Yang, "Rethinking Multimodal Learning from the Perspective of Mitigating Classification Ability
    Disproportion", NeurIPS 2025. One optimizer step per modality on :math:`CE(z^{old} + z^{add}, y) + CE(z^{old}, y) +`
    `boosting_loss`, where "add" is the newest block (with one block: :math:`CE(z_m, y)`). Ten times per training, if
    the mean probability of the true class of one modality in the last epoch exceeds the mean of the others by more than
    a tolerance, the weakest modality gets a block.

    Differs from the authors' code, in which the added layers are not passed to the optimizer, so that they keep their
    random initial values; here they are trained. Inferred: the scores are those of an epoch; modalities are merged with
    equal weights (there .4 and .6); for more than two modalities the weakest gets the block. The model to train has
    another fusion (`BoostedFusion`). There is no strength, because alternation has no limit that is joint training.

    Args:
        discount: :math:`\delta` of `boosting_loss`.
        tolerance: Excess of the largest ratio of scores over 1 above which a block is added.
        blocks: Largest number of blocks per modality.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> AUG(blocks=4)
        AUG(discount=0.5, tolerance=0.01, blocks=4)
    """

    discount = Hyperparameter(0.5, Interval(0, 1, "[]"))
    tolerance = Hyperparameter(0.01, Interval(0))
    blocks = Hyperparameter(11, Interval(1, integer=True))
    fusion_type: ClassVar[type[BoostedFusion]] = BoostedFusion
    score: Tensor
    seen: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Replace the fusion by growing classifiers."""
        require_multiclass(self, model, "it boosts classifiers")
        if not isinstance(model.fusion, BoostedFusion):
            reference = next(model.head(model.modalities[0]).parameters())
            fusion = self.fusion_type(model.feature_dims, model.task.num_outputs, self.blocks).to(reference)
            model = model.with_fusion(fusion)
        self.register_buffer("score", torch.zeros(len(model.modalities)))
        self.register_buffer("seen", torch.zeros(len(model.modalities)))
        return model

    @torch.no_grad()
    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Give the weakest modality a block if one is due."""
        fusion = require_fusion(self, model, BoostedFusion)
        if epoch.number and epoch.number % max(1, epoch.total // 10) == 0 and bool((self.seen > 0).all()):
            ratio = discrepancy_ratio(self.score / self.seen)
            weakest = int(ratio.argmin())
            if ratio.max() > 1 + self.tolerance and fusion.count[weakest] < self.blocks:
                fusion.count[weakest] += 1
        self.score.zero_()
        self.seen.zero_()

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        fusion = require_fusion(self, model, BoostedFusion)
        for k, m in sorted(enumerate(model.modalities), key=lambda item: item[1]):
            encoded = model.features(batch.inputs, m, batch.present)
            features, target = present_rows(batch.mask(m), encoded, batch.target)
            if not len(target):
                continue
            self.seen[k] += len(target)
            old, added = fusion.split(m, features)
            total = model.task.loss(old + added, target)
            grown = fusion.count[k] > 1
            weights = model.task.sample_weights(target)
            boosted = boosting_loss(old, added, target, self.discount, weights)
            more = grown * (model.task.loss(old, target) + boosted)
            unimodal = model.task.loss(model.head(m)(features.detach()), target)
            backward(total + more + unimodal)
            with torch.no_grad():
                likelihood = model.task.log_likelihood(old + added, target).exp().sum()
                self.score[k] += likelihood.to(self.score.dtype)
            parts = {f"total:{m}": total, f"boosting:{m}": more, m: unimodal}
            yield StepRecord(
                (total + more).detach(), detached(parts), by_modality(model, "blocks", fusion.count.float())
            )
