"""Regression targets are standardised for training, and scores are reported in the user's unit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from counterpoise.config import FitConfig, ModelConfig, RunConfig
from counterpoise.data import from_arrays, load_prepared, open_data, prepare, save_prepared
from counterpoise.errors import DataError
from counterpoise.experiment.runner import run

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3))
PRICE = 3e5 + 1e5 * (X[:, :1] + [[0.1, 2.0]] * RNG.normal(size=(120, 1)))
"""Two targets, in euros."""


def test_error_and_predictions_are_in_the_unit_of_the_targets(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", a=X, b=RNG.normal(size=(120, 2)), label=PRICE)
    config = RunConfig(str(tmp_path / "d.npz"), model=ModelConfig(width=4), fit=FitConfig(epochs=2, accelerator="cpu"))
    record = run(config, tmp_path)
    saved = np.load(tmp_path / "runs" / record.key / "predictions.npz")
    data = open_data(tmp_path / "d.npz")
    stored = data.test.target.astype(float) * data.info.target_unit + data.info.target_offset
    np.testing.assert_allclose(saved["target"], stored, rtol=1e-6)
    assert set(np.round(saved["target"][:, 0]).tolist()) <= set(np.round(PRICE[:, 0]).tolist())
    expected = np.sqrt(np.square(saved["logits"] - saved["target"]).mean())
    value = next(m.value for m in record.metrics if m.name == "rmse" and m.modality is None and m.corruption is None)
    assert value == pytest.approx(expected, rel=1e-5)
    assert 1e4 < value < 1e6


def test_the_unit_survives_preparation(tmp_path: Path) -> None:
    data = from_arrays({"a": X, "b": X[:, :2]}, PRICE, name="prices")
    save_prepared(data, tmp_path / "p")
    again = load_prepared(tmp_path / "p")
    assert again.info.target_unit == data.info.target_unit
    assert again.info.make_task() == data.info.make_task()
    assert again.fingerprint() == data.fingerprint()


def test_a_table_keeps_the_unit(tmp_path: Path) -> None:
    rows = "".join(f"{x:.6f},{y:.6f},{p:.1f}\n" for x, y, p in zip(X[:, 0], X[:, 1], PRICE[:, 0], strict=True))
    (tmp_path / "m.csv").write_text(f"a,b,label\n{rows}")
    prepare("own", tmp_path / "m.csv", tmp_path / "p", jobs=1)
    data = load_prepared(tmp_path / "p")
    (unit,), (offset,) = data.info.target_unit, data.info.target_offset
    values = np.concatenate([data.split(s).target[:, 0] for s in ("train", "val", "test")]).astype(float)
    np.testing.assert_allclose(np.sort(values * unit + offset), np.sort(PRICE[:, 0]), rtol=1e-5)


@pytest.mark.parametrize(
    "units",
    [
        {"target_unit": [1.0]},
        {"target_unit": [0.0, 1.0]},
        {"target_unit": ["x", "y"]},
        {"target_unit": [float("inf"), 1.0]},
        {"target_unit": 2.0},
    ],
)
def test_units_of_a_prepared_set_are_checked(tmp_path: Path, units: dict[str, object]) -> None:
    save_prepared(from_arrays({"a": X, "b": X[:, :2]}, PRICE), tmp_path / "p")
    about = tmp_path / "p" / "counterpoise.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), **units}))
    with pytest.raises(DataError):
        load_prepared(tmp_path / "p")
