"""The demo makes its point: joint training wastes the picture, and ARM repairs it."""

from __future__ import annotations

import pytest

from counterpoise.errors import NotFoundError
from counterpoise.experiment.demo import DEMOS, run_demo
from counterpoise.report import conclusions


def test_kanji_two_splits(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    records, failures = run_demo(seeds=2, out=tmp_path, jobs=1)
    assert not failures
    rows = sorted({record.label for record in records})
    assert rows == ["arm", "joint", "joint (dynamic)", "unimodal:meaning", "unimodal:picture"]

    def mean(label: str, name: str = "accuracy") -> float:
        values = [record.value(name) for record in records if record.label == label]
        return sum(values) / len(values)

    assert mean("joint") <= mean("unimodal:picture") - 0.03
    assert mean("arm") >= mean("joint") + 0.03
    assert mean("joint") < mean("joint (dynamic)") < mean("arm")
    assert mean("arm", "accuracy_corrupted") >= mean("joint", "accuracy_corrupted") + 0.03
    found = conclusions(records)["kanji"]
    assert f"{100 * mean('joint'):.1f} %" in found.finding
    assert (tmp_path / "report.html").stat().st_size > 100_000


def test_an_unknown_demo_is_refused(tmp_path) -> None:
    with pytest.raises(NotFoundError, match="kanji"):
        run_demo("kanjy", out=tmp_path)
    assert set(DEMOS) == {"kanji", "smartwatch"}
