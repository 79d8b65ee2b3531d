"""The default estimator: informative inputs, uninformative inputs and refused ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.errors import ConfigError, DataError, NotFoundError
from counterpoise.valuation import Valuation, estimate
from counterpoise.valuation.inputs import prepare

Arrays = dict[str, np.ndarray]
LOG2 = float(np.log(2))


def _noisy(flip: float) -> float:
    """I(X; Y) of a fair bit and its copy flipped with probability ``flip``."""
    return LOG2 + flip * np.log(flip) + (1 - flip) * np.log(1 - flip)


def _bits(n: int, seed: int, kind: str, flip: float = 0.1) -> tuple[Arrays, np.ndarray]:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(2, size=(2, n))
    wrong = rng.random(n) < flip
    if kind == "redundant":
        return {"a": a, "b": a}, a ^ wrong
    return {"a": a, "b": b}, (a if kind == "unique" else a ^ b) ^ wrong


def _check(valuation: Valuation, name: str, truth: float, *, sigmas: float = 4.0) -> None:
    part, _, m = name.partition(":")
    e = valuation.joint_mi if not m and part == "mi" else getattr(valuation, part)[m]
    assert abs(e.value - truth) <= sigmas * e.se + 1e-3, f"{name}: {e} for {truth:.4f}"


@pytest.mark.parametrize(
    ("kind", "truths"),
    [
        ("redundant", {"mi": 1, "mi:a": 1, "mi:b": 1, "cmi:a": 0, "cmi:b": 0}),
        ("unique", {"mi": 1, "mi:a": 1, "mi:b": 0, "cmi:a": 1, "cmi:b": 0}),
        ("xor", {"mi": 1, "mi:a": 0, "mi:b": 0, "cmi:a": 1, "cmi:b": 1}),
    ],
)
@pytest.mark.parametrize("encode", ["plain", "noise"])
def test_bits(kind: str, truths: dict[str, int], encode: str) -> None:
    x, y = _bits(3000, 0, kind)
    if encode == "noise":  # one-hot, beside pure noise
        noise = np.random.default_rng(1).normal(size=(2, 3000, 3))
        x = {m: np.concatenate([np.eye(2)[v], noise[k]], 1) for k, (m, v) in enumerate(x.items())}
    valuation = estimate(x, y)
    for name, share in truths.items():
        _check(valuation, name, share * _noisy(0.1))
    sign = {"redundant": 1, "unique": 0, "xor": -1}[kind]
    assert valuation.co_information is not None
    assert valuation.co_information.value == pytest.approx(sign * _noisy(0.1), abs=0.04)


def _gaussians(n: int, seed: int) -> tuple[Arrays, np.ndarray, np.ndarray]:
    """Y, A, B with correlations .7 (A) and .5 (B), A and B independent."""
    cov = np.array([[1, 0, 0.7], [0, 1, 0.5], [0.7, 0.5, 1]])
    z = np.random.default_rng(seed).normal(size=(n, 3)) @ np.linalg.cholesky(cov).T
    return {"a": z[:, 0], "b": z[:, 1]}, z[:, 2], cov


def test_gaussian_regression_by_determinants() -> None:
    x, y, cov = _gaussians(4000, 0)
    valuation = estimate(x, y, task="regression")

    def mi(rows: list[int]) -> float:
        det = np.linalg.det
        return float(0.5 * np.log(det(cov[np.ix_(rows, rows)]) / det(cov[np.ix_([*rows, 2], [*rows, 2])])))

    _check(valuation, "mi", mi([0, 1]))
    _check(valuation, "mi:b", mi([1]))
    _check(valuation, "cmi:a", mi([0, 1]) - mi([1]))
    assert valuation.entropy == pytest.approx(0.5 * np.log(2 * np.pi * np.e), abs=0.05)


def test_classes_of_gaussians_by_quadrature() -> None:
    """Two classes at +-1 with unit variance: I = log 2 - E log(1 + exp(-2 y x))."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=4000)
    valuation = estimate({"a": rng.normal(size=4000) + 2 * y - 1, "b": rng.normal(size=(4000, 2))}, y)
    grid = np.linspace(-11, 13, 40001)
    density = np.exp(-((grid - 1) ** 2) / 2) / np.sqrt(2 * np.pi)
    truth = LOG2 - np.trapezoid(density * np.logaddexp(0, -2 * grid), grid)
    for name, value in {"mi": truth, "mi:a": truth, "cmi:a": truth, "mi:b": 0.0, "cmi:b": 0.0}.items():
        _check(valuation, name, value)
    assert valuation.joint_mi.value == pytest.approx(truth, abs=0.03)


