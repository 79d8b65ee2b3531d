"""Features, labels and tasks from every kind of array and table."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from counterpoise._arrays import as_labels, as_matrix, check_index, find_copies, guess_task
from counterpoise.errors import DataError

X = np.random.default_rng(0).integers(-3, 4, size=(40, 3)).astype(float)


@pytest.mark.parametrize(
    "value",
    [
        X.astype(np.float32),
        X.astype(np.int16),
        (X + 5).astype(np.uint16) - np.float64(5),
        X[:, ::-1][:, ::-1],
        np.asfortranarray(X),
        X.astype(object),
        np.array([[Decimal(int(v)) for v in row] for row in X], dtype=object),
        np.ma.masked_array(X, mask=np.zeros_like(X, dtype=bool)),
        X.tolist(),
        pd.DataFrame(X),
        pd.DataFrame(X).astype("Float64"),
        pd.DataFrame(X).convert_dtypes(),
        pd.DataFrame(X).astype(object),
        scipy.sparse.csr_matrix(X),
        torch.tensor(X),
        torch.tensor(X).bfloat16(),
        torch.tensor(X).half(),
        torch.tensor(X).to_sparse(),
        torch.tensor(X).requires_grad_(),
        X.reshape(40, 3, 1),
    ],
    ids=lambda v: f"{type(v).__name__}-{getattr(v, 'dtype', '')}",
)
def test_numbers_stay_numbers(value: Any) -> None:
    matrix = as_matrix("a", value)
    assert matrix.dtype in (np.float32, np.float64)
    np.testing.assert_array_equal(matrix, X)


def test_columns_of_a_table_keep_their_types() -> None:
    frame = pd.DataFrame(
        {
            "colour": ["red", "green"] * 20,
            "age": np.arange(40.0),
            "when": pd.date_range("2020-01-01", periods=40, freq="D"),
            "member": [True, False] * 20,
            "level": pd.Categorical([1, 2, 3, 1] * 10),
        }
    )
    matrix = as_matrix("table", frame)
    assert matrix.shape == (40, 2 + 1 + 1 + 1 + 3)
    np.testing.assert_array_equal(matrix[:, 2], np.arange(40.0))
    np.testing.assert_array_equal(np.diff(matrix[:, 3]), 86400.0)
    np.testing.assert_array_equal(matrix[:, :2].sum(1), 1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.where(X == 3, np.nan, X), "NaN or inf in"),
        (np.where(X == 3, np.inf, X), "NaN or inf in"),
        (np.ma.masked_array(X, mask=X == 3), "missing"),
        (pd.DataFrame(X).astype("Int64").mask(X == 3), "column `0`"),
        (pd.Series(["x", None] * 20), "missing"),
        (X.astype(complex), "complex"),
        (pd.Series([f"text {k}" for k in range(40)]), "40 different texts"),
        (np.array([1.0, "x"] * 20, dtype=object), "only numbers or only texts"),
        (3.0, "single number"),
    ],
)
def test_what_cannot_be_kept_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_matrix("a", value)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["x", None] * 20, dtype=object),
        np.array(["x", float("nan")] * 20, dtype=object),
        pd.Series(["x", pd.NA] * 20, dtype="string"),
        pd.Series([1, None] * 20, dtype="Int64"),
        np.array([1.0, np.nan] * 20),
        np.array(["2020-01-01", "NaT"] * 20, dtype="datetime64[D]"),
    ],
    ids=str,
)
def test_missing_labels_are_refused_with_their_rows(labels: Any) -> None:
    with pytest.raises(DataError, match="20 of 40 samples: 1, 3"):
        as_labels(labels)


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (["yes", "no"], "multiclass"),
        ([True, False], "multiclass"),
        (pd.Categorical(["a", "b"]), "multiclass"),
        ([-1, 1], "multiclass"),
        ([0.0, 1.0, 2.0], "multiclass"),
        (np.arange(60).repeat(10), "multiclass"),
        (np.arange(1, 101).repeat(5), "multiclass"),
        ([0.5, 1.0], "regression"),
        (np.random.default_rng(0).integers(18, 80, size=300), "regression"),
        (np.random.default_rng(0).integers(1, 400, size=442).astype(float), "regression"),
        (np.eye(3), "multilabel"),
        (np.eye(3, dtype=int), "multilabel"),
        ([[0, 1], [1, 1]], "multilabel"),
        ([[0, 2], [1, 1]], "regression"),
        ([[0.5], [1.0]], "regression"),
    ],
    ids=str,
)
def test_one_rule_guesses_the_task(labels: Any, task: str) -> None:
    assert guess_task(labels).task == task


def test_doubtful_guesses_are_noted() -> None:
    assert guess_task(np.eye(3)).notes
    assert guess_task(np.arange(100)).notes
    assert guess_task([0.0, 1.0]).notes
    assert not guess_task([0, 1]).notes


def test_indexes_must_agree() -> None:
    frame = pd.DataFrame({"a": np.arange(5.0)})
    check_index({"a": frame["a"], "b": frame, "c": np.arange(5)})
    with pytest.raises(DataError, match="another order"):
        check_index({"a": frame["a"], "b": frame["a"].sample(frac=1, random_state=0)})
    with pytest.raises(DataError, match="different rows"):
        check_index({"a": frame["a"], "b": frame["a"].set_axis(range(5, 10))})


R = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("arrays", "copies"),
    [
        ([R.normal(size=(100, 2)), R.normal(size=(100, 1))], False),
        ([np.repeat(R.normal(size=(100, 2)), 5, 0)], True),
        ([np.repeat(R.normal(size=(100, 2)), [9] * 20 + [1] * 80, 0)], True),
        ([np.repeat(R.normal(size=(100, 2)), [2] + [1] * 99, 0)], True),
        ([np.repeat(R.integers(256, size=(100, 64)), 3, 0)], True),
        ([np.repeat(np.c_[R.normal(size=100), R.integers(2, size=100)], 2, 0)], True),
        ([R.integers(4, size=(300, 1)), R.integers(4, size=(300, 1))], False),
        ([R.integers(9, size=(300, 1)), R.integers(9, size=(300, 1))], False),
        ([np.eye(12)[R.integers(12, size=400)], np.eye(12)[R.integers(12, size=400)]], False),
        ([R.integers(2, size=(500, 8))], False),
        ([(c := R.integers(40, size=(600, 1))), (c + (R.random((600, 1)) < 0.2)) % 40], False),
    ],
)
def test_copies_are_found_and_discrete_data_are_none(arrays: list[np.ndarray], copies: bool) -> None:
    numbers = find_copies([a.astype(float) for a in arrays])
    assert (numbers is not None) == copies
    if numbers is not None:
        whole = np.concatenate(arrays, 1)
        for k in np.unique(numbers)[:10]:
            assert (whole[numbers == k] == whole[numbers == k][0]).all()
        assert numbers.max() + 1 == len(np.unique(whole, axis=0))


@pytest.mark.parametrize("repeats", [1, 2])
def test_rows_without_values_are_no_copies(repeats: int) -> None:
    """Missing numbers that were filled with the mean, beside a column of few words."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    x[:150] = x[150:].mean(0)
    x = np.repeat(np.c_[x, rng.integers(4, size=400)], repeats, 0)
    copies = find_copies([x[:, :2], x[:, 2:]])
    if repeats == 1:
        assert copies is None
    else:
        assert len(np.unique(copies[: 150 * repeats])) == 150 * repeats
        assert len(np.unique(copies[150 * repeats :])) == 250


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("filled", [0.06, 0.3, 0.8])
def test_placeholders_are_no_copies_at_any_share_scale_and_order(filled: float, seed: int) -> None:
    """Filled rows are placeholders above a share of 5 %, and real copies among the other rows are still found."""
    rng = np.random.default_rng(seed)
    n = 600
    x = rng.normal(size=(n, 3)) * 10.0 ** rng.integers(-3, 4, size=3)
    rows = rng.permutation(n)[: int(filled * n)]
    x[rows] = [0.0, -1.0, x[:, 2].mean()]
    assert find_copies([x]) is None
    others = np.setdiff1d(np.arange(n), rows)
    x[others[:30]] = x[others[30:60]]  # thirty pairs
    order = rng.permutation(n)
    for arrays, place in (([x], np.arange(n)), ([x[:, :1], x[:, 1:]], np.arange(n)), ([x[order] * 7 + 1], order)):
        copies = find_copies(arrays)
        assert copies is not None
        at = np.argsort(place)
        assert (copies[at[others[:30]]] == copies[at[others[30:60]]]).all()
        assert len(np.unique(copies)) == n - 30


@pytest.mark.parametrize("times", [2, 5, 12])
@pytest.mark.parametrize("seed", range(3))
def test_rows_that_are_all_copied_are_copies_however_often(times: int, seed: int) -> None:
    """Every value is as frequent as the median one, so that none is a placeholder."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 4))
    order = rng.permutation(40 * times)
    copies = find_copies([np.repeat(x, times, 0)[order]])
    assert copies is not None
    assert (np.bincount(copies) == times).all()
    assert copies[0] == 0  # numbered by their first row
    assert (np.diff(np.unique(copies, return_index=True)[1]) > 0).all()


@pytest.mark.parametrize(("share", "is_copy"), [(0.03, True), (0.07, False)])
def test_one_row_that_is_repeated_is_a_placeholder_above_five_per_cent(share: float, is_copy: bool) -> None:
    x = np.random.default_rng(0).normal(size=(1000, 2))
    x[: int(1000 * share)] = x[0]
    assert (find_copies([x]) is not None) == is_copy
