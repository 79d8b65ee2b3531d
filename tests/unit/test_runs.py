from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoise._corruption import KINDS, Corruption
from counterpoise._files import write_atomic
from counterpoise.errors import DataError, OutputError
from counterpoise.runs import (
    Curve,
    CurveKind,
    Metric,
    RowId,
    RunRecord,
    corrupted_means,
    read_records,
    split_key,
    write_records,
)


def record(key: str = "k", **changes: object) -> RunRecord:
    fields = {"row": RowId("joint"), "seed": 0, "modalities": ("a", "b"), "seconds": 1.0}
    return RunRecord(key, "toy", **{**fields, **changes})  # type: ignore[arg-type]


NAMES = st.text(st.characters(exclude_categories=("Cs",)))
NUMBERS = st.floats(-1e300, 1e300)
CORRUPTIONS = st.none() | st.builds(Corruption, st.sampled_from(KINDS), st.floats(0, 1e6))
METRICS = st.builds(Metric, NAMES, NUMBERS, st.none() | NAMES, CORRUPTIONS)
CURVES = st.builds(Curve, st.sampled_from(get_args(CurveKind)), NAMES, st.none() | NAMES, st.lists(NUMBERS).map(tuple))
ROWS = st.builds(RowId, NAMES, st.dictionaries(NAMES, NUMBERS | NAMES | st.booleans()), st.none() | NAMES, NAMES)


@given(ROWS, st.lists(METRICS), st.lists(CURVES))
def test_json_round_trip(row: RowId, metrics: list[Metric], curves: list[Curve]) -> None:
    original = record(row=row, metrics=metrics, curves=curves, validation=metrics)
    assert RunRecord.from_json(original.to_json()) == original


@given(st.lists(NAMES, unique=True, min_size=1), NAMES)
def test_keys_are_split_at_the_name_of_a_modality(modalities: list[str], name: str) -> None:
    m = max(modalities, key=len)
    parts = split_key(f"{name}:{m}", modalities)
    # names of modalities may hold colons, so a longer one may end in the same way; what is split can be put together
    assert f"{parts[0]}:{parts[1]}" == f"{name}:{m}" or parts == ("unimodal", f"{name}:{m}")
    assert parts[1] in modalities


def test_numbers_that_are_not_finite_come_back_as_nan() -> None:
    original = record(metrics=[Metric("x", math.inf)], curves=[Curve("loss", "y", values=(1.0, math.nan))])
    read = RunRecord.from_json(original.to_json())
    assert math.isnan(read.value("x"))
    assert read.curve("loss", "y")[0] == 1.0
    assert math.isnan(read.curve("loss", "y")[1])


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"key": "k", "data": "d", "method": "m", "seed": 0, "odd": 1}', "[1", "3", "\ud800"]
)
def test_what_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(DataError):
        RunRecord.from_json(line)


def old(**changes: object) -> str:
    """Return a record of schema 2."""
    fields = {"schema": 2, "key": "k", "data": "toy", "method": "joint", "rule": "fused", "seed": 0}
    return json.dumps({**fields, "task": "multiclass", "modalities": ["a", "b:c"], "label": "joint", **changes})


def test_a_newer_schema_is_named() -> None:
    with pytest.raises(DataError, match="schema 99, which is newer"):
        RunRecord.from_json(json.dumps({**json.loads(record().to_json()), "schema": 99}))


