"""Logits of single modalities and of subsets of modalities, and the scores that methods compare.

A fusion is *additive* if its logits are a sum over modalities (concatenation, sum, shared head). Then each modality has
a slice of the fused logits. For other fusions, the unimodal heads are used instead of slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from counterpoise.coalitions import subsets
from counterpoise.errors import ModelError
from counterpoise.fusion import Fusion
from counterpoise.methods.base import Method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Outputs, Presence
from counterpoise.tasks import Task

__all__ = [
    "class_weighted",
    "discounted_loss",
    "error_losses",
    "expert_masks",
    "is_additive",
    "modality_means",
    "output_losses",
    "presence_masks",
    "subset_logits",
    "target_scale",
    "true_scores",
    "unimodal_logits",
]


def is_additive(fusion: Fusion) -> bool:
    """Return whether a fusion's logits are a sum over modalities (called once, in `Method.setup`)."""
    reference = next(fusion.parameters(), torch.empty(0))
    try:
        fusion.slice_logits({m: reference.new_zeros(1, d) for m, d in fusion.feature_dims.items()})
    except ModelError:
        return False
    return True


def require_additive(method: Method, model: MultimodalClassifier, why: str) -> None:
    """Raise `ModelError` unless the fusion's logits are a sum over modalities.

    Args:
        method: Method that needs such a fusion.
        model: Model.
        why: What the method does, for the message.
    """
    if not is_additive(model.fusion):
        raise ModelError(
            f"`{type(method).__name__}` {why}, so it needs an additive fusion (concat, sum, shared-head). Found "
            f"`{type(model.fusion).__name__}`."
        )


def presence_masks(modalities: Sequence[str], present: Presence | None) -> Tensor | None:
    """Return which samples have which modality as one tensor, ``(M, B)``, or None if nothing is missing."""
    return None if present is None else torch.stack([present[m] for m in modalities])


def modality_means(values: Tensor, masks: Tensor | None) -> Tensor:
    """Return the mean of each modality over the samples that have it, ``(M,)``.

    A modality that no sample of the batch has gets the mean of the others, so that methods that compare modalities do
    not change it.

    Args:
        values: ``(M, B)``.
        masks: ``(M, B)``, see `presence_masks`; None gives plain means.

    Example:
        >>> values = torch.tensor([[1.0, 3.0], [5.0, 7.0], [9.0, 9.0]])
        >>> modality_means(values, torch.tensor([[True, False], [True, True], [False, False]]))
        tensor([1.0000, 6.0000, 3.5000])
    """
    if masks is None:
        return values.mean(-1)
    count = masks.sum(-1)
    means = values.masked_fill(~masks, 0).sum(-1) / count.clamp_min(1)
    others = means.sum() / (count > 0).sum().clamp_min(1)
    return torch.where(count > 0, means, others)


def expert_masks(outputs: Outputs) -> Tensor | None:
    """Return which samples each expert of `Outputs.experts` predicts, ``(M + 1, B)``; None if nothing is missing."""
    masks = presence_masks(outputs.modalities, outputs.present)
    return None if masks is None else torch.cat([torch.ones_like(masks[:1]), masks])


def unimodal_logits(
    model: MultimodalClassifier, features: Mapping[str, Tensor], *, sliced: bool, present: Presence | None = None
) -> Tensor:
    """Return the logits of each modality by itself, ``(M, B, C)``: its slice of the fused logits, or its own head's.

    Args:
        model: Model.
        features: ``{m: (B, D_m)}``.
        sliced: Whether to take slices, see `is_additive`.
        present: Which samples have which modality. The rows of the others are zeros.
    """
    if sliced:
        slices = model.fusion.slices(features, present)
        logits = torch.stack([slices[m] for m in model.modalities])
    else:
        logits = torch.stack([model.head(m)(features[m]) for m in model.modalities])
    masks = presence_masks(model.modalities, present)
    return logits if masks is None else logits.masked_fill(~masks.unsqueeze(-1), 0)


def target_scale(task: Task, target: Tensor) -> Tensor:
    """Return the standard deviation of each output of a real target, ``(C,)``, and ones for labels; see `true_scores`.

    Args:
        task: Task.
        target: Targets of the training set.
    """
    if not task.is_gaussian:
        return torch.ones(task.num_outputs)
    deviation = target.double().std(0, correction=0)
    return torch.where(deviation > 0, deviation, torch.ones_like(deviation)).float()


