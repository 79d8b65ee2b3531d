"""The record of a run and the diagnosis of its model report the same scores for the same predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from counterpoise.config import FitConfig, ModelConfig, RunConfig
from counterpoise.data import DataInfo, Modality, MultimodalData, Split
from counterpoise.diagnosis import diagnose
from counterpoise.experiment.runner import load_run, run


def make_data(task: str) -> MultimodalData:
    """Return data whose two regression targets have very different scales, and labels of different frequency."""
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        a, b = rng.normal(size=(2, n, 4)).astype(np.float32)
        real = np.c_[0.3 * a[:, 0] + rng.normal(size=n), 3 * b[:, 0] + 0.3 * rng.normal(size=n)]
        target = {
            "multiclass": (real[:, 0] > 0).astype(np.int64) + (real[:, 1] > 2),
            "multilabel": (real > [0.5, 0]).astype(np.int64),
            "regression": real.astype(np.float32),
        }[task]
        return Split({"a": a, "b": b}, target)

    outputs = 3 if task == "multiclass" else 2
    info = DataInfo("toy", (Modality("a", "vector", (4,)), Modality("b", "vector", (4,))), task, outputs)
    return MultimodalData(info, split(300), split(100), split(150))


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
def test_a_record_and_a_diagnosis_agree(task: str, tmp_path: Path) -> None:
    data = make_data(task)
    fitting = FitConfig(epochs=3, batch_size=64, accelerator="cpu")
    config = RunConfig("toy", "joint", rule="fused", model=ModelConfig(width=8), fit=fitting)
    record = run(config, tmp_path, data=data)
    fitted = load_run(next(tmp_path.rglob("record.json")).parent, data=data)
    clean = diagnose(fitted.model, data.test.batches(64), task=data.info.make_task(), damage=False).clean
    assert {"multiclass": "accuracy", "multilabel": "accuracy", "regression": "r2"}[task] in clean
    assert ("ece" in clean) == (task != "regression")
    for name, value in clean.items():
        assert record.value(name) == pytest.approx(value, abs=1e-5), name
