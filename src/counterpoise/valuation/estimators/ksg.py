r"""Nearest-neighbour estimates: Kraskov et al. (Phys. Rev. E 2004) for real targets, Ross (PLoS ONE 2014) for classes.

Distances are largest coordinate differences of standardised columns. Ties (discrete features) are counted with their
multiplicity, as Gao et al. (NeurIPS 2017) do, so that mixed features are consistent too.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import digamma

from counterpoise.errors import DataError
from counterpoise.valuation._valuation import Valuation
from counterpoise.valuation.assembly import Subset, SubsetEstimate
from counterpoise.valuation.estimators._common import label_symbols, symbol_entropy, value_subsets
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["kraskov", "ksg", "ross"]

NEIGHBOURS: Final = 3


def kraskov(x: np.ndarray, y: np.ndarray, *, neighbours: int = NEIGHBOURS) -> np.ndarray:
    r"""Return ``(N,)`` local estimates :math:`\psi(k) + \psi(N) - \psi(n_x + 1) - \psi(n_y + 1)` in nats.

    Args:
        x: ``(N, D)`` reals.
        y: ``(N, C)`` reals.
        neighbours: k.

    Raises:
        DataError: If there are not more samples than neighbours.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> z = rng.normal(size=(2000, 2)) @ np.linalg.cholesky([[1, 0.8], [0.8, 1]]).T
        >>> bool(abs(kraskov(z[:, :1], z[:, 1:]).mean() + 0.5 * np.log(1 - 0.64)) < 0.05)
        True
    """
    n = _enough(len(x), neighbours)
    joint = cKDTree(np.concatenate([x, y], 1))
    distance = joint.query(np.concatenate([x, y], 1), k=neighbours + 1, p=np.inf)[0][:, -1]
    ties = distance == 0
    k = np.full(n, neighbours)
    if ties.any():
        k[ties] = joint.query_ball_point(joint.data[ties], 0.0, p=np.inf, return_length=True)
    inside = np.where(ties, 0.0, np.nextafter(distance, 0))
    n_x = cKDTree(x).query_ball_point(x, inside, p=np.inf, return_length=True)
    n_y = cKDTree(y).query_ball_point(y, inside, p=np.inf, return_length=True)
    return np.asarray(digamma(k) + digamma(n) - digamma(n_x) - digamma(n_y))


def ross(x: np.ndarray, y: np.ndarray, *, neighbours: int = NEIGHBOURS) -> np.ndarray:
    r"""Return ``(N,)`` local estimates :math:`\psi(N) - \psi(N_y) + \psi(k) - \psi(m)` in nats.

    k neighbours of the same class set the radius, in which m samples of any class lie. Samples that are alone in their
    class contribute 0.

    Args:
        x: ``(N, D)`` reals.
        y: ``(N,)`` class numbers.
        neighbours: k; fewer in classes that have no more.

    Raises:
        DataError: If there are not more samples than neighbours.

    Example:
        >>> x = np.linspace(0, 1, 40)[:, None]
        >>> round(float(ross(x + 5 * (x > 0.5), (x[:, 0] > 0.5).astype(int)).mean()), 2)      # near log 2
        0.71
    """
    n = _enough(len(x), neighbours)
    everything = cKDTree(x)
    local = np.zeros(n)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        if len(rows) < 2:
            continue
        tree = cKDTree(x[rows])
        k = np.full(len(rows), min(neighbours, len(rows) - 1))
        distance = tree.query(x[rows], k=k[0] + 1, p=np.inf)[0][:, -1]
        ties = distance == 0
        if ties.any():
            k[ties] = tree.query_ball_point(x[rows[ties]], 0.0, p=np.inf, return_length=True)
        inside = np.where(ties, 0.0, np.nextafter(distance, 0))
        m = everything.query_ball_point(x[rows], inside, p=np.inf, return_length=True)
        local[rows] = digamma(n) - digamma(len(rows)) + digamma(k) - digamma(m)
    return local


def _enough(n: int, neighbours: int) -> int:
    if n <= neighbours:
        raise DataError(f"{neighbours} neighbours need more than {neighbours} samples. Found {n}.")
    return n


def _standard(x: np.ndarray) -> np.ndarray:
    spread = x.std(0)
    return (x - x.mean(0)) / np.where(spread > 0, spread, 1)


def ksg(problem: EstimatorInput, *, confidence: float = 0.95) -> Valuation:
    """Nearest-neighbour estimates with k = 3. They are nearly unbiased for a few columns, and far too low for many."""
    real = problem.task.is_gaussian
    y = _standard(problem.labels) if real else label_symbols(problem, "ksg")

    def measure(subset: Subset) -> SubsetEstimate:
        x = _standard(problem.matrix(subset))
        return SubsetEstimate(kraskov(x, y) if real else ross(x, y))

    dim = problem.matrix(problem.modalities).shape[1]
    return value_subsets(
        problem,
        measure,
        estimator="ksg",
        confidence=confidence,
        entropy=None if real else symbol_entropy(y),
        notes=(f"{dim} columns are many for neighbours: expect too low a number",) if dim > 8 else (),
    )
