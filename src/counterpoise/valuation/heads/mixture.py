"""Weights of a mixture of predictive distributions, from the held-out likelihood of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.valuation.groups import design_effect, effective_groups, too_few_groups
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["Weights", "dependence", "fit_weights", "stack"]

ITERATIONS: Final = 200
UPPER: Final = 0.75
"""Quantile of the design effects of the components; the maximum would be large by chance if there are few groups."""
MAX_ROWS: Final = 20_000
"""Maximum number of samples to which the weights are fitted; of more, a random part is used, the same for all
subsets."""


@dataclass(frozen=True)
class Weights:
    """Weights of a mixture: ``(K, J)`` for the samples of each fold, from the others; ``(J,)`` from all samples."""

    per_fold: Tensor
    overall: Tensor


def stack(problem: EstimatorInput, parts: Sequence[Tensor], free: Sequence[float], effect: float = 1.0) -> Weights:
    """Return the weights of a mixture that predicts left-out samples best.

    Args:
        problem: The checked input.
        parts: ``(N, L)`` out-of-fold log-likelihoods of the components.
        free: Pseudo-observations in favour of each component.
        effect: Number of samples of one group that together count as one observation.
    """
    j = len(parts)
    if j == 1:
        return Weights(torch.ones(problem.folds, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    fold = torch.from_numpy(problem.fold)
    rows = torch.arange(problem.n)
    if problem.n > MAX_ROWS:
        rows = torch.randperm(problem.n, generator=torch.Generator().manual_seed(problem.seed))[:MAX_ROWS]
    log_q = torch.stack([p[rows].double() for p in parts], -1)  # (N, L, J)
    ratio = (log_q - log_q.amax(-1, keepdim=True)).exp().flatten(0, 1)
    own = fold[rows].repeat_interleave(log_q.shape[1])
    prior = torch.tensor(free, dtype=torch.float64) * _unit(problem.group, effect)
    start = torch.full((j,), 1 / j, dtype=torch.float64)
    overall = fit_weights(ratio, prior, start, ITERATIONS)
    # A component that vanished on all samples may count on a part of them.
    warm = 0.9 * overall + 0.1 / j
    per_fold = torch.stack([fit_weights(ratio[own != k], prior, warm, ITERATIONS // 2) for k in range(problem.folds)])
    return Weights(per_fold, overall)


def dependence(problem: EstimatorInput, parts: Sequence[Tensor], reference: Tensor) -> float:
    """Return the design effect of the gains of components over a reference; it is 1 if the groups have no effect.

    It is also 1 for too few groups to estimate it; their estimates are marked.

    Args:
        problem: The checked input.
        parts: ``(N, L)`` out-of-fold log-likelihoods of the components.
        reference: ``(N, L)`` log-likelihoods of the reference.
    """
    if problem.group is None or too_few_groups(problem.group):
        return 1.0
    gains = [(p - reference).double().sum(-1).numpy() for p in parts]
    return float(np.quantile([design_effect(gain, problem.group) for gain in gains], UPPER))


def _unit(group: np.ndarray | None, effect: float) -> float:
    """Return the number of samples that count as one observation.

    Chance similarities between few dependent groups help several folds at once, so that few groups need more evidence,
    for example twice as much with ten groups. If the samples of a group are independent of each other, every sample is
    an observation.
    """
    if group is None:
        return 1.0
    return 1.0 + (1.0 + 10.0 / effective_groups(group)) * (effect - 1.0)


def fit_weights(ratio: Tensor, prior: Tensor, weights: Tensor, iterations: int) -> Tensor:
    """Maximise the log-likelihood of a mixture of known densities over its weights (concave; EM never overshoots).

    Args:
        ratio: ``(N, J)`` densities, each row up to a factor.
        prior: ``(J,)`` pseudo-observations in favour of the components.
        weights: ``(J,)`` where to start.
        iterations: Largest number of steps.
    """
    total = len(ratio) + prior.sum()
    for _ in range(iterations):
        mixed = ratio @ weights
        new = (weights * (ratio.T @ mixed.reciprocal()) + prior) / total
        done = float((new - weights).abs().max()) < 1e-5
        weights = new
        if done:
            break
    return weights
