"""Features of frozen encoders: computed once, the same as the encoder gives, shared by every method."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from counterpoise.cli.main import main
from counterpoise.data import from_arrays, open_data, save_prepared
from counterpoise.errors import ConfigError, DataError, OutputError
from counterpoise.experiment import extraction
from counterpoise.experiment.extraction import FEATURES, extract
from counterpoise.runs import read_records

ENCODER = """
import torch
from torch import nn

class Sums(nn.Module):
    '''Sums of the samples, times a weight; every call is counted, and dropout would show.'''

    calls = []
    fail_after = None

    def __init__(self, shape, width, *, factor=1.0, bad=False):
        super().__init__()
        self.feature_dim, self.bad = 3, bad
        self.weight = nn.Parameter(torch.full((3,), float(factor)))
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        if Sums.fail_after is not None and len(Sums.calls) >= Sums.fail_after:
            raise InterruptedError
        Sums.calls.append(len(x))
        if self.bad:
            return x.flatten(1).sum(1)
        return self.drop(x.flatten(1).sum(1, keepdim=True) * self.weight)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an encoder of one's own in a module of its own name, and data in which a modality is missing."""
    name = f"sums_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(ENCODER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=100)
    image = rng.integers(0, 255, size=(100, 3, 6, 6)).astype(np.uint8)
    np.savez(tmp_path / "d.npz", image=image, text=rng.normal(size=(100, 5)).astype("f4") + y[:, None], label=y)
    return tmp_path


def sums(folder: Path) -> type[torch.nn.Module]:
    import importlib

    module = importlib.import_module(f"sums_{folder.name.replace('-', '_')}")
    cls: type[torch.nn.Module] = module.Sums
    return cls


def spec(folder: Path, arguments: str = "") -> str:
    return f"{sums(folder).__module__}:Sums{arguments}"


def test_features_are_what_the_encoder_gives_in_evaluation(folder: Path) -> None:
    done = extract("d.npz", {"image": spec(folder, "[factor=2.0]")}, folder / "out", batch_size=7)
    assert done.dims == {"image": 3}
    assert done.encoded == 100
    data, source = open_data(folder / "out"), open_data("d.npz")
    assert [(m.kind, m.shape) for m in data.info.modalities] == [("vector", (3,)), ("vector", (5,))]
    for part in ("train", "val", "test"):
        raw, features = source.split(part), data.split(part)
        expected = 2 * (raw.arrays["image"].astype(np.float64) / 255).reshape(len(raw), -1).sum(1)
        np.testing.assert_allclose(features.arrays["image"], expected[:, None].repeat(3, 1), rtol=1e-5)
        np.testing.assert_array_equal(features.arrays["text"], raw.arrays["text"])
        np.testing.assert_array_equal(features.target, raw.target)


def test_only_what_is_missing_is_encoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cls, out = sums(folder), folder / "out"
    monkeypatch.setattr(extraction, "PART", 1)  # a piece per batch
    cls.fail_after = 8  # type: ignore[attr-defined]
    with pytest.raises(InterruptedError):
        extract("d.npz", {"image": spec(folder), "text": spec(folder)}, out, batch_size=10)
    assert not out.exists()
    cls.fail_after = None  # type: ignore[attr-defined]
    resumed = extract("d.npz", {"image": spec(folder), "text": spec(folder)}, out, batch_size=10)
    assert 100 < resumed.encoded < 200, "what was encoded before the interruption is read"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [], "no pieces are left"
    before = {p: open_data(out).split(p).arrays for p in ("train", "val", "test")}

    assert extract("d.npz", {"text": spec(folder), "image": spec(folder)}, out).encoded == 0
    changed = extract("d.npz", {"image": spec(folder, "[factor=3.0]"), "text": spec(folder)}, out)
    assert changed.encoded == 100, "the other modality keeps its features"
    for part, arrays in before.items():
        now = open_data(out).split(part).arrays
        np.testing.assert_array_equal(now["text"], arrays["text"])
        np.testing.assert_allclose(now["image"], 3 * arrays["image"], rtol=1e-5)

    with np.load("d.npz") as arrays:
        content = dict(arrays)
    content["text"] = content["text"] + 1
    np.savez(folder / "d.npz", **content)
    assert extract("d.npz", {"image": spec(folder, "[factor=3.0]"), "text": spec(folder)}, out).encoded == 200


def test_changed_weights_are_other_features(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of an encoder stays, its weights change: pretrained weights in a folder, say."""
    extract("d.npz", {"text": "mlp"}, folder / "out", seed=0)
    known = json.loads((folder / "out" / FEATURES).read_text())
    assert extract("d.npz", {"text": "mlp"}, folder / "out", seed=1).encoded == 100
    assert json.loads((folder / "out" / FEATURES).read_text()) != known
    image_too = extract("d.npz", {"image": "conv", "text": "mlp"}, folder / "out", seed=1)
    assert image_too.encoded == 100, "random weights do not depend on the other encoders"


def test_absent_modalities_stay_absent(folder: Path) -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(2, size=90)
    arrays = {"a": rng.normal(size=(90, 4)).astype("f4"), "b": rng.normal(size=(90, 4)).astype("f4")}
    data = from_arrays(arrays, y, name="mine").with_missing({"a": 0.5})
    save_prepared(data, folder / "set")
    extract(str(folder / "set"), {"a": spec(folder)}, folder / "out")
    features = open_data(folder / "out").train
    assert features.present is not None
    np.testing.assert_array_equal(features.present["a"], data.train.present["a"])  # type: ignore[index]
    assert np.all(features.arrays["a"][~features.present["a"]] == 0)
    assert np.all(features.arrays["a"][features.present["a"]] != 0)


def test_a_comparison_uses_the_features(folder: Path) -> None:
    assert main(["extract", "--data", "d.npz", "--encoders", f"image={spec(folder)},text=mlp", "--out", "out"]) == 0
    calls = len(sums(folder).calls)  # type: ignore[attr-defined]
    more = ["--methods", "uniform", "--seeds", "1", "--jobs", "1", "--fit.epochs", "1", "--out", "runs"]
    assert main(["compare", "--data", "out", *more]) == 0
    assert len(sums(folder).calls) == calls  # type: ignore[attr-defined]
    records, _ = read_records([folder / "runs"])
    assert {r.method for r in records} == {"joint", "uniform"}
    assert all(any("frozen" in note for note in open_data("out").info.notes) for _ in records)


@pytest.mark.parametrize("text", ["image", "image=", "=mlp", "image=conv,image=conv"])
def test_encoders_that_cannot_be_read(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", "--data", "d.npz", "--encoders", text, "--out", "out"]) == 2
    assert "encoders" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_what_cannot_be_extracted_is_one_error(folder: Path) -> None:
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists and is not"):
        extract("d.npz", {"text": "mlp"}, folder / "full")
    with pytest.raises(ConfigError, match="sound"):
        extract("d.npz", {"sound": "mlp"}, folder / "out")
    with pytest.raises(ConfigError, match="at least one"):
        extract("d.npz", {}, folder / "out")
    with pytest.raises(DataError, match=r"\(B, D\)"):
        extract("d.npz", {"text": spec(folder, "[bad=true]")}, folder / "out")
    assert (folder / "full" / "thesis.txt").read_text() == "mine"
