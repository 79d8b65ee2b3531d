"""Groups of very different sizes: an estimate near the truth, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest

from counterpoise.errors import DataError
from counterpoise.valuation import estimate

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
    assert abs(value - plain) < 0.25


@pytest.mark.parametrize("folds", [0, 1, 2.5, "5", None, True])
def test_folds_of_another_type_are_refused(folds: object) -> None:
    with pytest.raises(ValueError, match="folds"):
        estimate(FEATURES, Y, folds=folds)  # type: ignore[arg-type]


@pytest.mark.parametrize("features", [None, [FEATURES["a"]], FEATURES["a"], {0: FEATURES["a"], 1: FEATURES["b"]}])
def test_features_that_are_no_mapping_of_names_are_refused(features: object) -> None:
    with pytest.raises(DataError, match="The features should"):
        estimate(features, Y)  # type: ignore[arg-type]
