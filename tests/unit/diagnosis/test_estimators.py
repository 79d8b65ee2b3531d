"""Fitted scikit-learn estimators on tables with gaps: what they use, and what is said where they cannot predict."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from counterpoise.diagnosis import diagnose
from counterpoise.errors import DataError, ModelError, NotFoundError

MODALITIES = {"words": ["city", "plan"], "numbers": ["age"]}


def pipeline() -> Pipeline:
    encoder = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(ColumnTransformer([("words", encoder, ["city", "plan"])]), LogisticRegression())


@pytest.fixture
def table() -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=400)
    city = np.where(y == 1, "A", rng.choice(["A", "B"], 400)).astype(object)
    frame = pd.DataFrame(
        {"city": city, "plan": pd.Categorical(rng.choice(["x", "y"], 400)), "age": y + rng.normal(size=400)}
    )
    frame.loc[rng.random(400) < 0.2, "city"] = None
    frame.loc[rng.random(400) < 0.2, "plan"] = None
    frame.index = [f"case {k}" for k in rng.permutation(400)]
    return frame, pd.Series(np.array(["no", "yes"])[y], frame.index)


def test_missing_words_are_taken_and_labels_are_aligned(table: tuple[pd.DataFrame, pd.Series]) -> None:
    X, y = table
    fitted = pipeline().fit(X, y)
    result = diagnose(fitted, X, y, modalities=MODALITIES, damage=False)
    assert result.findings["words"].verdict == "balanced"
    assert result.findings["numbers"].verdict == "under-trained"  # the pipeline drops the column
    assert result.to_pandas().set_index("modality")["used"]["numbers"] == 0
    shuffled = diagnose(fitted, X, y.sample(frac=1, random_state=1), modalities=MODALITIES, damage=False)
    pd.testing.assert_frame_equal(shuffled.to_pandas(), result.to_pandas())


def test_an_estimator_that_cannot_predict_is_named(table: tuple[pd.DataFrame, pd.Series]) -> None:
    X, y = table
    with pytest.raises(ModelError, match=r"`Pipeline` cannot predict for the first rows.* not fitted"):
        diagnose(pipeline(), X, y, modalities=MODALITIES)
    with pytest.raises(ModelError, match=r"`Pipeline` cannot predict for the first rows.* missing: .*city"):
        diagnose(pipeline().fit(X, y), X.drop(columns="city"), y, modalities={"a": ["plan"], "b": ["age"]})


def test_targets_that_cannot_be_written_to_give_no_warning() -> None:
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 2)), columns=["a", "b"])
    y = (X["a"] + X["b"]).to_numpy()
    y.flags.writeable = False
    model = HistGradientBoostingRegressor(max_iter=20).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = diagnose(model, X, y, modalities={"a": ["a"], "b": ["b"]}, damage=False)
    assert not y.flags.writeable
    assert list(result.to_pandas()["modality"].dropna().unique()) == ["a", "b"]


def test_training_samples_are_a_table_and_its_labels() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=400)
    noise = [f"noise {k}" for k in range(150)]
    X = pd.DataFrame(rng.normal(size=(400, 151)), columns=["a", *noise]).assign(y=y)
    X["a"] += y
    train, test = X.iloc[::2], X.iloc[1::2]
    names, columns = {"a": ["a"], "noise": noise}, ["a", *noise]
    model = LogisticRegression(C=100, max_iter=1000).fit(train[columns], train["y"])
    given: dict[str, Any] = {"modalities": names, "damage": False}
    results = [
        diagnose(model, test[columns], test["y"], train=(train[columns], train["y"]), **given),
        diagnose(model, test, "y", train=train, **given),
        diagnose(model, test[columns], test["y"], train=(train[columns[::-1]], train["y"].iloc[::-1]), **given),
    ]
    arrays = LogisticRegression(C=100, max_iter=1000).fit(train[columns].to_numpy(), train["y"])
    given["modalities"] = {"a": [0], "noise": range(1, 151)}
    x, seen = test[columns].to_numpy(), train[columns].to_numpy()
    results.append(diagnose(arrays, x, test["y"].to_numpy(), train=(seen, train["y"].to_numpy()), **given))
    for result in results:
        assert result.findings["noise"].verdict == "overfitting"
        pd.testing.assert_frame_equal(result.to_pandas(), results[0].to_pandas())
    with pytest.raises(DataError, match="train="):
        diagnose(model, test[columns], test["y"], train=train[columns], modalities=names)


class Two(torch.nn.Module):
    """Log-odds of the class: 2 age - 1, and nothing of the rest."""

    def forward(self, rest: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        assert rest.dtype == numbers.dtype == torch.float32
        assert rest.shape[1:] == (2,)
        assert numbers.shape[1:] == (1,)
        return torch.cat([torch.zeros_like(numbers), 2 * numbers - 1], 1)


def numeric_table() -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=300)
    frame = pd.DataFrame(
        {
            "count": pd.array(rng.integers(9, size=300), "Int64"),
            "age": y + rng.normal(size=300),
            "flag": pd.array(rng.random(300) < 0.5, "boolean"),
        },
        index=rng.permutation(300),
    )
    return frame, pd.Series(np.array(["no", "yes"])[y], frame.index)


COLUMNS = {"rest": ["flag", "count"], "numbers": ["age"]}


def test_a_torch_module_gets_numbers_of_a_table_in_the_order_of_the_columns() -> None:
    X, y = numeric_table()
    kept: list[torch.Tensor] = []

    class Keeps(Two):
        def forward(self, rest: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
            kept.append(rest)
            return super().forward(rest, numbers)

    result = diagnose(Keeps(), X, y.sample(frac=1, random_state=3), modalities=COLUMNS, train=(X, y), damage=False)
    assert torch.equal(kept[0], torch.tensor(X[["flag", "count"]].astype(float).to_numpy()[:256], dtype=torch.float32))
    loader = [
        ({m: torch.tensor(X[c].astype(float).to_numpy(), dtype=torch.float32) for m, c in COLUMNS.items()}, y.tolist())
    ]
    same = diagnose(Two(), loader, train=loader, damage=False)
    assert result.to_pandas().equals(same.to_pandas())
    assert result.findings["rest"].verdict == "uninformative"
    named = diagnose(Two(), X.assign(ill=y), "ill", modalities=COLUMNS, damage=False)
    by_option = diagnose(Two(), X.assign(ill=y), label="ill", modalities=COLUMNS, damage=False)
    assert named.to_pandas().equals(by_option.to_pandas())
    arrays = diagnose(
        Two(), X.astype(float).to_numpy(), y.to_numpy(), modalities={"rest": [2, 0], "numbers": [1]}, damage=False
    )
    assert arrays.to_pandas().equals(named.to_pandas())

    def plain(rest: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        return np.concatenate([0 * numbers, 2 * numbers - 1], 1)

    function = diagnose(plain, X, y, modalities=COLUMNS, damage=False)
    assert function.joint_realised.value == pytest.approx(named.joint_realised.value, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flag": ["a", "b", "c"] * 100}, r"takes numbers.*`flag`"),
        ({"flag": pd.Categorical([1, 2, 3] * 100)}, r"takes numbers.*`flag` \(category\)"),
        ({"flag": pd.date_range("2026-01-01", periods=300)}, r"takes numbers.*`flag` \(datetime64"),
        ({"flag": pd.array([None, True, False] * 100, "boolean")}, r"empty cells in `flag` \(100 of 300\)"),
        ({"flag": [None, 1, 2.5] * 100, "age": np.nan}, r"empty cells in `flag` .*, `age`"),
    ],
)
def test_columns_that_a_torch_module_cannot_take_are_named(change: dict[str, Any], message: str) -> None:
    X, y = numeric_table()
    with pytest.raises(DataError, match=message):
        diagnose(Two(), X.assign(**change), y, modalities=COLUMNS)


def test_labels_besides_a_loader_are_refused() -> None:
    X, y = numeric_table()
    with pytest.raises(DataError, match="yield the labels with the batches"):
        diagnose(Two(), [({}, y)], y, modalities=COLUMNS)
    with pytest.raises(DataError, match="needs labels"):
        diagnose(Two(), X, modalities=COLUMNS)
    with pytest.raises(NotFoundError, match="no column `il`"):
        diagnose(Two(), X, "il", modalities=COLUMNS)
