"""Out-of-fold predictive distributions: heads' logits as honest densities, mixed with what the labels alone say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor

from counterpoise.tasks import LOG_2PI
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["OutOfFoldPredictions", "left_out", "marginal", "predictive"]


@dataclass(frozen=True)
class OutOfFoldPredictions:
    """OutOfFoldPredictions distributions q(y | z_i), each from heads that never saw sample i.

    Attributes:
        log_likelihood: ``(N,)``, log q(y_i | z_i).
        in_sample: mean log-likelihood of the same heads on the samples that they were fitted on.
        parameters: ``(N, C)``: log-probabilities (multi-class), log-odds (multi-label) or means (regression).
        covariance: ``(N, C, C)`` of the noise, by reference to the fold (regression), or None.
        per_label: ``(N, C)`` log-likelihoods of the labels (multi-label), or None.
    """

    log_likelihood: Tensor
    in_sample: float
    parameters: Tensor
    covariance: Tensor | None = None
    per_label: Tensor | None = None

    def kl(self, other: OutOfFoldPredictions) -> np.ndarray:
        """Return ``(N,)``: KL(q(. | z_i) || other(. | z_i)) in nats."""
        rows = torch.arange(len(self.parameters)).split(max(1, 2**21 // self.parameters.shape[1]))
        return torch.cat([self._kl(other, part) for part in rows]).numpy()

    def _kl(self, other: OutOfFoldPredictions, rows: Tensor) -> Tensor:
        p, q = self.parameters[rows].double(), other.parameters[rows].double()
        if self.covariance is not None and other.covariance is not None:
            theirs = other.covariance[rows]
            solved = torch.linalg.solve(theirs, self.covariance[rows])
            shift = (q - p)[..., None]
            distance = (shift * torch.linalg.solve(theirs, shift)).sum((-1, -2))
            trace = solved.diagonal(dim1=-2, dim2=-1).sum(-1)
            return 0.5 * (trace + distance - p.shape[1] - torch.logdet(solved))
        if self.per_label is None:
            return (p.exp() * (p - q)).sum(-1)
        on, off = F.logsigmoid(p) - F.logsigmoid(q), F.logsigmoid(-p) - F.logsigmoid(-q)
        return (p.sigmoid() * on + (1 - p.sigmoid()) * off).sum(-1)


def marginal(problem: EstimatorInput) -> OutOfFoldPredictions:
    """Return the distribution of the labels in the other folds (smoothed by half a sample per class)."""
    n, c = problem.n, problem.task.num_outputs
    fold = torch.from_numpy(problem.fold)
    outside = (fold[None] != torch.arange(problem.folds)[:, None]).double()  # (K, N)
    if problem.task.name == "regression":
        means = outside @ problem.target / outside.sum(1, keepdim=True)
        return _gaussian(problem, means[None].expand(n, -1, -1), 1)
    size = outside.sum(1, keepdim=True)
    if problem.task.name == "multiclass":
        counts = outside @ F.one_hot(problem.target, c).double()
        logits = ((counts + 0.5) / (size + 0.5 * c)).log()
    else:
        logits = torch.logit((outside @ problem.target + 0.5) / (size + 1))
    return _discrete(problem, logits[None].expand(n, -1, -1))


def predictive(problem: EstimatorInput, logits: Tensor, prior: OutOfFoldPredictions) -> OutOfFoldPredictions:
    """Return the predictive distributions of heads, one per fold.

    Categorical and Bernoulli heads are mixed with the labels' frequencies, of which one part in the number of
    training samples: no sample that was never seen can then cost more than log N or so.

    Args:
        problem: the checked input.
        logits: ``(N, K, C)`` of all samples under the head of each fold (fitted on the others).
        prior: what `marginal` returned.
    """
    if problem.task.name == "regression":
        return _gaussian(problem, logits, 1)
    return _discrete(problem, _mixed(problem, logits, prior.parameters[:, None]))


def left_out(problem: EstimatorInput, logits: Tensor, prior: OutOfFoldPredictions) -> OutOfFoldPredictions:
    """Return the predictive distributions of heads of which only the left-out outputs ``(N, C)`` are known.

    Nothing is known of the samples that they were fitted on: ``in_sample`` is not a number.
    """
    if problem.task.name == "regression":
        return _gaussian_left_out(problem, logits.double())
    parameters = _mixed(problem, logits, prior.parameters)
    if problem.task.name == "multiclass":
        chosen = parameters.gather(1, problem.target[:, None])[:, 0].double()
        return OutOfFoldPredictions(chosen, float("nan"), parameters)
    labels = -F.binary_cross_entropy_with_logits(parameters, problem.target, reduction="none")
    return OutOfFoldPredictions(labels.sum(-1), float("nan"), parameters, per_label=labels)


def _mixed(problem: EstimatorInput, logits: Tensor, base: Tensor) -> Tensor:
    share = 0.1 / (problem.n * (1 - 1 / problem.folds))
    base = base.to(logits.dtype)
    if problem.task.name == "multiclass":
        return torch.logaddexp(logits.log_softmax(-1) + np.log1p(-share), base + np.log(share))
    p = (1 - share) * logits.double().sigmoid() + share * base.double().sigmoid()
    return torch.logit(p)


def _own(problem: EstimatorInput, values: Tensor) -> Tensor:
    return values[torch.arange(problem.n), torch.from_numpy(problem.fold)]


def _discrete(problem: EstimatorInput, parameters: Tensor) -> OutOfFoldPredictions:
    own = _own(problem, parameters)
    if problem.task.name == "multiclass":
        index = problem.target[:, None, None].expand(-1, problem.folds, 1)
        every = parameters.gather(-1, index).squeeze(-1).double()
        per_label = None
    else:
        wanted = problem.target[:, None].expand(-1, problem.folds, -1)
        labels = -F.binary_cross_entropy_with_logits(parameters.double(), wanted, reduction="none")
        every, per_label = labels.sum(-1), _own(problem, labels)
    return OutOfFoldPredictions(_own(problem, every), _inside(problem, every), own, per_label=per_label)


def _inside(problem: EstimatorInput, every: Tensor) -> float:
    """Return the mean over folds of the mean over the samples that the fold's head was fitted on."""
    seen = torch.from_numpy(problem.fold)[:, None] != torch.arange(problem.folds)
    return float(((every * seen).sum(0) / seen.sum(0)).mean())


