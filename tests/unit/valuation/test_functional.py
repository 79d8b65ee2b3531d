"""The pure functions against tables of probabilities: entropies, information, the chain rule."""

from __future__ import annotations

from itertools import combinations, product
from math import comb, log

import numpy as np
import pytest
import torch
from torch import Tensor

from counterpoise.errors import DataError
from counterpoise.tasks import MultiClass
from counterpoise.valuation import functional as vf


def test_entropy_by_hand() -> None:
    assert vf.entropy(torch.tensor([0.5, 0.25, 0.25, 0.0])).item() == pytest.approx(1.5 * log(2))
    assert vf.entropy(torch.tensor([1.0, 0.0])).item() == 0.0
    assert vf.entropy(torch.full((2, 8), 1 / 8), dim=1).tolist() == pytest.approx([log(8)] * 2)
    assert vf.entropy(torch.full((3, 2, 8), 1 / 8)).flatten().tolist() == pytest.approx([log(8)] * 6), "the last axis"


def test_label_entropy_is_that_of_the_frequencies() -> None:
    y = torch.tensor([0, 0, 0, 1])
    assert vf.label_entropy(y).item() == pytest.approx(-(0.75 * log(0.75) + 0.25 * log(0.25)))
    assert vf.label_entropy(y, 5).item() == vf.label_entropy(y).item()
    assert vf.label_entropy(1 - y.clamp(0, 1)).item() == pytest.approx(vf.label_entropy(y).item())


def test_miller_madow_counts_the_classes_that_occur() -> None:
    y = torch.tensor([0, 0, 2, 0])  # class 1 does not occur, class 2 once
    assert vf.miller_madow(y).item() == pytest.approx(vf.label_entropy(y).item() + 1 / 8)
    assert vf.miller_madow(y, 5).item() == vf.miller_madow(y).item()


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_miller_madow_removes_the_leading_bias_in_expectation(p: float) -> None:
    """Expectations over all samples of n coin tosses, by enumeration."""
    n, truth = 50, -(p * log(p) + (1 - p) * log(1 - p))
    plain = corrected = 0.0
    for heads in range(n + 1):
        weight = comb(n, heads) * p**heads * (1 - p) ** (n - heads)
        y = (torch.arange(n) < heads).long()
        plain += weight * vf.label_entropy(y).item()
        corrected += weight * vf.miller_madow(y).item()
    assert plain - truth == pytest.approx(-1 / (2 * n), rel=0.1)
    assert abs(corrected - truth) < 0.1 * abs(plain - truth)


def test_gaussian_entropy_of_a_covariance() -> None:
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    expected = 0.5 * (2 * log(2 * np.pi * np.e) + log(1.75))
    assert vf.gaussian_entropy(covariance).item() == pytest.approx(expected)
    several = covariance.expand(5, 4, 2, 2)
    assert vf.gaussian_entropy(several).flatten().tolist() == pytest.approx([expected] * 20)


def test_the_ends_of_the_range_of_labels() -> None:
    assert vf.label_entropy(torch.tensor([0, 2]), 3).item() == pytest.approx(log(2))
    with pytest.raises(DataError, match=r"0\.\.2\. Found 3\."):
        vf.label_entropy(torch.tensor([0, 3]), 3)
    with pytest.raises(DataError, match=r"lie in 0\. Found -1\."):
        vf.label_entropy(torch.tensor([-1, 3]))


@pytest.mark.parametrize("bad", [torch.tensor([], dtype=torch.long), torch.tensor([-1, 0]), torch.tensor([0, 3])])
def test_labels_outside_are_refused(bad: Tensor) -> None:
    with pytest.raises(DataError, match=r"needs at least one label|should lie in 0\.\.2"):
        vf.label_entropy(bad, 3)


def _table(seed: int, sizes: tuple[int, ...], classes: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(int(np.prod(sizes)) * classes, 0.7)).reshape(*sizes, classes)


def _exact_mi(table: np.ndarray, subset: tuple[int, ...]) -> float:
    """I(X_S; Y) = H(X_S) + H(Y) - H(X_S, Y)."""
    axes = tuple(k for k in range(table.ndim - 1) if k not in subset)
    pair = table.sum(axes).reshape(-1, table.shape[-1])

    def h(p: np.ndarray) -> float:
        p = p[p > 0]
        return float(-(p * np.log(p)).sum())

    return h(pair.sum(0)) + h(pair.sum(1)) - h(pair)


