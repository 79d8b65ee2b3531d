"""The other estimators: closed forms, others' tools, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.metrics import mutual_info_score

from counterpoise.errors import DataError
from counterpoise.methods.replicas.arm_histograms import official_ncmi, official_nmi
from counterpoise.valuation import VALUATIONS, Valuation, estimate
from counterpoise.valuation.estimators.gaussian import gaussian_information
from counterpoise.valuation.estimators.ksg import kraskov, ross
from counterpoise.valuation.estimators.neural import infonce_pointwise, smile_pointwise
from counterpoise.valuation.estimators.plugin import plugin_information, quantile_bins

LOG2 = float(np.log(2))
REAL = ("variational", "ksg", "gaussian", "histogram", "infonce", "smile")
DISCRETE = ("variational", "ksg", "plugin", "plugin_uncorrected", "histogram", "infonce", "smile")
HONEST = [name for name in VALUATIONS if name != "histogram_official"]
NEURAL = {"infonce", "smile"}


def _correlated(n: int, rho: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2)) @ np.linalg.cholesky([[1, rho], [rho, 1]]).T


@pytest.mark.parametrize("name", REAL)
def test_gaussian_truth(name: str) -> None:
    """I = -log(1 - rho^2) / 2; what bins, small critics and neighbours lose is allowed for, by name."""
    z = _correlated(2500, 0.8, 0)
    noise = np.random.default_rng(1).normal(size=2500)
    valuation = estimate(
        {"a": z[:, 0], "b": noise}, z[:, 1], task="regression", estimator=name, folds=2 if name in NEURAL else 5
    )
    truth = -0.5 * np.log(1 - 0.64)
    loss = {"histogram": 0.25, "infonce": 0.15, "smile": 0.2}.get(name, 0.0)
    assert -loss * truth - 4 * valuation.mi["a"].se < valuation.mi["a"].value - truth < 4 * valuation.mi["a"].se
    assert abs(valuation.mi["b"].value) < 0.03
    assert valuation.estimator == name


@pytest.mark.parametrize("name", DISCRETE)
def test_parity_truth(name: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(2, size=(2, 2000))
    valuation = estimate({"a": a, "b": b}, a ^ b, estimator=name, folds=2 if name in NEURAL else 5)
    assert valuation.joint_mi.value == pytest.approx(LOG2, abs=0.03)
    assert abs(valuation.mi["a"].value) < 0.01
    assert valuation.cmi["a"].value == pytest.approx(LOG2, abs=0.03)


def test_gaussian_classes() -> None:
    """Classes that differ in their variance only: quadrature of Bayes' rule."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=6000)
    x = rng.normal(size=6000) * np.where(y == 1, 3.0, 1.0)
    grid = np.linspace(-25, 25, 20001)
    p = np.stack([np.exp(-(grid**2) / 2 / s**2) / s / np.sqrt(2 * np.pi) for s in (1.0, 3.0)])
    truth = np.trapezoid((0.5 * p * np.log(2 * p / p.sum(0))).sum(0), grid)
    valuation = estimate({"a": x, "b": rng.normal(size=6000)}, y, estimator="gaussian")
    assert abs(valuation.mi["a"].value - truth) < 4 * valuation.mi["a"].se
    default = estimate({"a": x, "b": rng.normal(size=6000)}, y)
    assert abs(default.mi["a"].value - truth) < 4 * default.mi["a"].se


def test_gaussian_is_unbiased_on_tiny_samples() -> None:
    values = []
    for seed in range(600):
        z = _correlated(15, 0.5, seed)
        information = gaussian_information(z[:, :1], z[:, 1:])
        values.append(information.pointwise.mean() + information.correction)
    error = np.std(values) / np.sqrt(600)
    assert abs(np.mean(values) + 0.5 * np.log(0.75)) < 3 * error
    # Without the correction it would be off by about 1 / (2 * 15) = 0.033.
    assert error < 0.01


