"""Quick information of one set of columns: linear heads, cross-fitted; and paired differences of estimates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from counterpoise.valuation import Estimate
from counterpoise.valuation.heads.linear import LinearHeads, standardise
from counterpoise.valuation.heads.predictions import marginal, predictive
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["Scored", "difference", "independent", "linear_information"]

_PENALTY = 1.0
"""In pseudo-observations: what scikit-learn's LogisticRegression takes by default."""


@dataclass(frozen=True)
class Scored:
    """Information of one set of columns about the labels.

    Attributes:
        estimate: in nats, with its interval.
        pointwise: ``(N,)``, of samples that the heads were not fitted on; the mean is the estimate.
        inside: the same heads on the samples that they were fitted on.
    """

    estimate: Estimate
    pointwise: np.ndarray
    inside: float


def linear_information(problem: EstimatorInput, x: Tensor, *, confidence: float = 0.95) -> Scored:
    """Return what linear heads find in ``x``: a lower bound of I(X; Y) in expectation.

    Args:
        problem: labels and folds.
        x: ``(N, D)``.
        confidence: of the interval.
    """
    fold = torch.from_numpy(problem.fold)
    outside = torch.stack([fold != k for k in range(problem.folds)])
    heads = LinearHeads([standardise(x.double())], problem.target, problem.task)
    penalty = torch.full((problem.folds,), _PENALTY, dtype=torch.float64)
    logits = heads.logits(heads.fit(outside, penalty, tolerance=0.01 / problem.n))
    prior = marginal(problem)
    found = predictive(problem, logits, prior)
    pointwise = (found.log_likelihood - prior.log_likelihood).numpy()
    inside = found.in_sample - prior.in_sample
    return Scored(_interval(pointwise, problem.group, confidence, "lower"), pointwise, inside)


def difference(
    first: Estimate,
    first_points: np.ndarray,
    second: Estimate,
    second_points: np.ndarray,
    confidence: float = 0.95,
    *,
    group: np.ndarray | None = None,
) -> Estimate:
    """Return ``first - second`` of quantities measured on the same samples.

    Without the samples' contributions the two count as independent, which makes the interval wider. ``group`` ``(N,)``
    says which samples belong together: the interval then comes from the spread of the groups' sums.

    Example:
        >>> e, x = Estimate(1.0, 0.1, 0.8, 1.2), np.array([0.5, 1.5, 1.0])
        >>> difference(e, x, e, x).se
        0.0
    """
    if len(first_points) == 0 or len(second_points) == 0:
        return independent(first, second, confidence)
    spread = _interval(first_points - second_points, group, confidence, "estimate")
    value = first.value - second.value
    reach = 0.5 * (spread.high - spread.low)
    return Estimate(value, spread.se, value - reach, value + reach)


def independent(first: Estimate, second: Estimate, confidence: float = 0.95) -> Estimate:
    """Return ``first - second`` of quantities measured on different samples.

    Example:
        >>> independent(Estimate(1.0, 0.3, 0, 2), Estimate(0.5, 0.4, 0, 1)).se
        0.5
    """
    value, se = first.value - second.value, float(np.hypot(first.se, second.se))
    reach = float(stats.norm.ppf(0.5 + confidence / 2)) * se
    return Estimate(value, se, value - reach, value + reach)


def _interval(pointwise: np.ndarray, group: np.ndarray | None, confidence: float, bound: str) -> Estimate:
    value, n = float(pointwise.mean()), len(pointwise)
    if group is None:
        freedom, se = n - 1, float(pointwise.std(ddof=1)) / n**0.5
    else:
        sums = np.bincount(group, pointwise - value)
        freedom = len(sums) - 1
        se = float(np.sqrt((sums**2).sum() * len(sums) / freedom)) / n
    reach = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * se
    return Estimate(value, se, value - reach, value + reach, bound)
