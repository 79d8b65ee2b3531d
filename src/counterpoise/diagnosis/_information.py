"""Estimates over samples: information of columns or predictions, and differences between independent samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from counterpoise.valuation import Estimate
from counterpoise.valuation.assembly import SubsetEstimate, combine
from counterpoise.valuation.heads.linear import LinearHeads, standardise
from counterpoise.valuation.heads.predictions import marginal, predictive
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["PREDICTIONS", "Scored", "independent", "linear_information", "scored"]

PREDICTIONS = "predictions"
"""Name of the source "predictions of the model"."""
_PENALTY = 1.0
"""Strength of the penalty in pseudo-observations, the default of scikit-learn's LogisticRegression."""


@dataclass(frozen=True)
class Scored:
    """Information of one set of columns, or of one set of predictions, about the labels.

    Attributes:
        estimate: The information in nats, with its interval.
        pointwise: ``(N,)`` contributions of held-out samples; their mean is the estimate.
        inside: Contributions of the samples on which the classifier was fitted.
    """

    estimate: Estimate
    pointwise: np.ndarray
    inside: float

    @property
    def term(self) -> SubsetEstimate:
        """The same as a term of sums and differences."""
        return SubsetEstimate(self.pointwise, fitted=False, source=PREDICTIONS)


def scored(problem: EstimatorInput, pointwise: np.ndarray, inside: float, confidence: float) -> Scored:
    """Return the mean of the samples' contributions with its interval: a lower bound of the information.

    Args:
        problem: Labels, and the groups of samples that depend on each other.
        pointwise: ``(N,)``.
        inside: Contributions of the samples on which the classifier was fitted.
        confidence: Level of the interval.
    """
    term = SubsetEstimate(pointwise, fitted=False)
    limits = {"least": 0.0, "most": problem.largest_information}
    return Scored(combine([(1.0, term)], problem.group, confidence, bound="lower", **limits), pointwise, inside)


def linear_information(problem: EstimatorInput, x: Tensor, *, confidence: float = 0.95) -> Scored:
    """Return the information that linear classifiers find in ``x``, in expectation a lower bound of I(X; Y).

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
    fitted = predictive(problem, logits, prior)
    pointwise = (fitted.log_likelihood - prior.log_likelihood).numpy()
    return scored(problem, pointwise, fitted.in_sample - prior.in_sample, confidence)


def independent(first: Estimate, second: Estimate, confidence: float = 0.95) -> Estimate:
    """Return ``first - second`` of quantities measured on different samples.

    Example:
        >>> independent(Estimate(1.0, 0.3, 0, 2), Estimate(0.5, 0.4, 0, 1)).se
        0.5
    """
    value, se = first.value - second.value, float(np.hypot(first.se, second.se))
    return Estimate.around(value, se, confidence=confidence)
