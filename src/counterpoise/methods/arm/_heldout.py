"""Contributions on held-out samples: mutual information with the label, per sample, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import torch
from torch import Tensor

from counterpoise.methods.logits import presence_masks
from counterpoise.model import MultimodalClassifier, evaluation_mode
from counterpoise.records import Batch, concat_presence, present_mean
from counterpoise.tasks import Task

__all__ = ["SIGNIFICANT", "HeldOutContributions", "held_out_contributions", "held_out_experts", "significance"]

SIGNIFICANT: Final = 1.64
"""Number of standard errors below which a difference has no effect (one-sided, 5 %)."""
MAX_SAMPLES: Final = 1000
"""Maximum number of held-out samples that are read."""
_MAX_ELEMENTS: Final = 2**23
_STEPS, _RATE = 60, 0.1
_FOLDS: Final = 2


class HeldOutContributions(NamedTuple):
    r"""Contributions of the modalities on samples that no encoder and no head was trained on, in nats.

    With :math:`q_S` a calibrated prediction from the modalities S and :math:`q_\emptyset` the label frequencies,

    - ``joint``: :math:`\phi_{MI} = E \log q_\mathrm{all}(y) - E \log q_\emptyset(y)`, a lower bound of I(Z; Y);
    - ``alone``: the same for each modality by itself;
    - ``marginal``: :math:`\phi_{CMI}(m) = E \log q_\mathrm{all}(y) - E \log q_{-m}(y)`, an estimate of
      :math:`I(Z_m; Y | Z_{-m})` (a difference of two bounds, and so no bound).

    Attributes:
        joint: Joint contribution, a scalar.
        additive: The same without the fused head, for a product of the unimodal heads, a scalar.
        additive_error: Standard error of ``additive``.
        synergy_error: Standard error of the difference between ``joint`` and ``additive``.
        alone: Unimodal contributions, ``(M,)``.
        alone_error: Their standard errors, ``(M,)``.
        marginal: Marginal contributions, ``(M,)``.
        marginal_error: Their standard errors, ``(M,)``.
        pointwise: ``(n, M)``: the mean of both contributions of each modality to each sample. Its differences between
            two modalities are those of the marginal contributions if there are two modalities, and unlike these they
            do not vanish if several modalities are redundant.
        own: ``(n, M)``: information of each calibrated unimodal head about each sample.
        target: Targets of the samples.
        masks: Which samples have which modality, ``(n, M)``; means of a modality are over these. None if nothing is
            missing.
    """

    joint: Tensor
    additive: Tensor
    additive_error: Tensor
    synergy_error: Tensor
    alone: Tensor
    alone_error: Tensor
    marginal: Tensor
    marginal_error: Tensor
    pointwise: Tensor
    own: Tensor
    target: Tensor
    masks: Tensor | None = None

    @property
    def gaps(self) -> tuple[Tensor, Tensor]:
        """Distance of each modality from the one that contributes most, and the standard error, ``(M,)`` each."""
        strongest = _mean(self.pointwise, self.masks).argmax()
        behind = self.pointwise[:, strongest, None] - self.pointwise
        both = None if self.masks is None else self.masks & self.masks[:, strongest, None]
        return _mean(behind, both), _error(behind, both)


def _mean(values: Tensor, masks: Tensor | None = None) -> Tensor:
    """Return the mean over the first axis, over the samples that have the modality."""
    return values.mean(0) if masks is None else present_mean(values.T, masks.T)


def _error(values: Tensor, masks: Tensor | None = None) -> Tensor:
    """Return the standard error of `_mean`, infinite for fewer than two samples."""
    if masks is None:
        return values.std(0, correction=1) / math.sqrt(len(values))
    count = masks.sum(0)
    squared = (values - _mean(values, masks)).masked_fill(~masks, 0).square().sum(0)
    error = (squared / (count - 1).clamp_min(1) / count.clamp_min(1)).sqrt()
    return torch.where(count > 1, error, math.inf)


def significance(value: Tensor, error: Tensor) -> Tensor:
    r"""Return 0 for values within 1.64 standard errors of 0, 1 for values beyond twice that, and a linear function
    between.

    Example:
        >>> significance(torch.tensor([1.0, 2.46, 9.0]), torch.ones(3))
        tensor([0.0000, 0.5000, 1.0000])
    """
    ratio = value / error.clamp_min(torch.finfo(error.dtype).tiny)
    return (ratio / SIGNIFICANT - 1).clamp(0, 1)


@torch.no_grad()
def held_out_experts(model: MultimodalClassifier, batches: Iterable[Batch]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the logits of the fused head and of each unimodal head, the targets, and the masks of presence.

    Args:
        model: Model; it is run in evaluation mode, once.
        batches: Samples; the first `MAX_SAMPLES` are read.

    Returns:
        Logits ``(M + 1, n, C)``, n targets, and masks ``(M, n)`` or None if nothing is missing.
    """
    device = next(model.parameters()).device
    logits, targets, parts, count = [], [], [], 0
    with evaluation_mode(model):
        for whole in batches:
            batch = whole.to(device)
            logits.append(model(batch.inputs, present=batch.present).experts().float())
            targets.append(batch.target)
            parts.append((batch.present, batch.target))
            count += len(batch)
            if count >= MAX_SAMPLES:
                break
    masks = presence_masks(model.modalities, concat_presence(parts))
    known = None if masks is None else masks[:, :MAX_SAMPLES]
    return torch.cat(logits, 1)[:, :MAX_SAMPLES], torch.cat(targets)[:MAX_SAMPLES], known


