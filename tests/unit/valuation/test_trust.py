"""What an estimate of information may never do: depend on company, exceed the entropy, or be made of noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from poisson import Poisson
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from counterpoise.errors import DataError
from counterpoise.valuation import decompose, estimate, estimate_predictions, value_predictions
from counterpoise.valuation.inputs import prepare

ESTIMATORS = ("variational", "variational-linear")


def classes(seed: int = 0, n: int = 300, count: int = 10) -> tuple[dict[str, np.ndarray], np.ndarray]:
    r = np.random.default_rng(seed)
    y = r.permutation(np.arange(n) % count)
    means = r.normal(size=(2, count, 24))
    return {
        "weak": 0.25 * means[0][y] + r.normal(size=(n, 24)),
        "strong": 1.5 * means[1][y] + r.normal(size=(n, 24)),
        "noise": r.normal(size=(n, 24)),
    }, y


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_information_does_not_depend_on_company(estimator: str) -> None:
    x, y = classes()
    company = [{"other": x["noise"]}, {"other": x["strong"]}, {"other": x["noise"][:, :1], "third": x["strong"]}]
    values = [estimate({"weak": x["weak"], **others}, y, estimator=estimator).mi["weak"] for others in company]
    assert values[0].value == pytest.approx(values[1].value, abs=1e-9)
    assert values[0].value == pytest.approx(values[2].value, abs=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("seed", range(2))
def test_the_best_logistic_regression_is_not_better(estimator: str, seed: int) -> None:
    x, y = classes(seed)
    data = prepare({k: x[k] for k in ("weak", "strong")}, y)
    valuation = estimate({k: x[k] for k in ("weak", "strong")}, y, estimator=estimator)
    for m in ("weak", "strong"):
        best = -np.inf
        for c in 10.0 ** np.arange(-4, 2):
            p = cross_val_predict(
                LogisticRegression(C=c, max_iter=300), x[m], y, cv=PredefinedSplit(data.fold), method="predict_proba"
            )
            best = max(best, float(np.log(p[np.arange(len(y)), y]).mean() + np.log(10)))
        assert valuation.mi[m].value > best - 0.02


def test_the_best_ridge_regression_is_not_better() -> None:
    r = np.random.default_rng(0)
    x = r.normal(size=(200, 60))
    y = x[:, :5].sum(1) + 2 * r.normal(size=200)
    data = prepare({"a": x, "b": r.normal(size=200)}, y)
    valuation = estimate({"a": x, "b": r.normal(size=200)}, y)
    p = cross_val_predict(RidgeCV(10.0 ** np.arange(-2, 5)), x, y, cv=PredefinedSplit(data.fold))
    assert valuation.mi["a"].value > 0.5 * np.log(y.var() / ((y - p) ** 2).mean()) - 0.02


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("columns", [60, 400])
def test_contributions_lie_between_zero_and_the_entropy(estimator: str, columns: int) -> None:
    r = np.random.default_rng(0)
    y = r.integers(2, size=100)
    good, noise = 6 * y[:, None] + 0.1 * r.normal(size=(100, 1)), r.normal(size=(100, columns))
    valuation = estimate({"good": good, "noise": noise}, y, estimator=estimator)
    for e in (*valuation.mi.values(), *valuation.cmi.values(), valuation.joint_mi):
        assert -0.03 < e.value < valuation.entropy + 0.01
    assert not valuation.too_few_samples


def test_wide_noise_carries_nothing_on_average() -> None:
    values = []
    for seed in range(5):
        r = np.random.default_rng(seed)
        noise = {"a": r.normal(size=(120, 600)), "b": r.normal(size=(120, 2))}
        values.append(estimate(noise, r.integers(3, size=120), seed=seed).joint_mi.value)
    assert abs(np.mean(values)) < 2 * np.std(values, ddof=1) / 5**0.5 + 0.01


def test_nothing_carries_over_between_groups() -> None:
    values, lows = [], []
    for seed in range(6):
        r = np.random.default_rng(seed)
        label, group = r.permutation(np.arange(10) % 2), np.repeat(np.arange(10), 20)
        a, b = (r.normal(size=(10, 8))[group] + 0.3 * r.normal(size=(200, 8)) for _ in "ab")
        joint = estimate({"a": a, "b": b}, label[group], group=group, seed=seed).joint_mi
        lows.append(joint.low)
        values.append(joint.value)
    assert max(lows) <= 0
    assert np.mean(values) < 2 * np.std(values, ddof=1) / 6**0.5 + 0.01


def test_a_few_subjects_have_balanced_folds() -> None:
    """Ten subjects of two classes: every fold gets one of each, so that the label frequencies fit the left-out ones."""
    label, group = np.random.default_rng(0).permutation(np.arange(10) % 2), np.repeat(np.arange(10), 20)
    data = prepare({"a": group, "b": group % 3}, label[group], group=group, seed=3)
    for k in range(5):
        own = data.fold == k
        assert len(set(group[own])) == 2
        assert label[group][own].mean() == 0.5


def test_heads_that_remember_their_samples_are_corrected() -> None:
    """Five classes in 400 columns: the intervals hold the truth, and a note says that more samples would help."""
    inside = []
    for seed in range(3):
        r = np.random.default_rng(seed)
        y, means = r.integers(5, size=400), 0.15 * r.normal(size=(5, 400))
        x = r.normal(size=(400, 400)) + means[y]
        labels = r.integers(5, size=20000)
        scores = (r.normal(size=(20000, 400)) + means[labels]) @ means.T - 0.5 * (means**2).sum(1)
        posterior = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        truth = np.log(5) + posterior[np.arange(20000), labels].mean()
        valuation = estimate({"a": x[:, :200], "b": x[:, 200:]}, y, seed=seed)
        inside.append(valuation.joint_mi.low < truth < valuation.joint_mi.high)
        assert any("half of the samples" in note for note in valuation.notes)
    assert all(inside)


@pytest.mark.parametrize("estimator", ["variational", "variational-linear", "ksg"])
def test_copies_are_no_evidence(estimator: str) -> None:
    r = np.random.default_rng(0)
    a, b, y = r.normal(size=(100, 3)), r.normal(size=(100, 2)), r.integers(2, size=100)
    rows = np.repeat(np.arange(100), 5)
    valuation = estimate({"a": a[rows], "b": b[rows]}, y[rows], estimator=estimator)
    assert valuation.joint_mi.low <= 0
    assert any("400 of 500" in note for note in valuation.notes)
    assert len(valuation.per_sample["mi"]) == 500


@pytest.mark.parametrize("change", ["order", "unit", "offset"])
def test_order_units_and_origin_do_not_matter(change: str) -> None:
    x, y = classes(n=200, count=4)
    x = {"a": x["weak"][:, :4], "b": x["strong"][:, :3]}
    want = estimate(x, y)
    if change == "order":
        valuation = estimate({m: v[:, ::-1] for m, v in reversed(x.items())}, y)
    else:
        valuation = estimate({m: 1e-160 * v if change == "unit" else v + 1e7 for m, v in x.items()}, y)
    for m in x:
        assert valuation.mi[m].value == pytest.approx(want.mi[m].value, abs=0.02)


def test_names_change_nothing() -> None:
    x, y = classes(n=200, count=4)
    plain = estimate(dict(zip("abc", x.values(), strict=True)), y, estimator="variational-linear")
    plus = estimate(dict(zip(("a", "b", "a+b"), x.values(), strict=True)), y, estimator="variational-linear")
    assert plus.cmi["a+b"] == plain.cmi["c"]
    assert len(plus.subsets) == 7


def parity(n: int = 300, columns: int = 30) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    r = np.random.default_rng(0)
    x = {m: r.normal(size=(n, columns)) for m in "ab"}
    y = ((x["a"][:, 0] > 0) ^ (x["b"][:, 0] > 0)).astype(int)
    return x, y, 8.0 * np.eye(2)[y]


def test_predictions_are_a_bound_for_their_subset_and_larger_ones() -> None:
    x, y, logits = parity()
    assert estimate(x, y).joint_mi.value < 0.1
    valuation = estimate(x, y, predictions={("a", "b"): logits})
    assert valuation.joint_mi.value > 0.65
    assert valuation.mi["a"].value < 0.1
    alone = estimate(x, y, predictions={("a",): logits})
    assert alone.mi["a"].value > 0.65
    assert alone.joint_mi.value > 0.65
    with pytest.raises(DataError, match="no modality `c`"):
        estimate(x, y, predictions={("c",): logits})
    with pytest.raises(DataError, match=r"shape \(300, 2\)"):
        estimate(x, y, predictions={("a",): logits[:5]})


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_a_temperature_is_calibrated(factor: float) -> None:
    _, y, logits = parity()
    noisy = np.where(np.random.default_rng(1).random(300) < 0.1, 1 - y, y)
    information = estimate_predictions(factor * logits, noisy)
    truth = np.log(2) + 0.1 * np.log(0.1) + 0.9 * np.log(0.9)
    assert information.estimate.low < truth < information.estimate.high


def test_predictions_that_do_not_change_carry_nothing() -> None:
    _, y, _ = parity()
    assert value_predictions(prepare(parity()[0], y), np.zeros((300, 2))).estimate.value == pytest.approx(0, abs=1e-4)
    r = np.random.default_rng(0)
    assert estimate_predictions(r.normal(size=(300, 2)), y).estimate.low <= 0
    assert estimate_predictions(-8.0 * np.eye(2)[y], y).estimate.value < 0.01  # the wrong way round


@pytest.mark.parametrize("count", [2, 20])
def test_an_exact_posterior_is_as_good_as_the_heads(count: int) -> None:
    r = np.random.default_rng(0)
    y = r.integers(count, size=500)
    means = r.normal(size=(count, 4))
    x = means[y] + r.normal(size=(500, 4))
    logits = x @ means.T - 0.5 * (means**2).sum(1)
    heads = estimate({"a": x[:, :2], "b": x[:, 2:]}, y).joint_mi
    model = estimate_predictions(logits, y).estimate
    assert model.value > heads.value - 2 * heads.se


def test_noise_that_depends_on_the_features() -> None:
    """y = 0.5 a + exp(b) e carries 0.571 nats (quadrature); a heavy-tailed y must not inflate it."""
    values = []
    for seed in range(3):
        r = np.random.default_rng(seed)
        a, b = r.normal(size=(2, 800))
        valuation = estimate({"a": a, "b": b}, 0.5 * a + np.exp(b) * r.normal(size=800), seed=seed)
        values.append(valuation.joint_mi.value)
    assert np.mean(values) == pytest.approx(0.571, abs=0.06)


def test_intervals_of_features_as_wide_as_the_samples_are_many_reach_the_truth() -> None:
    """Heads remember their samples, and the label frequencies in the mixture may not hide that."""
    held = 0
    for seed in range(4):
        r = np.random.default_rng(seed)
        y = r.integers(2, size=300)
        data = {m: r.normal(size=(300, 300)) for m in "ab"}
        for x in data.values():
            x[:, 0] = 2 * y + 0.5 * r.normal(size=300)  # 0.6327 nats by quadrature
        valuation = estimate(data, y, seed=seed)
        held += sum(e.low <= 0.6327 <= e.high for e in valuation.mi.values())
    assert held >= 6


@pytest.mark.parametrize(("count", "wrong"), [(2, 0.2), (4, 0.3)])
def test_labels_that_are_wrong_bound_the_posterior_and_bias_nothing(count: int, wrong: float) -> None:
    """With a share of wrong labels the log-odds saturate, which no linear head can follow."""
    estimates, expected, few = [], [], []
    for seed in range(3):
        r = np.random.default_rng(seed)
        true = r.integers(count, size=1000)
        centres = 4 * np.eye(count)
        x = centres[true] + 1.2 * r.normal(size=(1000, count))
        y = np.where(r.random(1000) < wrong, r.integers(count, size=1000), true)
        logits = x @ centres.T / 1.44
        clean = np.exp(logits - logits.max(1, keepdims=True))
        posterior = (1 - wrong) * clean / clean.sum(1, keepdims=True) + wrong / count
        expected.append(np.log(count) + np.log(posterior[np.arange(1000), y]).mean())
        data = {"a": x[:, : count // 2], "b": x[:, count // 2 :]}
        estimates.append(estimate(data, y, seed=seed).joint_mi.value)
        few.append(estimate(data, y, seed=seed, estimator="variational-linear").joint_mi.value)
    assert np.mean(estimates) == pytest.approx(np.mean(expected), abs=0.012)
    assert np.mean(few) < np.mean(expected) - 0.015


def test_an_outlier_does_not_make_an_estimate_uncertain() -> None:
    """Of a heavy-tailed target, single samples cost a Gaussian hundreds of nats, which its mixtures do not pay."""
    r = np.random.default_rng((2, 19))
    a, b, e = r.normal(size=(3, 1000))
    valuation = estimate({"a": a, "b": b}, 0.5 * a + np.exp(b) * e, task="regression")
    for m in ("a", "b"):
        assert valuation.mi[m].se < 0.03
    assert valuation.mi["b"].low < 0.300 < valuation.mi["b"].high  # quadrature


def test_a_coin_is_worth_log_two_and_perfection_has_a_floor() -> None:
    r = np.random.default_rng(0)
    a, b = r.integers(2, size=500) * 2.0 - 1, r.normal(size=500)
    coin = estimate({"a": a, "b": b}, a + 0.05 * r.normal(size=500), task="regression")
    assert coin.joint_mi.value == pytest.approx(np.log(2), abs=0.06)
    exact, nearly = (estimate({"a": a, "b": b}, b + e * r.normal(size=500)).joint_mi.value for e in (0, 1e-4))
    assert exact == pytest.approx(nearly, abs=0.02)
    assert exact < 6


def test_bounds_have_exact_names() -> None:
    r = np.random.default_rng(0)
    t, z = r.integers(2, size=300), r.normal(size=(300, 2))
    labels = estimate({"a": z + t[:, None], "b": z[:, 0]}, np.stack([t] * 4, 1), estimator="variational-linear")
    assert labels.joint_mi.bound == "sum over labels"
    assert labels.entropy > 4 * 0.65
    assert "H(Y) =" not in str(labels)  # that is log 2: the four labels are equal
    reals = estimate({"a": z, "b": t}, z + 0.5, estimator="variational-linear")
    assert reals.joint_mi.bound == "gaussian"
    assert estimate({"a": z, "b": t}, t, estimator="variational-linear").joint_mi.bound == "lower"


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_task_of_ones_own_is_valued(estimator: str) -> None:
    r = np.random.default_rng(0)
    a, b = r.normal(size=(2, 600))
    valuation = estimate(
        {"a": a, "b": b}, r.poisson(np.exp(0.3 + 0.7 * a))[:, None], task=Poisson(1), estimator=estimator
    )
    assert valuation.mi["a"].low > 0.1
    assert abs(valuation.mi["b"].value) < 0.02
    assert valuation.task == "poisson"


def test_broja_of_independent_symbols_is_nothing() -> None:
    values: list[Any] = []
    for seed in range(3):
        r = np.random.default_rng(seed)
        parts = decompose(
            {m: r.integers(3, size=400) for m in "ab"}, r.integers(2, size=400), definition="broja", seed=seed
        )["a"]
        values.append([parts.redundant.value, parts.unique.value, parts.synergistic.value])
        assert parts.synergistic.low <= 0
    assert np.abs(np.mean(values, axis=0)).max() < 0.012
    r = np.random.default_rng(0)
    with pytest.raises(DataError, match="needs at least 720 samples"):
        decompose({m: r.integers(6, size=300) for m in "ab"}, r.integers(4, size=300), definition="broja")
