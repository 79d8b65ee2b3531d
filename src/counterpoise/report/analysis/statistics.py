"""Statistics of a comparison over seeds and data sets, on plain floats.

Numbers that cannot be estimated are NaN, never 0: one seed has no standard error, and differences without any spread
have no t-test (a p-value of 0 from two equal differences would not be the result of a test).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from counterpoise._statistics import holm
from counterpoise.errors import DataError

__all__ = [
    "Friedman",
    "Paired",
    "Summary",
    "crossed_error",
    "friedman",
    "holm",
    "mean_ranks",
    "nemenyi_critical_difference",
    "paired_difference",
    "summarise",
    "t_interval",
]

NAN = float("nan")


@dataclass(frozen=True)
class Summary:
    """Mean over seeds.

    Attributes:
        mean: Arithmetic mean; NaN if there is no value.
        se: Standard error of the mean, s / sqrt(n) with n - 1 degrees of freedom; NaN for fewer than two values.
        n: Number of values.
    """

    mean: float
    se: float
    n: int


@dataclass(frozen=True)
class Paired:
    """Mean difference between two rows over the seeds that both have.

    Attributes:
        diff: Mean of (row - reference); NaN if no seed is common.
        se: Standard error of that mean; NaN for fewer than two common seeds.
        p_value: Two-sided paired t-test; NaN for fewer than two common seeds, and for differences that are equal up to
            the rounding of float32.
        n: Number of common seeds.
    """

    diff: float
    se: float
    p_value: float
    n: int


@dataclass(frozen=True)
class Friedman:
    """Friedman's test that all methods rank alike: its chi-square statistic and p-value."""

    statistic: float
    p_value: float


def _finite(values: Sequence[float]) -> list[float]:
    return [float(v) for v in values if math.isfinite(v)]


def summarise(values: Sequence[float]) -> Summary:
    """Return mean, standard error and count of the finite values.

    Example:
        >>> summarise([1.0, 2.0, 3.0]).mean, round(summarise([1.0, 2.0, 3.0]).se, 4)
        (2.0, 0.5774)
        >>> summarise([1.0])
        Summary(mean=1.0, se=nan, n=1)
    """
    x = _finite(values)
    n = len(x)
    if n == 0:
        return Summary(NAN, NAN, 0)
    mean = math.fsum(x) / n
    if n == 1:
        return Summary(mean, NAN, 1)
    return Summary(mean, math.sqrt(math.fsum((v - mean) ** 2 for v in x) / (n - 1) / n), n)


