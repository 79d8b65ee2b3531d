"""Plug-in estimates from frequencies, for finite alphabets and for binned columns."""

from __future__ import annotations

from typing import Final

import numpy as np

from counterpoise.errors import DataError
from counterpoise.valuation._valuation import Valuation
from counterpoise.valuation.assembly import Subset, SubsetEstimate
from counterpoise.valuation.estimators._common import label_symbols, symbol_entropy, value_subsets
from counterpoise.valuation.heads.table import cells
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["histogram", "plugin", "plugin_information", "plugin_uncorrected", "quantile_bins"]

PER_CELL: Final = 5
"""Minimum mean number of samples per cell of the histogram and label."""
MAX_BINS: Final = 16


def plugin_information(x: np.ndarray, y: np.ndarray, *, corrected: bool = True) -> SubsetEstimate:
    r"""Return the plug-in information of two symbols.

    It is :math:`\sum \hat p(x, y) \log \hat p(x, y) / \hat p(x) \hat p(y)`. Its leading bias is :math:`(K_{xy} - K_x -
    K_y + 1) / 2N` upwards, with the numbers K of values that occur; the correction of Miller and Madow subtracts it.

    Args:
        x: ``(N,)`` symbols from 0.
        y: ``(N,)`` symbols from 0.
        corrected: Whether to subtract the bias.

    Example:
        >>> x = np.array([0, 0, 1, 1])
        >>> round(float(plugin_information(x, x).pointwise.mean()), 4)      # log 2
        0.6931
    """
    n = len(x)
    joint = x.astype(np.int64) * (int(y.max()) + 1) + y
    _, row, counts = np.unique(joint, return_inverse=True, return_counts=True)
    n_x, n_y = np.bincount(x), np.bincount(y)
    pointwise = np.log(counts[row.reshape(-1)] * float(n) / (n_x[x].astype(float) * n_y[y]))
    bias = (len(counts) - (n_x > 0).sum() - (n_y > 0).sum() + 1) / (2 * n)
    return SubsetEstimate(pointwise, correction=-float(bias) if corrected else 0.0, capacity=abs(float(bias)))


def plugin(problem: EstimatorInput, *, confidence: float = 0.95) -> Valuation:
    """Frequencies of finite alphabets, with the correction of Miller and Madow.

    Raises:
        DataError: If a modality takes many values, or the target is real.
    """
    return _plugin(problem, confidence, "plugin", corrected=True)


def plugin_uncorrected(problem: EstimatorInput, *, confidence: float = 0.95) -> Valuation:
    """Frequencies of finite alphabets without a correction, whose bias is (K_xy - K_x - K_y + 1) / 2N.

    Raises:
        DataError: As for `plugin`.
    """
    return _plugin(problem, confidence, "plugin_uncorrected", corrected=False)


def _plugin(problem: EstimatorInput, confidence: float, name: str, *, corrected: bool) -> Valuation:
    y = label_symbols(problem, name)

    def measure(subset: Subset) -> SubsetEstimate:
        x = cells(problem.matrix(subset), problem.n // 2)
        if x is None:
            raise DataError(
                f"Estimator `{name}` needs finite alphabets. {' and '.join(f'`{m}`' for m in subset)} take more than "
                f"{problem.n // 2} values (or combinations) in {problem.n} samples; "
                "use `histogram`, `ksg` or `variational`."
            )
        return plugin_information(x, y, corrected=corrected)

    return value_subsets(problem, measure, estimator=name, confidence=confidence, entropy=symbol_entropy(y))


def quantile_bins(column: np.ndarray, bins: int) -> np.ndarray:
    """Return ``(N,)`` bin numbers of equally filled bins; equal values share a bin.

    Example:
        >>> quantile_bins(np.array([5.0, 1.0, 2.0, 9.0]), 2).tolist()
        [1, 0, 0, 1]
    """
    if len(np.unique(column[:1000])) <= bins and len(np.unique(column)) <= bins:
        return np.unique(column, return_inverse=True)[1].reshape(-1)
    edges = np.unique(np.quantile(column, np.arange(1, bins) / bins))
    return np.searchsorted(edges, column, side="right")


def histogram(problem: EstimatorInput, *, confidence: float = 0.95) -> Valuation:
    r"""Equally filled bins per column, frequencies over their combinations, corrected after Miller and Madow.

    The number of bins per column, at most 16, is chosen so that each cell and label holds five samples on average. By
    the data-processing inequality binning loses information (a downward bias that more samples make smaller); the
    upward bias of the frequencies is corrected to first order.

    Raises:
        DataError: If there are too many columns for two bins each.
    """
    targets = problem.labels
    if problem.task.is_gaussian:
        y_bins = int(np.clip((problem.n / PER_CELL) ** 0.25, 2, MAX_BINS))
        codes = np.stack([quantile_bins(t, y_bins) for t in targets.T], 1)
        y = np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
    else:
        y = label_symbols(problem, "histogram")
    room = problem.n / (PER_CELL * (int(y.max()) + 1))

    def measure(subset: Subset) -> SubsetEstimate:
        x = problem.matrix(subset)
        bins = int(min(room ** (1 / x.shape[1]), MAX_BINS))
        binned = np.stack([quantile_bins(column, max(bins, 2)) for column in x.T], 1)
        cell = cells(binned, max(int(2 * room), 2))
        if cell is None:
            raise DataError(
                f"Estimator `histogram` has {x.shape[1]} columns of {' and '.join(f'`{m}`' for m in subset)} to bin, "
                f"and {problem.n} samples suffice for {int(room)} cells. Reduce the columns, or use `variational`."
            )
        return plugin_information(cell, y)

    return value_subsets(
        problem,
        measure,
        estimator="histogram",
        confidence=confidence,
        entropy=symbol_entropy(y) if not problem.task.is_gaussian else None,
        notes=("binning loses information: the estimate rises towards the truth with more samples",),
    )
