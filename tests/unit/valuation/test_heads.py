"""Batched heads against scikit-learn, autograd and each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from counterpoise.errors import DataError
from counterpoise.tasks import make_task
from counterpoise.valuation import linear_probe
from counterpoise.valuation.heads.linear import LinearHeads, standardise
from counterpoise.valuation.heads.optimisation import minimise
from counterpoise.valuation.heads.saturating import SaturatingHeads, saturating_heads
from counterpoise.valuation.heads.table import TableHeads, cells, discrete_columns


def _classes(n: int = 240, d: int = 6, c: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(c, (n,), generator=g)
    x = torch.randn(n, d, generator=g, dtype=torch.float64) + torch.randn(c, d, generator=g, dtype=torch.float64)[y]
    return standardise(x), y


@pytest.mark.parametrize("l2", [1.0, 30.0])
def test_multinomial_heads_equal_scikit_learn(l2: float) -> None:
    x, y = _classes()
    train = torch.arange(240) % 5 != 0
    heads = LinearHeads([x[:, :2], x[:, 2:]], y, make_task("multiclass", 4))
    log_p = heads.logits(heads.fit(train[None], torch.tensor([l2]), tolerance=1e-12))[:, 0].log_softmax(-1)
    oracle = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=1000).fit(x[train], y[train]).predict_log_proba(x)
    np.testing.assert_allclose(log_p, oracle, atol=2e-4)


def test_bernoulli_heads_equal_scikit_learn_label_by_label() -> None:
    x, y = _classes()
    labels = torch.stack([y % 2, y // 2], 1).double()
    heads = LinearHeads([x], labels, make_task("multilabel", 2))
    logits = heads.logits(heads.fit(torch.ones(1, 240, dtype=torch.bool), torch.tensor([2.0]), tolerance=1e-12))[:, 0]
    for k in range(2):
        oracle = LogisticRegression(C=0.5, tol=1e-8, max_iter=1000).fit(x, labels[:, k]).decision_function(x)
        np.testing.assert_allclose(logits[:, k], oracle, atol=2e-4)


def test_regression_heads_equal_scikit_learn() -> None:
    x, y = _classes()
    target = torch.stack([x[:, 0] + y, x[:, 1] * 2 + 1], 1)
    heads = LinearHeads([x], target, make_task("regression", 2))
    logits = heads.logits(heads.fit(torch.ones(1, 240, dtype=torch.bool), torch.tensor([5.0])))[:, 0]
    np.testing.assert_allclose(logits, Ridge(alpha=5.0).fit(x, target).predict(x), atol=1e-5)


def test_many_at_once_equal_one_at_a_time() -> None:
    x, y = _classes()
    fold = torch.arange(240) % 3
    train = torch.stack([fold != k for k in range(3)])
    l2 = torch.tensor([1.0, 10.0, 1.0])
    heads = LinearHeads([x], y, make_task("multiclass", 4))
    together = heads.fit(train, l2, tolerance=1e-12)
    for k in range(3):
        alone = heads.fit(train[k : k + 1], l2[k : k + 1], tolerance=1e-12)
        torch.testing.assert_close(heads.logits(together)[:, k], heads.logits(alone)[:, 0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_gradient_is_that_of_autograd(task: str) -> None:
    x, y = _classes(n=30, d=3, c=3)
    target = y if task == "multiclass" else torch.nn.functional.one_hot(y, 3).double()
    likelihood = make_task(task, 3)
    heads = LinearHeads([x], target, likelihood)
    weight = torch.full((2, 30), 1 / 30, dtype=torch.float64)
    penalty = torch.tensor([0.1, 0.0], dtype=torch.float64)
    w = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    value, gradient = heads._loss(w.detach().transpose(1, 2), weight, penalty)
    logits = torch.einsum("nd,pdc->pnc", torch.cat([x, torch.ones(30, 1, dtype=x.dtype)], 1), w)
    expected = -likelihood.log_likelihood(logits, target).mean(-1) + 0.5 * penalty * w[:, :-1].square().sum((1, 2))
    torch.testing.assert_close(value, expected.detach())
    (auto,) = torch.autograd.grad(expected.sum(), w)
    torch.testing.assert_close(gradient.view(2, 3, 4).transpose(1, 2), auto)


def test_samples_outside_the_training_set_have_no_influence() -> None:
    x, y = _classes()
    train = torch.arange(240) < 180
    heads = LinearHeads([x], y, make_task("multiclass", 4))
    other = LinearHeads([x], torch.where(train, y, 3 - y), make_task("multiclass", 4))
    l2 = torch.tensor([1.0])
    torch.testing.assert_close(heads.fit(train[None], l2), other.fit(train[None], l2))


def test_minimiser_gives_up_no_problem_of_a_batch() -> None:
    """Two Rosenbrock-like valleys of very different curvature."""

    def objective(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        scale = torch.tensor([1.0, 500.0], dtype=x.dtype)[rows]
        a, b = x.T
        value = (1 - a) ** 2 + scale * (b - a**2) ** 2
        gradient = torch.stack([-2 * (1 - a) - 4 * scale * a * (b - a**2), 2 * scale * (b - a**2)], 1)
        return value, gradient

    start = torch.tensor([[-1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    minima = minimise(objective, start, lambda g, rows: g, iterations=500, tolerance=1e-14)
    torch.testing.assert_close(minima, torch.ones(2, 2, dtype=torch.float64), atol=1e-4, rtol=0)


def test_standardise_leaves_constant_columns_at_zero() -> None:
    x = torch.stack([torch.full((5,), 1e6), torch.arange(5.0)], 1)
    z = standardise(x)
    assert z[:, 0].tolist() == [0.0] * 5
    assert z[:, 1].mean().item() == pytest.approx(0, abs=1e-6)
    assert z[:, 1].std(correction=0).item() == pytest.approx(1)


def test_table_heads_are_smoothed_frequencies() -> None:
    cell = np.array([0, 0, 0, 1, 1, 2])
    y = torch.tensor([0, 0, 1, 1, 1, 0])
    heads = TableHeads(cell, y, make_task("multiclass", 2))
    p = heads.logits(heads.fit(torch.ones(1, 6, dtype=torch.bool), torch.tensor([1e-9])))[:, 0].exp()
    np.testing.assert_allclose(p[:, 0], [2 / 3, 2 / 3, 2 / 3, 0, 0, 1], atol=1e-6)
    flat = heads.logits(heads.fit(torch.ones(1, 6, dtype=torch.bool), torch.tensor([1e9])))[:, 0].exp()
    np.testing.assert_allclose(flat, 0.5, atol=1e-6)


def test_cells_number_distinct_rows() -> None:
    x = np.random.default_rng(0).integers(3, size=(200, 3)).astype(float)
    numbers = cells(x, 27)
    assert numbers is not None
    expected = np.unique(x, axis=0, return_inverse=True)[1].reshape(-1)
    assert len(np.unique(np.stack([numbers, expected], 1), axis=0)) == len(np.unique(expected))
    assert cells(x, 20) is None


def test_discrete_columns_are_those_of_few_values() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(4, size=300), rng.normal(size=300), np.repeat(np.arange(150), 2)], 1)
    assert discrete_columns(x).tolist() == [True, False, False]


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
def test_probe_finds_what_is_linear_and_nothing_else(task: str) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(600, 5, generator=g)
    noise = torch.randn(600, 5, generator=g)
    target = {
        "multiclass": (x[:, 0] > 0).long(),
        "multilabel": (x[:, :2] > 0).double(),
        "regression": x[:, :2].double() * 3 + 1,
    }[task]
    chance = {"multiclass": 0.5, "multilabel": 0.5, "regression": 0.0}[task]
    assert linear_probe(x[:400], target[:400], x[400:], target[400:], task) > 0.97
    assert linear_probe(noise[:400], target[:400], noise[400:], target[400:], task) == pytest.approx(chance, abs=0.1)


def test_probe_refuses_bad_input() -> None:
    x, y = np.zeros((4, 2)), np.array([0, 1, 0, 1])
    with pytest.raises(DataError, match="3 targets in train"):
        linear_probe(x, y[:3], x, y)
    with pytest.raises(DataError, match="finite"):
        linear_probe(x, y, np.full((4, 2), np.nan), y)
    with pytest.raises(DataError, match=r"features \(N, 2\)"):
        linear_probe(x, y, np.zeros((4, 3)), y)


@pytest.mark.parametrize("count", [2, 5])
def test_saturating_heads_find_the_share_of_wrong_labels(count: int) -> None:
    """Labels drawn at random with probability 0.3: the posterior is 0.7 times the clean one plus 0.3 / C."""
    r = np.random.default_rng(0)
    true = r.integers(count, size=3000)
    x = torch.from_numpy(4 * np.eye(count)[true] + r.normal(size=(3000, count)))
    wrong = r.random(3000) < 0.3
    y = torch.from_numpy(np.where(wrong, r.integers(count, size=3000), true))
    heads = SaturatingHeads([standardise(x)], y, make_task("multiclass", count))
    weights = heads.fit(torch.ones(1, 3000, dtype=torch.bool), torch.tensor([1.0]), tolerance=1e-6)
    assert float(heads.shares_of(weights).max()) == pytest.approx(0.3, abs=0.04)
    clean = (4 * x).softmax(-1)  # log-odds of unit Gaussians 4 apart on each axis
    expected = 0.7 * clean + 0.3 / count
    assert float((heads.logits(weights)[:, 0].softmax(-1) - expected).abs().mean()) < 0.02


def test_saturating_heads_have_a_share_for_every_label() -> None:
    r = np.random.default_rng(1)
    x = r.normal(size=(3000, 2))
    y = x > 0
    y[:, 1] ^= r.random(3000) < 0.2  # a fifth of the second label is turned over: 0.4 of it is drawn at random
    target = torch.from_numpy(y.astype(np.float64))
    heads = SaturatingHeads([standardise(torch.from_numpy(x))], target, make_task("multilabel", 2))
    weights = heads.fit(torch.ones(1, 3000, dtype=torch.bool), torch.tensor([1.0]), tolerance=1e-6)
    clean, noisy = heads.shares_of(weights)[0].tolist()
    assert clean < 0.02
    assert noisy == pytest.approx(0.4, abs=0.06)


def test_saturating_heads_are_not_tried_where_no_label_is_wrong() -> None:
    r = np.random.default_rng(2)
    x = torch.from_numpy(r.normal(size=(1000, 3)))
    y = (torch.rand(1000, generator=torch.Generator().manual_seed(0)) < (3 * x[:, 0]).sigmoid()).long()
    assert saturating_heads([x], y, make_task("multiclass", 2)) is None
