"""Against scipy, and against numbers derived by hand or printed by Demšar (JMLR 7, 2006)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from counterpoise.errors import DataError
from counterpoise.report.analysis.statistics import (
    crossed_error,
    friedman,
    holm,
    mean_ranks,
    nemenyi_critical_difference,
    paired_difference,
    summarise,
    t_interval,
)


@pytest.mark.parametrize("n", [2, 3, 7, 50])
def test_summary_and_interval_equal_scipys(n: int) -> None:
    x = np.random.default_rng(n).normal(3, 2, n)
    s = summarise(x.tolist())
    assert s.mean == pytest.approx(x.mean())
    assert s.se == pytest.approx(stats.sem(x))
    assert t_interval(s.mean, s.se, s.n) == pytest.approx(stats.t.interval(0.95, n - 1, x.mean(), stats.sem(x)))


def test_one_value_has_no_error_and_none_no_mean() -> None:
    assert summarise([0.7]).mean == 0.7
    assert math.isnan(summarise([0.7]).se)
    assert math.isnan(summarise([]).mean)
    assert summarise([1.0, float("nan"), 3.0]).n == 2
    assert all(math.isnan(end) for end in t_interval(0.7, float("nan"), 1))


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_paired_difference_equals_scipys_test(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.8, 0.02, n), rng.normal(0.79, 0.02, n)
    d = paired_difference(dict(enumerate(a.tolist())), dict(enumerate(b.tolist())))
    oracle = stats.ttest_rel(a, b)
    assert d.p_value == pytest.approx(oracle.pvalue, rel=1e-9)
    assert d.diff / d.se == pytest.approx(oracle.statistic)
    assert d.n == n


def test_paired_difference_by_hand() -> None:
    # differences 1, 2, 3: mean 2, s = 1, se = 1/sqrt 3, t = 2 sqrt 3 with 2 degrees of freedom;
    # there P(|T| > t) = 1 - t / sqrt(t^2 + 2) = 1 - sqrt(12/14).
    d = paired_difference({0: 2.0, 1: 4.0, 2: 6.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert (d.diff, d.se) == pytest.approx((2, 1 / math.sqrt(3)))
    assert d.p_value == pytest.approx(1 - math.sqrt(12 / 14))


def test_only_common_seeds_count() -> None:
    d = paired_difference({0: 1.0, 1: 2.0, 7: 99.0, 8: float("nan")}, {1: 1.0, 0: 0.5, 9: -99.0, 8: 1.0})
    assert (d.diff, d.n) == (0.75, 2)
    nothing = paired_difference({0: 1.0}, {1: 1.0})
    assert nothing.n == 0
    assert math.isnan(nothing.diff)


def test_one_seed_and_no_spread_give_no_p_value() -> None:
    one = paired_difference({0: 0.9}, {0: 0.8})
    assert one.diff == pytest.approx(0.1)
    assert math.isnan(one.se)
    assert math.isnan(one.p_value)
    same = paired_difference({0: 0.9, 1: 0.8, 2: 0.7}, {0: 0.8, 1: 0.7, 2: 0.6})  # 0.1 up to rounding
    assert same.diff == pytest.approx(0.1)
    assert same.se == 0
    assert math.isnan(same.p_value)
    itself = paired_difference({0: 0.9, 1: 0.8}, {0: 0.9, 1: 0.8})
    assert (itself.diff, itself.se) == (0, 0)
    assert math.isnan(itself.p_value)


def test_small_but_real_spread_is_tested() -> None:
    d = paired_difference({0: 0.9 + 1e-5, 1: 0.8}, {0: 0.8, 1: 0.7})
    assert d.p_value < 0.001


@pytest.mark.parametrize("samples", [3, 30, 1000, 9973, 100_000])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_differences_of_recorded_scores_have_no_p_value(samples: int, seeds: int) -> None:
    rng = np.random.default_rng(samples + seeds)
    hits, gain = rng.integers(samples // 3, samples // 2 + 1, seeds), max(samples // 10, 1)

    def recorded(values: np.ndarray, kind: type) -> dict[int, float]:
        return {s: float(kind(k) / kind(samples)) for s, k in enumerate(values)}

    for kind in (np.float32, np.float64):
        d = paired_difference(recorded(hits + gain, kind), recorded(hits, kind))
        assert math.isnan(d.p_value)
        assert d.diff == pytest.approx(gain / samples, rel=1e-4)
    if samples <= 1000:  # one hit more in one seed is spread, however small
        hits_more = hits + gain + (np.arange(seeds) == 0)
        assert paired_difference(recorded(hits_more, np.float32), recorded(hits, np.float32)).p_value < 1


def test_ranks_average_ties_and_follow_the_direction() -> None:
    table = np.array([[0.9, 0.8, 0.8, 0.1], [0.5, 0.5, 0.5, 0.4]])
    assert mean_ranks(table).tolist() == [1.5, 2.25, 2.25, 4.0]
    assert mean_ranks(table, higher_is_better=False).tolist() == [3.5, 2.75, 2.75, 1.0]
    assert mean_ranks(table).sum() == 4 * 5 / 2  # ranks always sum to k (k + 1) / 2


def test_a_missing_score_cannot_be_ranked() -> None:
    with pytest.raises(DataError, match="1 missing"):
        mean_ranks(np.array([[0.9, np.nan], [0.5, 0.5]]))
    with pytest.raises(DataError, match="complete table"):
        friedman(np.array([0.1, 0.2]))


@pytest.mark.parametrize(("rows", "k", "decimals"), [(6, 3, 6), (10, 5, 6), (8, 4, 1)])
def test_friedman_equals_scipys(rows: int, k: int, decimals: int) -> None:
    table = np.random.default_rng(rows).uniform(0, 1, (rows, k)).round(decimals)  # one decimal makes ties
    oracle = stats.friedmanchisquare(*table.T)
    assert friedman(table).statistic == pytest.approx(oracle.statistic)
    assert friedman(table).p_value == pytest.approx(oracle.pvalue)


def test_friedman_by_hand() -> None:
    # ranks 3, 2, 1 on three data sets and 2, 3, 1 on the fourth: mean ranks 2.75, 2.25 and 1;
    # 12 * 4 / (3 * 4) * (0.75^2 + 0.25^2 + 1) = 6.5, chi-square with two degrees of freedom: p = exp(-6.5 / 2)
    table = np.array([[0.3, 0.2, 0.1]] * 3 + [[0.2, 0.3, 0.1]])
    assert friedman(table).statistic == pytest.approx(6.5)
    assert friedman(table).p_value == pytest.approx(math.exp(-3.25))


def test_friedman_without_an_answer_is_nan() -> None:
    for table in (np.ones((5, 4)), np.random.default_rng(0).uniform(size=(5, 2)), np.array([[1.0, 2.0, 3.0]])):
        assert math.isnan(friedman(table).p_value)


@pytest.mark.parametrize(
    ("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (10, 3.164)]
)
def test_nemenyi_equals_demsars_table_5a(k: int, q: float) -> None:
    assert nemenyi_critical_difference(k, 12) / math.sqrt(k * (k + 1) / 72) == pytest.approx(q, abs=1.1e-3)


def test_nemenyi_needs_two_methods() -> None:
    with pytest.raises(DataError, match="at least 2 methods"):
        nemenyi_critical_difference(1, 3)


def test_holm_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04 -> monotone 0.06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    adjusted = holm([0.02, float("nan"), 0.04])
    assert adjusted[::2] == pytest.approx([0.04, 0.04])
    assert math.isnan(adjusted[1])


def test_holm_lies_between_raw_and_bonferroni() -> None:
    p = np.random.default_rng(0).uniform(size=12)
    adjusted = np.array(holm(p.tolist()))
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, 12 * p) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


def test_the_error_over_runs_and_samples_is_that_of_the_model_it_assumes() -> None:
    """Many draws of runs, samples and their own noise: the mean of the squared error is the variance of the mean."""
    rng = np.random.default_rng(0)
    draws = [
        rng.normal(0, 0.3, (4, 1)) + rng.normal(0, 1.0, (1, 30)) + rng.normal(0, 0.7, (4, 30)) for _ in range(4000)
    ]
    expected = 0.3**2 / 4 + 1.0**2 / 30 + 0.7**2 / 120
    variances = np.array([crossed_error(d) ** 2 for d in draws])
    assert variances.mean() == pytest.approx(expected, abs=4 * variances.std() / 4000**0.5)
    assert np.var([d.mean() for d in draws]) == pytest.approx(expected, rel=0.1)


def test_one_run_says_nothing_about_runs() -> None:
    with pytest.raises(DataError, match="two of each"):
        crossed_error(np.zeros((1, 5)))
