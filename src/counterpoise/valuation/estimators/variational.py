r"""The default estimator: classifier heads, cross-fitted, out of sample.

For every subset S of the modalities, heads of growing capacity are tried on one fold, and the kind and penalty with
the best likelihood there are fitted K times, each time without one fold. :math:`\frac1N\sum_i \log q(y_i|z_i) - \log
\hat p(y_i)` over left-out samples is a lower bound of :math:`I(Z_S; Y)` in expectation, too small by about
:math:`k / 2N` with k effective parameters. On the samples that they were fitted on the same heads are too good by as
much, so half of the difference, which is known to a small error, corrects the estimate to first order; the corrected
number is no bound any more. The per-sample contributions are not corrected.

The learning curve says the same in another way: where heads fitted on a share :math:`\rho` of the samples lose
:math:`\Delta` against those fitted on all, :math:`\Delta \rho / (1 - \rho)` is still to come if the loss falls like 1/N.
Where the two differ the heads are not yet in the regime in which either is right, and half of the difference is doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.valuation._assemble import Subset, SubsetEstimate, assemble, needed_subsets
from counterpoise.valuation._valuation import Valuation
from counterpoise.valuation.heads.candidates import Candidate, candidates
from counterpoise.valuation.heads.large import is_large, large_scores
from counterpoise.valuation.heads.predictions import OutOfFoldPredictions, left_out, marginal, predictive
from counterpoise.valuation.inputs import EstimatorInput, Predictions, assign_folds

__all__ = ["fit_heads", "variational"]

CHOICE: Final = ((500, 5), (2500, 3))
"""Up to so many samples the kind of head and its penalty are chosen on so many folds; beyond, on one."""

MARGIN: Final = 2.0
"""A more flexible kind of head must gain so many nats in all, lest chance choose it where there is nothing."""


def variational(
    problem: EstimatorInput, *, confidence: float = 0.95, predictions: Predictions | None = None
) -> Valuation:
    """Value the modalities with heads fitted on the other folds."""
    prior = marginal(problem)
    subsets = needed_subsets(problem.modalities)
    if is_large(problem):
        scores = large_scores(problem, subsets)
        fitted = {
            s: _Fitted(left_out(problem, scores.pop(s), prior), 0.0, float("nan"), "discriminant") for s in subsets
        }
    else:
        fitted = {subset: _fit(problem, subset, prior) for subset in subsets}
    information = {subset: _information(f, prior) for subset, f in fitted.items()}
    whole = problem.modalities
    label_free = {m: fitted[whole].predictive.kl(fitted[tuple(k for k in whole if k != m)].predictive) for m in whole}
    return assemble(
        problem,
        information,
        estimator="variational",
        entropy=float(problem.task.entropy(problem.target)),
        bound="lower" if is_large(problem) else "estimate",
        confidence=confidence,
        label_free=label_free,
        notes=("heads: " + ", ".join(f"{'+'.join(s)}: {f.name}" for s, f in fitted.items()),),
    )


def fit_heads(problem: EstimatorInput, subset: Subset, prior: OutOfFoldPredictions) -> OutOfFoldPredictions:
    """Return what the chosen heads of one subset say of the samples that they were not fitted on.

    Args:
        problem: the checked input.
        subset: which modalities.
        prior: what `marginal` returned.
    """
    if is_large(problem):
        return left_out(problem, large_scores(problem, [subset])[subset], prior)
    return _fit(problem, subset, prior).predictive


@dataclass(frozen=True)
class _Fitted:
    """The chosen heads of a subset.

    Attributes:
        predictive: what they say of the samples that they were not fitted on.
        capacity: half of the optimism of the simplest, least regularised heads: the noise that choosing can pick up.
        to_come: what the learning curve says is still to be gained with more samples, nats.
        name: which kind.
    """

    predictive: OutOfFoldPredictions
    capacity: float
    to_come: float
    name: str


def _information(fitted: _Fitted, prior: OutOfFoldPredictions) -> SubsetEstimate:
    p = fitted.predictive
    per_label = None if p.per_label is None or prior.per_label is None else (p.per_label - prior.per_label).numpy()
    pointwise = (p.log_likelihood - prior.log_likelihood).numpy()
    if np.isnan(p.in_sample):
        return SubsetEstimate(pointwise, per_label=per_label)
    # Training likelihoods less left-out ones, of the heads and of the label frequencies.
    optimism = (p.in_sample - float(p.log_likelihood.mean())) - (prior.in_sample - float(prior.log_likelihood.mean()))
    correction = 0.5 * optimism
    return SubsetEstimate(
        pointwise,
        correction=correction,
        capacity=fitted.capacity,
        doubt=0.5 * (fitted.to_come - correction),
        per_label=per_label,
    )


def _fit(problem: EstimatorInput, subset: Subset, prior: OutOfFoldPredictions) -> _Fitted:
    fold = torch.from_numpy(problem.fold)
    outside = torch.stack([fold != k for k in range(problem.folds)])
    best: tuple[float, Candidate, float] | None = None
    capacity = 0.0
    for candidate in candidates(problem, subset):
        held, inside = _losses(problem, candidate, fold, outside)
        k = int(held.argmin())
        if best is None:
            capacity = 0.5 * float(held[0] - inside[0])
        if best is None or held[k] < best[0] - MARGIN / problem.n:
            best = (float(held[k]), candidate, candidate.grid[k])
    assert best is not None  # there always is the simplest one
    _, candidate, penalty = best
    full = _heads(problem, candidate, penalty, outside, prior)
    half = torch.from_numpy(assign_folds(problem.target, problem.task, 2, problem.group, problem.seed + 1) == 0)
    fewer = _heads(problem, candidate, penalty, outside & half, prior)
    share = float(half.double().mean())
    lost = float((full.log_likelihood - fewer.log_likelihood).mean())
    return _Fitted(full, capacity, lost * share / (1 - share), candidate.name)


def _heads(
    problem: EstimatorInput, candidate: Candidate, penalty: float, train: Tensor, prior: OutOfFoldPredictions
) -> OutOfFoldPredictions:
    """Return what heads fitted on the rows of ``train`` ``(K, N)`` say of the fold of each row."""
    penalties = torch.full((problem.folds,), penalty, dtype=torch.float64)
    weights = candidate.heads.fit(train, penalties, tolerance=0.01 / problem.n)
    return predictive(problem, candidate.heads.logits(weights), prior)


def _losses(problem: EstimatorInput, candidate: Candidate, fold: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of every penalty on samples held out and on those fitted.

    Over several folds where that is cheap, else on fold 1 without fold 0.
    """
    penalties = torch.tensor(candidate.grid, dtype=torch.float64)
    used = next((folds for n, folds in CHOICE if problem.n <= n), 0)
    if used:
        train, test = outside[:used], ~outside[:used]
    else:
        inner, held_out = _inner(fold)
        train, test = inner[None], held_out[None]
    weights = candidate.heads.fit(
        train.repeat_interleave(len(penalties), 0), penalties.repeat(len(train)), tolerance=0.1 / problem.n
    )
    logits = candidate.heads.logits(weights).unflatten(1, (len(train), len(penalties)))
    held = torch.stack([_loss(problem, logits[rows, k], rows) for k, rows in enumerate(test)]).mean(0)
    inside = torch.stack([_loss(problem, logits[rows, k], rows) for k, rows in enumerate(train)]).mean(0)
    return held, inside


def _loss(problem: EstimatorInput, logits: Tensor, rows: Tensor) -> Tensor:
    """Return ``(P,)`` in nats for logits ``(n, P, C)`` of the samples ``rows``."""
    values, target = logits.transpose(0, 1).double(), problem.target[rows]
    if problem.task.name != "regression":
        return -problem.task.log_likelihood(values, target).mean(1)
    squares = (values - target).square().mean(1)
    return 0.5 * squares.log().sum(-1)


def _inner(fold: Tensor) -> tuple[Tensor, Tensor]:
    """Return training and validation masks for the penalty that leave fold 0 out."""
    if int(fold.max()) > 1:
        return fold > 1, fold == 1
    rest = torch.from_numpy(np.arange(len(fold)) % 2 == 0)
    return (fold == 1) & rest, (fold == 1) & ~rest
