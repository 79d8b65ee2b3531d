"""Fine-grained valuation by Shapley values: sample level and modality level (Wei et al., CVPR 2024)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from counterpoise.coalitions import shapley_weights, subsets
from counterpoise.methods.base import (
    STRENGTH,
    Backward,
    EpochContext,
    Hyperparameter,
    Interval,
    Method,
    backward,
    by_modality,
    detached,
    joint_step,
    require_multiclass,
    unimodal_losses,
)
from counterpoise.methods.logits import modality_means, presence_masks, subset_logits
from counterpoise.methods.passes import iterate_batches
from counterpoise.model import MultimodalClassifier, evaluation_mode
from counterpoise.records import Batch, Presence, StepRecord

__all__ = ["ModalityValuation", "SampleValuation", "copies", "sample_values"]


@torch.no_grad()
def sample_values(
    model: MultimodalClassifier, features: Mapping[str, Tensor], target: Tensor, present: Presence | None = None
) -> Tensor:
    r"""Return the Shapley value of each modality for each sample, ``(B, M)``.

    The value of a subset is :math:`v(S) = |S| \cdot 1[\text{S is right}]`.

    The features outside S are zeros. For M = 2 the values lie in {-.5, 0, .5, 1, 1.5} and sum to v(all). Where samples
    lack modalities, these have the value 0, and :math:`|S|` counts what a sample has.

    Args:
        model: Model.
        features: ``{m: (B, D_m)}``.
        target: ``(B,)``.
        present: Which samples have which modality.
    """
    logits = subset_logits(model, features, present=present)
    every, masks = subsets(len(model.modalities)), presence_masks(model.modalities, present)
    if masks is None:
        sizes = torch.tensor([len(s) for s in every], device=target.device).unsqueeze(1)
    else:
        sizes = torch.stack([masks[list(s)].sum(0) for s in every])
    values = (logits.argmax(-1) == target).double() * sizes
    return (shapley_weights(len(model.modalities)).to(values) @ values).T


def copies(values: Tensor) -> Tensor:
    """Return the number of extra copies of a sample in which only one modality is kept: 0 to 3.

    Args:
        values: Shapley values.

    Example:
        >>> copies(torch.tensor([1.5, 1.0, 0.5, 0.0, -0.5]))
        tensor([0., 0., 1., 2., 3.])
    """
    return (2 * (1 - values)).round().clamp(0, 3)


class _Valuation(Method):
    """Base of both levels: values between epochs, and masked copies weighted into the loss."""

    strength = Hyperparameter(1.0, STRENGTH)
    warmup = Hyperparameter(5, Interval(0, integer=True))
    extra: Tensor
    """``(N, M)``: the weight of each sample's copy in which only that modality is kept."""

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register one weight per sample and modality."""
        require_multiclass(self, model, "values are defined by right and wrong predictions of classes")
        self.register_buffer("extra", torch.zeros(len(target), len(model.modalities)))
        return model

    @abstractmethod
    def weigh(self, values: Tensor, generator: torch.Generator, masks: Tensor | None = None) -> Tensor:
        """Return the weights of the copies, ``(n, M)``.

        Args:
            values: ``(n, M)``.
            generator: Source of randomness.
            masks: Which samples have which modality, ``(n, M)``; None if nothing is missing.
        """

    @torch.no_grad()
    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Compute the values of every training sample, in evaluation mode, after the warm-up."""
        if not self.strength or epoch.number < self.warmup:
            return
        values, index, masks = [], [], []
        with evaluation_mode(model):
            for whole in iterate_batches(self, epoch):
                batch = whole.to(self.extra.device)
                features = model.encode(batch.inputs, batch.present)
                values.append(sample_values(model, features, batch.target, batch.present))
                index.append(batch.index)
                mask = presence_masks(model.modalities, batch.present)
                masks.append(torch.ones_like(values[-1], dtype=torch.bool) if mask is None else mask.T)
        known = torch.cat(masks)
        generator = torch.Generator().manual_seed(epoch.number)
        weights = self.weigh(torch.cat(values), generator, None if bool(known.all()) else known)
        weights = weights * known  # no copies without any modality
        self.extra.zero_().index_copy_(0, torch.cat(index), weights.to(self.extra.dtype))

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        if not self.strength:
            yield from joint_step(model, batch, backward)
            return
        features = model.encode(batch.inputs, batch.present)
        outputs = model.decode(features, 0.0, batch.present)
        weights = self.extra[batch.index]  # (B, M)
        only = subset_logits(model, features, present=batch.present)[1 : len(features) + 1]  # one modality each
        nll = model.task.losses(only, batch.target)  # (M, B)
        total = len(batch) + weights.sum()
        fused = model.task.losses(outputs.logits, batch.target).sum() / total
        masked = (weights.T * nll).sum() / total
        unimodal = unimodal_losses(model, outputs, batch.target)
        loss = fused + masked + torch.stack(list(unimodal.values())).sum()
        backward(loss)
        yield StepRecord(
            loss.detach(),
            detached({"fused": fused, "masked": masked, **unimodal}),
            by_modality(model, "copies", weights.mean(0)),
        )


