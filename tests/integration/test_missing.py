"""Comparisons in which samples lose modalities: the command line, the configuration, the record."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from counterpoise.cli.main import main
from counterpoise.config import RunConfig
from counterpoise.data import from_arrays, save_prepared
from counterpoise.errors import ConfigError
from counterpoise.experiment.compare import compare
from counterpoise.experiment.config import read_config
from counterpoise.experiment.folders import run_data, run_folder
from counterpoise.runs import RunRecord, read_records

FIT = {"fit": {"epochs": 4}, "model": {"width": 8}, "optim": {"lr": 0.02}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=240)
    code = np.eye(3, dtype=np.float32)[y]
    arrays = {m: 2 * code + rng.normal(size=code.shape).astype(np.float32) for m in ("audio", "video")}
    out = tmp_path_factory.mktemp("data") / "clips"
    save_prepared(from_arrays(arrays, y, name="clips"), out)
    return out


def test_a_run_takes_the_same_modalities_away_for_every_method_and_seed(folder: Path) -> None:
    def masks(**changes: object) -> dict[str, np.ndarray]:
        data = run_data(RunConfig(str(folder), **{"missing": {"audio": 0.5}, **changes}))  # type: ignore[arg-type]
        assert data.train.present is not None
        return dict(data.train.present)

    first = masks()
    for changes in ({"method": "arm"}, {"seed": 3}, {"missing": {"audio": 0.5, "video": 0.0}}):
        np.testing.assert_array_equal(masks(**changes)["audio"], first["audio"])
    higher = masks(missing={"audio": 0.7})
    assert not (higher["audio"] & ~first["audio"]).any()  # what is missing at .5 is missing at .7
    with_video = masks(missing={"audio": 0.5, "video": 0.2})
    assert (with_video["audio"] | with_video["video"]).all()


def test_where_modalities_are_taken_away(folder: Path) -> None:
    test = run_data(RunConfig(str(folder), missing={"audio": 0.5}, missing_in="test"))
    train = run_data(RunConfig(str(folder), missing={"audio": 0.5}, missing_in="train"))
    assert test.train.present is None
    assert test.test.present is not None
    assert train.train.present is not None
    assert train.test.present is None


def test_nothing_missing_leaves_keys_and_folders_alone(folder: Path) -> None:
    plain = RunConfig(str(folder))
    assert "missing" not in plain.to_dict()
    assert RunConfig(str(folder), missing={"audio": 0.0}).key("x") == plain.key("x")
    some = replace(plain, missing={"audio": 0.5})
    assert some.key("x") != plain.key("x")
    assert replace(some, missing_in="test").key("x") != some.key("x")
    data = run_data(some)
    assert "missing-audio50-seed0" in run_folder(some, data, Path("out")).name
    assert "in-test" in run_folder(replace(some, missing_in="test"), data, Path("out")).name


def test_compare_and_train_do_the_same_runs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "--data", str(folder), "--methods", "uniform", "--seeds", "1", "--out", str(tmp_path)]
    command += ["--missing", "audio=0.5,video=0.2", "--fit.epochs", "2", "--model.width", "8"]
    assert main([*command, "--dry-run"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("counterpoise train")]
    assert len(lines) == 2  # joint training and uniform
    for line in lines:
        assert "--missing audio=0.5,video=0.2" in line
        assert main(shlex.split(line)[1:]) == 0
    capsys.readouterr()
    assert main([*command, "--dry-run"]) == 0
    assert "counterpoise train" not in capsys.readouterr().out
    records, skipped = read_records([tmp_path / "runs"])
    assert not skipped
    assert {r.data for r in records} == {"clips without 50 % of audio, 20 % of video"}
    for record in records:
        assert record.config["missing"] == {"audio": 0.5, "video": 0.2}
        assert read_config(tmp_path / "runs" / record.key / "config.yaml").missing == {"audio": 0.5, "video": 0.2}


def test_complete_and_incomplete_runs_are_kept_apart(folder: Path, tmp_path: Path) -> None:
    shared = {"seeds": 1, "out": tmp_path, "given": FIT, "jobs": 1, "figures": False}
    complete, _ = compare([str(folder)], ["joint"], **shared)  # type: ignore[arg-type]
    half, failures = compare([str(folder)], ["joint"], missing={"video": 0.5}, **shared)  # type: ignore[arg-type]
    assert not failures
    assert complete[0].key != half[0].key
    assert complete[0].data == "clips"


@pytest.mark.parametrize("text", ["audio", "audio=2", "audio=0.5,audio=0.2", "=0.5", "audio=x"])
def test_rates_that_cannot_be_read(folder: Path, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "--data", str(folder), "--methods", "joint", "--missing", text, "--out", str(tmp_path)]
    assert main(command) == 2
    assert "NAME=RATE" in capsys.readouterr().err


def test_unknown_modalities(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (["compare", "--methods"], ["train", "--method"]):
        command = [verb[0], "--data", str(folder), verb[1], "joint", "--missing", "sound=0.5", "--out", str(tmp_path)]
        assert main(command) == 2
        assert "audio, video" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        RunConfig("x", missing={"a": 1.5})


@pytest.fixture(scope="module")
def incomplete_run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RunRecord]]:
    out = tmp_path_factory.mktemp("runs")
    records, failures = compare(
        [str(folder)],
        ["joint"],
        seeds=2,
        out=out,
        rules=("default", "calibrated"),
        missing={"audio": 0.4, "video": 0.3},
        given=FIT,
        jobs=1,
    )
    assert not failures
    return out, records


def test_records_hold_scores_by_pattern_and_over_rates(incomplete_run: tuple[Path, list[RunRecord]]) -> None:
    _, records = incomplete_run
    for record in records:
        patterns = {tuple(p["present"]): p for p in record.presence["patterns"]}
        assert set(patterns) == {("audio", "video"), ("audio",), ("video",)}
        count = sum(p["n"] for p in patterns.values())
        mean = sum(p["n"] * p["score"] for p in patterns.values()) / count
        assert mean == pytest.approx(record.value("accuracy"))
        severity = {(s["modality"], s["rate"]): s["score"] for s in record.presence["severity"]}
        assert severity[("audio", 0.0)] == pytest.approx(record.value("accuracy"))
        assert 0 <= record.presence["mli"] <= 1
        assert 0 <= record.presence["equity"] <= 1
        assert RunRecord.from_json(record.to_json()) == record
        assert not [note for note in record.notes if "could not be measured" in note]
    first, second = (r.presence["patterns"] for r in records[:2])
    assert [p["n"] for p in first] == [p["n"] for p in second]  # the same masks


def test_the_page_has_a_section_on_incomplete_samples(incomplete_run: tuple[Path, list[RunRecord]]) -> None:
    out, _ = incomplete_run
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Incomplete samples" in page
    assert "pattern equity" in page
    assert (out / "figures").is_dir()
    assert any(path.name.startswith("severity") for path in (out / "figures").iterdir())


def test_where_without_which_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing_in"):
        compare([str(folder)], ["joint"], seeds=1, out=tmp_path, missing_in="train")


def test_complete_runs_have_no_such_section(folder: Path, tmp_path: Path) -> None:
    records, _ = compare([str(folder)], ["joint"], seeds=1, out=tmp_path, given=FIT, jobs=1, figures=False)
    assert records[0].presence == {}
    assert "presence" not in records[0].to_json()
    assert "Incomplete samples" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_foreign_records_do_not_break_the_page(incomplete_run: tuple[Path, list[RunRecord]], tmp_path: Path) -> None:
    from counterpoise.report import write_page

    _, records = incomplete_run
    odd: list[dict[str, object]] = [
        {"patterns": 3, "severity": "x", "mei": "y"},
        {"patterns": [1, {"present": "audio"}, {"present": ["audio"], "n": None}], "severity": [{"rate": "a"}, None]},
    ]
    for presence in odd:
        page = tmp_path / "page.html"
        write_page([replace(records[0], presence=presence), *records[1:]], page)
        assert "</html>" in page.read_text(encoding="utf-8")
        page.unlink()