def _gaussian(problem: EstimatorInput, means: Tensor, freedom: int) -> OutOfFoldPredictions:
    """Return Gaussian predictive distributions whose covariance is that of the training residuals."""
    means = means.double()
    fold = torch.from_numpy(problem.fold)
    residuals = problem.target[:, None] - means  # (N, K, C)
    every, covariances = [], []
    for k in range(problem.folds):
        r = residuals[fold != k, k]
        covariance = r.T @ r / max(len(r) - freedom, 1)
        covariance += 1e-12 * torch.diag(covariance.diagonal().clamp_min(1e-300))
        distance = (residuals[:, k] * torch.linalg.solve(covariance, residuals[:, k].T).T).sum(-1)
        constant = problem.task.num_outputs * LOG_2PI + torch.logdet(covariance)
        every.append(-0.5 * (distance + constant))
        covariances.append(covariance)
    stacked = torch.stack(every, 1)
    return OutOfFoldPredictions(
        _own(problem, stacked), _inside(problem, stacked), _own(problem, means), torch.stack(covariances)[fold]
    )


def _gaussian_left_out(problem: EstimatorInput, means: Tensor) -> OutOfFoldPredictions:
    """Return Gaussian predictive distributions whose covariance is that of the residuals left out in other folds."""
    fold = torch.from_numpy(problem.fold)
    residuals = problem.target - means
    log_likelihood, covariances = torch.empty(problem.n, dtype=torch.float64), []
    for k in range(problem.folds):
        r = residuals[fold != k]
        covariance = r.T @ r / len(r)
        covariance += 1e-12 * torch.diag(covariance.diagonal().clamp_min(1e-300))
        own = residuals[fold == k]
        distance = (own * torch.linalg.solve(covariance, own.T).T).sum(-1)
        constant = problem.task.num_outputs * LOG_2PI + torch.logdet(covariance)
        log_likelihood[fold == k] = -0.5 * (distance + constant)
        covariances.append(covariance)
    return OutOfFoldPredictions(log_likelihood, float("nan"), means, torch.stack(covariances)[fold])
