"""Groups of any sizes: they widen the interval, and shift no value where the samples of a group are independent."""

from __future__ import annotations

import numpy as np
import pytest

from counterpoise.errors import DataError
from counterpoise.valuation import estimate
from counterpoise.valuation.groups import design_effect, effective_groups, variance_of_mean

RNG = np.random.default_rng(0)
N = 200
Y = RNG.integers(2, size=N)
FEATURES = {"a": RNG.normal(size=(N, 2)) + 2 * Y[:, None], "b": RNG.normal(size=(N, 2))}
K = np.arange(N)


@pytest.mark.parametrize(
    "group",
    [np.where(K % 2, -1, K), np.where(K % 3, -1, K), K // 60],
    ids=["half", "two thirds", "four groups"],
)
def test_one_large_group(group: np.ndarray) -> None:
    if len(np.unique(group)) < 5:
        with pytest.raises(DataError, match="groups"):
            estimate(FEATURES, Y, group=group)
        return
    value = estimate(FEATURES, Y, group=group, estimator="variational-linear").joint_mi.value
    plain = estimate(FEATURES, Y, estimator="variational-linear").joint_mi.value
    assert abs(value - plain) < 0.15


GROUPS = {
    "2 x 100": K // 100,
    "5 x 40": K // 40,
    "20 x 10": K // 10,
    "8 of 10 to 60": np.repeat(np.arange(8), [60, 40, 30, 20, 20, 10, 10, 10]),
    "half in one": np.where(K < 100, -1, K),
    "nine tenths in one": np.where(K < 180, -1, K),
    "singletons": K,
}


def two_gaussians(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, float]:
    """Return two classes at +-1.5 with unit variance, and their information log 2 - E log(1 + exp(-3 x))."""
    r = np.random.default_rng(seed)
    y = r.integers(2, size=N)
    grid = np.linspace(-11, 13, 20001)
    density = np.exp(-((grid - 1.5) ** 2) / 2) / np.sqrt(2 * np.pi)
    truth = np.log(2) - np.trapezoid(density * np.logaddexp(0, -3 * grid), grid)
    return {"a": r.normal(size=(N, 2)) + np.stack([3 * y - 1.5, 0 * y], 1), "b": r.normal(size=(N, 3))}, y, truth


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", GROUPS)
def test_groups_that_carry_nothing_do_not_shift_the_value(name: str, seed: int) -> None:
    features, y, truth = two_gaussians(seed)
    group = GROUPS[name]
    if name == "2 x 100":
        with pytest.raises(DataError, match="at least 5 groups"):
            estimate(features, y, group=group)
        group = np.where(K < 10, 2, group)  # three groups are the fewest that are not refused
    valuation = estimate(features, y, group=group, seed=seed, folds=min(5, len(np.unique(group))))
    few = name in ("2 x 100", "half in one", "nine tenths in one")
    assert ("mi" in valuation.too_few_samples) == few
    assert any("too few groups" in note for note in valuation.notes) == few
    assert valuation.joint_mi.low < truth < valuation.joint_mi.high
    if not few:
        plain = estimate(features, y, seed=seed).joint_mi.value
        assert abs(valuation.joint_mi.value - plain) < 2 * valuation.joint_mi.se


@pytest.mark.parametrize("task", ["weak", "wide", "four classes", "regression", "nothing"])
@pytest.mark.parametrize("name", ["5 x 40", "8 of 10 to 60"])
def test_five_groups_are_enough_for_independent_samples(task: str, name: str) -> None:
    r = np.random.default_rng(1)
    y = r.integers(4 if task == "four classes" else 2, size=N)
    a, b = r.normal(size=(N, 30 if task == "wide" else 3)), r.normal(size=(N, 3))
    if task == "regression":
        y = a[:, 0] + 0.7 * r.normal(size=N)
    elif task != "nothing":
        a = a + {"weak": 0.5, "wide": 0.3, "four classes": 1.0}[task] * (y[:, None] - y.mean())
    plain = estimate({"a": a, "b": b}, y).joint_mi
    grouped = estimate({"a": a, "b": b}, y, group=GROUPS[name]).joint_mi
    assert abs(grouped.value - plain.value) < 2 * grouped.se
    assert grouped.high - grouped.low > 0.8 * (plain.high - plain.low)


def test_variances_of_unequal_groups_are_not_biased() -> None:
    """Independent samples: the mean of the estimated variances is at least 1 / N whatever the groups are."""
    values = np.random.default_rng(0).normal(size=(400, N))
    for group in (GROUPS["5 x 40"], GROUPS["nine tenths in one"] + 1, K):
        codes = np.unique(group, return_inverse=True)[1]
        variances = [variance_of_mean(v, codes) for v in values]
        assert 0.99 < N * np.mean(variances) < 1.6  # never below that of independent samples
    assert N * variance_of_mean(np.repeat(values[0, :5], 40), K // 40) == pytest.approx(
        40 * values[0, :5].var(ddof=1), rel=1e-9
    )
    assert design_effect(np.repeat(values[0, :5], 40), K // 40) == pytest.approx(40)
    assert np.isinf(variance_of_mean(values[0], 0 * K))
    assert effective_groups(K // 40) == pytest.approx(5)


@pytest.mark.parametrize("folds", [0, 1, 2.5, "5", None, True])
def test_folds_of_another_type_are_refused(folds: object) -> None:
    with pytest.raises(ValueError, match="folds"):
        estimate(FEATURES, Y, folds=folds)  # type: ignore[arg-type]


@pytest.mark.parametrize("features", [None, [FEATURES["a"]], FEATURES["a"], {0: FEATURES["a"], 1: FEATURES["b"]}])
def test_features_that_are_no_mapping_of_names_are_refused(features: object) -> None:
    with pytest.raises(DataError, match="The features should"):
        estimate(features, Y)  # type: ignore[arg-type]
