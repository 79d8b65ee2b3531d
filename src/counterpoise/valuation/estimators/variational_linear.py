r"""The estimator for a model's own features: linear heads only, as the model itself reads them.

Every subset S gets heads of one kind, fitted K times without one fold; the penalty is chosen once, for all modalities
together, on a part of the
training folds. :math:`\frac1N\sum_i \log q_S(y_i|z_i) - \log \hat p(y_i)` over left-out samples is a lower bound of
:math:`I(Z_S; Y)` in expectation (Barber & Agakov 2003), and tells what
a *linear* reader can get: the right question about features that enter a linear head, the wrong one about raw data
(see `variational`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.valuation._assemble import SubsetEstimate, assemble, needed_subsets
from counterpoise.valuation._valuation import Valuation
from counterpoise.valuation.heads.linear import LinearHeads, standardise
from counterpoise.valuation.heads.predictions import OutOfFoldPredictions, marginal, predictive
from counterpoise.valuation.inputs import EstimatorInput, Predictions

__all__ = ["variational_linear"]

GRID: Final = (1.0, 10.0, 100.0, 1000.0)
TOLERANCE: Final = 1e-4
"""Nats per sample that the fit of a head may still lack."""


def variational_linear(
    problem: EstimatorInput, *, confidence: float = 0.95, predictions: Predictions | None = None
) -> Valuation:
    """Value the modalities with cross-fitted linear heads."""
    prior = marginal(problem)
    blocks = {m: standardise(torch.from_numpy(x).float()) for m, x in problem.features.items()}
    fold = torch.from_numpy(problem.fold)
    penalty = _penalty(problem, blocks, fold)
    train = torch.stack([fold != k for k in range(problem.folds)])
    subsets = needed_subsets(problem.modalities)
    fitted = {s: _fit(problem, [blocks[m] for m in s], train, penalty, prior) for s in subsets}
    information = {s: _information(p, prior) for s, p in fitted.items()}
    whole = problem.modalities
    label_free = {m: fitted[whole].kl(fitted[tuple(k for k in whole if k != m)]) for m in whole}
    return assemble(
        problem,
        information,
        estimator="variational-linear",
        entropy=float(problem.task.entropy(problem.target)),
        bound="lower",
        confidence=confidence,
        label_free=label_free,
        notes=(f"linear heads, penalty {penalty:g}",),
    )


def _penalty(problem: EstimatorInput, blocks: dict[str, Tensor], fold: Tensor) -> float:
    """Choose the penalty of heads on all modalities: fitted without folds 0 and 1, read on fold 1."""
    inner, held = (fold > 1, fold == 1) if problem.folds > 2 else (fold == 0, fold == 1)
    heads = LinearHeads(list(blocks.values()), problem.target, problem.task)
    weights = heads.fit(inner.expand(len(GRID), -1), torch.tensor(GRID), tolerance=TOLERANCE)
    logits = heads.logits(weights)[held].transpose(0, 1).double()
    target = problem.target[held]
    if problem.task.name == "regression":
        losses = (logits - target).square().mean((1, 2))
    else:
        losses = -problem.task.log_likelihood(logits, target).mean(-1)
    return GRID[int(losses.argmin())]


def _fit(
    problem: EstimatorInput, blocks: list[Tensor], train: Tensor, penalty: float, prior: OutOfFoldPredictions
) -> OutOfFoldPredictions:
    heads = LinearHeads(blocks, problem.target, problem.task)
    weights = heads.fit(train, torch.full((len(train),), penalty), tolerance=TOLERANCE)
    return predictive(problem, heads.logits(weights), prior)


def _information(p: OutOfFoldPredictions, prior: OutOfFoldPredictions) -> SubsetEstimate:
    per_label = None if p.per_label is None or prior.per_label is None else (p.per_label - prior.per_label).numpy()
    return SubsetEstimate(np.asarray(p.log_likelihood - prior.log_likelihood), per_label=per_label)