def t_interval(mean: float, se: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the ends of Student's interval ``mean ± t se`` with n - 1 degrees of freedom; NaN where n < 2.

    Example:
        >>> low, high = t_interval(2.0, 0.5774, 3)
        >>> round(high - low, 3)                       # t = 4.303 for two degrees of freedom
        4.969
    """
    if n < 2:
        return NAN, NAN
    half = float(special.stdtrit(n - 1, 0.5 + level / 2)) * se
    return mean - half, mean + half


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Paired:
    """Compare two rows over their common seeds.

    Args:
        values: Number by seed.
        reference: Number by seed of the row that is subtracted.

    Example:
        >>> result = paired_difference({0: 0.9, 1: 0.8, 2: 0.85}, {0: 0.8, 1: 0.75, 2: 0.7, 3: 0.1})
        >>> round(result.diff, 3), result.n
        (0.1, 3)
    """
    seeds = [s for s in values if s in reference and math.isfinite(values[s]) and math.isfinite(reference[s])]
    differences = [values[s] - reference[s] for s in seeds]
    mean, se, n = (summary := summarise(differences)).mean, summary.se, summary.n
    # Spread that is only rounding is not a spread: scores are often means of float32, so that 19/30 - 16/30 and
    # 22/30 - 19/30 differ in the eighth digit.
    scale = max((abs(v) for s in seeds for v in (values[s], reference[s])), default=0.0)
    if n >= 2 and se <= 2 * float(np.finfo(np.float32).eps) * scale:
        return Paired(mean, 0.0, NAN, n)
    p_value = 2 * float(special.stdtr(n - 1, -abs(mean / se))) if n >= 2 else NAN
    return Paired(mean, se, p_value, n)


def crossed_error(differences: np.ndarray) -> float:
    r"""Return the standard error of a mean over runs *and* test samples, both drawn at random.

    The standard error over seeds (`paired_difference`) measures the uncertainty of a difference *on this test set*.
    Another test set of the same kind would give another one. With :math:`d_{si}` of run s on sample i, row means
    :math:`d_{s\cdot}`, column means :math:`d_{\cdot i}` and mean :math:`d`, the variance of the mean is estimated
    without bias under :math:`d_{si} = \mu + a_s + b_i + e_{si}` by

    .. math:: \frac{\sum_s (d_{s\cdot} - d)^2}{S(S-1)} + \frac{\sum_i (d_{\cdot i} - d)^2}{n(n-1)}
        - \frac{\sum_{si} (d_{si} - d_{s\cdot} - d_{\cdot i} + d)^2}{S n (S-1)(n-1)}.

    Samples count as independent: if they come in groups (speakers, subjects), the estimate is too small.

    Args:
        differences: ``(S, n)``, of S runs paired by seed on the same n test samples; for example differences of
            correctness.

    Raises:
        DataError: For fewer than two runs or samples, or values that are not finite.

    Example:
        >>> always = np.array([[1.0, 0.0, 0.0, 1.0]] * 3)      # all runs alike: only the samples vary
        >>> round(crossed_error(always), 4), round(float(always[0].std(ddof=1)) / 2, 4)
        (0.2887, 0.2887)
    """
    d = _complete(differences)
    runs, samples = d.shape
    if runs < 2 or samples < 2:
        raise DataError(f"A standard error over runs and samples needs two of each. Found {runs} and {samples}.")
    mean, of_run, of_sample = d.mean(), d.mean(1, keepdims=True), d.mean(0, keepdims=True)
    over_runs = ((of_run - mean) ** 2).sum() / (runs * (runs - 1))
    over_samples = ((of_sample - mean) ** 2).sum() / (samples * (samples - 1))
    rest = ((d - of_run - of_sample + mean) ** 2).sum() / (runs * samples * (runs - 1) * (samples - 1))
    return math.sqrt(max(over_runs + over_samples - rest, 0.0))


def _complete(table: np.ndarray) -> np.ndarray:
    table = np.asarray(table, dtype=float)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise DataError(
            "Ranks should come from a complete table (data sets x methods) of finite scores. Found shape "
            f"{table.shape} with {int((~np.isfinite(table)).sum())} missing. Rank only what was run everywhere."
        )
    return table


def mean_ranks(table: np.ndarray, *, higher_is_better: bool = True) -> np.ndarray:
    """Return ``(k,)``: each method's rank (1 is best), ties averaged, mean over the data sets.

    Args:
        table: ``(N, k)``, one row per data set, one column per method.
        higher_is_better: Whether the largest score is the best.

    Raises:
        DataError: If a score is missing.

    Example:
        >>> mean_ranks(np.array([[0.9, 0.8, 0.8], [0.7, 0.6, 0.5]])).tolist()
        [1.0, 2.25, 2.75]
    """
    from scipy import stats  # slow to import, and needed for several data sets only

    table = _complete(table)
    ranks: np.ndarray = stats.rankdata(-table if higher_is_better else table, axis=1).mean(axis=0)
    return ranks


def friedman(table: np.ndarray) -> Friedman:
    """Return Friedman's chi-square test (k - 1 degrees of freedom, corrected for ties) over ``(N, k)`` scores.

    NaN for fewer than three methods or two data sets, and where all methods are tied everywhere.

    Raises:
        DataError: If a score is missing.
    """
    from scipy import stats

    table = _complete(table)
    rows, k = table.shape
    if k < 3 or rows < 2:
        return Friedman(NAN, NAN)
    if (table == table[:, :1]).all():
        return Friedman(NAN, NAN)
    result = stats.friedmanchisquare(*table.T)
    return Friedman(float(result.statistic), float(result.pvalue))


@lru_cache(maxsize=64)
def nemenyi_critical_difference(methods: int, datasets: int, *, alpha: float = 0.05) -> float:
    """Return the distance of mean ranks beyond which two of ``methods`` differ at level ``alpha`` (Nemenyi's test).

    ``q sqrt(k (k + 1) / (6 N))`` with q the studentised range of k groups and infinite degrees of freedom over
    sqrt(2), as in Demšar (JMLR 2006).

    Raises:
        DataError: For fewer than two methods or no data set.

    Example:
        >>> round(nemenyi_critical_difference(4, 14), 2)    # Demšar's example: 2.569 sqrt(4*5/(6*14)) = 1.25
        1.25
    """
    if methods < 2 or datasets < 1:
        raise DataError(
            f"A critical difference needs at least 2 methods and 1 data set. Found {methods} and {datasets}."
        )
    from scipy import stats

    q = float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * datasets))
