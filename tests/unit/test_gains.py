"""Priors, measurements and posteriors of gains over joint training, against closed forms."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from counterpoise.experiment.gains import (
    VAGUE,
    BenchmarkGains,
    Gain,
    fit_benchmark_gains,
    measured_gains,
    posterior,
    read_benchmark_gains,
)
from counterpoise.experiment.recommend import (
    BASELINE,
    CANDIDATES,
    HARM,
    RULE_CANDIDATES,
    Candidate,
    choose,
    expected_gains,
)


@pytest.mark.parametrize("prior", [Gain(0.03, 0.02), Gain(-0.01, 0.05), VAGUE])
@pytest.mark.parametrize("measured", [Gain(0.05, 0.01), Gain(-0.02, 0.04)])
def test_the_posterior_is_prior_times_likelihood(prior: Gain, measured: Gain) -> None:
    grid = np.linspace(-1, 1, 200_001)
    density = stats.norm.pdf(grid, prior.mean, prior.sd) * stats.norm.pdf(measured.mean, grid, measured.sd)
    density /= integrate.trapezoid(density, grid)
    mean = integrate.trapezoid(grid * density, grid)
    sd = np.sqrt(integrate.trapezoid((grid - mean) ** 2 * density, grid))
    harm = integrate.trapezoid(density[grid <= 0], grid[grid <= 0])
    result = posterior(prior, measured)
    assert (result.mean, result.sd) == pytest.approx((mean, sd), abs=1e-6)
    assert result.harm == pytest.approx(harm, abs=1e-4)


def test_the_more_precise_side_dominates() -> None:
    prior, clear, noisy = Gain(0.03, 0.01), Gain(-0.05, 1e-4), Gain(-0.05, 10.0)
    assert posterior(prior, clear).mean == pytest.approx(-0.05, abs=1e-4)
    assert posterior(prior, noisy).mean == pytest.approx(0.03, abs=1e-4)
    assert posterior(prior, noisy).sd == pytest.approx(prior.sd, rel=1e-4)
    assert posterior(Gain(0.03, 0.0), clear) == Gain(0.03, 0.0)
    assert posterior(Gain(0.0, 0.0), Gain(0.02, 0.0)).mean == 0.02, "what was measured without an error is known"


def test_interval_and_harm_are_those_of_a_normal_distribution() -> None:
    gain = Gain(0.02, 0.015)
    assert gain.interval(0.9) == pytest.approx(stats.norm.interval(0.9, 0.02, 0.015))
    assert gain.harm == pytest.approx(stats.norm.cdf(0, 0.02, 0.015))
    assert Gain(0.0, 0.0).harm == 0.0
    assert Gain(-1e-9, 0.0).harm == 1.0


def test_the_error_over_splits_is_that_of_nadeau_and_bengio() -> None:
    gains = np.array([[0.02, -0.01, 0.04, 0.03], [0.01, 0.01, 0.00, 0.02]])
    own = gains.var(1, ddof=1)
    expected = np.sqrt((own + own.mean()) / 2 * (1 / 4 + 1 / 4))  # n2 / n1 = 0.2 / 0.8
    measured = measured_gains(gains, folds=5)
    assert [g.mean for g in measured] == pytest.approx(gains.mean(1))
    assert [g.sd for g in measured] == pytest.approx(expected)
    alone = measured_gains(gains[:1], folds=5)[0]
    assert alone.sd == pytest.approx(np.sqrt(own[0] * 0.5)), "a single candidate has its own variance only"


def test_the_interval_over_splits_covers_the_true_gain() -> None:
    """Scores of samples that the folds of cross-validation share: the plain error of a mean would be too small."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(500):
        shared = 0.01 * rng.normal()  # training sets overlap: 0.2 / (1 + 0.25) of the variance is common
        gains = 0.03 + shared + 0.02 * rng.normal(size=(1, 5))
        (gain,) = measured_gains(gains, folds=5)
        low, high = gain.interval(0.9)
        covered += low <= 0.03 <= high
    assert covered / 500 > 0.8


def test_a_prior_is_the_distribution_of_the_gain_on_a_further_data_set() -> None:
    rng = np.random.default_rng(1)
    errors, variances, shifts = [], [], []
    names = [("a", "fused"), ("b", "fused")]
    for _ in range(1_000):
        truths = rng.normal(0.02, 0.03, size=(9, 2))
        seeds = truths[:8, :, None] + 0.01 * rng.normal(size=(8, 2, 3))
        on_test = [dict(zip(names, x, strict=True)) for x in seeds.tolist()]
        splits = truths[:8] + 0.02 * rng.normal(size=(8, 2))
        splits += 0.015 * rng.normal(size=splits.shape)
        on_splits = [{name: Gain(x, 0.015) for name, x in zip(names, row, strict=True)} for row in splits.tolist()]
        benchmarks = fit_benchmark_gains(on_test, on_splits)
        errors.append(truths[8, 0] - benchmarks.priors["a", "fused"].mean)
        variances.append(benchmarks.priors["a", "fused"].sd ** 2)
        shifts.append(benchmarks.shift**2)
    assert np.mean(errors) == pytest.approx(0.0, abs=0.004)
    assert np.mean(variances) == pytest.approx(np.var(errors), rel=0.1)
    assert np.mean(shifts) == pytest.approx(0.02**2, rel=0.1)