def held_out_contributions(
    task: Task, experts: Tensor, target: Tensor, prior: Tensor, masks: Tensor | None = None
) -> HeldOutContributions:
    r"""Return the contributions of the modalities to predictions of held-out samples.

    :math:`q_S` is a product of experts: the unimodal heads in S, the label frequencies and, if S holds all modalities,
    the fused head, with exponents that are fitted on one half of the samples and applied to the other half
    (cross-fitting). The heads were trained on other samples, so that only a few exponents are fitted here. They also
    calibrate heads that are overconfident because they memorised.

    Args:
        task: The likelihood.
        experts: Logits ``(M + 1, n, C)``, the fused head's first; see `held_out_experts`.
        target: Targets of the n samples.
        prior: Logits of the label frequencies, ``(C,)``.
        masks: Which samples have which modality, ``(M, n)``. Experts of absent modalities have no exponent.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> y = torch.tensor([0, 1] * 50)
        >>> good, bad = 2.0 * torch.nn.functional.one_hot(y, 2), torch.zeros(100, 2)
        >>> known = held_out_contributions(MultiClass(2), torch.stack([good, good, bad]), y, torch.zeros(2))
        >>> bool(known.marginal[0] > 0.2), bool(known.marginal[1].abs() < 0.01)
        (True, True)
    """
    count = len(experts) - 1
    subsets = _subsets(count).to(experts.device)
    largest = _MAX_ELEMENTS // (len(subsets) * (count + 2) * experts.shape[-1])
    size = max(2 * _FOLDS, min(experts.shape[1], largest))
    experts, target = experts[:, :size], target[:size]
    constant = task.normalise(prior.to(experts))
    every = torch.cat([constant.expand_as(experts[:1]), task.normalise(experts)])
    there = None if masks is None else masks[:, :size].T  # (n, M)
    usable = None if there is None else torch.cat([torch.ones_like(there[:, :2]), there], 1).T
    known = _cross_fitted(task, every, target, subsets, usable)  # (S, n)
    nothing = task.log_likelihood(constant.expand_as(experts[0]), target)
    own, rest, joint = known[:count], known[count : 2 * count], known[-1]
    alone, marginal = (own - nothing).T, (joint - rest).T  # (n, M)
    return HeldOutContributions(
        joint=(joint - nothing).mean(),
        additive=(known[-2] - nothing).mean(),
        additive_error=_error(known[-2] - nothing),
        synergy_error=_error(joint - known[-2]),
        alone=_mean(alone, there),
        alone_error=_error(alone, there),
        marginal=_mean(marginal, there),
        marginal_error=_error(marginal, there),
        pointwise=(alone + marginal) / 2,
        own=alone,
        target=target,
        masks=there,
    )


def _subsets(count: int) -> Tensor:
    """Return which experts each prediction uses, ``(2 M + 2, M + 2)``: each alone, all but each, all, and the fused.

    The columns are the label frequencies, the fused head and the unimodal heads.
    """
    one = torch.eye(count)
    unimodal = torch.cat([one, 1 - one, torch.ones(2, count)])
    fused = torch.zeros(len(unimodal), 1)
    fused[-1] = 1
    return torch.cat([torch.ones(len(unimodal), 1), fused, unimodal], 1)


@torch.enable_grad()
def _cross_fitted(task: Task, experts: Tensor, target: Tensor, subsets: Tensor, usable: Tensor | None = None) -> Tensor:
    """Return ``(S, n)``: the log-likelihood of each sample under exponents that were fitted on the other half.

    Args:
        task: The likelihood.
        experts: ``(K, n, C)``.
        target: n targets.
        subsets: ``(S, K)``, which experts each prediction uses.
        usable: ``(K, n)``, which experts a sample has; None for all.
    """
    kinds, n = len(subsets), experts.shape[1]
    fold = torch.arange(n, device=experts.device) % _FOLDS
    tiled = experts.repeat(1, kinds, 1)  # (K, S n, C)
    labels = target.repeat(kinds, *[1] * (target.ndim - 1))
    used = subsets[:, None, :].to(experts.dtype)
    start = (used / used.sum(-1, keepdim=True)).clamp_min(1e-3).log().repeat(1, _FOLDS, 1)  # (S, F, K)
    theta = torch.zeros_like(start, requires_grad=True)
    temperature = torch.zeros_like(start[..., :1], requires_grad=True)
    free = torch.zeros_like(used)
    free[..., 0] = 1  # the exponent of the label frequencies is not penalised

    def likelihood(which: Tensor) -> Tensor:
        exponents = (start + temperature + theta).exp() * used
        weights = exponents[:, which].permute(2, 0, 1).reshape(len(experts), kinds * n)
        weights = weights if usable is None else weights * usable.repeat(1, kinds)
        return task.log_likelihood(task.combine(tiled, weights), labels).view(kinds, n)

    optimizer = torch.optim.Adam([theta, temperature], lr=_RATE)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        size = (used * (1 - free) * theta).square().sum()
        # The exponents of a fold are fitted on the samples of the other one.
        (-likelihood(1 - fold).sum() / n + 2 / n * size).backward()
        optimizer.step()
    return likelihood(fold).detach()
