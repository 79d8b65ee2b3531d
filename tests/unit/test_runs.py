from __future__ import annotations

import math
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoise._files import write_atomic
from counterpoise.errors import DataError, OutputError
from counterpoise.runs import RunRecord, read_records, write_records


def record(key: str = "k", **changes: object) -> RunRecord:
    fields = {"method": "joint", "rule": "fused", "seed": 0, "task": "multiclass", "modalities": ("a", "b")}
    return RunRecord(key, "toy", **{**fields, **changes})  # type: ignore[arg-type]


@given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)), st.text())
def test_json_round_trip(metrics: dict[str, float], label: str) -> None:
    original = record(metrics=metrics, label=label)
    assert RunRecord.from_json(original.to_json()) == original


def test_numbers_that_are_not_finite_come_back_as_nan() -> None:
    read = RunRecord.from_json(record(metrics={"x": math.inf}, curves={"y": [1.0, math.nan]}).to_json())
    assert math.isnan(read.metrics["x"])
    assert read.curves["y"][0] == 1.0
    assert math.isnan(read.curves["y"][1])


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"key": "k", "data": "d", "method": "m", "seed": 0, "odd": 1}'])
def test_what_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(DataError):
        RunRecord.from_json(line)


def test_a_newer_layout_is_refused() -> None:
    with pytest.raises(DataError, match="layout 99"):
        RunRecord.from_json(record(schema=99).to_json())


def test_reading_folders_names_what_it_skips(tmp_path: Path) -> None:
    write_records(tmp_path / "x" / "runs.jsonl", [record("1"), record("2")])
    write_atomic(tmp_path / "y" / "deep" / "record.json", record("3").to_json())
    write_atomic(tmp_path / "y" / "broken" / "record.json", "{")
    (tmp_path / "z").mkdir()
    records, skipped = read_records([tmp_path / "x", tmp_path / "y", tmp_path / "z"])
    assert [r.key for r in records] == ["1", "2", "3"]
    assert len(skipped) == 2
    assert "broken" in skipped[0]
    assert "z: no record.json" in skipped[1]
    with pytest.raises(DataError, match="There is no"):
        read_records([tmp_path / "absent"])


def test_a_record_that_is_read_twice_counts_once(tmp_path: Path) -> None:
    write_records(tmp_path / "runs.jsonl", [record("1"), record("1")])
    assert len(read_records([tmp_path, tmp_path])[0]) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(OutputError, match="Could not write"):
        write_atomic(tmp_path / "file", "x")
    tmp_path.chmod(stat.S_IRWXU)


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="choose another output path"):
        write_atomic(tmp_path / "file" / "below", "x")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "file", "before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_atomic(tmp_path / "file", "after")
    assert (tmp_path / "file").read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_foreign_file_is_one_line_however_long_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no record\n" * 50)
    records, skipped = read_records([tmp_path / "notes.txt"])
    assert not records
    assert len(skipped) == 1
    assert "notes.txt:1:" in skipped[0]
    assert skipped[0].endswith("And 49 more lines of it.")
