r"""Heads of one subset of modalities: fitted without each fold, and mixed by their likelihood on the other folds.

Several kinds of heads at several penalties are fitted, and the label frequencies are always among the candidates.
Choosing the best one would make the result depend on chance. They are mixed instead (stacking of predictive
distributions: Yao, Vehtari, Simpson and Gelman, Bayesian Analysis 2018): the weights maximise the log-likelihood of
:math:`\sum_j w_j q_j(y | z)` on left-out samples. For the samples of a fold, the weights come from the other folds,
so that the choice, like the fit, is evaluated out of sample.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.errors import DataError
from counterpoise.valuation.heads.calibration import CalibrationHeads
from counterpoise.valuation.heads.candidates import Candidate
from counterpoise.valuation.heads.mixture import Weights, dependence, stack
from counterpoise.valuation.heads.predictions import OutOfFoldPredictions, Scored, collect, mix, predictive, score
from counterpoise.valuation.heads.spread import SpreadHeads
from counterpoise.valuation.inputs import EstimatorInput, Predictions, assign_folds

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["FittedSubset", "calibrated", "fit_subset", "prediction_candidates"]

ALL_FOLDS: Final = 2500
"""Up to this number of samples, every penalty is fitted on all folds; with more, one fold is used for a shortlist."""
SMALLEST_HALF: Final = 0.1
"""Share of the samples outside a fold that each of the two halves for the learning curve holds at least."""
PER_KIND: Final = 3
"""Penalties of one kind of head that enter a mixture."""
CLEARLY_WORSE: Final = 30.0
"""Candidates that are worse than the best by more than this number of nats in total are not on the shortlist."""
SMALLEST: Final = 0.02
SMALLEST_FREE: Final = 0.05
"""Components of less weight are left out of the mixture, and the weights of the others are fitted again."""
FEW: Final = 0.1
"""Share of the pseudo-observations that is left then: where there is information, they would cost some of it."""
BIAS_PENALTIES: Final = (1.0, 30.0, 1e9)
"""Penalties of the biases in a calibration; with the last one, only the temperature is fitted."""
LARGEST: Final = 1e6
"""Largest absolute logit; larger ones are clipped, because models use -inf to exclude a class."""
FREE: Final = 1.0
"""Pseudo-observations in favour of the label frequencies and of each smaller subset."""


@dataclass(frozen=True)
class FittedSubset:
    """The predictions of one subset of the modalities.

    Attributes:
        predictions: The mixture, out of fold.
        to_come: Information that more samples would add according to the learning curve, in nats.
        capacity: Half of the optimism of the least regularised heads: the noise that a choice can pick up.
        selection: Gain of weights that are fitted to the evaluated samples themselves, in nats per sample.
        design_effect: Number of samples of one group that carry as much evidence as one independent sample.
        memory: Mean log-likelihood on the fitted samples if every head kept its own optimism: more than that of the
            mixture, in which the label frequencies hedge what the other heads remember.
    """

    predictions: OutOfFoldPredictions
    to_come: float
    capacity: float
    selection: float
    design_effect: float = 1.0
    memory: float = -np.inf


@dataclass(frozen=True)
class _Component:
    predictions: OutOfFoldPredictions
    source: tuple[Candidate, float] | None = None
    """Kind and penalty; None for components that are already fitted."""
    free: float = 0.0

    @property
    def total(self) -> float:
        """Log-likelihood of all samples."""
        return float(self.predictions.log_likelihood.sum())

    @property
    def smallest(self) -> float:
        """Weight below which the component is left out."""
        return SMALLEST_FREE if self.free else SMALLEST


def fit_subset(
    problem: EstimatorInput,
    kinds: Iterable[Candidate],
    prior: OutOfFoldPredictions,
    smaller: Sequence[OutOfFoldPredictions] = (),
    ready: Sequence[OutOfFoldPredictions] = (),
    *,
    halves: bool = True,
) -> FittedSubset:
    """Fit all kinds of heads of one subset and mix them.

    Args:
        problem: The checked input.
        kinds: Kinds of heads, the simplest first.
        prior: Label frequencies, from `marginal`.
        smaller: Predictions of the subsets of this subset, which are predictions of this subset too.
        ready: Further predictions, which are not fitted.
        halves: Whether to fit on half of the samples too, for the learning curve.
    """
    components = [_Component(p, free=FREE) for p in (prior, *smaller)] + [_Component(p) for p in ready]
    fitted, capacity = _fit_kinds(problem, kinds, prior)
    best = max(c.total for c in [*components, *fitted])
    components += [c for c in fitted if c.total > best - 4 * CLEARLY_WORSE]
    effect = dependence(problem, [c.predictions.per_output for c in components], prior.per_output)
    first = _weights(problem, components, effect).overall
    components = [c for c, w in zip(components, first, strict=True) if w >= c.smallest]
    weights = _weights(problem, components, effect, max(FEW, 1.0 - 1.0 / effect))
    if halves:
        components = _with_halves(problem, components, prior)
    parts = [c.predictions for c in components]
    mixture = mix(problem, parts, weights.per_fold, _name(parts, weights.per_fold))
    seen = mix(problem, parts, weights.overall.expand(problem.folds, -1), "")
    selection = max(float((seen.log_likelihood - mixture.log_likelihood).mean()), 0.0)
    share = weights.per_fold.mean(0).tolist()
    optimism = sum(w * p.optimism for w, p in zip(share, parts, strict=True))
    memory = float(mixture.log_likelihood.mean()) + optimism
    return FittedSubset(mixture, _lost(mixture), capacity, selection, effect, memory)


def _fit_kinds(
    problem: EstimatorInput, kinds: Iterable[Candidate], prior: OutOfFoldPredictions
) -> tuple[list[_Component], float]:
    """Return the best penalties of every kind, and half of the optimism of the least regularised heads."""
    capacity, best = 0.0, []
    for kind in kinds:
        fitted = _fit_kind(problem, kind, prior)
        capacity = capacity or 0.5 * max(fitted[0].predictions.optimism, 0.0)
        best += sorted(fitted, key=lambda c: -c.total)[:PER_KIND]
    return best, capacity


def _weights(problem: EstimatorInput, components: Sequence[_Component], effect: float, share: float = 1.0) -> Weights:
    """Return the weights of a mixture, with a share of the pseudo-observations."""
    return stack(problem, [c.predictions.per_output for c in components], [share * c.free for c in components], effect)


def _lost(mixture: OutOfFoldPredictions) -> float:
    """Return the loss of the mixture if its heads are fitted on half of the samples; 0 if it is unknown."""
    if not mixture.halves:
        return 0.0
    fewer = torch.stack([half.sum(-1).mean() for half in mixture.halves]).mean()
    return float(mixture.log_likelihood.mean() - fewer)


def prediction_candidates(
    problem: EstimatorInput, predictions: Predictions, prior: OutOfFoldPredictions
) -> defaultdict[frozenset[str], tuple[list[OutOfFoldPredictions], list[Candidate]]]:
    """Return the components from a model's own predictions: unchanged, and calibrated as a whole.

    Args:
        problem: The checked input.
        predictions: Logits ``(N, C)`` by the subset of modalities that the model saw.
        prior: Label frequencies, from `marginal`.

    Returns:
        By subset, the unchanged predictions, and the calibrations to fit.

    Raises:
        DataError: For logits of another shape or with NaN, or a subset with an unknown modality.
    """
    by_subset: defaultdict[frozenset[str], tuple[list[OutOfFoldPredictions], list[Candidate]]]
    by_subset = defaultdict(lambda: ([], []))
    for subset, value in predictions.items():
        unknown_names = [m for m in subset if m not in problem.modalities]
        if unknown_names:
            raise DataError(
                f"Predictions are given for the subset {tuple(subset)}. There is no modality "
                f"`{unknown_names[0]}`; known: {', '.join(problem.modalities)}."
            )
        ready, kinds = calibrated(problem, value, prior)
        by_subset[frozenset(subset)][0].append(ready)
        by_subset[frozenset(subset)][1].append(kinds)
    return by_subset


def calibrated(
    problem: EstimatorInput, logits: ArrayLike | Tensor, prior: OutOfFoldPredictions
) -> tuple[OutOfFoldPredictions, Candidate]:
    """Return a model's unchanged predictions, and the heads that calibrate them.

    Raises:
        DataError: For logits of another shape, or with NaN.
    """
    array = logits.detach().cpu().double() if isinstance(logits, Tensor) else np.asarray(logits, dtype=np.float64)
    z = torch.as_tensor(array)
    wanted = (problem.n, problem.task.num_outputs)
    if tuple(z.shape) != wanted or z.isnan().any():
        raise DataError(f"Predictions should be logits of shape {wanted} without NaN. Found {tuple(z.shape)}.")
    z = z.clamp(-LARGEST, LARGEST)
    ready = predictive(problem, z[:, None].expand(-1, problem.folds, -1), prior)
    ready = replace(ready, halves=(ready.per_output, ready.per_output), name="model")
    return ready, Candidate("calibrated model", CalibrationHeads(z, problem.target, problem.task), BIAS_PENALTIES)


def _name(parts: Sequence[OutOfFoldPredictions], weights: Tensor) -> str:
    share: dict[str, float] = {}
    for p, w in zip(parts, weights.mean(0).tolist(), strict=True):
        share[p.name] = share.get(p.name, 0.0) + w
    first, *rest = sorted(share, key=lambda k: -share[k])
    return " + ".join([first, *(name for name in rest if share[name] >= 0.2)])


def _outside(problem: EstimatorInput) -> Tensor:
    """Return ``(K, N)`` booleans: the samples outside each fold."""
    return torch.from_numpy(problem.fold[None] != np.arange(problem.folds)[:, None])


def _fit_kind(problem: EstimatorInput, kind: Candidate, prior: OutOfFoldPredictions) -> list[_Component]:
    everything = problem.n <= ALL_FOLDS or isinstance(kind.heads, (SpreadHeads, CalibrationHeads))
    grid = kind.grid if everything else _shortlist(problem, kind, prior)
    fitted = _fit(problem, kind, grid, _outside(problem), prior)
    return [_Component(p, (kind, penalty)) for p, penalty in zip(fitted, grid, strict=True)]


def _fit(
    problem: EstimatorInput, kind: Candidate, grid: Sequence[float], train: Tensor, prior: OutOfFoldPredictions
) -> list[OutOfFoldPredictions]:
    """Return the predictions of a kind of head at several penalties, fitted on the rows of ``train`` ``(K, N)``."""
    if isinstance(kind.heads, SpreadHeads):
        spread = kind.heads
        return [collect(problem, ((spread.score(rows, p), rows) for rows in train), kind.name) for p in grid]
    heads = kind.heads
    penalties = torch.tensor(grid, dtype=torch.float64)
    weights = heads.fit(train.repeat_interleave(len(grid), 0), penalties.repeat(len(train)), tolerance=0.02 / problem.n)
    fold = torch.from_numpy(problem.fold)
    base = [prior.parameters[fold == k][0] for k in range(problem.folds)]

    def scored(p: int) -> Iterable[tuple[Scored, Tensor]]:
        for k, rows in enumerate(train):
            which = slice(k * len(grid) + p, k * len(grid) + p + 1)
            yield score(problem, heads.logits(weights[which])[:, 0], rows, base[k]), rows

    return [collect(problem, scored(p), kind.name) for p in range(len(grid))]


def _with_halves(
    problem: EstimatorInput, components: Sequence[_Component], prior: OutOfFoldPredictions
) -> list[_Component]:
    """Return the components with the predictions of heads that were fitted on half of the samples."""
    cut = _half(problem)
    halves = [cut, ~cut] if problem.n <= ALL_FOLDS else [cut]
    outside = _outside(problem)
    result = []
    for c in components:
        p = c.predictions
        if c.source is not None:
            kind, penalty = c.source
            fewer = [_fit(problem, kind, [penalty], outside & half, prior)[0].per_output for half in halves]
            p = replace(p, halves=tuple(fewer))
        result.append(_Component(p, c.source, c.free))
    return result


def _half(problem: EstimatorInput) -> Tensor:
    """Return ``(N,)`` booleans: half of the samples, by whole groups, with some of each half outside every fold."""
    target, task, group, seed = problem.target, problem.task, problem.group, problem.seed + 1
    half = assign_folds(target, task, 2, group, seed) == 0
    if group is None or _cuts_every_fold(problem, half):
        return torch.from_numpy(half)
    # One group fills a half, and outside its own fold nothing is left of it: cut the groups of each fold instead.
    for k in range(problem.folds):
        rows = problem.fold == k
        codes = np.unique(group[rows], return_inverse=True)[1]
        half[rows] = assign_folds(target[torch.from_numpy(rows)], task, 2, codes, seed) == k % 2
    if not _cuts_every_fold(problem, half):  # a single group lies outside of some fold: cut the group
        half = assign_folds(target, task, 2, None, seed) == 0
    return torch.from_numpy(half)


def _cuts_every_fold(problem: EstimatorInput, half: np.ndarray) -> bool:
    """Return whether the samples outside every fold lie in both halves."""
    outside = problem.fold[None] != np.arange(problem.folds)[:, None]
    share = (outside & half).sum(1) / outside.sum(1)
    return bool(((share > SMALLEST_HALF) & (share < 1 - SMALLEST_HALF)).all())


def _shortlist(problem: EstimatorInput, kind: Candidate, prior: OutOfFoldPredictions) -> list[float]:
    """Return the penalties around the best one, judged by fold 1 after fitting without folds 0 and 1."""
    fold = torch.from_numpy(problem.fold)
    inner = fold > 1 if problem.folds > 2 else (fold == 1) & (torch.arange(problem.n) % 2 == 0)
    test = fold == 1 if problem.folds > 2 else (fold == 1) & ~inner
    penalties = torch.tensor(kind.grid, dtype=torch.float64)
    heads = kind.heads
    assert not isinstance(heads, SpreadHeads)  # their penalties are all fitted, since that is cheap
    weights = heads.fit(inner.expand(len(penalties), -1), penalties, tolerance=0.1 / problem.n)
    base = prior.parameters[fold == 1][0]
    losses = []
    for p in range(len(penalties)):
        scored = score(problem, heads.logits(weights[p : p + 1])[:, 0], inner, base)
        losses.append(-float(scored.per_output[test].sum(-1).mean()))
    best = int(np.argmin(losses))
    other = min((k for k in (best - 1, best + 1) if 0 <= k < len(losses)), key=lambda k: losses[k], default=best)
    return [kind.grid[k] for k in sorted({best, other})]