def output_losses(model: MultimodalClassifier, logits: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
    r"""Return the negative log-likelihood per output, ``(..., B)`` in nats, for logits ``(..., B, C)``.

    For classes it is the loss of the sample. With several labels it is the mean over the labels. For real targets it is
    :math:`\frac{1}{2C} \sum_c (y_c - f_c)^2 / \sigma_c^2`, which does not depend on the unit of the target.

    Args:
        model: Model, for its task.
        logits: ``(..., B, C)``.
        target: Targets of the batch.
        scale: :math:`\sigma`, ``(C,)``, see `target_scale`; only used for real targets.
    """
    if not model.task.is_gaussian:
        return -model.task.per_output_log_likelihood(logits, target).mean(-1)
    residual = model.task.residual(logits, target)
    residual = residual if scale is None else residual / scale.to(residual.dtype)
    return 0.5 * residual.square().mean(-1)


def error_losses(model: MultimodalClassifier, logits: Tensor, target: Tensor, masks: Tensor | None = None) -> Tensor:
    r"""Return the mean loss of every head without its constant, so that it is 0 for a perfect prediction, ``(K,)``.

    For real targets it is :math:`\frac12 \lVert y - f \rVert^2`, otherwise the negative log-likelihood.

    Args:
        model: Model, for its task.
        logits: ``(K, B, C)``.
        target: Targets of the batch.
        masks: Samples over which the mean of each head is taken, ``(K, B)``; all if None (see `modality_means`).
    """
    if model.task.is_gaussian:
        losses = 0.5 * model.task.residual(logits, target).square().sum(-1)
    else:
        losses = model.task.losses(logits, target)
    return modality_means(losses, masks)


def true_scores(
    model: MultimodalClassifier,
    logits: Tensor,
    target: Tensor,
    scale: Tensor | None = None,
    present: Presence | None = None,
) -> Tensor:
    r"""Return :math:`s_m = \sum_i p_m(y_i | x_i)`, ``(M,)``, the score that OGM-GE and its successors compare.

    With several labels, p is the geometric mean over the labels, since the product underflows; for real targets it is
    the exponential of minus `output_losses`, too. Where samples lack modalities, it is B times the mean over those that
    have the modality (see `modality_means`).

    Args:
        model: Model, for its task.
        logits: ``(M, B, C)``.
        target: Targets of the batch.
        scale: :math:`\sigma`, ``(C,)``, see `target_scale`; only used for real targets.
        present: Which samples have which modality.

    Example:
        >>> from counterpoise.model import build_model
        >>> model = build_model({"a": ("vector", (4,), 0), "b": ("vector", (6,), 0)}, num_outputs=2)
        >>> true_scores(model, torch.zeros(2, 3, 2), torch.tensor([0, 1, 1]))        # 3 samples, probability 1/2
        tensor([1.5000, 1.5000])
    """
    likelihood = (-output_losses(model, logits, target, scale)).exp()
    masks = presence_masks(model.modalities, present)
    return likelihood.sum(-1) if masks is None else len(target) * modality_means(likelihood, masks)


def class_weighted(task: Task, values: Tensor, target: Tensor) -> Tensor:
    """Return values ``(..., B)`` times the weights of the samples' classes (`Task.sample_weights`)."""
    weights = task.sample_weights(target)
    return values if weights is None else weights.to(values.dtype) * values


def discounted_loss(
    logits: Tensor, known: Tensor, target: Tensor, discount: float, weights: Tensor | None = None
) -> Tensor:
    r"""Return a cross-entropy with lower weights on samples that other predictions q get right.

    .. math:: \mathrm{mean}_i (1 - \delta\, \mathrm{sg}\, q_i(y_i)) (-\log p_i(y_i))

    Args:
        logits: Logits of p, ``(B, C)``.
        known: Logits of q, ``(B, C)``; no gradient flows through them.
        target: ``(B,)``.
        discount: :math:`\delta`, in [0, 1].
        weights: Factor of each sample, ``(B,)``, see `Task.sample_weights`; None for 1.

    Example:
        >>> y, zero = torch.tensor([0]), torch.zeros(1, 2)
        >>> discounted_loss(zero, zero, y, 0.5) / discounted_loss(zero, zero, y, 0.0)     # 1 - 0.5 * 0.5
        tensor(0.7500)
    """
    index = target.unsqueeze(-1)
    probability = known.detach().softmax(-1).gather(-1, index).squeeze(-1)
    likelihood = logits.log_softmax(-1).gather(-1, index).squeeze(-1)
    if weights is not None:
        likelihood = weights.to(likelihood.dtype) * likelihood
    return -((1 - discount * probability) * likelihood).mean()


def subset_logits(
    model: MultimodalClassifier,
    features: Mapping[str, Tensor],
    absent: Mapping[str, Tensor] | None = None,
    *,
    present: Presence | None = None,
) -> Tensor:
    """Return the fused logits of every subset of modalities, ``(2^M, B, C)``, in one pass through the fusion.

    Args:
        model: Model.
        features: ``{m: (B, D_m)}``.
        absent: Features that replace a modality outside the subset, ``{m: (1, D_m)}``; zeros by default.
        present: Which samples have which modality. A sample that lacks a modality has the same logits with and without
            it. If this is given, the fusion treats modalities outside the subset as absent, unless ``absent`` is given.
    """
    names = model.modalities
    every = subsets(len(names))
    stacked, masks = {}, {}
    for k, m in enumerate(names):
        h = features[m]
        missing = torch.zeros_like(h) if absent is None else absent[m].expand_as(h)
        stacked[m] = torch.cat([h if k in subset else missing for subset in every])
        if present is not None:
            hidden = present[m] if absent is not None else torch.zeros_like(present[m])
            masks[m] = torch.cat([present[m] if k in subset else hidden for subset in every])
    return model.fusion.fuse(stacked, masks or None).unflatten(0, (len(every), -1))
