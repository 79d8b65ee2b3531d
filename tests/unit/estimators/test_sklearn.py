"""The scikit-learn estimators pass scikit-learn's own checks, and do on tables what their documentation states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from safetensors.numpy import save_file
from scipy.io import wavfile
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
    again = CounterpoiseClassifier.load(fitted.save(tmp_path / "model.safetensors"))
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert np.array_equal(again.predict(X), fitted.predict(X))
    assert again.get_params() == fitted.get_params()
    pd.testing.assert_frame_equal(again.contributions_, fitted.contributions_)
    with pytest.raises(DataError, match="CounterpoiseRegressor"):
        CounterpoiseRegressor.load(tmp_path / "model.safetensors")
    saved = (tmp_path / "model.safetensors").read_bytes()
    save_file({"x": np.zeros(3)}, tmp_path / "other")
    for content in (b"", b"no header", saved[:200], saved[:-10], (tmp_path / "other").read_bytes()):
        (tmp_path / "damaged").write_bytes(content)
        with pytest.raises(DataError, match="a file that `save` wrote"):
            CounterpoiseClassifier.load(tmp_path / "damaged")
    with pytest.raises(NotFoundError, match="no file"):
        CounterpoiseClassifier.load(tmp_path / "absent")


@pytest.mark.parametrize("method", ["arm", "ogm-ge", "umt"])
def test_methods_train_and_survive_saving(method: str, tmp_path: Any) -> None:
    X, y = make_frame(200)
    model = CounterpoiseClassifier(method, modalities=GROUPS, epochs=3, random_state=0)
    if method == "umt":
        with pytest.raises(DataError, match="unimodal-ensemble"):
            model.fit(X, y)
        return
    model.fit(X, y)
    again = CounterpoiseClassifier.load(model.save(tmp_path / "model.safetensors"))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


def test_long_calls_show_their_progress_and_verbose_0_never_does(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from counterpoise.diagnosis import _progress

    monkeypatch.setattr(_progress, "DELAY", 0.0)
    monkeypatch.setattr(_progress, "PAUSE", 0.0)
    X, y = make_frame(120)

    def lines(verbose: int | None) -> list[str]:
        model = CounterpoiseClassifier(modalities=GROUPS, epochs=2, random_state=0, verbose=verbose)
        model.fit(X, y).predict(X)
        return [line.removeprefix("counterpoise: ") for line in capsys.readouterr().err.splitlines()]

    shown = ["reading `age`", "reading `city`", "reading `note`"]
    assert lines(1) == [*shown, "epoch 1 of 2", "epoch 2 of 2", "calibration", *shown, "predictions"]
    assert lines(0) == lines(None) == []  # standard error is a file here
    outputs = []
    monkeypatch.setattr(_progress, "Console", lambda **_: Console(force_jupyter=True))
    monkeypatch.setattr(_progress._Notebook, "update", lambda self, text: outputs.append(text))
    assert lines(None) == lines(0) == []
    assert len(outputs) == 10


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


def test_sounds_stand_beside_pictures_and_numbers(tmp_path: Any) -> None:
    pytest.importorskip("av")
    rng = np.random.default_rng(0)
    y, paths, photos = rng.integers(0, 2, 100), [], []
    for k, high in enumerate(y):
        tone = np.sin(2 * np.pi * (300 + 2000 * high) * np.arange(8000) / 16000) + 0.1 * rng.normal(size=8000)
        wavfile.write(tmp_path / f"{k}.wav", 16000, (8000 * tone).astype(np.int16))
        Image.fromarray(rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(tmp_path / f"{k}.png")
        paths.append(str(tmp_path / f"{k}.wav"))
        photos.append(str(tmp_path / f"{k}.png"))
    X = pd.DataFrame({"cry": paths, "photo": photos, "size": rng.normal(size=100)})
    X.loc[5, "cry"] = None
    model = CounterpoiseClassifier(epochs=25, random_state=0).fit(X, y)
    assert set(model.modalities_) == {"cry", "photo", "table"}
    assert model.score(X, y) > 0.9
    change = model.contributions(X)[["cry", "photo"]].abs().mean()
    assert change["cry"] > change["photo"]
    again = CounterpoiseClassifier.load(model.save(tmp_path / "model"))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    with pytest.raises(DataError, match="modalities of their own"):
        CounterpoiseClassifier(modalities={"a": ["cry", "size"], "b": ["photo"]}).fit(X, y)
    (tmp_path / "0.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match="cannot be read"):
        model.predict(X)


def test_typed_columns_of_a_parquet_file_and_an_index_of_its_own(tmp_path: Any) -> None:
    pytest.importorskip("pyarrow")
    X, y = make_frame(300)
    X = X.assign(
        flag=pd.array(np.where(np.arange(300) % 7 == 0, None, np.arange(300) % 2 == 0), dtype="boolean"),
        count=pd.array([None if k % 5 == 0 else k % 9 for k in range(300)], dtype="Int64"),
        grade=pd.Categorical(np.array(list("XYZ"))[np.arange(300) % 3]),
    ).set_index(pd.Index(range(1000, 1300), name="person"))
    X.to_parquet(tmp_path / "table.parquet")
    read = pd.read_parquet(tmp_path / "table.parquet")
    first, second = (
        CounterpoiseClassifier(epochs=3, random_state=0).fit(frame, y).predict_proba(frame) for frame in (X, read)
    )
    assert np.isfinite(first).all()
    assert np.array_equal(first, second)


def test_calibration_lowers_the_error_of_overconfident_probabilities() -> None:
    """Noisy labels and many epochs make the fused head too sure; the calibrated probabilities are not."""
    X, y = make_frame(600, 5)
    flipped = np.where(np.random.default_rng(1).random(600) < 0.2, np.where(y == "yes", "no", "yes"), y)
    model = CounterpoiseClassifier(modalities=GROUPS, epochs=60, random_state=0)
    new, labels = make_frame(1500, 6)
    labels = np.where(np.random.default_rng(2).random(1500) < 0.2, np.where(labels == "yes", "no", "yes"), labels)
    model.fit(X, flipped)
    right = labels == "yes"
    own, raw = model.predict_proba(new)[:, 1], model._outputs(new).logits.softmax(1).numpy()[:, 1]
    assert log_loss(right, own) <= log_loss(right, raw) + 1e-3
    assert calibration_error(own, right) <= max(calibration_error(raw, right), 0.06)


def calibration_error(p: np.ndarray, right: np.ndarray) -> float:
    """Mean distance of predicted and observed shares over ten equal groups of samples."""
    groups = np.array_split(np.argsort(p), 10)
    return float(np.mean([abs(p[g].mean() - right[g].mean()) for g in groups]))


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
    diagnosis = counterpoise.diagnose(fitted, X, y, modalities=GROUPS, estimator="variational-linear", damage=False)
    assert diagnosis.findings["text"].verdict == "balanced"
    assert diagnosis.findings["table"].verdict == "uninformative"


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


@pytest.mark.parametrize("n", [12, 40])
def test_small_tables_are_fitted_saved_and_have_no_contributions(n: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    X = pd.DataFrame({"a": y + rng.normal(size=n), "b": rng.normal(size=n)})
    modalities = {"a": ["a"], "b": ["b"]}
    model = CounterpoiseClassifier(epochs=1, modalities=modalities, random_state=0).fit(X, y)
    with pytest.raises(DataError, match="Fit on 50 samples or more"):
        _ = model.contributions_
    again = CounterpoiseClassifier.load(model.save(tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
