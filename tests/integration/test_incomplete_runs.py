"""A run on samples that lack modalities: trained, scored, valued, diagnosed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from counterpoise.config import FitConfig, RunConfig
from counterpoise.errors import DataError
from counterpoise.experiment.runner import diagnose_run, run


def written(path: Path, complete: float, n: int = 600) -> Path:
    """Two informative modalities; a share of the samples has both, the others have one."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    sound = np.eye(3)[y] @ rng.normal(size=(3, 6)) * 2 + rng.normal(size=(n, 6))
    image = np.eye(3)[y] @ rng.normal(size=(3, 8)) + rng.normal(size=(n, 8))
    both, which = rng.random(n) < complete, rng.random(n) < 0.5
    sound[~(both | which)] = np.nan
    np.savez(path, sound=sound, image=image, label=y, present_image=both | ~which)
    return path


def test_numbers_of_a_modality_are_those_of_samples_that_have_it(tmp_path: Path) -> None:
    config = RunConfig(str(written(tmp_path / "set.npz", 0.5)), fit=FitConfig(epochs=3))
    record = run(config, tmp_path / "runs")
    (folder,) = list((tmp_path / "runs").rglob("predictions.npz"))
    saved = np.load(folder)
    assert 0.6 < saved["present:sound"].mean() < 0.9
    values = {(m.name, m.modality): m.value for m in record.metrics if m.corruption is None}
    for m in ("sound", "image"):
        has = saved[f"present:{m}"]
        right = saved[f"unimodal:{m}"][has].argmax(1) == saved["target"][has]
        assert values["accuracy", m] == pytest.approx(right.mean())
        assert not saved[f"unimodal:{m}"][~has].any()
        assert values["probe", m] > 0.5
        assert values["phi_mi", m] > 0.1
    assert any("Unimodal scores and probes" in note for note in record.notes)
    diagnosis = diagnose_run(folder.parent)
    complete = (saved["present:sound"] & saved["present:image"]).sum()
    assert any(f"on the {complete} of {len(saved['target'])} test samples" in note for note in diagnosis.notes)


def test_nothing_is_diagnosed_on_a_handful_of_complete_samples(tmp_path: Path) -> None:
    config = RunConfig(str(written(tmp_path / "set.npz", 0.05)), fit=FitConfig(epochs=1))
    run(config, tmp_path / "runs")
    (folder,) = [path.parent for path in (tmp_path / "runs").rglob("predictions.npz")]
    with pytest.raises(DataError, match="at least 50"):
        diagnose_run(folder)
