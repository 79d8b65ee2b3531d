r"""The default estimator: classifier heads, cross-fitted, out of sample.

For every subset S of the modalities, heads of growing capacity are fitted K times at several penalties, each time
without one fold, and mixed according to their predictions on left-out samples
(`counterpoise.valuation.heads.stacking`). The label frequencies and the predictions from smaller subsets are among the
components, so that each subset has its own regularisation, and an uninformative modality does not reduce the estimate.
:math:`\frac1N\sum_i \log q(y_i|z_i) - \log \hat p(y_i)` over left-out samples is a lower bound of :math:`I(Z_S; Y)` in
expectation (Barber and Agakov, NeurIPS 2003).

There are two estimates of the gap between the bound and the information:

- With k effective parameters the left-out likelihood is too low by about :math:`k / 2N`, and the likelihood on the
  fitted samples is too high by as much: half of the difference (the *optimism*).
- The *learning curve*: if heads fitted on half of the samples lose :math:`\Delta` against those fitted on all, and the
  loss falls like 1/N, then :math:`\Delta` remains to be gained.

The first holds in the quadratic regime only: a head with more columns than samples memorises its samples, and its
optimism is not information. Half of the optimism corrects the estimate as far as the learning curve, which is the
noisier of the two, agrees; half of their difference is part of the standard error. The choice of the weights is
corrected in the same way as the fit. Both corrections are divided by the design effect of the groups, where there are
groups: optimism about known groups is no information about new groups. If heads memorise all of their samples, the
whole remaining gain is part of the standard error. A corrected number is no longer a bound. The per-sample
contributions are not corrected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from counterpoise.valuation._valuation import Valuation
from counterpoise.valuation.assembly import Subset, SubsetEstimate, assemble, needed_subsets
from counterpoise.valuation.heads.candidates import Candidate, candidates, linear_candidate
from counterpoise.valuation.heads.large import is_large, large_scores
from counterpoise.valuation.heads.predictions import OutOfFoldPredictions, left_out, marginal
from counterpoise.valuation.heads.stacking import FittedSubset, fit_subset, prediction_candidates
from counterpoise.valuation.inputs import EstimatorInput, Predictions

__all__ = ["corrected", "fit_heads", "fit_subsets", "uncorrected", "variational", "variational_linear"]

SLACK: Final = 1.5
"""The optimism may exceed the learning curve by this factor, which allows for the noise of the latter."""
STEEP: Final = 0.1
"""Loss with half of the samples, as a share of H(Y), above which a note is added."""
REMEMBERED: Final = 0.1
REMEMBERED_ONLY: Final = 1 / 3
"""Heads whose loss on their own samples is below these shares of the loss of the label frequencies, and of their loss
on other samples, count as memorising."""


def variational(
    problem: EstimatorInput, *, confidence: float = 0.95, predictions: Predictions | None = None
) -> Valuation:
    """Estimate contributions with cross-fitted classifiers."""
    large = is_large(problem)
    return _value(problem, "variational", predictions, confidence, correct=not large)


def variational_linear(
    problem: EstimatorInput, *, confidence: float = 0.95, predictions: Predictions | None = None
) -> Valuation:
    """Estimate contributions with linear classifiers only and without a correction.

    This measures the information that is *linearly* decodable, which is appropriate for features that enter a linear
    head, and not for raw data.
    """
    return _value(problem, "variational-linear", predictions, confidence, correct=False)


def _value(
    problem: EstimatorInput, name: str, predictions: Predictions | None, confidence: float, *, correct: bool
) -> Valuation:
    prior = marginal(problem)
    subsets = needed_subsets(problem.modalities)
    linear = name == "variational-linear"
    fitted = fit_subsets(problem, subsets, prior, predictions, linear=linear, halves=correct)
    information = {s: corrected(problem, f, prior) if correct else uncorrected(f, prior) for s, f in fitted.items()}
    if not problem.task.has_discrete_entropy:
        information = {s: _capped(term, problem.largest_information) for s, term in information.items()}
    whole = problem.modalities
    notes = ["heads: " + "; ".join(f"{', '.join(s)}: {f.predictions.name}" for s, f in fitted.items())]
    rise = fitted[whole].to_come
    if rise > STEEP * abs(problem.task.information_scale(problem.target)):
        notes.append(f"I(all; Y) is {rise:.3f} nats smaller with half of the samples: it may grow with more samples")
    label_free = {m: fitted[whole].predictions.kl(fitted[tuple(k for k in whole if k != m)].predictions) for m in whole}
    return assemble(
        problem,
        information,
        estimator=name,
        entropy=entropy_of(problem, prior),
        bound=bound_of(problem, correct),
        confidence=confidence,
        limit=problem.largest_information,
        label_free=label_free,
        notes=tuple(notes),
    )


def _capped(term: SubsetEstimate, most: float) -> SubsetEstimate:
    """Return the estimate, limited by the noise floor of real targets."""
    return replace(term, correction=term.correction - max(term.value - most, 0.0))


def entropy_of(problem: EstimatorInput, prior: OutOfFoldPredictions) -> float:
    """Return H(Y) of the label frequencies, or of the density of real targets."""
    if problem.task.is_gaussian and problem.task.num_outputs == 1:
        return -float(prior.log_likelihood.mean())
    return float(problem.task.entropy(problem.target))


def bound_of(problem: EstimatorInput, correct: bool) -> str:
    """Return the kind of the estimates; see `Estimate.bound`."""
    if problem.task.is_gaussian:
        return "estimate" if problem.task.num_outputs == 1 else "gaussian"
    if problem.task.has_independent_outputs and problem.task.num_outputs > 1:
        return "sum over labels"
    return "estimate" if correct else "lower"


def fit_subsets(
    problem: EstimatorInput,
    subsets: Sequence[Subset],
    prior: OutOfFoldPredictions,
    predictions: Predictions | None = None,
    *,
    linear: bool = False,
    halves: bool = True,
) -> dict[Subset, FittedSubset]:
    """Fit the heads of every subset, the small ones first, because they are components of the larger ones.

    Args:
        problem: The checked input.
        subsets: Subsets of the modalities.
        prior: Result of `marginal`.
        predictions: Logits of a model by the subset of modalities that it saw.
        linear: Whether to fit linear heads only.
        halves: Whether to fit on half of the samples too, for the learning curve.
    """
    scores = large_scores(problem, list(subsets)) if is_large(problem) and not linear else None
    given = prediction_candidates(problem, predictions or {}, prior)
    fitted: dict[Subset, FittedSubset] = {}
    for subset in sorted(subsets, key=len):
        smaller = [f.predictions for s, f in fitted.items() if _maximal(s, subset, fitted)]
        ready: list[OutOfFoldPredictions] = list(given[frozenset(subset)][0])
        kinds: Iterable[Candidate] = given[frozenset(subset)][1]
        if scores is not None:
            ready.append(replace(left_out(problem, scores.pop(subset), prior), name="linear discriminants"))
        else:
            own = [linear_candidate(problem, subset)] if linear else candidates(problem, subset)
            kinds = [*own, *kinds]
        fitted[subset] = fit_subset(problem, kinds, prior, smaller, ready, halves=halves)
    return {subset: fitted[subset] for subset in subsets}


def _maximal(s: Subset, subset: Subset, fitted: dict[Subset, FittedSubset]) -> bool:
    """Return whether ``s`` lies in ``subset`` and in no larger fitted subset of it."""
    return set(s) < set(subset) and not any(set(s) < set(t) < set(subset) for t in fitted)


def fit_heads(problem: EstimatorInput, subset: Subset, prior: OutOfFoldPredictions) -> OutOfFoldPredictions:
    """Return the out-of-fold predictions from one subset of the modalities."""
    return fit_subsets(problem, [subset], prior, halves=False)[subset].predictions


def uncorrected(fitted: FittedSubset, prior: OutOfFoldPredictions) -> SubsetEstimate:
    """Return the bound, with the noise of the choice of the weights added to the sampling error."""
    p = fitted.predictions
    per_label = None if p.per_label is None or prior.per_label is None else (p.per_label - prior.per_label).numpy()
    pointwise = np.asarray(p.log_likelihood - prior.log_likelihood)
    return SubsetEstimate(pointwise, selection=fitted.selection, per_label=per_label)


def corrected(problem: EstimatorInput, fitted: FittedSubset, prior: OutOfFoldPredictions) -> SubsetEstimate:
    """Return the estimate of one subset with the correction of its first-order bias."""
    bound = uncorrected(fitted, prior)
    p = fitted.predictions
    to_come = max(fitted.to_come, 0.0)
    half = 0.5 * (p.optimism - prior.optimism)
    if not problem.task.has_classes:
        half = max(half, 0.0)  # of densities the optimism depends on their width
    # Between dependent groups the loss on the fitted samples does not estimate that on new groups.
    independent = 1.0 / fitted.design_effect
    withheld = half * (1.0 - independent)
    half *= independent
    left_out = float(p.log_likelihood.mean())
    remembered = fitted.memory > REMEMBERED * prior.in_sample and fitted.memory > REMEMBERED_ONLY * left_out
    remembered = remembered and problem.task.has_discrete_entropy
    correction = min(half, SLACK * to_come) + 0.5 * independent * fitted.selection
    # Beyond the quadratic regime the whole learning curve is uncertain, and it may be too small.
    bias = to_come if remembered else 0.5 * (to_come - half)
    if withheld > 0:  # it may be information after all
        bias = float(np.hypot(bias, withheld))
    # Left-out predictions of classes carry less information than the features; the label frequencies may be weaker by
    # the same amount.
    floor = bound.pointwise.mean() - 0.5 * max(prior.optimism, 0.0) if problem.task.has_discrete_entropy else -np.inf
    return SubsetEstimate(
        bound.pointwise,
        correction=correction,
        capacity=fitted.capacity,
        bias=bias,
        selection=fitted.selection,
        per_label=bound.per_label,
        floor=float(floor),
    )
