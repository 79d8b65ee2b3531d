r"""Heads for large problems: one pass for the second moments, one for the scores, and no iteration over the data.

The moments of each fold give those of its complement by subtraction, and those of a subset of the modalities are a
block of them, so that all folds and subsets cost two passes together. Multi-class heads are linear discriminants:
with the within-class covariance :math:`\Sigma = LL^\top` the whitened class means :math:`\sqrt{n_c} L^{-1} (\mu_c -
\bar\mu)` carry noise of unit variance, and their singular values are shrunk as is optimal for a matrix of low rank in
such noise (Gavish and Donoho, IEEE Trans. Inf. Theory 2017). Multi-label heads are least-squares scores with a
logistic curve per label, regression is least squares. What is left of over-confidence a temperature removes, fitted
on left-out scores of the other folds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.tasks import MultiLabel
from counterpoise.valuation._assemble import Subset
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["is_large", "large_scores", "shrink_singular_values"]

LARGE: Final = 3e8
"""Product of samples, columns and outputs from which the iterative heads are too slow."""

_ROWS: Final = 8192
_CALIBRATION: Final = 20000
_RIDGE: Final = 1e-3


def is_large(problem: EstimatorInput) -> bool:
    """Return whether the problem should go this way."""
    dim = sum(x.shape[1] for x in problem.features.values())
    known = problem.task.has_classes or problem.task.is_gaussian or isinstance(problem.task, MultiLabel)
    return known and problem.n * dim * problem.task.num_outputs > LARGE


def shrink_singular_values(values: Tensor, rows: int, columns: int) -> Tensor:
    r"""Return the singular values of the best estimate of a low-rank matrix seen in noise of unit variance.

    With :math:`\beta = \min / \max` of the sides and :math:`y = \sigma / \sqrt{\max}` it is
    :math:`\sqrt{(y^2 - \beta - 1)^2 - 4\beta} / y` above the edge :math:`1 + \sqrt\beta` of the noise, else 0.

    Args:
        values: singular values.
        rows: of the matrix.
        columns: of the matrix.

    Example:
        >>> shrink_singular_values(torch.tensor([100.0, 10.0]), 100, 100)
        tensor([97.9796,  0.0000])
    """
    long, short = max(rows, columns), min(rows, columns)
    beta = short / long
    y = values / long**0.5
    inside = ((y.square() - beta - 1).square() - 4 * beta).clamp_min(0)
    return torch.where(y > 1 + beta**0.5, inside.sqrt() / y.clamp_min(1e-30), torch.zeros_like(y)) * long**0.5


class _Reader:
    """Rows of all modalities side by side, standardised with the moments of all samples, in float32 chunks."""

    def __init__(self, problem: EstimatorInput) -> None:
        self.arrays = [torch.from_numpy(x) for x in problem.features.values()]
        self.columns: dict[str, slice] = {}
        start = 0
        for m, x in problem.features.items():
            self.columns[m] = slice(start, start + x.shape[1])
            start += x.shape[1]
        self.dim = start
        # The mean goes before the conversion: float32 does not hold an offset that is much larger than the spread.
        self.means = [x.mean(0, dtype=torch.float64).to(x.dtype) for x in self.arrays]
        spread = torch.cat([_spread(x) for x in self.arrays])
        dead = torch.cat([_spread(x) <= 8 * torch.finfo(x.dtype).eps * x.abs().amax(0) for x in self.arrays])
        self.inverse = torch.where(dead, torch.zeros_like(spread), 1 / spread.clamp_min(1e-30))

    def chunks(self, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield row numbers and ``(rows, D)``."""
        for part in rows.split(_ROWS):
            x = torch.cat(
                [(array[part] - mean).float() for array, mean in zip(self.arrays, self.means, strict=True)], 1
            )
            yield part, x.mul_(self.inverse)

    def select(self, subset: Subset) -> Tensor:
        """Return the column numbers of a subset."""
        return torch.cat([torch.arange(self.columns[m].start, self.columns[m].stop) for m in subset])


def _spread(x: Tensor) -> Tensor:
    total = torch.zeros(x.shape[1], dtype=torch.float64)
    centre = x.mean(0)
    for part in x.split(_ROWS):
        total += (part - centre).square().sum(0)
    return (total / len(x)).sqrt().float()


class _Moments:
    """Sums over the samples of each fold: counts, targets, x, x y' and x x'."""

    def __init__(self, problem: EstimatorInput, reader: _Reader, folds: Sequence[Tensor]) -> None:
        k, d, c = problem.folds, reader.dim, problem.task.num_outputs
        self.size = torch.tensor([len(rows) for rows in folds], dtype=torch.float64)
        self.second = torch.zeros(k, d, d)
        self.first = torch.zeros(k, d, dtype=torch.float64)
        self.cross = torch.zeros(k, d, c, dtype=torch.float64)
        self.targets = torch.zeros(k, c, dtype=torch.float64)
        self.target_second = torch.zeros(k, c, c, dtype=torch.float64)
        for fold, rows in enumerate(folds):
            for part, x in reader.chunks(rows):
                y = _codes(problem, part)
                self.second[fold].addmm_(x.T, x)
                self.first[fold] += x.sum(0)
                self.cross[fold] += x.T @ y.float()
                self.targets[fold] += y.sum(0)
                self.target_second[fold] += y.T @ y

    def outside(self, fold: int, columns: Tensor) -> tuple[float, Tensor, Tensor, Tensor, Tensor]:
        """Return size, sums of y, x, x y' and x x' over all folds but one, for some of the columns."""
        keep = [k for k in range(len(self.size)) if k != fold]
        second = sum(self.second[k][columns][:, columns].double() for k in keep)
        assert isinstance(second, Tensor)  # for the type checker
        return (
            float(self.size[keep].sum()),
            self.targets[keep].sum(0),
            self.first[keep].sum(0)[columns],
            self.cross[keep].sum(0)[columns],
            second,
        )


