r"""The default estimator: classifier heads, cross-fitted, out of sample.

For every subset S of the modalities, heads of growing capacity are tried on one fold, and the kind and penalty with
the best likelihood there are fitted K times, each time without one fold. :math:`\frac1N\sum_i \log q(y_i|z_i) - \log
\hat p(y_i)` over left-out samples is a lower bound of :math:`I(Z_S; Y)` in expectation, too small by about
:math:`k / 2N` with k effective parameters. On the samples that they were fitted on the same heads are too good by as
much, so half of the difference, which is known to a small error, corrects the estimate to first order; the corrected
number is no bound any more. Where the difference is large the expansion fails, and the correction is withdrawn.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.valuation._assemble import Information, Subset, assemble, needed_subsets
from counterpoise.valuation._candidates import Candidate, candidates
from counterpoise.valuation._inputs import Problem
from counterpoise.valuation._predictive import Predictive, marginal, predictive
from counterpoise.valuation._valuation import Valuation

__all__ = ["variational"]

MAX_CROSS: Final = 5000
"""Up to so many samples the kind of head and its penalty are chosen on all folds."""


def variational(problem: Problem, *, confidence: float = 0.95) -> Valuation:
    """Value the modalities with heads fitted on the other folds."""
    prior = marginal(problem)
    fitted = {subset: _fit(problem, subset, prior) for subset in needed_subsets(problem.modalities)}
    information = {subset: _information(p, prior) for subset, (p, _) in fitted.items()}
    whole = problem.modalities
    label_free = {m: fitted[whole][0].kl(fitted[tuple(k for k in whole if k != m)][0]) for m in whole}
    names = ", ".join(f"{'+'.join(s)}: {name}" for s, (_, name) in fitted.items())
    return assemble(
        problem,
        information,
        estimator="variational",
        entropy=float(problem.task.entropy(problem.target)),
        bound="estimate",
        confidence=confidence,
        label_free=label_free,
        notes=(f"heads: {names}",),
    )


def _information(p: Predictive, prior: Predictive) -> Information:
    per_label = None if p.per_label is None or prior.per_label is None else (p.per_label - prior.per_label).numpy()
    pointwise = (p.log_likelihood - prior.log_likelihood).numpy()
    # Training likelihoods less left-out ones, of the heads and of the label frequencies.
    optimism = (p.in_sample - float(p.log_likelihood.mean())) - (prior.in_sample - float(prior.log_likelihood.mean()))
    return Information(pointwise, correction=0.5 * optimism, per_label=per_label)


def _fit(problem: Problem, subset: Subset, prior: Predictive) -> tuple[Predictive, str]:
    fold = torch.from_numpy(problem.fold)
    outside = torch.stack([fold != k for k in range(problem.folds)])
    best: tuple[float, Candidate, float] | None = None
    for candidate in candidates(problem, subset):
        losses = _losses(problem, candidate, fold, outside)
        k = int(losses.argmin())
        if best is None or losses[k] < best[0]:
            best = (float(losses[k]), candidate, candidate.grid[k])
    assert best is not None  # there always is the linear one
    _, candidate, penalty = best
    weights = candidate.heads.fit(outside, torch.full((problem.folds,), penalty, dtype=torch.float64))
    return predictive(problem, candidate.heads.logits(weights), prior), candidate.name


def _losses(problem: Problem, candidate: Candidate, fold: Tensor, outside: Tensor) -> Tensor:
    """Return the held-out loss of every penalty: over all folds where that is cheap, else on fold 1 without fold 0."""
    penalties = torch.tensor(candidate.grid, dtype=torch.float64)
    if problem.n <= MAX_CROSS:
        train, test = outside, ~outside
    else:
        inner, held = _inner(fold)
        train, test = inner[None], held[None]
    weights = candidate.heads.fit(
        train.repeat_interleave(len(penalties), 0), penalties.repeat(len(train)), tolerance=0.1 / problem.n
    )
    logits = candidate.heads.logits(weights).unflatten(1, (len(train), len(penalties)))
    losses = [_loss(problem, logits[rows, k], rows) for k, rows in enumerate(test)]
    return torch.stack(losses).mean(0)


def _loss(problem: Problem, logits: Tensor, rows: Tensor) -> Tensor:
    """Return ``(P,)`` for logits ``(n, P, C)`` of the samples ``rows``."""
    held = logits.transpose(0, 1).double()
    if problem.task.name != "regression":
        return -problem.task.log_likelihood(held, problem.target[rows]).mean(1)
    return (held - problem.target[rows]).square().mean((1, 2))


def _inner(fold: Tensor) -> tuple[Tensor, Tensor]:
    """Return training and validation masks for the penalty that leave fold 0 out."""
    if int(fold.max()) > 1:
        return fold > 1, fold == 1
    rest = torch.from_numpy(np.arange(len(fold)) % 2 == 0)
    return (fold == 1) & rest, (fold == 1) & ~rest
