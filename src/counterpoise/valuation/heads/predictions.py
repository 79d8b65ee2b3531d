"""Out-of-fold predictive distributions: the logits of heads as densities, and mixtures of several of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import log, pi
from typing import Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.tasks import Task
from counterpoise.valuation.heads.density import BANDWIDTHS, kernel_log_density
from counterpoise.valuation.heads.mixture import dependence, fit_weights, stack
from counterpoise.valuation.inputs import NOISE_FLOOR, EstimatorInput

__all__ = ["OutOfFoldPredictions", "Scored", "collect", "left_out", "marginal", "mix", "predictive", "score"]

WIDTHS: Final = (0.04, 0.09, 0.2, 0.45, 1.0, 2.2, 5.0)
"""Widths of the Gaussians that make up the noise, in units of the standard deviation of the residuals."""


@dataclass(frozen=True)
class OutOfFoldPredictions:
    """Predictive distributions q(y | z_i), each from heads that were not fitted on sample i.

    Attributes:
        task: The likelihood.
        per_output: ``(N, L)`` log q(y_i | z_i) by output where the outputs are independent (labels), else ``(N, 1)``.
        inside: ``(N, L)``: the same from the heads that were fitted on sample i, on average; NaN if there are none.
        parameters: ``(N, C)`` logits in the task's standard form: log-probabilities, log-odds or means.
        covariance: ``(N, C, C)`` of the noise (Gaussian likelihood), or None.
        halves: ``(N, L)`` each: the same with heads that were fitted on a half of the samples.
        name: Kind of the heads.
    """

    task: Task
    per_output: Tensor
    inside: Tensor
    parameters: Tensor
    covariance: Tensor | None = None
    halves: tuple[Tensor, ...] = ()
    name: str = ""

    @property
    def log_likelihood(self) -> Tensor:
        """``(N,)`` log q(y_i | z_i)."""
        return self.per_output.sum(-1)

    @property
    def per_label(self) -> Tensor | None:
        """``(N, C)`` log-likelihoods of several independent outputs, or None."""
        return self.per_output if self.per_output.shape[1] > 1 else None

    @property
    def in_sample(self) -> float:
        """Mean log-likelihood of the same heads on the samples that they were fitted on; NaN if unknown."""
        return float(self.inside.sum(-1).nanmean())

    @property
    def optimism(self) -> float:
        """Mean log-likelihood on the samples that the heads were fitted on, less that on the others."""
        return self.in_sample - float(self.log_likelihood.mean())

    def kl(self, other: OutOfFoldPredictions) -> np.ndarray:
        """Return ``(N,)``: KL(q(. | z_i) || other(. | z_i)) in nats; Gaussians with the same moments for regression."""
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
        return self.task.kl(p, q)


@dataclass(frozen=True)
class Scored:
    """Predictive distributions of one head for all samples.

    Attributes:
        per_output: ``(N, L)`` log-likelihoods.
        parameters: ``(N, C)``, as in `OutOfFoldPredictions`.
        covariance: ``(C, C)`` or ``(N, C, C)`` of the noise (regression), or None.
    """

    per_output: Tensor
    parameters: Tensor
    covariance: Tensor | None = None


def score(problem: EstimatorInput, logits: Tensor, train: Tensor, prior: Tensor) -> Scored:
    """Return the predictive distributions of a head.

    They are mixed with the distribution of the labels, with the weight 0.1 / N, so that no sample can cost more than
    about log N. The covariance of Gaussian noise is that of the training residuals.

    Args:
        problem: The checked input.
        logits: ``(N, C)`` outputs of the head for all samples.
        train: ``(N,)`` booleans, the samples that it was fitted on.
        prior: ``(C,)`` or ``(N, C)`` parameters that stand for the label frequencies.
    """
    if problem.task.is_gaussian:
        return _gaussian(problem, logits.double(), train)
    parameters = _mixed(problem, logits, prior)
    return Scored(problem.task.per_output_log_likelihood(parameters, problem.target).double(), parameters)


def collect(problem: EstimatorInput, scored: Iterable[tuple[Scored, Tensor]], name: str = "") -> OutOfFoldPredictions:
    """Combine the left-out predictions of the heads of all folds.

    Args:
        problem: The checked input.
        scored: Per fold, the predictions of its head, and the samples ``(N,)`` that it was fitted on.
        name: Kind of the heads.
    """
    fold = torch.from_numpy(problem.fold)
    held: Tensor | None = None
    parameters = covariance = torch.empty(0)
    inside, count = torch.empty(0), torch.zeros(problem.n, 1, dtype=torch.float64)
    for k, (s, train) in enumerate(scored):
        own = fold == k
        if held is None:
            held = s.per_output.new_empty(s.per_output.shape)
            inside = torch.zeros_like(held)
            parameters = s.parameters.new_empty(s.parameters.shape)
            if s.covariance is not None:
                covariance = s.covariance.new_empty(problem.n, *s.covariance.shape[-2:])
        held[own] = s.per_output[own]
        parameters[own] = s.parameters[own]
        if s.covariance is not None:
            covariance[own] = s.covariance if s.covariance.ndim == 2 else s.covariance[own]
        inside[train] += s.per_output[train]
        count[train] += 1
    assert held is not None  # there are at least two folds
    noise = covariance if covariance.numel() else None
    return OutOfFoldPredictions(problem.task, held, inside / count, parameters, noise, name=name)  # 0 / 0 is NaN


def marginal(problem: EstimatorInput) -> OutOfFoldPredictions:
    """Return the distribution of the labels in the other folds (smoothed by half a sample per class).

    That of a single real target is a mixture of a Gaussian and of kernel estimates: the information of a target that is
    not Gaussian would be overestimated by as much as its entropy lies below that of a Gaussian.
    """
    fold = torch.from_numpy(problem.fold)
    collected = collect(
        problem,
        (
            (score(problem, logits.expand(problem.n, -1), fold != k, logits), fold != k)
            for k, logits in enumerate(_frequencies(problem))
        ),
        "label frequencies",
    )
    if problem.task.is_gaussian and problem.task.num_outputs == 1:
        collected = _with_kernels(problem, collected)
    return replace(collected, halves=(collected.per_output, collected.per_output))


def _with_kernels(problem: EstimatorInput, gaussian: OutOfFoldPredictions) -> OutOfFoldPredictions:
    fold = torch.from_numpy(problem.fold)
    y = problem.target[:, 0]
    floor = float(NOISE_FLOOR * y.var(correction=0)) ** 0.5
    parts = [gaussian]
    assert gaussian.covariance is not None  # for the type checker
    covariance = gaussian.covariance
    for bandwidth in BANDWIDTHS:
        kernels = [kernel_log_density(y, fold != k, bandwidth, floor)[:, None] for k in range(problem.folds)]
        scored = ((Scored(d, gaussian.parameters, covariance), fold != k) for k, d in enumerate(kernels))
        parts.append(replace(collect(problem, scored), halves=()))
    densities = [p.per_output for p in parts]
    effect = dependence(problem, densities, gaussian.per_output)
    weights = stack(problem, densities, [1.0, *(0.0 for _ in BANDWIDTHS)], effect)
    return mix(problem, parts, weights.per_fold, gaussian.name)


def _frequencies(problem: EstimatorInput) -> Tensor:
    """Return ``(K, C)``: constant logits that fit the labels outside each fold."""
    outside = torch.from_numpy(problem.fold[None] != np.arange(problem.folds)[:, None]).double()
    return problem.task.prior_logits(problem.target, 0.5, outside)


def predictive(problem: EstimatorInput, logits: Tensor, prior: OutOfFoldPredictions) -> OutOfFoldPredictions:
    """Return the predictive distributions of heads, one per fold.

    Args:
        problem: The checked input.
        logits: ``(N, K, C)`` of all samples under the head of each fold (fitted on the others).
        prior: Result of `marginal`.
    """
    fold = torch.from_numpy(problem.fold)
    base = [prior.parameters[fold == k][0] for k in range(problem.folds)]
    scored = ((score(problem, logits[:, k], fold != k, base[k]), fold != k) for k in range(problem.folds))
    return collect(problem, scored)


def left_out(problem: EstimatorInput, logits: Tensor, prior: OutOfFoldPredictions) -> OutOfFoldPredictions:
    """Return the predictive distributions of heads of which only the left-out outputs ``(N, C)`` are known.

    The predictions on the fitted samples are unknown, so that ``inside`` is NaN.
    """
    if not problem.task.is_gaussian:
        parameters = _mixed(problem, logits, prior.parameters)
        per_output = problem.task.per_output_log_likelihood(parameters, problem.target).double()
        return OutOfFoldPredictions(problem.task, per_output, torch.full_like(per_output, torch.nan), parameters)
    fold = torch.from_numpy(problem.fold)
    # Left-out residuals of the other folds set the noise of a fold.
    scored = ((_gaussian(problem, logits.double(), fold != k), fold != k) for k in range(problem.folds))
    collected = collect(problem, scored)
    return replace(collected, inside=torch.full_like(collected.per_output, torch.nan))


def _mixed(problem: EstimatorInput, logits: Tensor, base: Tensor) -> Tensor:
    share = 0.1 / (problem.n * (1 - 1 / problem.folds))
    return problem.task.mix(logits, base.expand_as(logits), share)


def _gaussian(problem: EstimatorInput, means: Tensor, train: Tensor) -> Scored:
    r"""Return distributions of the noise: a mixture of Gaussians of several widths around the means.

    Their common shape :math:`\Sigma` is the covariance of the residuals on the training samples, above the floor. The
    widths allow for tails that are heavier than those of a Gaussian, which would otherwise count as missing
    information; their weights are fitted to the training samples.
    """
    residuals = problem.target - means
    own = residuals[train]
    variance = problem.target.var(0, correction=0)
    covariance = floored(own.T @ own / len(own), variance)
    distance = (residuals * torch.linalg.solve(covariance, residuals.T).T).sum(-1)
    outputs = problem.task.num_outputs
    constant = outputs * log(2 * pi) + torch.logdet(covariance)
    unit = variance.clamp_min(1e-300).sqrt()
    smallest = float(torch.linalg.eigvalsh(covariance / torch.outer(unit, unit)).min())
    widths = torch.tensor([w for w in WIDTHS if w >= 1 or w**2 * smallest >= NOISE_FLOOR], dtype=torch.float64)
    terms = -0.5 * distance[:, None] / widths.square() - outputs * widths.log()
    ratio = (terms - terms.amax(1, keepdim=True)).exp()[train]
    favour = (widths == 1).double()  # a Gaussian, unless the residuals are less likely under it
    weights = fit_weights(ratio, 2 * favour, torch.full_like(widths, 1 / len(widths)), 50)
    mixed = (terms + weights.clamp_min(1e-300).log()).logsumexp(1)
    return Scored((mixed - 0.5 * constant)[:, None], means, covariance)


def floored(covariance: Tensor, variance: Tensor) -> Tensor:
    """Return a covariance whose eigenvalues, in units of the targets' own variances, are at least the noise floor."""
    scale = variance.clamp_min(1e-300).sqrt()
    values, vectors = torch.linalg.eigh(covariance / torch.outer(scale, scale))
    return (vectors * values.clamp_min(NOISE_FLOOR)) @ vectors.T * torch.outer(scale, scale)