def test_schema_2_becomes_typed() -> None:
    read = RunRecord.from_json(
        old(
            metrics={"accuracy": 0.5, "accuracy:b:c": 0.4, "accuracy:fused": 0.3, "accuracy@shift:a": 0.2, "nll": None},
            robustness=[{"modality": "a", "corruption": "swap", "strength": 1.0, "accuracy": 0.1}],
            curves={"train_loss": [1], "train:a": [2], "val_score": [3], "phi_mi:a": [4], "kappa:b:c": [5]},
            validation={"val_score": 0.6, "val_nll": 0.7},
        )
    )
    assert read.value("accuracy", "b:c") == 0.4
    assert read.value("fused_accuracy") == 0.3
    assert read.value("accuracy_corrupted", "a") == 0.2
    assert math.isnan(read.value("nll"))
    assert read.value("accuracy", "a", Corruption("permute")) == 0.1
    assert {c.id: c.values for c in read.curves} == {
        ("loss", "total", None): (1,),
        ("loss", "unimodal", "a"): (2,),
        ("score", "accuracy", None): (3,),
        ("contribution", "phi_mi", "a"): (4,),
        ("coefficient", "kappa", "b:c"): (5,),
    }
    assert [(m.name, m.value) for m in read.validation] == [("accuracy", 0.6), ("nll", 0.7)]


@pytest.mark.parametrize(
    ("label", "changes", "row"),
    [
        ("joint", {}, RowId("joint")),
        ("joint (fused)", {}, RowId("joint", rule="fused")),
        ("unimodal:b:c", {"method": "unimodal"}, RowId("unimodal", modality="b:c")),
        ("arm [tau=2]", {"method": "arm", "config": {"method_args": {"tau": 2}}}, RowId("arm", {"tau": 2})),
    ],
)
def test_rows_of_schema_2_are_read_from_what_says_them(label: str, changes: dict, row: RowId) -> None:
    assert RunRecord.from_json(old(label=label, **changes)).row == row


@pytest.mark.parametrize("label", ["joint [tau=2]", "joint (calibrated)", "joint:d", "other"])
def test_a_row_that_can_only_be_guessed_is_too_old(label: str) -> None:
    with pytest.raises(DataError, match="too old"):
        RunRecord.from_json(old(label=label))


BAD = {
    "metrics": (None, {"accuracy": "high"}, [1], [{"name": "accuracy", "value": "high"}], [{"value": 1}]),
    "curves": (None, [{"kind": "odd", "name": "x", "values": []}], [{"kind": "loss", "name": "x", "values": ["y"]}]),
    "row": (None, "joint", {"method": 3}, {"method": "joint", "odd": 1}),
    "config": (None, "x"),
    "environment": (None, {"python": 3}),
    "valuation": (None,),
    "best_epoch": ("x", 1.5, True),
    "seconds": ("x", [1]),
    "data": (None, ["d"], "\ud800"),
    "key": (["k"],),
    "seed": ("0", None, 1.5, 2**70),
    "class_names": ([1, 2, 3], "abc"),
    "modalities": ("ab", [1]),
    "label": (3,),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_field_of_another_type_costs_one_record_and_one_line(tmp_path: Path, name: str, value: object) -> None:
    good = json.loads(record().to_json())
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, (good, {**good, "key": "other", name: value}))))
    records, skipped = read_records([tmp_path])
    assert [r.key for r in records] == ["k"]
    assert len(skipped) == 1
    assert "runs.jsonl:2" in skipped[0]


def test_deep_json_and_folders_in_place_of_files_cost_one_line(tmp_path: Path) -> None:
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    (tmp_path / "a" / "record.json").mkdir(parents=True)
    records, skipped = read_records([tmp_path / "deep.jsonl", tmp_path / "a"])
    assert not records
    assert len(skipped) == 2


def test_means_over_corruptions_by_hand() -> None:
    rows = [
        Metric("accuracy", 0.9),
        Metric("accuracy", 0.5, "a", Corruption("zeros")),
        Metric("accuracy", 0.7, "a", Corruption("noise", 2.0)),
        Metric("accuracy", 0.3, "b", Corruption("zeros")),
        Metric("nll", 9.0, "b", Corruption("zeros")),
    ]
    means = {m.modality: m.value for m in corrupted_means(rows, "accuracy")}
    assert means == pytest.approx({None: 0.5, "a": 0.6, "b": 0.3})


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
