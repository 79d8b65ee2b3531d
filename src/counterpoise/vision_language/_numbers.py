"""Numbers of a vision-language diagnosis: calibrated log-probabilities, shares with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

from counterpoise.valuation import Estimate

__all__ = ["log_softmax", "mean_of", "right_log_probabilities", "share", "wilson"]

GRID = 2001
"""Number of shares that are tested for an interval."""
FOLDS = 5
LEAST = -20.0
"""Log-probability below which a right answer is not counted, so that no sample decides alone."""


def log_softmax(x: np.ndarray) -> np.ndarray:
    """Return normalised log-probabilities; -inf stays.

    Example:
        >>> np.exp(log_softmax(np.array([[0.0, 0.0, -np.inf]]))).tolist()
        [[0.5, 0.5, 0.0]]
    """
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def right_log_probabilities(
    readouts: Sequence[np.ndarray],
    target: np.ndarray,
    *,
    offsets: bool,
    seed: int,
    with_own: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    r"""Return log-probabilities ``(N,)`` of the right answers after calibration.

    The calibrated scores are :math:`\sum_f w_f s_f + b` with weights :math:`w \ge 0` (a temperature for a single
    readout) and one offset per answer. They are fitted twice: on all samples, where the mean log-probability is too
    high by about (number of parameters) / 2N, and on the other folds, where it is too low by about as much. The result
    is the mean of both, so it is centred on the best that the calibration can reach. If the readouts carry no
    information, it is that of the frequencies of the answers.

    Args:
        readouts: Scores ``(N, K)`` each; -inf where a sample has fewer answers.
        target: ``(N,)`` positions of the right answers.
        offsets: Whether position k means the same answer in all samples.
        seed: Seed of the folds.
        with_own: Readouts for the fit on all samples, if ``readouts`` leave out the sample's own predictions; by
            default the same.

    Example:
        >>> scores = np.eye(2)[np.arange(200) % 2]
        >>> right_log_probabilities([scores], np.arange(200) % 2, offsets=True, seed=0).mean().round(2)
        np.float64(-0.0)
    """
    n = len(target)
    (x, absent), (whole, _) = _standardised(readouts), _standardised(readouts if with_own is None else with_own)
    fold = np.empty(n, int)
    fold[np.random.default_rng(seed).permutation(n)] = np.arange(n) % min(FOLDS, n)
    inside = _Fit(whole, absent, target, offsets).log_p(whole, absent, target)
    outside = np.empty(n)
    for f in range(min(FOLDS, n)):
        train, test = fold != f, fold == f
        fit = _Fit(x[:, train], absent[train], target[train], offsets)
        outside[test] = fit.log_p(x[:, test], absent[test], target[test])
    return np.maximum((inside + outside) / 2, LEAST)


def _standardised(readouts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities ``(F, N, K)`` of unit spread, and where there is no answer."""
    absent = ~np.isfinite(readouts[0])
    scaled = []
    for scores in readouts:
        log_p = np.maximum(log_softmax(np.where(absent, -np.inf, scores)), 1.5 * LEAST)
        log_p = np.where(absent, 0, log_p - np.mean(log_p, 1, keepdims=True, where=~absent))
        scaled.append(log_p / max(float(np.std(log_p[~absent])), 1e-9))
    return np.stack(scaled), absent


class _Fit:
    """Weights of readouts and offsets of answers by maximum likelihood with a weak penalty."""

    def __init__(self, x: np.ndarray, absent: np.ndarray, target: np.ndarray, offsets: bool) -> None:
        count, (n, k) = len(x), absent.shape
        one_hot = np.eye(k)[target]
        # The penalty shrinks the offsets towards the frequencies, with half a count added to each answer.
        base = np.log(one_hot.sum(0) + 0.5) if offsets else np.zeros(k)
        base -= base.mean()

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            w, b = theta[:count], theta[count:]
            log_p = _mixed(x, absent, w, b)
            gradient = np.where(absent, 0, np.exp(log_p)) - one_hot
            value = -float(log_p[np.arange(n), target].sum()) + 0.05 * float(w @ w)
            value += 0.5 * float(((b - base) ** 2).sum())
            by_weight = (gradient * x).sum((1, 2)) + 0.1 * w
            by_offset = gradient.sum(0) + b - base if offsets else np.zeros(k)
            return value / n, np.concatenate([by_weight, by_offset]) / n

        start = np.concatenate([np.full(count, 1.0 / max(count, 1)), base])
        bounds = [(0, None)] * count + [(None, None)] * k
        theta = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
        self.w, self.b = theta[:count], theta[count:]

    def log_p(self, x: np.ndarray, absent: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return log-probabilities ``(N,)`` of the right answers."""
        return _mixed(x, absent, self.w, self.b)[np.arange(len(target)), target]


def _mixed(x: np.ndarray, absent: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    return log_softmax(np.where(absent, -np.inf, np.tensordot(w, x, 1) + b))


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
    0. Unlike an interval around the ratio, it stays valid if there is little information; it may then be all of [0, 1].

    Args:
        lost: ``(N,)`` nats that a sample's prediction loses.
        known: ``(N,)`` nats of information in the prediction.
        confidence: Level of the interval.

    Example:
        >>> share(np.full(50, 0.2), np.full(50, 0.4), confidence=0.95).value
        0.5
    """
    if known.mean() <= 0:  # there is no information of which a share could be lost
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
