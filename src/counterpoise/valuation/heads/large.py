r"""Heads for large problems: one pass for the second moments, one for the scores, and no iteration over the data.

The moments of each fold give those of its complement by subtraction, and those of a subset of the modalities are a
block of them, so that all folds and subsets cost two passes together. Multi-class heads are linear discriminants:
with the within-class covariance :math:`\Sigma = LL^\top` the whitened class means :math:`\sqrt{n_c} L^{-1} (\mu_c -
\bar\mu)` carry noise of unit variance, and their singular values are shrunk as is optimal for a matrix of low rank in
such noise (Gavish and Donoho, IEEE Trans. Inf. Theory 2017). Multi-label heads are least-squares scores with a
logistic curve per label, regression is least squares. A temperature, fitted on left-out scores of the other folds,
removes the remaining over-confidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.tasks import MultiLabel
from counterpoise.valuation.assembly import Subset
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["is_large", "large_scores", "shrink_singular_values"]

LARGE: Final = 3e8
"""Product of samples, columns and outputs above which the iterative heads are too slow."""

_ROWS: Final = 8192
_CALIBRATION: Final = 10000
_RIDGE: Final = 1e-3


def is_large(problem: EstimatorInput) -> bool:
    """Return whether the problem is large enough for these heads."""
    dim = sum(x.shape[1] for x in problem.features.values())
    known = problem.task.has_classes or problem.task.is_gaussian or isinstance(problem.task, MultiLabel)
    return known and problem.n * dim * problem.task.num_outputs > LARGE


def shrink_singular_values(values: Tensor, rows: int, columns: int) -> Tensor:
    r"""Return the singular values of the best estimate of a low-rank matrix seen in noise of unit variance.

    With :math:`\beta = \min / \max` of the sides and :math:`y = \sigma / \sqrt{\max}` it is
    :math:`\sqrt{(y^2 - \beta - 1)^2 - 4\beta} / y` above the edge :math:`1 + \sqrt\beta` of the noise, else 0.

    Args:
        values: Singular values.
        rows: Number of rows of the matrix.
        columns: Number of columns of the matrix.

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
        self.inverse = torch.cat([_inverse_spread(x) for x in self.arrays])

    def chunks(self, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield row numbers and ``(rows, D)``."""
        for part in rows.split(_ROWS):
            x = torch.empty(len(part), self.dim)
            for array, mean, own in zip(self.arrays, self.means, self.columns.values(), strict=True):
                x[:, own] = array[part] - mean
            yield part, x.mul_(self.inverse)

    def select(self, subset: Subset) -> Tensor:
        """Return the column numbers of a subset."""
        return torch.cat([torch.arange(self.columns[m].start, self.columns[m].stop) for m in subset])


def _inverse_spread(x: Tensor) -> Tensor:
    """Return ``(D,)``: one over the standard deviation, or 0 for columns that are constant up to rounding."""
    total = torch.zeros(x.shape[1], dtype=torch.float64)
    centre = x.mean(0)
    for part in x.split(_ROWS):
        total += (part - centre).square().sum(0)
    spread = (total / len(x)).sqrt().float()
    largest = torch.maximum(x.amax(0), -x.amin(0))
    constant = spread <= 8 * torch.finfo(x.dtype).eps * largest
    return torch.where(constant, torch.zeros_like(spread), 1 / spread.clamp_min(1e-30))


@dataclass(frozen=True)
class _Sums:
    """Sums over some samples: their number, y ``(C,)``, x ``(D,)``, x y' ``(D, C)`` and x x' ``(D, D)``."""

    size: float
    targets: Tensor
    first: Tensor
    cross: Tensor
    second: Tensor


class _Moments:
    """The sums of each fold; those outside a fold are the total less its own."""

    def __init__(self, problem: EstimatorInput, reader: _Reader, folds: Sequence[Tensor]) -> None:
        k, d, c = problem.folds, reader.dim, problem.task.num_outputs
        self.size = [float(len(rows)) for rows in folds]
        self.second = torch.zeros(k, d, d)
        self.first = torch.zeros(k, d, dtype=torch.float64)
        self.cross = torch.zeros(k, d, c, dtype=torch.float64)
        self.targets = torch.zeros(k, c, dtype=torch.float64)
        for fold, rows in enumerate(folds):
            for part, x in reader.chunks(rows):
                y = problem.task.one_hot(problem.target[part], torch.float64)
                # Blocks on and above the diagonal; the others are their mirror images.
                for own in reader.columns.values():
                    self.second[fold, own, own.start :].addmm_(x[:, own].T, x[:, own.start :])
                self.first[fold] += x.sum(0)
                self.cross[fold] += x.T @ y.float()
                self.targets[fold] += y.sum(0)
            for own in reader.columns.values():
                self.second[fold, own.stop :, own] = self.second[fold, own, own.stop :].T
        self.total = self.second.sum(0)

    def outside(self, fold: int) -> _Sums:
        """Return the sums over all folds but one."""
        keep = [k for k in range(len(self.size)) if k != fold]
        return _Sums(
            sum(self.size[k] for k in keep),
            self.targets[keep].sum(0),
            self.first[keep].sum(0),
            self.cross[keep].sum(0),
            (self.total - self.second[fold]).double(),
        )


def _ridged(covariance: Tensor) -> Tensor:
    ridge = _RIDGE * covariance.diagonal().mean() + 1e-9
    return covariance + ridge * torch.eye(len(covariance), dtype=covariance.dtype)


def _discriminants(sums: _Sums, columns: Mapping[Subset, Tensor]) -> dict[Subset, tuple[Tensor, Tensor]]:
    """Return by subset weights ``(D, C)`` and intercepts ``(C,)`` of the linear discriminants."""
    counts, seen = sums.targets, sums.targets.clamp_min(1)
    means = sums.cross / seen
    within = (sums.second - (means * counts) @ means.T) / sums.size
    prior = ((counts + 0.5) / (sums.size + 0.5 * len(counts))).log()
    shifts = (means - sums.first[:, None] / sums.size) * counts.sqrt()
    solved = {}
    for subset, own in columns.items():
        factor = torch.linalg.cholesky(_ridged(within[own][:, own]))
        whitened = _shrunk(torch.linalg.solve_triangular(factor, shifts[own], upper=False)) / seen.sqrt()
        weights = torch.linalg.solve_triangular(factor.T, whitened, upper=True)
        solved[subset] = weights, prior - 0.5 * whitened.square().sum(0) - (sums.first[own] / sums.size) @ weights
    return solved


def _shrunk(matrix: Tensor) -> Tensor:
    """Return the matrix with shrunken singular values.

    The squares of the singular values are the eigenvalues of the smaller Gram matrix, which costs far less than a
    singular value decomposition. The precision lost by squaring lies below the edge of the noise.
    """
    wide = matrix.shape[0] < matrix.shape[1]
    values, vectors = torch.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    singular = values.clamp_min(0).sqrt()
    ratio = shrink_singular_values(singular, *matrix.shape) / singular.clamp_min(1e-300)
    projection = (vectors * ratio) @ vectors.T
    return projection @ matrix if wide else matrix @ projection


def _least_squares(sums: _Sums, columns: Mapping[Subset, Tensor]) -> dict[Subset, tuple[Tensor, Tensor]]:
    """Return by subset weights and intercepts of ridge regression on the targets."""
    mean, centre = sums.targets / sums.size, sums.first / sums.size
    covariance = sums.second / sums.size - torch.outer(centre, centre)
    right = sums.cross / sums.size - torch.outer(centre, mean)
    solved = {}
    for subset, own in columns.items():
        weights = torch.linalg.solve(_ridged(covariance[own][:, own]), right[own])
        solved[subset] = weights, mean - centre[own] @ weights
    return solved


def large_scores(problem: EstimatorInput, subsets: Sequence[Subset]) -> dict[Subset, Tensor]:
    """Return the calibrated out-of-fold outputs ``(N, C)`` of every subset: logits, log-odds or means.

    Args:
        problem: The checked input.
        subsets: Subsets of the modalities.
    """
    reader = _Reader(problem)
    folds = [torch.from_numpy(np.flatnonzero(problem.fold == k)) for k in range(problem.folds)]
    moments = _Moments(problem, reader, folds)
    solve = _discriminants if problem.task.has_classes else _least_squares
    scores = {subset: torch.empty(problem.n, problem.task.num_outputs) for subset in subsets}
    columns = {subset: reader.select(subset) for subset in subsets}
    for k, rows in enumerate(folds):
        heads = solve(moments.outside(k), columns)
        for part, x in reader.chunks(rows):
            for subset, (weights, intercepts) in heads.items():
                scores[subset][part] = _outputs(reader, x, subset, weights, intercepts)
    if not problem.task.is_gaussian:
        for subset in subsets:
            _calibrate(problem, scores[subset], folds)
    return scores


def _outputs(reader: _Reader, x: Tensor, subset: Subset, weights: Tensor, intercepts: Tensor) -> Tensor:
    """Return the outputs of a head, modality by modality, so that no columns are copied."""
    outputs = intercepts.float().repeat(len(x), 1)
    blocks = [reader.columns[m] for m in subset]
    parts = weights.float().split([block.stop - block.start for block in blocks])
    for block, part in zip(blocks, parts, strict=True):
        outputs.addmm_(x[:, block], part)
    return outputs


def _calibrate(problem: EstimatorInput, scores: Tensor, folds: Sequence[Tensor]) -> None:
    """Rescale the scores of each fold in place by a calibration fitted on the left-out scores of the others."""
    generator = torch.Generator().manual_seed(problem.seed)
    fit = _fit_slope if problem.task.has_classes else _fit_curves
    fitted = []
    for k in range(len(folds)):
        rest = torch.cat([rows for j, rows in enumerate(folds) if j != k])
        rows = rest[torch.randperm(len(rest), generator=generator)[:_CALIBRATION]]
        fitted.append(fit(scores[rows], problem.target[rows]))
    for rows, (slope, shift) in zip(folds, fitted, strict=True):
        scores[rows] = (scores[rows] * slope + shift).float()


def _fit_slope(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slope of all classes and a shift of zero, by damped Newton steps in the logarithm of the slope."""
    log_slope = 0.0
    chosen = scores.gather(1, target[:, None])[:, 0]
    squares = scores.square()
    for _ in range(12):
        slope = float(np.exp(log_slope))
        p = (slope * scores).softmax(1)
        mean = (p * scores).sum(1)
        gradient = float((mean - chosen).mean())
        curvature = float(((p * squares).sum(1) - mean.square()).mean())
        step = -slope * gradient / max(slope**2 * curvature + abs(slope * gradient), 1e-12)
        log_slope += float(np.clip(step, -1, 1))
        if abs(step) < 1e-3:
            break
    return torch.tensor(np.exp(log_slope)), torch.tensor(0.0)


def _fit_curves(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return slopes and shifts: a logistic curve per label, by damped Newton steps."""
    scores = scores.double()
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