def _weighted(table: np.ndarray, subset: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Log-posteriors of every event under a subset ``(K, C)``, the event's own one, and its probability."""
    axes = tuple(k for k in range(table.ndim - 1) if k not in subset)
    marginal = table.sum(axes, keepdims=True)
    posterior = np.log(marginal / marginal.sum(-1, keepdims=True))
    full = torch.from_numpy(np.broadcast_to(posterior, table.shape).copy()).reshape(-1, table.shape[-1])
    logits = full.repeat_interleave(table.shape[-1], 0)
    y = torch.arange(table.shape[-1]).repeat(len(full))
    return logits, logits.gather(1, y[:, None])[:, 0], torch.from_numpy(table.reshape(-1).copy())


@pytest.mark.parametrize("sizes", [(2, 3), (3, 2, 2), (2, 2, 2, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_measures_equal_the_definitions_when_the_classifiers_are_right(seed: int, sizes: tuple[int, ...]) -> None:
    table = _table(seed, sizes, 3)
    names = tuple(range(len(sizes)))
    log_p = torch.from_numpy(np.log(table.sum(names)))[torch.arange(3).repeat(int(np.prod(sizes)))]
    whole_logits, whole, weight = _weighted(table, names)
    joint = _exact_mi(table, names)
    assert (weight @ vf.pointwise_mi(whole, log_p)).item() == pytest.approx(joint)
    for m in names:
        rest = tuple(k for k in names if k != m)
        rest_logits, without, _ = _weighted(table, rest)
        cmi = joint - _exact_mi(table, rest)
        assert (weight @ vf.pointwise_cmi(whole, without)).item() == pytest.approx(cmi)
        kl = vf.label_free_contribution(whole_logits, rest_logits, MultiClass(3))
        assert (weight @ kl).item() == pytest.approx(cmi)


def test_chain_rule_holds_sample_by_sample() -> None:
    g = torch.Generator().manual_seed(0)
    whole, without, log_p = torch.randn(3, 50, generator=g, dtype=torch.float64)
    torch.testing.assert_close(
        vf.pointwise_cmi(whole, without), vf.pointwise_mi(whole, log_p) - vf.pointwise_mi(without, log_p)
    )
    torch.testing.assert_close(vf.phi_cmi(whole, without), vf.phi_mi(whole, log_p) - vf.phi_mi(without, log_p))


def test_means_are_over_the_samples_of_every_classifier() -> None:
    several = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -9.0]])
    one = torch.tensor([-1.0, -1.0, -1.0])
    assert vf.phi_mi(several, one).tolist() == [-1, -5]
    assert vf.phi_cmi(one, several).tolist() == [1, 5]


def test_label_free_contribution_is_computed_in_float64() -> None:
    """Of two predictions that differ by 1e-4: float32 would lose their divergence in its rounding."""
    logits, without = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0001, 0.0]])
    p, change = torch.tensor(1.0).double().sigmoid(), without[0, 0].double() - 1
    expected = (p * (1 - p) * change.square() / 2).item()  # the leading term
    contribution = vf.label_free_contribution(logits, without, MultiClass(2))
    assert contribution.dtype == torch.float64
    assert contribution.item() == pytest.approx(expected, rel=1e-3)


def test_nothing_is_clamped_and_float32_is_promoted() -> None:
    bad, good = torch.tensor([-3.0, -4.0]), torch.tensor([-0.5, -0.7])
    assert vf.phi_mi(bad, good).item() < 0
    assert vf.phi_cmi(bad, good).item() < 0
    assert vf.phi_mi(bad, good).dtype == torch.float64
    assert vf.mi_lower_bound(0.5, 0.7) == pytest.approx(-0.2)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_co_information_of_copies_and_of_parity(count: int) -> None:
    """Copies: all I(Z_S; Y) = H, and the alternating sum of ones is 1. Parity: only the whole speaks."""
    names = "abcd"[:count]
    subsets = [s for k in range(1, count + 1) for s in combinations(names, k)]
    assert vf.co_information(dict.fromkeys(subsets, 1.0)) == pytest.approx(1.0)
    parity = {s: float(len(s) == count) for s in subsets}
    assert vf.co_information(parity) == pytest.approx((-1.0) ** (count + 1))


def test_co_information_equals_the_definition_for_three() -> None:
    """I(A; B; C; Y) = I(A; B; C) - I(A; B; C | Y), from entropies of a table."""
    table = _table(1, (2, 2, 2), 2)

    def h(axes: tuple[int, ...]) -> float:
        p = table.sum(tuple(k for k in range(4) if k not in axes)).reshape(-1)
        return float(-(p * np.log(p)).sum())

    truth = -sum((-1) ** sum(k) * h(tuple(np.flatnonzero(k))) for k in product((0, 1), repeat=4) if any(k))
    subsets = [s for k in (1, 2, 3) for s in combinations(range(3), k)]
    value = vf.co_information({tuple("abc"[k] for k in s): _exact_mi(table, s) for s in subsets})
    assert value == pytest.approx(truth)


def test_co_information_needs_every_subset() -> None:
    with pytest.raises(DataError, match=r"all 3 non-empty subsets\. Found 2"):
        vf.co_information({("a",): 0.1, ("b",): 0.2})
    with pytest.raises(DataError, match="non-empty subsets"):
        vf.co_information({})
    with pytest.raises(DataError, match="non-empty subsets"):  # as many as there should be, but one of them empty
        vf.co_information({(): 0.0, ("a",): 0.1, ("b",): 0.2})
    assert vf.co_information({("a",): 0.3}) == 0.3
