"""The scikit-learn estimators pass scikit-learn's own checks, and do on tables what their documentation states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import counterpoise
from counterpoise import CounterpoiseClassifier, CounterpoiseRegressor
from counterpoise.errors import DataError, NotFoundError

EXCEPTIONS: dict[str, str] = {}
"""Checks that are expected to fail, with the reason."""


@parametrize_with_checks(
    [CounterpoiseClassifier(epochs=12, random_state=0), CounterpoiseRegressor(epochs=20, random_state=0)],
    expected_failed_checks=lambda estimator: EXCEPTIONS,
)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


GROUPS = {"table": ["age", "city"], "text": ["note"]}


def make_frame(n: int = 400, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """The text tells the class in nine of ten rows; numbers and categories are noise."""
    rng = np.random.default_rng(seed)
    k = rng.integers(0, 2, n)
    words = np.array([["calm", "quiet", "fine"], ["loud", "angry", "bad"]])
    note = [" ".join([*rng.choice(words[c if rng.random() < 0.9 else 1 - c], 2), f"w{rng.integers(500)}"]) for c in k]
    frame = pd.DataFrame({"city": rng.choice(list("ABC"), n), "age": rng.normal(50, 9, n), "note": note})
    return frame, np.array(["no", "yes"])[k]


@pytest.fixture(scope="module")
def fitted() -> CounterpoiseClassifier:
    return CounterpoiseClassifier(modalities=GROUPS, epochs=5, random_state=1).fit(*make_frame(1500))


def test_contributions_have_the_planted_order_and_intervals(fitted: CounterpoiseClassifier) -> None:
    table = fitted.contributions_
    assert list(table.columns) == ["mi", "mi_low", "mi_high", "cmi", "cmi_low", "cmi_high"]
    assert table.loc["text", "mi_low"] > table.loc["table", "mi_high"]
    assert table.loc["table", "mi_low"] <= 0.01
    new, _ = make_frame(50, 1)
    rows = fitted.contributions(new)
    assert list(rows.columns) == ["table", "text"]
    assert rows["text"].mean() > 3 * rows["table"].mean()
    assert rows.index.equals(new.index)


def test_probabilities_are_calibrated_and_accurate(fitted: CounterpoiseClassifier) -> None:
    X, y = make_frame(2000, 1)
    p = fitted.predict_proba(X)
    assert np.allclose(p.sum(1), 1)
    assert fitted.score(X, y) > 0.87
    fused = fitted._outputs(X).logits.softmax(1).numpy()
    assert log_loss(y, p) < min(0.325 + 0.1, log_loss(y, fused))  # 0.325 nats is the least: one row in ten is wrong
    assert abs(p.max(1).mean() - (fitted.predict(X) == y).mean()) < 0.05


def test_saved_and_loaded_predictions_are_equal(fitted: CounterpoiseClassifier, tmp_path: Any) -> None:
    X, _ = make_frame(100, 2)
    again = CounterpoiseClassifier.load(fitted.save(tmp_path / "model.npz"))
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert np.array_equal(again.predict(X), fitted.predict(X))
    assert again.get_params() == fitted.get_params()
    pd.testing.assert_frame_equal(again.contributions_, fitted.contributions_)
    with pytest.raises(DataError, match="CounterpoiseRegressor"):
        CounterpoiseRegressor.load(tmp_path / "model.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="a file that `save` wrote"):
        CounterpoiseClassifier.load(tmp_path / "other.npz")


@pytest.mark.parametrize("method", ["arm", "ogm-ge", "umt"])
def test_methods_train_and_survive_saving(method: str, tmp_path: Any) -> None:
    X, y = make_frame(200)
    model = CounterpoiseClassifier(method, modalities=GROUPS, epochs=3, random_state=0)
    if method == "umt":
        with pytest.raises(DataError, match="unimodal-ensemble"):
            model.fit(X, y)
        return
    model.fit(X, y)
    again = CounterpoiseClassifier.load(model.save(tmp_path / "model.npz"))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


def test_missing_cells_and_new_categories_are_allowed(fitted: CounterpoiseClassifier) -> None:
    X, y = make_frame(200)
    X.loc[::3, "age"], X.loc[::4, "city"], X.loc[::5, "note"] = np.nan, None, None
    model = CounterpoiseClassifier(modalities=GROUPS, epochs=2, random_state=0).fit(X, y)
    new = X.assign(city="Z", age=np.nan, note="word that was never seen")
    assert np.isfinite(model.predict_proba(new)).all()
    assert np.isfinite(fitted.predict_proba(new)).all()


def test_kinds_of_columns_make_modalities_by_default(tmp_path: Any) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    paths = []
    for k, bright in enumerate(y):
        pixels = rng.integers(0, 100, (8, 8, 3)) + 100 * bright
        paths.append(str(tmp_path / f"{k}.png"))
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    X = pd.DataFrame({"photo": paths, "size": rng.normal(size=60), "words": [f"text {rng.integers(900)}" for _ in y]})
    model = CounterpoiseClassifier(epochs=8, random_state=0).fit(X, y)
    assert set(model.modalities_) == {"photo", "table", "text"}
    assert model.score(X, y) > 0.9
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="cannot be read"):
        model.predict(X)


def test_the_regressor_predicts_in_the_unit_of_the_target() -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=500), "b": rng.normal(size=500)})
    y = 1000 + 50 * X["a"] + rng.normal(size=500)
    model = CounterpoiseRegressor(modalities={"a": ["a"], "b": ["b"]}, epochs=30, random_state=0).fit(X[:400], y[:400])
    assert model.score(X[400:], y[400:]) > 0.95
    assert model.contributions_.loc["a", "mi"] > 1 > model.contributions_.loc["b", "mi_high"]


def test_it_works_in_pipelines_and_searches() -> None:
    X, y = make_frame(120)
    model = CounterpoiseClassifier(modalities=GROUPS, epochs=2, random_state=0)
    pipeline = make_pipeline(FunctionTransformer(), model)
    assert len(cross_val_score(pipeline, X, y, cv=2)) == 2
    search = GridSearchCV(model, {"width": [4, 8]}, cv=2).fit(X, y)
    assert search.best_params_["width"] in (4, 8)
    assert clone(search.best_estimator_).get_params() == search.best_estimator_.get_params()


def test_a_fitted_estimator_is_diagnosed(fitted: CounterpoiseClassifier) -> None:
    X, y = make_frame(300, 3)
    found = counterpoise.diagnose(fitted, X, y, modalities=GROUPS, estimator="variational-linear", damage=False)
    assert found.findings["text"].verdict == "balanced"
    assert found.findings["table"].verdict == "uninformative"


def test_tables_that_cannot_be_read_are_refused() -> None:
    X, y = make_frame(60)
    with pytest.raises(NotFoundError, match="salary"):
        CounterpoiseClassifier(modalities={"a": ["salary"], "b": ["note"]}).fit(X, y)
    with pytest.raises(DataError, match="one modality"):
        CounterpoiseClassifier(modalities={"a": ["age", "note"], "b": ["note"]}).fit(X, y)
    with pytest.raises(DataError, match="dates"):
        CounterpoiseClassifier().fit(X.assign(when=pd.Timestamp("2020-01-01")), y)
    with pytest.raises(DataError, match="one class"):
        CounterpoiseClassifier().fit(X, ["no"] * 60)
