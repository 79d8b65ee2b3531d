"""Logits of single modalities and of subsets of modalities, and the scores that methods compare.

A fusion is *additive* if its logits are a sum over modalities (concatenation, sum, shared head). Then each modality has
a slice of the fused logits. For the other fusions the unimodal heads take the place of slices.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from counterpoise.coalitions import subsets
from counterpoise.errors import ModelError
from counterpoise.fusion import Fusion
from counterpoise.model import MultimodalClassifier, Scale, scale_gradient
from counterpoise.records import Outputs
from counterpoise.tasks import Task

__all__ = [
    "decode",
    "discounted_loss",
    "error_losses",
    "is_additive",
    "output_losses",
    "subset_logits",
    "target_scale",
    "true_scores",
    "unimodal_logits",
]


def is_additive(fusion: Fusion) -> bool:
    """Return whether a fusion's logits are a sum over modalities (asked once, in `Method.setup`)."""
    reference = next(fusion.parameters(), torch.empty(0))
    try:
        fusion.slice_logits({m: reference.new_zeros(1, d) for m, d in fusion.feature_dims.items()})
    except ModelError:
        return False
    return True


def unimodal_logits(model: MultimodalClassifier, features: Mapping[str, Tensor], *, sliced: bool) -> Tensor:
    """Return the logits of each modality by itself, ``(M, B, C)``: its slice of the fused logits, or its own head's.

    Args:
        model: Model.
        features: ``{m: (B, D_m)}``.
        sliced: Whether to take slices, see `is_additive`.
    """
    if sliced:
        slices = model.fusion.slice_logits(features)
        return torch.stack([slices[m] for m in model.modalities])
    return torch.stack([model.head(m)(features[m]) for m in model.modalities])


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


def error_losses(model: MultimodalClassifier, logits: Tensor, target: Tensor) -> Tensor:
    r"""Return the mean loss of every head without its constant, so that it is 0 for a perfect prediction, ``(K,)``.

    For real targets it is :math:`\frac12 \lVert y - f \rVert^2`, otherwise the negative log-likelihood.

    Args:
        model: Model, for its task.
        logits: ``(K, B, C)``.
        target: Targets of the batch.
    """
    if model.task.is_gaussian:
        return 0.5 * model.task.residual(logits, target).square().sum(-1).mean(-1)
    return -model.task.log_likelihood(logits, target).mean(-1)


def true_scores(model: MultimodalClassifier, logits: Tensor, target: Tensor, scale: Tensor | None = None) -> Tensor:
    r"""Return :math:`s_m = \sum_i p_m(y_i | x_i)`, ``(M,)``, the score that OGM-GE and its successors compare.

    With several labels, p is the geometric mean over the labels, since the product underflows; for real targets it is
    the exponential of minus `output_losses`, too.

    Args:
        model: Model, for its task.
        logits: ``(M, B, C)``.
        target: Targets of the batch.
        scale: :math:`\sigma`, ``(C,)``, see `target_scale`; only used for real targets.

    Example:
        >>> from counterpoise.model import build_model
        >>> model = build_model({"a": ("vector", (4,), 0), "b": ("vector", (6,), 0)}, num_outputs=2)
        >>> true_scores(model, torch.zeros(2, 3, 2), torch.tensor([0, 1, 1]))        # 3 samples, probability 1/2
        tensor([1.5000, 1.5000])
    """
    return (-output_losses(model, logits, target, scale)).exp().sum(-1)


def discounted_loss(logits: Tensor, known: Tensor, target: Tensor, discount: float) -> Tensor:
    r"""Return a cross-entropy that counts less where other predictions q are right.

    .. math:: \mathrm{mean}_i (1 - \delta\, \mathrm{sg}\, q_i(y_i)) (-\log p_i(y_i))

    Args:
        logits: Logits of p, ``(B, C)``.
        known: Logits of q, ``(B, C)``; no gradient flows through them.
        target: ``(B,)``.
        discount: :math:`\delta`, in [0, 1].

    Example:
        >>> y, zero = torch.tensor([0]), torch.zeros(1, 2)
        >>> discounted_loss(zero, zero, y, 0.5) / discounted_loss(zero, zero, y, 0.0)     # 1 - 0.5 * 0.5
        tensor(0.7500)
    """
    index = target.unsqueeze(-1)
    probability = known.detach().softmax(-1).gather(-1, index).squeeze(-1)
    return -((1 - discount * probability) * logits.log_softmax(-1).gather(-1, index).squeeze(-1)).mean()


def decode(
    model: MultimodalClassifier,
    features: Mapping[str, Tensor],
    fused_features: Mapping[str, Tensor],
    head_gradient: Scale | Mapping[str, Scale] = 0.0,
) -> Outputs:
    """Return outputs whose fused logits read ``fused_features`` and whose unimodal heads read ``features``.

    Args:
        model: Model.
        features: ``{m: (B, D_m)}``.
        fused_features: The same, as the fused head reads them.
        head_gradient: Factor of the unimodal heads' gradient before it enters the encoders, one number or one per
            modality.
    """
    scales = head_gradient if isinstance(head_gradient, Mapping) else dict.fromkeys(model.modalities, head_gradient)
    unimodal = {m: model.head(m)(scale_gradient(features[m], scales[m])) for m in model.modalities}
    return Outputs(features, model.fusion(fused_features), unimodal)


def subset_logits(
    model: MultimodalClassifier, features: Mapping[str, Tensor], absent: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Return the fused logits of every subset of modalities, ``(2^M, B, C)``, in one pass through the fusion.

    Args:
        model: Model.
        features: ``{m: (B, D_m)}``.
        absent: Features that stand for a missing modality, ``{m: (1, D_m)}``; zeros by default.
    """
    names = model.modalities
    every = subsets(len(names))
    stacked = {}
    for k, m in enumerate(names):
        missing = torch.zeros_like(features[m]) if absent is None else absent[m].expand_as(features[m])
        stacked[m] = torch.cat([features[m] if k in subset else missing for subset in every])
    return model.fusion(stacked).unflatten(0, (len(every), -1))
