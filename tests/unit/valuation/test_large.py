"""The way for large problems, made to take small ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from counterpoise.valuation import estimate
from counterpoise.valuation.heads import large as _large
from counterpoise.valuation.heads.large import large_scores, shrink_singular_values
from counterpoise.valuation.inputs import prepare


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_large, "LARGE", 0)


def _classes(n: int = 1500, d: int = 6, c: int = 4, spread: float = 1.0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(c, size=n)
    return {m: rng.normal(size=(n, d)) + rng.normal(size=(c, d))[y] * spread for m in "ab"}, y


def test_discriminants_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without shrinkage and calibration, on the samples outside each fold."""
    monkeypatch.setattr(_large, "shrink_singular_values", lambda s, *_: s)
    monkeypatch.setattr(_large, "_calibrate", lambda *_: None)
    monkeypatch.setattr(_large, "_RIDGE", 0.0)
    x, y = _classes()
    problem = prepare({**x, "a": 10 * x["a"] + 100}, y)
    scores = large_scores(problem, [("a", "b"), ("b",)])
    for subset, columns in ((("a", "b"), np.concatenate([x["a"], x["b"]], 1)), (("b",), x["b"])):
        log_p = scores[subset].log_softmax(1).numpy()
        for k in range(5):
            own = problem.fold == k
            oracle = (
                LinearDiscriminantAnalysis(solver="lsqr").fit(columns[~own], y[~own]).predict_log_proba(columns[own])
            )
            np.testing.assert_allclose(log_p[own], oracle, atol=0.02)


def test_agrees_with_the_iterative_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _classes()
    large = estimate(x, y)
    monkeypatch.setattr(_large, "LARGE", 1e12)
    default = estimate(x, y)
    assert large.joint_mi.bound == "lower"
    for ours, theirs in (
        (large.joint_mi, default.joint_mi),
        (large.mi["a"], default.mi["a"]),
        (large.cmi["b"], default.cmi["b"]),
    ):
        assert ours.value == pytest.approx(theirs.value, abs=0.04)
    assert large.per_sample["kl:a"].mean() == pytest.approx(large.cmi["a"].value, abs=0.05)


def test_many_noisy_columns_do_not_make_it_confident() -> None:
    """200 columns of noise and 30 samples per class: held-out information is near 0, not far below."""
    rng = np.random.default_rng(0)
    y = rng.integers(20, size=600)
    valuation = estimate({m: rng.normal(size=(600, 100)) for m in "ab"}, y)
    assert -0.05 < valuation.joint_mi.value < 0.05


def test_regression_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b, noise = rng.normal(size=(3, 2000))
    valuation = estimate({"a": a, "b": b}, a + b + noise, task="regression")
    assert valuation.joint_mi.value == pytest.approx(0.5 * np.log(3), abs=4 * valuation.joint_mi.se)
    assert valuation.mi["a"].value == pytest.approx(0.5 * np.log(1.5), abs=4 * valuation.mi["a"].se)
    labels = np.stack([a > 0, b + noise > 0], 1).astype(float)
    large = estimate({"a": a, "b": b}, labels, task="multilabel")
    monkeypatch.setattr(_large, "LARGE", 1e12)
    default = estimate({"a": a, "b": b}, labels, task="multilabel")
    assert large.mi["b"].value == pytest.approx(default.mi["b"].value, abs=0.03)


def test_shrinkage_recovers_a_low_rank_matrix_better() -> None:
    g = torch.Generator().manual_seed(0)
    truth = 4 * torch.randn(120, 3, generator=g) @ torch.randn(3, 40, generator=g) / 3
    seen = truth + torch.randn(120, 40, generator=g)
    u, s, v = torch.linalg.svd(seen, full_matrices=False)
    shrunk = (u * shrink_singular_values(s, 120, 40)) @ v
    assert (shrunk - truth).square().sum() < 0.2 * (seen - truth).square().sum()
    noise = torch.linalg.svdvals(torch.randn(120, 40, generator=g))
    assert shrink_singular_values(noise, 120, 40).square().sum() < 0.05 * noise.square().sum()


def test_a_constant_column_and_single_precision() -> None:
    x, y = _classes()
    plain = estimate({m: v.astype(np.float32) for m, v in x.items()}, y)
    padded = estimate(
        {m: np.concatenate([v, np.full((len(y), 1), 3.0)], 1).astype(np.float32) for m, v in x.items()}, y
    )
    assert padded.joint_mi.value == pytest.approx(plain.joint_mi.value, abs=0.005)