def _codes(problem: EstimatorInput, rows: Tensor) -> Tensor:
    return problem.task.one_hot(problem.target[rows], torch.float64)


def _discriminant(size: float, counts: Tensor, first: Tensor, cross: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights ``(D, C)`` and intercepts ``(C,)`` of the linear discriminants."""
    seen = counts.clamp_min(1)
    means = cross / seen
    within = (second - (means * counts) @ means.T) / size
    ridge = _RIDGE * within.diagonal().mean() + 1e-9
    factor = torch.linalg.cholesky(within + ridge * torch.eye(len(within), dtype=within.dtype))
    scaled = torch.linalg.solve_triangular(factor, (means - first[:, None] / size) * counts.sqrt(), upper=False)
    u, s, v = torch.linalg.svd(scaled, full_matrices=False)
    whitened = (u * shrink_singular_values(s, *scaled.shape)) @ v / seen.sqrt()
    weights = torch.linalg.solve_triangular(factor.T, whitened, upper=True)
    prior = ((counts + 0.5) / (size + 0.5 * len(counts))).log()
    intercepts = prior - 0.5 * whitened.square().sum(0) - (first / size) @ weights
    return weights, intercepts


def _least_squares(size: float, sums: Tensor, first: Tensor, cross: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights and intercepts of ridge regression on the targets."""
    mean, centre = sums / size, first / size
    covariance = second / size - torch.outer(centre, centre)
    ridge = _RIDGE * covariance.diagonal().mean() + 1e-9
    right = cross / size - torch.outer(centre, mean)
    weights = torch.linalg.solve(covariance + ridge * torch.eye(len(covariance), dtype=right.dtype), right)
    return weights, mean - centre @ weights


def large_scores(problem: EstimatorInput, subsets: Sequence[Subset]) -> dict[Subset, Tensor]:
    """Return the calibrated out-of-fold outputs ``(N, C)`` of every subset: logits, log-odds or means.

    Args:
        problem: the checked input.
        subsets: which subsets of the modalities.
    """
    reader = _Reader(problem)
    folds = [torch.from_numpy(np.flatnonzero(problem.fold == k)) for k in range(problem.folds)]
    moments = _Moments(problem, reader, folds)
    solve = _discriminant if problem.task.has_classes else _least_squares
    scores = {subset: torch.empty(problem.n, problem.task.num_outputs) for subset in subsets}
    columns = {subset: reader.select(subset) for subset in subsets}
    for k, rows in enumerate(folds):
        heads = {subset: solve(*moments.outside(k, columns[subset])) for subset in subsets}
        # One product for all subsets: the columns that a subset lacks have weight zero only where that is cheaper.
        for part, x in reader.chunks(rows):
            for subset, (weights, intercepts) in heads.items():
                own = x if len(columns[subset]) == reader.dim else x[:, columns[subset]]
                scores[subset][part] = torch.addmm(intercepts.float(), own, weights.float())
    if not problem.task.is_gaussian:
        for subset in subsets:
            _calibrate(problem, scores[subset], folds)
    return scores


def _calibrate(problem: EstimatorInput, scores: Tensor, folds: Sequence[Tensor]) -> None:
    """Rescale the scores of each fold in place with what fits the left-out scores of the others."""
    generator = torch.Generator().manual_seed(problem.seed)
    fitted = []
    for k in range(len(folds)):
        rest = torch.cat([rows for j, rows in enumerate(folds) if j != k])
        rows = rest[torch.randperm(len(rest), generator=generator)[:_CALIBRATION]]
        fitted.append(_fit_curve(problem, scores[rows].double(), rows))
    for rows, (slope, shift) in zip(folds, fitted, strict=True):
        scores[rows] = (scores[rows] * slope + shift).float()


def _fit_curve(problem: EstimatorInput, scores: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return slope and shift: one slope (multi-class), or a logistic curve per label, by damped Newton steps."""
    target = problem.target[rows]
    if problem.task.has_classes:
        log_slope = 0.0
        chosen = scores.gather(1, target[:, None])[:, 0]
        for _ in range(12):
            slope = float(np.exp(log_slope))
            p = (slope * scores).softmax(1)
            mean = (p * scores).sum(1)
            gradient = float((mean - chosen).mean())
            curvature = float(((p * scores.square()).sum(1) - mean.square()).mean())
            step = -slope * gradient / max(slope**2 * curvature + abs(slope * gradient), 1e-12)
            log_slope += float(np.clip(step, -1, 1))
            if abs(step) < 1e-3:
                break
        return torch.tensor(np.exp(log_slope)), torch.tensor(0.0)
    spread = scores.std(0).clamp_min(1e-9)
    z = (scores - scores.mean(0)) / spread
    a, b = torch.zeros_like(spread), torch.logit(target.mean(0).clamp(1e-4, 1 - 1e-4))
    for _ in range(25):
        p = (a * z + b).sigmoid()
        r, w = p - target, p * (1 - p) + 1e-6
        ga, gb = (r * z).mean(0) + 1e-6 * a, r.mean(0)
        haa, hab, hbb = (w * z.square()).mean(0) + 1e-6, (w * z).mean(0), w.mean(0)
        det = haa * hbb - hab.square()
        a = a - ((hbb * ga - hab * gb) / det).clamp(-2, 2)
        b = b - ((haa * gb - hab * ga) / det).clamp(-2, 2)
    return a / spread, b - a * scores.mean(0) / spread