def mix(
    problem: EstimatorInput, parts: Sequence[OutOfFoldPredictions], weights: Tensor, name: str
) -> OutOfFoldPredictions:
    """Return the mixture of predictive distributions, label by label.

    Args:
        problem: The checked input.
        parts: The components.
        weights: ``(K, J)``: for the samples of each fold the weights of the components.
        name: Kind of the heads.
    """
    if len(parts) == 1:
        return replace(parts[0], name=name)
    log_w = weights.clamp_min(1e-300).log()[torch.from_numpy(problem.fold)]  # (N, J)

    def mixed(terms: Sequence[Tensor]) -> Tensor:
        total = terms[0].double() + log_w[:, :1]
        for j, term in enumerate(terms[1:], 1):
            total = torch.logaddexp(total, term.double() + log_w[:, j, None])
        return total

    halves = tuple(mixed([p.halves[h] for p in parts]) for h in range(min(len(p.halves) for p in parts)))
    # Sample by sample: a component that predicts an outlier badly has little weight there, both inside and outside.
    per_output, inside = mixed([p.per_output for p in parts]), mixed([p.inside for p in parts])
    parameters, covariance = _moments(parts, log_w.exp())
    return OutOfFoldPredictions(problem.task, per_output, inside, parameters, covariance, halves, name)


def _moments(parts: Sequence[OutOfFoldPredictions], weights: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return parameters and noise of the mixture with weights ``(N, J)``: those of its mean, and its covariance."""
    if parts[0].covariance is None:
        task, w = parts[0].task, weights.to(parts[0].parameters.dtype)
        mean = w[:, :1] * task.mean(parts[0].parameters)
        for j, p in enumerate(parts[1:], 1):
            mean += w[:, j, None] * task.mean(p.parameters)
        return task.link(mean), None
    parameters = torch.stack([weights[:, j, None] * p.parameters for j, p in enumerate(parts)]).sum(0)
    covariance = torch.zeros_like(parts[0].covariance)
    for j, p in enumerate(parts):
        shift = p.parameters - parameters
        assert p.covariance is not None  # all or none of them
        covariance += weights[:, j, None, None] * (p.covariance + shift[:, :, None] * shift[:, None])
    return parameters, covariance