class SampleValuation(_Valuation):
    r"""Sample-level valuation: samples are repeated with only those modalities that contributed little to them.

    Wei, Feng, Wang, Hu, "Enhancing Multimodal Cooperation via Sample-level Modality Valuation", CVPR 2024. Before every
    epoch after the warm-up, the `sample_values` of each training sample are computed; modality m gets `copies` of the
    sample in which the features of all others are zeros.

    Differs from the authors' code: the copies are weighted terms of the loss of the batch that holds their original,
    instead of further rows of the epoch. The objective of an epoch is the same, and the number of steps does not grow
    (theirs grows up to sevenfold). More than two modalities follow from :math:`v(S) = |S| \cdot 1[\text{right}]`. A
    published toolkit values every batch by the predictions of the first one.

    Args:
        strength: Factor of the copies, in [0, inf).
        warmup: Number of first epochs of joint training.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> SampleValuation()
        SampleValuation(strength=1.0, warmup=5)
    """

    def weigh(self, values: Tensor, generator: torch.Generator, masks: Tensor | None = None) -> Tensor:
        """See `_Valuation.weigh`."""
        return self.strength * copies(values)


class ModalityValuation(_Valuation):
    r"""Modality-level valuation: samples are repeated with only the modality that contributes least on average.

    Wei, Feng, Wang, Hu, CVPR 2024, see `SampleValuation`. :math:`\bar\phi_m` is the mean of `sample_values` over a
    random share of the training set, :math:`p = \alpha \tfrac23 (\max_m \bar\phi_m - \min_m \bar\phi_m)`; a share p of
    the samples is repeated with only the weakest modality kept.

    Differs from the authors' code as `SampleValuation` does: the copy of every sample weighs p instead of a random
    share p of the samples being appended. Their other two forms of p, a tanh and a power of 1.5, are left out.

    Args:
        strength: :math:`\alpha`, in [0, inf).
        warmup: Number of first epochs of joint training.
        share: Share of the training set over which the mean is taken.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> ModalityValuation(strength=2.0)
        ModalityValuation(strength=2.0, warmup=5, share=0.2)
    """

    share = Hyperparameter(0.2, Interval(0, 1, "(]"))

    def weigh(self, values: Tensor, generator: torch.Generator, masks: Tensor | None = None) -> Tensor:
        """See `_Valuation.weigh`."""
        drawn = torch.randperm(len(values), generator=generator)[: max(1, round(self.share * len(values)))]
        rows = drawn.to(values.device)
        mean = values[rows].mean(0) if masks is None else modality_means(values[rows].T, masks[rows].T)
        p = self.strength * 2 / 3 * (mean.max() - mean.min())
        weakest = mean == mean.min()
        return (p * weakest / weakest.sum()).expand(len(values), -1)
