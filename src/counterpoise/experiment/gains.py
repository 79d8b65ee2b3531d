"""Expected gains over joint training, from benchmark data sets and from the splits of one data set.

The gain of a candidate (a method under a rule) differs between data sets. Its mean and its standard deviation over the
benchmark data sets are the prior of a further data set (empirical Bayes). A few splits measure the gain with a large
error, and the best of a dozen candidates is often best by chance. The posterior weighs both by their precision, so that
a candidate is chosen against the prior only if the splits are clear.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any, Final

import numpy as np
from scipy import special

__all__ = [
    "VAGUE",
    "BenchmarkGains",
    "Gain",
    "fit_benchmark_gains",
    "measured_gains",
    "posterior",
    "read_benchmark_gains",
]

Name = tuple[str, str]
"""A candidate: method and rule."""


@dataclass(frozen=True)
class Gain:
    """A gain over joint training with a normally distributed error.

    Attributes:
        mean: Expected gain, in units of the score.
        sd: Standard deviation of the gain.
    """

    mean: float
    sd: float

    @property
    def harm(self) -> float:
        """Probability that the gain is negative."""
        if not self.sd:
            return float(self.mean < 0)
        return float(special.ndtr(-self.mean / self.sd))

    def interval(self, level: float) -> tuple[float, float]:
        """Return the ends of the central interval.

        Example:
            >>> [round(x, 3) for x in Gain(0.02, 0.01).interval(0.9)]
            [0.004, 0.036]
        """
        half = float(special.ndtri(0.5 + level / 2)) * self.sd
        return self.mean - half, self.mean + half


VAGUE: Final = Gain(0.0, 0.1)
"""Prior of a candidate without benchmarks, such as a user-defined method: gains of ten points are usual."""


def posterior(prior: Gain, measured: Gain) -> Gain:
    r"""Return the posterior distribution of a gain after a measurement.

    With prior :math:`N(m, \tau^2)` and measurement :math:`x \sim N(g, v)`, the gain :math:`g` is normal with mean
    :math:`m + w (x - m)` and variance :math:`w v`, where :math:`w = \tau^2 / (\tau^2 + v)`.

    Example:
        >>> posterior(Gain(0.0, 0.1), Gain(0.04, 0.1)).mean
        0.02
    """
    total = prior.sd**2 + measured.sd**2
    weight = prior.sd**2 / total if total else 1.0
    return Gain(prior.mean + weight * (measured.mean - prior.mean), math.sqrt(weight) * measured.sd)


def measured_gains(gains: np.ndarray, folds: int) -> list[Gain]:
    r"""Return the mean gain of each candidate over splits, with its standard error.

    The training sets of the splits overlap, so that the gains are correlated: the variance of the mean is
    :math:`s^2 (1/J + n_2 / n_1)` with :math:`n_1` training and :math:`n_2` scored samples (Nadeau & Bengio, "Inference
    for the Generalization Error", Machine Learning 52, 2003). Where whole groups are scored, :math:`s^2` contains the
    variance between groups. The variance of few splits is itself uncertain, so :math:`s^2` is the mean of the
    candidate's own variance and of the mean variance of all candidates.

    Args:
        gains: Gain of each candidate on each split, ``(K, J)``.
        folds: Number of folds; a split scores on one of them, so that :math:`n_2 / n_1` is 1 / (folds - 1).

    Example:
        >>> (gain,) = measured_gains(np.array([[0.01, 0.02, 0.03]]), folds=5)
        >>> round(gain.mean, 3), round(gain.sd, 4)
        (0.02, 0.0076)
    """
    own = gains.var(1, ddof=1)
    errors = np.sqrt((own + own.mean()) / 2 * (1 / gains.shape[1] + 1 / (folds - 1)))
    return [Gain(float(m), float(e)) for m, e in zip(gains.mean(1), errors, strict=True)]


@dataclass(frozen=True)
class BenchmarkGains:
    """Distribution of gains over benchmark data sets, as a prior for a further data set.

    Attributes:
        priors: Distribution of the gain of each candidate over data sets.
        shift: Standard deviation of the difference between the gain on the test set and the gain on splits of the
            training and validation samples, beyond what the errors of both explain. It is not zero, because test
            samples are often drawn in another way than training samples (later, from other people).
    """

    priors: Mapping[Name, Gain] = field(default_factory=dict)
    shift: float = 0.0

    def posterior(self, name: Name, measured: Gain) -> Gain:
        """Return the posterior distribution of a candidate's gain after a measurement on splits."""
        return posterior(self.priors.get(name, VAGUE), Gain(measured.mean, math.hypot(measured.sd, self.shift)))


def fit_benchmark_gains(
    on_test: Sequence[Mapping[Name, Sequence[float]]], on_splits: Sequence[Mapping[Name, Gain]]
) -> BenchmarkGains:
    r"""Return the priors and the shift of benchmark data sets, by the method of moments.

    The prior of a candidate has the mean of its gains over the D data sets. Its variance is
    :math:`\tau^2 (1 + 1 / D)`, where :math:`\tau^2` is the variance between data sets (less what differs by seed): the
    mean of the candidate's own and of all candidates' variance, because that of few data sets is uncertain.

    Args:
        on_test: By data set, the gains of each candidate on the test set by seed.
        on_splits: By data set, the gain of each candidate as measured on splits.

    Example:
        >>> on_test = [{("uniform", "fused"): [0.01, 0.01]}, {("uniform", "fused"): [0.03, 0.03]}]
        >>> on_splits = [{("uniform", "fused"): Gain(0.01, 0.0)}, {("uniform", "fused"): Gain(0.03, 0.0)}]
        >>> benchmarks = fit_benchmark_gains(on_test, on_splits)
        >>> round(benchmarks.priors["uniform", "fused"].sd, 4), benchmarks.shift
        (0.0173, 0.0)
    """
    names = [name for name in on_test[0] if all(name in x for x in (*on_test, *on_splits))]
    means = np.array([[np.mean(x[name]) for name in names] for x in on_test])  # (D, K)
    errors = np.array([[np.var(x[name], ddof=1) / len(x[name]) for name in names] for x in on_test])
    between = np.maximum(means.var(0, ddof=1) - errors.mean(0), 0.0)
    between = (between + between.mean()) / 2
    sds = np.sqrt(between * (1 + 1 / len(means)))
    measured = np.array([[x[name].mean for name in names] for x in on_splits])
    variances = np.array([[x[name].sd ** 2 for name in names] for x in on_splits])
    excess = float(((means - measured) ** 2 - variances - errors).mean())
    priors = {name: Gain(float(m), float(sd)) for name, m, sd in zip(names, means.mean(0), sds, strict=True)}
    return BenchmarkGains(priors, math.sqrt(max(excess, 0.0)))


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Any]:
    file = resources.files("counterpoise.experiment").joinpath("gains.json")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def read_benchmark_gains(metric: str, *, corrupted: bool) -> BenchmarkGains:
    """Return the gains that are part of the package; they are empty for a score that ``benchmarks/recommend`` lacks.

    Args:
        metric: Name of the score.
        corrupted: Whether the inputs of one modality at a time are corrupted.
    """
    content = _shipped().get(metric, {}).get("corrupted" if corrupted else "ordinary")
    if content is None:
        return BenchmarkGains()
    priors = {(x["method"], x["rule"]): Gain(x["mean"], x["sd"]) for x in content["priors"]}
    return BenchmarkGains(priors, content["shift"])