def test_interaction_of_continuous_features_is_seen() -> None:
    """The label is whether two reals have the same sign: nothing alone, everything together."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3000))
    valuation = estimate({"a": a, "b": b}, (a * b > 0).astype(int))
    assert valuation.joint_mi.value > 0.9 * LOG2
    assert abs(valuation.mi["a"].value) < 0.01
    assert abs(valuation.mi["b"].value) < 0.01


def test_independent_modalities_are_worth_nothing() -> None:
    rng = np.random.default_rng(3)
    valuation = estimate({"a": rng.normal(size=(1000, 8)), "b": rng.integers(3, size=1000)}, rng.integers(4, size=1000))
    for e in (valuation.joint_mi, *valuation.mi.values(), *valuation.cmi.values()):
        assert abs(e.value) < 0.02
        assert e.low <= 0.005


def test_a_copy_is_worth_the_entropy() -> None:
    y = np.random.default_rng(0).choice(4, size=2000, p=[0.4, 0.3, 0.2, 0.1])
    valuation = estimate({"copy": y, "words": np.array(["w", "x", "y", "z"])[y]}, np.array(["p", "q", "r", "s"])[y])
    assert valuation.joint_mi.value == pytest.approx(valuation.entropy, rel=0.01)
    assert valuation.mi["words"].value == pytest.approx(valuation.entropy, rel=0.01)
    assert abs(valuation.cmi["copy"].value) < 0.005


def test_three_modalities_and_their_parity() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(2, size=(3, 1500))
    valuation = estimate(dict(zip("abc", bits, strict=True)), bits.sum(0) % 2)
    assert valuation.subsets["a", "b"].value == pytest.approx(0, abs=0.01)
    assert valuation.subsets["a", "b", "c"].value == pytest.approx(LOG2, abs=0.01)
    assert valuation.cmi["b"].value == pytest.approx(LOG2, abs=0.01)
    assert valuation.co_information is not None
    assert valuation.co_information.value == pytest.approx(LOG2, abs=0.02)


def test_five_modalities_leave_the_lattice_out() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=300)
    valuation = estimate({m: y if m == "a" else rng.integers(2, size=300) for m in "abcde"}, y)
    assert valuation.co_information is None
    assert valuation.cmi["a"].value == pytest.approx(LOG2, abs=0.02)
    assert len(valuation.subsets) == 11


def test_many_labels_add_up() -> None:
    rng = np.random.default_rng(0)
    a, b, noise = rng.integers(2, size=(3, 2000))
    valuation = estimate(
        {"a": np.stack([a, noise], 1), "b": b}, np.stack([a, b, rng.integers(2, size=2000)], 1), task="multilabel"
    )
    assert valuation.joint_mi.value == pytest.approx(2 * LOG2, abs=0.02)
    assert valuation.cmi["b"].value == pytest.approx(LOG2, abs=0.02)
    np.testing.assert_allclose(valuation.per_class["cmi:b"], [0, LOG2, 0], atol=0.02)


@pytest.fixture(scope="module")
def mixed() -> tuple[Arrays, np.ndarray, Valuation]:
    rng = np.random.default_rng(5)
    y = rng.integers(3, size=900)
    x = {"a": rng.normal(size=(900, 2)) + y[:, None], "b": (y + (rng.random(900) < 0.3)) % 3}
    return x, y, estimate(x, y)


def test_samples_and_classes_average_to_the_whole(mixed: tuple[Arrays, np.ndarray, Valuation]) -> None:
    _, y, valuation = mixed
    share = np.bincount(y) / len(y)
    for name in ("mi", "mi:a", "cmi:b"):
        assert valuation.per_class[name] @ share == pytest.approx(valuation.per_sample[name].mean())
    # The reported number carries the first-order correction, which is small here.
    assert valuation.per_sample["mi"].mean() == pytest.approx(valuation.joint_mi.value, abs=0.02)


def test_chain_rule(mixed: tuple[Arrays, np.ndarray, Valuation]) -> None:
    _, _, valuation = mixed
    assert valuation.mi["b"].value + valuation.cmi["a"].value == pytest.approx(valuation.joint_mi.value)
    assert valuation.mi["a"].value + valuation.cmi["b"].value == pytest.approx(valuation.joint_mi.value)


def test_label_free_contributions_average_to_the_conditional_information(
    mixed: tuple[Arrays, np.ndarray, Valuation],
) -> None:
    _, _, valuation = mixed
    for m in "ab":
        assert (valuation.per_sample[f"kl:{m}"] >= -1e-9).all()
        assert valuation.per_sample[f"kl:{m}"].mean() == pytest.approx(
            valuation.cmi[m].value, abs=4 * valuation.cmi[m].se
        )


def test_names_of_classes_and_order_of_modalities_do_not_matter(mixed: tuple[Arrays, np.ndarray, Valuation]) -> None:
    x, y, valuation = mixed
    renamed = estimate({"b": x["b"], "a": x["a"]}, np.array(["u", "v", "w"])[y])
    assert renamed.mi["a"].value == pytest.approx(valuation.mi["a"].value, abs=1e-4)
    assert renamed.joint_mi.value == pytest.approx(valuation.joint_mi.value, abs=5e-3)
    permuted = estimate(x, (y + 1) % 3)
    assert permuted.joint_mi.value == pytest.approx(valuation.joint_mi.value, abs=valuation.joint_mi.se)


def test_units_of_the_features_do_not_matter(mixed: tuple[Arrays, np.ndarray, Valuation]) -> None:
    x, y, valuation = mixed
    scaled = estimate({"a": torch.from_numpy(1000 * x["a"] - 7), "b": x["b"]}, torch.from_numpy(y))
    assert scaled.joint_mi.value == pytest.approx(valuation.joint_mi.value, abs=1e-3)


def test_the_seed_decides(mixed: tuple[Arrays, np.ndarray, Valuation]) -> None:
    x, y, valuation = mixed
    assert estimate(x, y) == valuation
    assert estimate(x, y, seed=1) != valuation


def test_processing_loses_information(mixed: tuple[Arrays, np.ndarray, Valuation]) -> None:
    x, y, valuation = mixed
    coarse = estimate({"a": (x["a"] > 1).astype(int), "b": x["b"]}, y)
    assert coarse.mi["a"].value < valuation.mi["a"].value + 2 * valuation.mi["a"].se


def test_groups_stay_together_and_count_in_the_errors() -> None:
    """Ten copies of every sample: the honest error is that of the hundred distinct ones."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=100)
    a = (y + (rng.random(100) < 0.2)) % 2
    rows = np.repeat(np.arange(100), 10)
    x = {"a": a[rows], "b": rng.integers(2, size=100)[rows]}
    naive, honest = estimate(x, y[rows]), estimate(x, y[rows], group=rows)
    distinct = estimate({m: v[::10] for m, v in x.items()}, y)
    assert honest.mi["a"].se > 2.5 * naive.mi["a"].se
    assert 0.8 < honest.mi["a"].se / distinct.mi["a"].se < 1.5
    fold = prepare(x, y[rows], group=rows).fold
    assert all(len(set(fold[rows == g])) == 1 for g in range(100))
    assert np.bincount(fold).tolist() == [200] * 5