def test_equal_gains_everywhere_leave_no_doubt_and_no_shift() -> None:
    name = ("uniform", "fused")
    benchmarks = fit_benchmark_gains([{name: [0.01, 0.01]}] * 3, [{name: Gain(0.01, 0.005)}] * 3)
    assert benchmarks == BenchmarkGains({name: Gain(0.01, 0.0)}, 0.0)


def test_a_shift_makes_splits_count_less() -> None:
    name, measured = ("uniform", "fused"), Gain(0.05, 0.01)
    plain, shifted = (BenchmarkGains({name: Gain(0.01, 0.02)}, shift) for shift in (0.0, 0.02))
    assert plain.posterior(name, measured) == posterior(Gain(0.01, 0.02), measured)
    expected = posterior(Gain(0.01, 0.02), Gain(0.05, np.hypot(0.01, 0.02)))
    assert shifted.posterior(name, measured).mean == pytest.approx(expected.mean)
    assert shifted.posterior(name, measured).sd == pytest.approx(expected.sd)


def candidates(values: np.ndarray) -> list[Candidate]:
    names = [BASELINE, *((f"m{k}", "fused") for k in range(1, len(values)))]
    return [Candidate(*name, tuple(row), tuple(row)) for name, row in zip(names, values, strict=True)]


def test_a_candidate_without_a_prior_is_judged_by_the_splits() -> None:
    values = np.array([[0.80, 0.81, 0.80, 0.79], [0.85, 0.87, 0.84, 0.84]])
    (measured,) = measured_gains(values[1:] - values[0], folds=5)
    gains = expected_gains(candidates(values), BenchmarkGains(), 5, corrupted=False)
    assert gains == {("m1", "fused"): posterior(VAGUE, measured)}
    assert gains["m1", "fused"].mean == pytest.approx(0.05, abs=0.001)


def test_chance_among_many_candidates_recommends_nothing() -> None:
    """Thirteen candidates that are no better than joint training, on data sets that are like the benchmarks."""
    rng = np.random.default_rng(0)
    known = BenchmarkGains({(f"m{k}", "fused"): Gain(0.0, 0.002) for k in range(1, 14)})
    gains = [
        expected_gains(candidates(0.8 + 0.01 * rng.normal(size=(14, 5))), known, 5, corrupted=False) for _ in range(200)
    ]
    assert np.mean([choose(g) != BASELINE for g in gains]) < 0.05
    luckiest = np.mean([max(g.values(), key=lambda x: x.mean).mean for g in gains])
    assert luckiest < 0.002, "the splits alone show 0.01 for the luckiest one"


def test_a_prior_that_gains_is_kept_where_the_splits_are_noisy_and_given_up_where_they_are_clear() -> None:
    rng = np.random.default_rng(2)
    priors = BenchmarkGains({("m1", "fused"): Gain(0.03, 0.02)})
    noisy = 0.7 + 0.05 * rng.normal(size=(2, 5))
    assert choose(expected_gains(candidates(noisy), priors, 5, corrupted=False)) == ("m1", "fused")
    clear = 0.7 + 0.001 * rng.normal(size=(2, 5))
    clear[1] -= 0.02
    assert choose(expected_gains(candidates(clear), priors, 5, corrupted=False)) == BASELINE


def test_expected_gains_are_calibrated_after_the_choice() -> None:
    """The gain of the chosen candidate is the one that was expected, although it was chosen for it."""
    rng = np.random.default_rng(3)
    prior = BenchmarkGains({(f"m{k}", "fused"): Gain(0.01, 0.02) for k in range(1, 9)})
    differences, harmed = [], []
    for _ in range(2_000):
        truth = np.concatenate([[0.0], rng.normal(0.01, 0.02, size=8)])
        scores = 0.7 + truth[:, None] + np.concatenate([np.zeros((1, 5)), 0.03 * rng.normal(size=(8, 5))])
        gains = expected_gains(candidates(scores), prior, 10**9, corrupted=False)  # independent splits
        chosen = choose(gains)
        if chosen != BASELINE:
            real = truth[int(chosen[0][1:])]
            differences.append(real - gains[chosen].mean)
            harmed.append(real < 0)
    assert np.mean(differences) == pytest.approx(0.0, abs=0.0015)
    assert np.mean(harmed) < HARM
    assert len(differences) > 500


def test_every_default_candidate_has_a_prior() -> None:
    for corrupted in (False, True):
        known = read_benchmark_gains("accuracy", corrupted=corrupted)
        assert known.priors.keys() == {(m, r) for m in CANDIDATES for r in RULE_CANDIDATES} - {BASELINE}
        assert all(0 <= gain.sd < 0.2 and abs(gain.mean) < 0.2 for gain in known.priors.values())
        assert 0 <= known.shift < 0.1
    assert read_benchmark_gains("r2", corrupted=False) == BenchmarkGains(), "a score without a benchmark"


def test_the_gains_of_the_package_are_those_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parents[2] / "benchmarks" / "recommend"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("recommend_benchmark", folder / "run.py")
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    outcomes = [json.loads(line) for line in (folder / "outcomes.jsonl").read_text().splitlines()]
    assert json.loads(benchmark.SHIPPED.read_text()) == benchmark.shipped_gains(outcomes)
    assert benchmark.table(outcomes) == (folder / "table.md").read_text()
