"""Closed forms for Gaussian features: determinants for real targets, Bayes' rule on Gaussian classes."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import digamma
from torch import Tensor

from counterpoise.errors import DataError
from counterpoise.valuation._valuation import Valuation
from counterpoise.valuation.assembly import Subset, SubsetEstimate
from counterpoise.valuation.estimators._common import value_subsets
from counterpoise.valuation.heads.predictions import marginal, predictive
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["gaussian", "gaussian_information"]


def gaussian_information(x: np.ndarray, y: np.ndarray) -> SubsetEstimate:
    r"""Return :math:`\frac12 \log (|\Sigma_x| |\Sigma_y| / |\Sigma_{xy}|)` of jointly Gaussian reals, in nats.

    The bias of log-determinants of sample covariances is known exactly, in terms of digamma functions, and subtracted.

    Args:
        x: ``(N, D)``.
        y: ``(N, C)``.

    Raises:
        DataError: If a covariance is singular.

    Example:
        >>> z = np.random.default_rng(0).normal(size=(5000, 2)) @ np.array([[1, 0.6], [0, 0.8]])
        >>> information = gaussian_information(z[:, :1], z[:, 1:])
        >>> bool(abs(information.pointwise.mean() + information.correction + 0.5 * np.log(1 - 0.36)) < 0.03)
        True
    """
    z = np.concatenate([x, y], 1)
    pointwise = _log_density(z) - _log_density(x) - _log_density(y)
    n, d, c = len(z), x.shape[1], y.shape[1]
    expected = np.cumsum(digamma((n - np.arange(1, d + c + 1)) / 2))
    bias = 0.5 * (expected[d - 1] + expected[c - 1] - expected[-1])
    return SubsetEstimate(pointwise, correction=-float(bias), capacity=abs(float(bias)))


def _log_density(z: np.ndarray) -> np.ndarray:
    centred = z - z.mean(0)
    covariance = centred.T @ centred / len(z)
    sign, log_det = np.linalg.slogdet(covariance)
    scale = np.log(np.maximum(covariance.diagonal(), 1e-300)).sum()
    if sign <= 0 or log_det - scale < -30 * z.shape[1] or z.shape[1] >= len(z):
        raise DataError(
            "Estimator `gaussian` needs features of full rank. Found constant or linearly dependent columns "
            "(or a target that the features explain wholly); remove them, or use `variational`."
        )
    distance = (centred * np.linalg.solve(covariance, centred.T).T).sum(1)
    return np.asarray(-0.5 * (distance + log_det + z.shape[1] * np.log(2 * np.pi)))


def _class_log_density(x: Tensor, rows: Tensor) -> Tensor:
    """Return ``(N,)``: the log-density at all samples of a Gaussian fitted on some rows."""
    own = x[rows]
    if len(own) <= x.shape[1] + 1:
        raise DataError(
            f"Estimator `gaussian` fits one covariance per class: {x.shape[1]} columns need more than "
            f"{x.shape[1] + 1} training samples in each class. Found {len(own)}. Use `variational`."
        )
    centred = own - own.mean(0)
    covariance = centred.T @ centred / (len(own) - 1)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    diagonal = factor.diagonal()
    if failed or diagonal.min() <= 1e-6 * diagonal.max():
        raise DataError(
            "Estimator `gaussian` needs features of full rank within each class. Found constant or dependent columns; "
            "remove them, or use `variational` or `plugin`."
        )
    white = torch.linalg.solve_triangular(factor, (x - own.mean(0)).T, upper=False)
    return -0.5 * white.square().sum(0) - diagonal.log().sum()


def gaussian(problem: EstimatorInput, *, confidence: float = 0.95) -> Valuation:
    r"""Gaussian closed forms.

    Real targets: log-determinants, unbiased if features and targets are jointly Gaussian. Classes: one Gaussian per
    class, cross-fitted, and Bayes' rule; the same first-order correction as `variational`.

    Raises:
        DataError: For multi-label targets, singular covariances, or classes with fewer samples than columns.
    """
    if not (problem.task.is_gaussian or problem.task.has_classes):
        raise DataError("Estimator `gaussian` is for classes and real targets. Found multi-label; use `variational`.")

    if problem.task.is_gaussian:
        return value_subsets(
            problem,
            lambda subset: gaussian_information(problem.matrix(subset), problem.labels),
            estimator="gaussian",
            confidence=confidence,
        )
    prior = marginal(problem)
    fold = torch.from_numpy(problem.fold)
    classes = range(problem.task.num_outputs)

    def measure(subset: Subset) -> SubsetEstimate:
        x = torch.from_numpy(problem.matrix(subset))
        logits = [
            torch.stack([_class_log_density(x, (fold != k) & (problem.target == c)) for c in classes], 1)
            for k in range(problem.folds)
        ]
        frequencies = torch.stack([prior.parameters[fold == k][0] for k in range(problem.folds)])
        p = predictive(problem, torch.stack(logits, 1) + frequencies, prior)
        optimism = p.in_sample - prior.in_sample - float((p.log_likelihood - prior.log_likelihood).mean())
        return SubsetEstimate(
            (p.log_likelihood - prior.log_likelihood).numpy(), correction=0.5 * optimism, capacity=0.5 * optimism
        )

    return value_subsets(problem, measure, estimator="gaussian", confidence=confidence)