def test_folds_are_stratified() -> None:
    y = np.repeat([0, 1, 2], [50, 25, 25])
    problem = prepare({"a": y, "b": y}, y)
    for k in range(5):
        assert np.bincount(problem.labels[problem.fold == k]).tolist() == [10, 5, 5]


def test_a_constant_modality_is_noted_and_worth_nothing() -> None:
    y = np.random.default_rng(0).integers(2, size=200)
    valuation = estimate({"a": y, "flat": np.ones((200, 3))}, y)
    assert valuation.mi["flat"].value == pytest.approx(0, abs=1e-3)
    assert any("`flat` is constant" in note for note in valuation.notes)


def test_a_class_rarer_than_the_folds_is_noted() -> None:
    y = np.repeat([0, 1, 2], [50, 48, 2])
    valuation = estimate({"a": y, "b": np.random.default_rng(0).normal(size=100)}, y)
    assert np.isfinite(valuation.joint_mi.value)
    assert any("1 of 3 classes" in note for note in valuation.notes)


Y = np.arange(40) % 2
GOOD = {"a": np.arange(40.0), "b": np.arange(40.0)[::-1].copy()}


@pytest.mark.parametrize(
    ("features", "target", "options", "message"),
    [
        ({"a": GOOD["a"]}, Y, {}, "at least two modalities. Found 1: a"),
        ({}, Y, {}, "at least two modalities. Found 0: none"),
        ({"a": np.zeros((0, 2)), "b": np.zeros((0, 1))}, Y[:0], {}, "needs samples"),
        ({"a": GOOD["a"], "b": np.zeros(39)}, Y, {}, "a: 40, b: 39, the labels: 40"),
        (GOOD, Y[:39], {}, "the labels: 39"),
        ({**GOOD, "b": np.where(np.arange(40) == 7, np.nan, 1.0)}, Y, {}, "`b` holds NaN or inf in 1 of 40 samples: 7"),
        (GOOD, np.zeros(40, dtype=int), {}, r"one class \(0\)"),
        (GOOD, np.arange(40), {"task": "multiclass"}, "40 classes need at least 80 samples"),
        (GOOD, Y, {"num_outputs": 41}, "41 classes need at least 82 samples"),
        (GOOD, Y + 1, {"num_outputs": 2}, r"in 0\.\.1. Found 2"),
        (GOOD, Y + 0.5, {"task": "multiclass"}, "Found fractions; choose task='regression'"),
        (GOOD, np.where(Y == 0, np.nan, 1.0), {}, "in 20 of 40 samples: 0, 2"),
        (GOOD, np.stack([Y, Y], 1), {"task": "multiclass"}, "choose task='multilabel'"),
        (GOOD, np.stack([Y, Y * 2], 1), {"task": "multilabel"}, "should be 0 or 1"),
        (GOOD, np.ones(40), {"task": "regression"}, "never changes"),
        (GOOD, np.where(Y == 0, np.inf, 1.0), {"task": "regression"}, "finite"),
        (GOOD, np.array(["x"] * 40), {"task": "regression"}, "should be numbers"),
        ({"a": np.arange(6.0), "b": np.arange(6.0)}, Y[:6], {}, "5 folds need at least 10 samples"),
        (GOOD, Y, {"group": np.arange(40) % 3}, "5 folds need at least 5 groups. Found 3"),
        (GOOD, Y, {"group": np.arange(4)}, r"shape \(40,\)"),
        ({**GOOD, "b": 3.0}, Y, {}, "Found a single number"),
    ],
)
def test_bad_input_is_refused(features: Any, target: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        estimate(features, target, **options)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="`folds`"):
        estimate(GOOD, Y, folds=1)
    with pytest.raises(ConfigError, match="`confidence`"):
        estimate(GOOD, Y, confidence=1.0)
    with pytest.raises(NotFoundError, match="Did you mean `variational`"):
        estimate(GOOD, Y, estimator="variatonal")


def test_infinities_of_both_signs_in_one_row_are_an_error_and_no_warning() -> None:
    x = np.zeros((40, 3))
    x[7] = np.inf, 0.0, -np.inf
    with pytest.raises(DataError, match=r"`a` holds NaN or inf in 1 of 40 samples: 7"):
        estimate({"a": x, "b": np.zeros(40)}, np.arange(40) % 2)