def test_neighbours_equal_scikit_learn() -> None:
    z = _correlated(300, 0.7, 1)
    z = (z - z.mean(0)) / z.std(0)
    oracle = mutual_info_regression(z[:, :1], z[:, 1], n_neighbors=3, random_state=0)[0]
    assert kraskov(z[:, :1], z[:, 1:]).mean() == pytest.approx(oracle, abs=1e-6)
    y = (z[:, 1] > 0).astype(int) + (z[:, 1] > 1)
    oracle = mutual_info_classif(z[:, :1], y, n_neighbors=3, random_state=0)[0]
    assert ross(z[:, :1], y).mean() == pytest.approx(oracle, abs=1e-6)


def test_neighbours_of_several_columns_equal_the_definition() -> None:
    """Equation 8 of Kraskov et al. as loops: scikit-learn has it for one column only."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3))
    y = x[:, :2] + rng.normal(size=(80, 2))
    local = []
    for i in range(80):
        dx, dy = np.abs(x - x[i]).max(1), np.abs(y - y[i]).max(1)
        radius = np.sort(np.maximum(dx, dy))[3]  # the sample itself is the first
        n_x, n_y = (dx < radius).sum() - 1, (dy < radius).sum() - 1
        local.append(digamma(3) + digamma(80) - digamma(n_x + 1) - digamma(n_y + 1))
    np.testing.assert_allclose(kraskov(x, y, neighbours=3), local)


def test_neighbours_of_ties_are_frequencies() -> None:
    x, y = np.random.default_rng(0).integers(3, size=(2, 3000))
    y = np.where(np.random.default_rng(1).random(3000) < 0.5, x, y)
    assert ross(x[:, None].astype(float), y).mean() == pytest.approx(mutual_info_score(x, y), abs=0.01)


def test_plugin_equals_scikit_learn() -> None:
    x, y = np.random.default_rng(0).integers(4, size=(2, 500))
    information = plugin_information(x, y)
    assert information.pointwise.mean() == pytest.approx(mutual_info_score(x, y))
    assert information.correction == pytest.approx(-9 / 1000)


def test_miller_madow_centres_the_plugin_on_zero() -> None:
    """Independent symbols: uncorrected values are all positive, corrected ones straddle 0."""
    rng = np.random.default_rng(0)
    draws = [plugin_information(*rng.integers(5, size=(2, 200))) for _ in range(400)]
    plain = np.array([d.pointwise.mean() for d in draws])
    fixed = plain + np.array([d.correction for d in draws])
    assert (plain > 0).all()
    assert abs(fixed.mean()) < 0.1 * plain.mean()
    assert (fixed < 0).mean() > 0.3


def test_bins_hold_as_many_each() -> None:
    x = np.random.default_rng(0).exponential(size=1000)
    assert np.bincount(quantile_bins(x, 8)).tolist() == [125] * 8
    assert quantile_bins(np.array([3.0, 1.0, 3.0]), 4).tolist() == [1, 0, 1]


def test_contrastive_bound_cannot_exceed_the_log_of_its_negatives() -> None:
    scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(0)) * 50
    assert (infonce_pointwise(scores) <= np.log(6) + 1e-6).all()
    assert infonce_pointwise(torch.zeros(4, 4)).abs().max() < 1e-6
    x = np.random.default_rng(0).normal(size=60)
    valuation = estimate({"a": x, "b": x}, x + 1e-6 * np.arange(60), task="regression", estimator="infonce", folds=3)
    assert valuation.joint_mi.value <= np.log(20) + 1e-9


def test_smile_is_donsker_varadhan_where_nothing_is_clipped() -> None:
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    off = ~torch.eye(5, dtype=torch.bool)
    expected = scores.diagonal().mean() - scores[off].exp().mean().log()
    torch.testing.assert_close(smile_pointwise(scores).mean(), expected)


@pytest.mark.parametrize("seed", range(3))
def test_official_histogram_returns_one_whatever_the_data(seed: int) -> None:
    """Independent, or z deciding x and y, or x = y: its "conditional" term is 1. The right values are 0, 0 and 1."""
    rng = np.random.default_rng(seed)
    features = np.maximum(rng.normal(size=(3, 128, 256)), 0) * rng.lognormal(size=256)  # as encoders give them
    x, y, z = features
    assert official_ncmi(x, y, z) == pytest.approx(1, abs=0.05)
    assert official_ncmi(z, 2 * z, z) == pytest.approx(1, abs=0.05)
    assert official_ncmi(x, x, z) == pytest.approx(1, abs=0.05)


def test_official_histogram_does_not_look_at_the_label() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=256)
    x = {m: np.maximum(rng.normal(size=(256, 32)) + (m == "a") * 3 * y[:, None], 0) for m in "ab"}
    honest, shuffled = (estimate(x, labels, estimator="histogram_official") for labels in (y, rng.permutation(y)))
    assert honest.mi["a"] == shuffled.mi["a"] or honest.mi["a"].value == shuffled.mi["a"].value
    assert honest.cmi["a"].value == shuffled.cmi["a"].value
    assert honest.mi["a"].bound == "wrong"
    assert any("WRONG" in note for note in honest.notes)
    assert np.isnan(honest.joint_mi.value)
    assert Valuation.from_dict(honest.to_dict()).unit == "none"
    with pytest.raises(DataError, match="has no unit"):
        honest.in_bits()


def test_official_nmi_is_a_normalised_information() -> None:
    rng = np.random.default_rng(0)
    assert official_nmi(rng.normal(size=50000), rng.normal(size=50000)) < 0.01
    x = rng.uniform(size=5000)
    assert official_nmi(x, -x) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", [n for n in HONEST if n not in NEURAL])
def test_every_estimator_fills_the_same_record(name: str) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=400)
    x = {"a": (y + (rng.random(400) < 0.2)) % 2, "b": rng.integers(2, size=400)}
    if name == "gaussian":
        x = {m: v + rng.normal(size=400) for m, v in x.items()}
    valuation = estimate(x, y, estimator=name)
    assert set(valuation.mi) == set(valuation.cmi) == {"a", "b"}
    assert valuation.mi["b"].value + valuation.cmi["a"].value == pytest.approx(valuation.joint_mi.value)
    for e in (valuation.joint_mi, *valuation.mi.values(), *valuation.cmi.values()):
        assert e.low <= e.value <= e.high
        assert e.se > 0
    assert len(valuation.per_sample["mi"]) == 400
    assert len(valuation.per_class["mi"]) == 2
    assert valuation.entropy == pytest.approx(LOG2, abs=0.01)


def test_what_they_refuse() -> None:
    rng = np.random.default_rng(0)
    reals = {"a": rng.normal(size=(200, 4)), "b": rng.normal(size=(200, 4))}
    y = rng.integers(2, size=200)
    with pytest.raises(DataError, match="needs finite alphabets"):
        estimate(reals, y, estimator="plugin")
    with pytest.raises(DataError, match="needs classes or labels"):
        estimate({"a": y, "b": y}, rng.normal(size=200), task="regression", estimator="plugin")
    with pytest.raises(DataError, match="suffice for 20 cells"):
        estimate(reals, y, estimator="histogram")
    with pytest.raises(DataError, match="full rank"):
        estimate({"a": y, "b": y}, rng.integers(2, size=200), estimator="gaussian")
    with pytest.raises(DataError, match="more than 9 training samples"):
        estimate({m: x[:22] for m, x in reals.items()}, y[:22], estimator="gaussian")
    with pytest.raises(DataError, match="linearly dependent"):
        estimate({"a": reals["a"], "b": reals["a"]}, rng.normal(size=200), task="regression", estimator="gaussian")
    with pytest.raises(DataError, match="multi-label"):
        estimate(reals, np.stack([y, 1 - y], 1), task="multilabel", estimator="gaussian")
    with pytest.raises(DataError, match="more than 3 samples"):
        kraskov(np.zeros((3, 1)), np.zeros((3, 1)))
