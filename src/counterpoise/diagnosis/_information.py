"""Estimates over samples: intervals, paired differences, contrasts, and the plain linear head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from counterpoise.valuation import Estimate
from counterpoise.valuation.heads.linear import LinearHeads, standardise
from counterpoise.valuation.heads.predictions import marginal, predictive
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["Quantity", "Scored", "contrast", "difference", "independent", "interval", "linear_information"]

_PENALTY = 1.0
"""In pseudo-observations: what scikit-learn's LogisticRegression takes by default."""


@dataclass(frozen=True)
class Scored:
    """Information of one set of columns, or of one set of predictions, about the labels.

    Attributes:
        estimate: In nats, with its interval.
        pointwise: ``(N,)`` contributions of samples that nothing was fitted on; their mean is the estimate.
        inside: The same on the samples that were fitted on.
    """

    estimate: Estimate
    pointwise: np.ndarray
    inside: float


@dataclass(frozen=True)
class Quantity:
    """A number in nats that belongs to a set of samples, and enters sums and differences.

    Attributes:
        value: The number.
        points: ``(N,)`` contributions of the samples; empty where they are not known.
        se: Standard error.
        source: What measured it.
    """

    value: float
    points: np.ndarray
    se: float
    source: str = ""

    def second_order(self) -> float:
        """Return the part of the standard error that the spread of the samples does not explain."""
        if not len(self.points):
            return self.se
        return float(np.sqrt(max(self.se**2 - self.points.var(ddof=1) / len(self.points), 0.0)))


def linear_information(problem: EstimatorInput, x: Tensor, *, confidence: float = 0.95) -> Scored:
    """Return the information that linear heads find in ``x``: a lower bound of I(X; Y) in expectation.

    Args:
        problem: Labels and folds.
        x: ``(N, D)``.
        confidence: Level of the interval.
    """
    fold = torch.from_numpy(problem.fold)
    outside = torch.stack([fold != k for k in range(problem.folds)])
    heads = LinearHeads([standardise(x.double())], problem.target, problem.task)
    penalty = torch.full((problem.folds,), _PENALTY, dtype=torch.float64)
    logits = heads.logits(heads.fit(outside, penalty, tolerance=0.01 / problem.n))
    prior = marginal(problem)
    scored = predictive(problem, logits, prior)
    pointwise = (scored.log_likelihood - prior.log_likelihood).numpy()
    inside = scored.in_sample - prior.in_sample
    return Scored(interval(pointwise, problem.group, confidence, "lower"), pointwise, inside)


def contrast(
    terms: Sequence[tuple[float, Quantity]], *, group: np.ndarray | None = None, confidence: float = 0.95
) -> tuple[Estimate, np.ndarray]:
    """Return a weighted sum of quantities of the same samples, and its pointwise values (empty where unknown).

    Quantities without pointwise values count as independent of the others, which makes the interval wider.

    Example:
        >>> q = Quantity(1.0, np.array([0.5, 1.5, 1.0]), 0.29)
        >>> e, _ = contrast([(1.0, q), (-1.0, q)])
        >>> e.value, e.se
        (0.0, 0.0)
    """
    value = float(sum(weight * q.value for weight, q in terms))
    same: dict[int, float] = {}
    for weight, q in terms:
        same[id(q)] = same.get(id(q), 0.0) + weight
    distinct = {id(q): q for _, q in terms}
    if any(not len(q.points) for _, q in terms):
        se = float(np.sqrt(sum((same[k] * q.se) ** 2 for k, q in distinct.items())))
        return Estimate.around(value, se, confidence=confidence), np.empty(0)
    points = np.sum([weight * q.points for weight, q in terms], axis=0)
    spread = interval(points, group, confidence, "estimate")
    extra = sum((same[k] * q.second_order()) ** 2 for k, q in distinct.items()) if group is None else 0.0
    se = float(np.sqrt(spread.se**2 + extra))
    if spread.se == 0:
        return Estimate.around(value, se, confidence=confidence), points
    reach = 0.5 * (spread.high - spread.low) * (se / spread.se)
    return Estimate(value, se, value - reach, value + reach), points


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
    spread = interval(first_points - second_points, group, confidence, "estimate")
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
    return Estimate.around(value, se, confidence=confidence)


def interval(pointwise: np.ndarray, group: np.ndarray | None, confidence: float, bound: str) -> Estimate:
    """Return the mean of the samples' contributions with its standard error and a t interval.

    Args:
        pointwise: ``(N,)``.
        group: ``(N,)`` groups from 0: the standard error then comes from the spread of the groups' sums.
        confidence: Level of the interval.
        bound: What kind of number it is; see `Estimate`.
    """
    value, n = float(pointwise.mean()), len(pointwise)
    if group is None:
        freedom, se = n - 1, float(pointwise.std(ddof=1)) / n**0.5
    else:
        sums = np.bincount(group, pointwise - value)
        freedom = len(sums) - 1
        se = float(np.sqrt((sums**2).sum() * len(sums) / freedom)) / n
    return Estimate.around(value, se, confidence=confidence, freedom=freedom, bound=bound)
