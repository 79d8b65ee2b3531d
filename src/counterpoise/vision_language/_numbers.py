"""Numbers of a vision-language diagnosis: calibrated log-probabilities, shares with intervals."""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, stats

from counterpoise.valuation import Estimate

__all__ = ["Calibration", "log_softmax", "mean_of", "share", "wilson"]

GRID = 2001
"""Number of shares that are tested for an interval."""
FOLDS = 5


def log_softmax(x: np.ndarray) -> np.ndarray:
    """Return normalised log-probabilities; -inf stays.

    Example:
        >>> np.exp(log_softmax(np.array([[0.0, 0.0, -np.inf]]))).tolist()
        [[0.5, 0.5, 0.0]]
    """
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


class Calibration:
    """A temperature, fitted on other samples than it is used on.

    Without it, an answer that is too sure looks as if it knew nothing.

    Args:
        scores: ``(N, K)`` scores.
        target: ``(N,)`` positions of the right answers.
        seed: Seed of the folds.
    """

    def __init__(self, scores: np.ndarray, target: np.ndarray, *, seed: int) -> None:
        n = len(scores)
        self.fold = np.empty(n, int)
        self.fold[np.random.default_rng(seed).permutation(n)] = np.arange(n) % min(FOLDS, n)
        folds = range(min(FOLDS, n))
        self.logs = np.array([_fitted(scores[self.fold != f], target[self.fold != f]) for f in folds])

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return calibrated log-probabilities ``(N, K)``, each sample with the temperature of the other folds."""
        return _scaled(log_softmax(scores), np.exp(self.logs[self.fold])[:, None])


def _scaled(log_p: np.ndarray, factor: np.ndarray | float) -> np.ndarray:
    finite = np.isfinite(log_p)
    return log_softmax(np.where(finite, factor * np.where(finite, log_p, 0), -np.inf))


def _fitted(scores: np.ndarray, target: np.ndarray) -> float:
    log_p = log_softmax(scores)

    def loss(log_factor: float) -> float:
        nll = -_scaled(log_p, math.exp(log_factor))[np.arange(len(target)), target]
        return float(np.minimum(nll, 50).mean() + 0.1 * log_factor**2 / max(len(target), 1))

    return float(optimize.minimize_scalar(loss, bounds=(-6, 3), method="bounded").x)


def mean_of(values: np.ndarray, *, confidence: float) -> Estimate:
    """Return the mean of pointwise values with its t interval."""
    n = len(values)
    se = float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else math.inf
    reach = float(stats.t.ppf(0.5 + confidence / 2, n - 1)) * se if n > 1 else math.inf
    mean = float(values.mean())
    return Estimate(mean, se, mean - reach, mean + reach)


def share(lost: np.ndarray, known: np.ndarray, *, confidence: float) -> Estimate:
    r"""Return mean(lost) / mean(known) in [0, 1] with Fieller's interval.

    The interval holds every share r at which :math:`\overline{lost - r\, known}` is not significantly different from
    0. It stays valid where little is known, unlike one around the ratio; then it may be all of [0, 1].

    Args:
        lost: ``(N,)`` nats that a sample's prediction loses.
        known: ``(N,)`` nats that it has.
        confidence: Level of the interval.

    Example:
        >>> share(np.full(50, 0.2), np.full(50, 0.4), confidence=0.95).value
        0.5
    """
    if known.mean() <= 0:  # nothing is known of which a share could be lost
        return Estimate(math.nan, math.nan, 0.0, 1.0)
    n = len(lost)
    grid = np.linspace(0, 1, GRID)
    centre = lost.mean() - grid * known.mean()
    (a, b), (_, c) = np.cov(lost, known)
    spread = np.sqrt(np.maximum(a - 2 * grid * b + grid**2 * c, 0) / n)
    inside = grid[np.abs(centre) <= float(stats.t.ppf(0.5 + confidence / 2, n - 1)) * spread + 1e-12]
    value = float(np.clip(lost.mean() / known.mean(), 0, 1))
    se = float(np.sqrt(max(a - 2 * value * b + value**2 * c, 0) / n) / known.mean())
    ends = [value, *inside[:1], *inside[-1:]]
    return Estimate(value, se, float(min(ends)), float(max(ends)))


def wilson(hits: np.ndarray, *, confidence: float) -> Estimate:
    """Return a share of samples with its Wilson interval.

    Example:
        >>> wilson(np.array([True] * 8 + [False] * 2), confidence=0.95)
        Estimate(value=0.8, se=0.126..., low=0.49..., high=0.943..., bound='estimate')
    """
    n, p = len(hits), float(hits.mean())
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((centre + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
    return Estimate(p, math.sqrt(p * (1 - p) / n), low, high)
