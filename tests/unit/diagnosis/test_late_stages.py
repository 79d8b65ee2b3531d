"""What was computed before a stage that fails is kept; the failure is a note."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from counterpoise.diagnosis import Diagnosis, _comparison, _pictures, _run, _scores, diagnose
from counterpoise.diagnosis._used import Used
from counterpoise.errors import DataError, NotFoundError
from counterpoise.model import MultimodalClassifier

LATE = {
    "what each modality is used for": (Used, "average_out"),
    "training samples": (_run.Run, "_training"),
    "a permuted": (_run.Predictor, "corrupted"),
    "b with zeros": (_run.Predictor, "corrupted"),
    "scores": (_scores, "scores"),
    "samples to inspect": (_run, "sample_lists"),
    "classes": (_run, "class_shares"),
    "contradictions": (_run, "contradictions"),
    "what can be decoded of c": (_comparison, "linear_information"),
    "pictures of samples": (_pictures, "make_gallery"),
}


def make_inputs() -> tuple[dict[str, Tensor], Tensor]:
    """Labels depend on a and b; c is noise."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(2, (300,), generator=g)
    shifts = {"a": 2.0, "b": 1.0, "c": 0.0}
    return {m: torch.randn(300, 1, generator=g) + s * y[:, None] for m, s in shifts.items()}, y


def additive(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(a), 2 * a + b - 2.5], 1)


def run(**settings: Any) -> Diagnosis:
    inputs, y = make_inputs()
    return diagnose(additive, [(inputs, y)], train=[(inputs, y)], **settings)


@pytest.fixture(scope="module")
def whole() -> Diagnosis:
    return run()


@pytest.mark.parametrize("stage", LATE)
def test_a_late_failure_is_a_note_and_the_rest_is_kept(
    stage: str, whole: Diagnosis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(*LATE[stage], fails)
    result = run()
    assert any(note.startswith(f"left out: {stage} (RuntimeError: out of memory") for note in result.notes)
    measured = {m: (e.value, e.low, e.high) for m, e in result.valuation.subsets.items()}
    assert measured.keys() == whole.valuation.subsets.keys()
    assert result.joint_realised == whole.joint_realised
    used = [result.evidence[m].realised for m in result.modalities]
    if stage == "what each modality is used for":
        assert used == [None] * 3
        assert result.samples is None
        assert [f.verdict for f in result.findings.values()] == ["undecided", "undecided", "uninformative"]
    else:
        assert used == [whole.evidence[m].realised for m in whole.modalities]
        assert measured == {m: (e.value, e.low, e.high) for m, e in whole.valuation.subsets.items()}
        shown = {m: f.verdict for m, f in result.findings.items()}
        assert shown == {m: f.verdict for m, f in whole.findings.items()}
    assert repr(result)
    assert result.save_html(tmp_path / "d.html").stat().st_size > 1000
    assert result.to_dict()["notes"] == list(result.notes)
    result.plot()


def test_a_model_that_refuses_mixed_inputs_keeps_what_its_predictions_know() -> None:
    inputs, y = make_inputs()
    rows = {tuple(row) for row in torch.cat(list(inputs.values()), 1).tolist()}

    def strict(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        assert all(tuple(row) in rows for row in torch.cat([a, b, c], 1).tolist())
        return additive(a, b, c)

    result = diagnose(strict, [(inputs, y)])
    assert result.joint_realised is not None
    assert result.joint_realised.value > 0.3
    assert result.findings["a"].verdict == "undecided"
    assert not result.corrupted
    assert result.evidence["a"].joint_lost is not None
    assert result.evidence["a"].joint_lost.value < 0.1


def test_features_count_where_the_inputs_cannot_be_valued(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, y = make_inputs()
    torch.manual_seed(0)
    model = MultimodalClassifier({m: nn.Linear(1, 2) for m in inputs}, num_outputs=2)
    own = _run.estimate

    def only_narrow(arrays: Any, *args: Any, **kwargs: Any) -> Any:
        if next(iter(arrays.values())).shape[1] == 1:
            raise MemoryError("too large")
        return own(arrays, *args, **kwargs)

    monkeypatch.setattr(_run, "estimate", only_narrow)
    result = diagnose(model, [(inputs, y)])
    assert result.source == "features"
    assert result.valuation.mi["a"].value > 0.2
    assert any("information in the inputs (MemoryError" in note for note in result.notes)


def test_settings_that_cannot_be_are_refused_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="variational"):
        run(estimator="variatonal")
    monkeypatch.setattr(Used, "average_out", lambda *_: pytest.fail("this takes long"))
    with pytest.raises(DataError, match="2 class names"):
        run(class_names=["a", "b", "c"])
