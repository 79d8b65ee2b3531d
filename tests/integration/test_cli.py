"""The command line as people use it: every verb on a small data set of one's own, and every mistake it must name."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterpoise.cli.main import main
from counterpoise.runs import RunRecord, read_records

QUICK = ["--fit.epochs", "2", "--fit.accelerator", "cpu", "--model.width", "8"]


def arrays(n: int = 240, **changes: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=n)
    a, b = rng.normal(size=(n, 4)), rng.normal(size=(n, 20, 3))
    a[np.arange(n), label] += 3
    b[np.arange(n), :, label] += 0.3
    entries = {"vitals": a.astype(np.float32), "motion": b.astype(np.float32), "label": label, **changes}
    return {name: value for name, value in entries.items() if value is not None}


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., str]:
    def write(name: str = "mine.npz", **changes: Any) -> str:
        np.savez(tmp_path / name, **arrays(**changes))
        return str(tmp_path / name)

    return write


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that cannot be done as asked; return what it said (one line, no traceback)."""
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "Traceback" not in said
    return said


def test_a_wrong_argument_of_an_encoder_is_one_error_before_the_first_run(
    npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--methods", "joint", "--seeds", "3", "--jobs", "1", "--out", str(tmp_path / "out")]
    assert main(["compare", "--data", npz(), *more, "--model.encoders.vitals", "mlp[breadth=3]"]) == 2
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("breadth") == 1
    assert not (tmp_path / "out" / "runs").exists()


def test_compare_on_my_own_arrays(npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = [
        "compare",
        "--data",
        npz(),
        "--methods",
        "unimodal,uniform,arm",
        "--seeds",
        "2",
        "--out",
        str(out),
        "--jobs",
        "1",
    ]
    assert main([*command, *QUICK]) == 0
    with (out / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "data",
        "method",
        "metric",
        "mean",
        "se",
        "seeds",
        "diff_to_reference",
        "diff_se",
        "p_value",
    ]
    assert {row["method"] for row in rows} == {"unimodal:vitals", "unimodal:motion", "joint", "uniform", "arm"}
    metrics = {row["metric"] for row in rows if row["method"] == "arm"}
    assert metrics >= {
        "accuracy",
        "macro_f1",
        "nll",
        "probe:vitals",
        "probe:motion",
        "phi_cmi:vitals",
        "phi_cmi:motion",
        "step_time_ratio",
    }
    records, _ = read_records([out])
    assert len(records) == 10
    accuracy = [r.value("accuracy") for r in records if r.method == "arm"]
    row = next(row for row in rows if (row["method"], row["metric"]) == ("arm", "accuracy"))
    assert float(row["mean"]) == pytest.approx(np.mean(accuracy), abs=1e-9)
    assert float(row["se"]) == pytest.approx(np.std(accuracy, ddof=1) / np.sqrt(2), abs=1e-9)
    assert "vitals" in (out / "table.md").read_text()

    # Finished runs are skipped; missing ones are trained.
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")}
    victim = min(stamps)
    before = victim.read_text()
    victim.unlink()
    assert main([*command, *QUICK]) == 0
    assert {p: s for p, s in stamps.items() if p != victim} == {
        p: p.stat().st_mtime_ns for p in out.glob("runs/*/record.json") if p != victim
    }
    redone, original = RunRecord.from_json(victim.read_text()), RunRecord.from_json(before)
    assert redone.value("nll") == original.value("nll")

    # The page, from the folder.
    page = tmp_path / "page.html"
    assert main(["report", str(out), "--out", str(page)]) == 0
    assert "vitals" in page.read_text()
    capsys.readouterr()


def test_train_then_diagnose(npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs"
    assert main(["train", "--data", npz(), "--method", "arm", "--seed", "3", "--out", str(out), *QUICK]) == 0
    (run,) = (out / "runs").iterdir()
    assert {"record.json", "config.yaml", "best.ckpt", "predictions.npz"} <= {p.name for p in run.iterdir()}
    capsys.readouterr()
    assert main(["diagnose", str(run), "--json"]) == 0
    check_contract(json.loads(capsys.readouterr().out), {"vitals", "motion"})
    assert main(["diagnose", str(run / "best.ckpt")]) == 0


def check_contract(content: dict[str, Any], modalities: set[str]) -> None:
    assert content["unit"] == "nats"
    assert {"n", "entropy", "joint_mi", "modalities", "verdict"} <= set(content)
    assert set(content["modalities"]) == modalities
    for part in (content["joint_mi"], *(m[k] for m in content["modalities"].values() for k in ("mi", "cmi"))):
        assert part["low"] <= part["value"] <= part["high"]
    assert all(isinstance(m["verdict"], str) for m in content["modalities"].values())


def test_diagnose_arrays_and_tables(
    npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = npz("plain.npz", motion=np.random.default_rng(1).normal(size=(240, 2)))
    assert main(["diagnose", "--arrays", plain, "--json", "--out", str(tmp_path / "page")]) == 0
    content = json.loads(capsys.readouterr().out)
    check_contract(content, {"vitals", "motion"})
    assert content["modalities"]["vitals"]["mi"]["low"] > 0.5 > content["modalities"]["motion"]["mi"]["high"]
    assert "vitals" in (tmp_path / "page" / "diagnosis.html").read_text()

    values = arrays()
    table = tmp_path / "table.csv"
    columns = [*values["vitals"].T, values["motion"].mean(1)[:, 0], values["label"]]
    rows = [
        ",".join(["v0", "v1", "v2", "v3", "m0", "outcome"]),
        *(",".join(map(str, r)) for r in zip(*columns, strict=True)),
    ]
    table.write_text("\n".join(rows))
    command = ["diagnose", "--csv", str(table), "--label", "outcome", "--json"]
    both = ["--modality", "vitals=v0,v1,v2,v3", "--modality", "motion=m0"]
    assert main([*command, *both, "--estimator", "variational-linear"]) == 0
    check_contract(json.loads(capsys.readouterr().out), {"vitals", "motion"})
    assert "no column `v9`" in fails(capsys, *command, "--modality", "vitals=v9", "--modality", "motion=m0")
    assert "should be NAME=COLUMN" in fails(capsys, *command, "--modality", "vitals")
    assert "Did you mean `gaussian`" in fails(capsys, *command, *both, "--estimator", "gausian")
    assert "one thing to diagnose" in fails(capsys, "diagnose")


def test_two_trainings_with_one_seed_are_equal(npz: Callable[..., str], tmp_path: Path) -> None:
    data = npz()
    metrics = []
    for name in "xy":
        assert main(["train", "--data", data, "--method", "ogm-ge", "--out", str(tmp_path / name), *QUICK]) == 0
        (record,), _ = read_records([tmp_path / name])
        metrics.append([m for m in record.metrics if m.name != "step_ms"])
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("what", ["methods", "datasets", "encoders", "fusions", "valuations", "rules"])
def test_list(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert all(row["name"] and row["summary"] for row in rows)
    assert main(["list", what]) == 0
    assert rows[0]["name"] in capsys.readouterr().out


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "compare" in capsys.readouterr().out
    assert main(["--version"]) == 0
    for verb in ("demo", "list", "prepare", "train", "compare", "diagnose", "report"):
        assert main([verb, "--help"]) == 0
        assert "usage" in capsys.readouterr().out.lower()


def test_a_yaml_config_and_the_command_line_over_it(npz: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"data: {npz()}\nmethod: uniform\nfit:\n  epochs: 5\n  accelerator: cpu\noptim:\n  lr: 0.01\n")
    assert main(["train", "--config", str(file), "--fit.epochs", "2", "--out", str(tmp_path / "out")]) == 0
    record = json.loads(next((tmp_path / "out").glob("runs/*/record.json")).read_text())
    assert record["row"]["method"] == "uniform"
    assert record["config"]["fit"]["epochs"] == 2
    assert record["config"]["optim"]["lr"] == 0.01


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_names_that_are_not_there(npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert "Did you mean `train`" in fails(capsys, "trian")
    assert "Did you mean `smartwatch`" in fails(capsys, "train", "--data", "smartwach", "--method", "arm", "--out", out)
    assert "Did you mean `uniform`" in fails(capsys, "train", "--data", npz(), "--method", "unifrom", "--out", out)
    assert "Did you mean `--fit.epochs`" in fails(
        capsys, "train", "--data", npz(), "--method", "arm", "--fit.epoch", "3", "--out", out
    )
    assert "Did you mean `gamma`" in fails(
        capsys, "train", "--data", npz(), "--method", "arm", "--method_args.gama", "3", "--out", out
    )
    assert "Did you mean `methods`" in fails(capsys, "list", "method")
    assert "Unknown rule" in fails(
        capsys, "compare", "--data", npz(), "--methods", "arm", "--rules", "best", "--out", out
    )
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").rglob("*.json"))


@pytest.mark.parametrize(
    "said", [["arm", "--method_args.gamma", "1.5", "--method_args.fusion", "false"], ["arm[gamma=1.5, fusion=false]"]]
)
def test_hyperparameters_of_the_method_are_numbers_and_switches(
    said: list[str], npz: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert main(["train", "--data", npz(), "--method", *said, "--fit.epochs", "2", "--out", str(out)]) == 0
    (file,) = out.rglob("record.json")
    assert json.loads(file.read_text())["config"]["method_args"] == {"gamma": 1.5, "fusion": False}


def test_an_unknown_key_in_a_config_file(
    npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("optim:\n  learning_rate: 0.1\n")
    said = fails(capsys, "train", "--data", npz(), "--method", "arm", "--config", str(file))
    assert "learning_rate" in said


def test_a_value_out_of_range(npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["train", "--data", npz(), "--method", "arm", "--out", str(tmp_path / "out")]
    assert "Parameter `lr` of `optim` should be in (0, inf). Found `lr = -1.0`" in fails(
        capsys, *base, "--optim.lr", "-1"
    )
    assert "Parameter `gamma` of `ARM` should be in [0, inf). Found `gamma = -1`" in fails(
        capsys, *base, "--method_args.gamma", "-1"
    )
    assert "`seeds`" in fails(
        capsys, "compare", "--data", npz(), "--methods", "arm", "--seeds", "0", "--out", str(tmp_path)
    )


def test_folders_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no run" in fails(capsys, "diagnose", str(tmp_path / "absent"))
    assert "There is no" in fails(capsys, "report", str(tmp_path / "absent"), "--out", str(tmp_path / "x.html"))
    assert str(tmp_path / "absent") in fails(
        capsys, "prepare", "av-mnist", "--source", str(tmp_path / "absent"), "--out", str(tmp_path / "out")
    )
    assert not (tmp_path / "out").exists()
    assert "absent.npz" in fails(capsys, "train", "--data", str(tmp_path / "absent.npz"), "--method", "joint")


def test_broken_and_foreign_folders_are_named_and_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from counterpoise.runs import RowId, write_records

    good, broken, empty, page = (tmp_path / name for name in ("good", "broken [i]", "empty", "page.html"))
    write_records(good / "runs.jsonl", [RunRecord("k", "mine", RowId("joint"), 0, modalities=("a", "b"))])
    for folder in (broken, empty):
        folder.mkdir()
    (broken / "record.json").write_text("{")
    assert main(["report", str(good), str(broken), str(empty), "--out", str(page)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == [
        f"skipped {broken / 'record.json'}",
        f"skipped {empty}",
        "The page",
    ]
    assert said[-1].endswith("(1 run)")
    assert "broken [i]" in page.read_text()
    (broken / "record.json").write_text("{\n" * 30)
    assert main(["report", str(good), str(broken), "--out", str(page)]) == 0
    assert "And 29 more lines of it." in capsys.readouterr().out
    for i in range(30):
        (broken / f"run {i}").mkdir()
        (broken / f"run {i}" / "record.json").write_text("{")
    (broken / "record.json").unlink()
    assert "nothing to report" in fails(capsys, "report", str(broken), "--out", str(tmp_path / "none.html"))
    assert not (tmp_path / "none.html").exists()
    assert main(["report", str(good), str(broken), "--out", str(page)]) == 0
    assert "skipped 20 more" in capsys.readouterr().out


def test_train_writes_the_log_that_is_asked_for(
    npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--data", npz(), "--method", "joint", "--out", str(tmp_path / "out"), *QUICK]
    assert main([*arguments, "--logger", "csv"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("joint on mine, seed 0: 2 epochs")
    assert "vitals" in said.splitlines()[1]
    (log,) = (tmp_path / "out").glob("runs/*/csv/metrics.csv")
    with log.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1"]
    assert all(row["contribution/phi_mi/vitals"] and row["loss/total"] for row in rows)
    assert "Did you mean `tensorboard`" in fails(capsys, *arguments, "--logger", "tensorbord")


def test_the_page_is_an_html_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "should end in .html" in fails(capsys, "report", str(tmp_path), "--out", str(tmp_path / "page"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"motion": None}, "at least two modalities"),
        ({"label": np.ones(240, int)}, "at least two classes"),
        ({"split": np.array(["train"] * 200 + ["test"] * 40)}, "val"),
        ({"vitals": np.zeros((239, 4), np.float32)}, "239"),
    ],
    ids=["one modality", "one class", "empty split", "unequal lengths"],
)
def test_data_that_would_give_a_wrong_number(
    changes: dict[str, Any], message: str, npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fails(capsys, "train", "--data", npz(**changes), "--method", "joint", "--out", str(tmp_path / "out"), *QUICK)
    assert message in said
    assert not (tmp_path / "out").exists()


def test_not_a_number(npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = arrays()["motion"].copy()
    bad[[7, 11], 3, 1] = np.nan
    split = np.array((["train"] * 8 + ["val", "test"]) * 24)
    said = fails(
        capsys, "train", "--data", npz(motion=bad, split=split), "--method", "joint", "--out", str(tmp_path / "out")
    )
    assert "`motion`" in said
    assert "NaN or inf in 2 of" in said


def test_validation_that_is_the_test_set(
    npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = {name: np.concatenate([value, value[200:]]) for name, value in arrays().items()}
    split = np.array(["train"] * 200 + ["val"] * 40 + ["test"] * 40)
    said = fails(
        capsys, "train", "--data", npz(**twice, split=split), "--method", "joint", "--out", str(tmp_path / "out")
    )
    assert "is its test set" in said


def test_a_place_that_cannot_be_written_to(
    npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    out = str(tmp_path / "file" / "out")
    assert "Could not write" in fails(capsys, "train", "--data", npz(), "--method", "joint", "--out", out, *QUICK)
    assert "Could not write" in fails(capsys, "compare", "--data", npz(), "--methods", "joint", "--out", out, *QUICK)


def test_a_checkpoint_of_another_model(
    npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for width in ("8", "16"):
        arguments = ["--fit.epochs", "2", "--model.width", width, "--out", str(tmp_path / width)]
        assert main(["train", "--data", npz(), "--method", "joint", *arguments]) == 0
    (small,) = (tmp_path / "8" / "runs").iterdir()
    (large,) = (tmp_path / "16" / "runs").iterdir()
    (small / "best.ckpt").write_bytes((large / "best.ckpt").read_bytes())
    capsys.readouterr()
    assert "belongs to another model" in fails(capsys, "diagnose", str(small))


def test_one_broken_run_does_not_stop_the_others(
    npz: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", "--data", npz(), "--methods", "joint,arm", "--seeds", "1", "--out", str(tmp_path / "out")]
    status = main([*arguments, "--fit.epochs", "1", "--jobs", "1"])  # arm holds out for half of the epochs: not of one
    said = capsys.readouterr().out
    assert status == 1
    assert "needs at least 2 epochs" in " ".join(said.split())
    assert len((tmp_path / "out" / "runs.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--fit.class_weights", "balancd", "balanced"),
        ("--model.absent", "tokn", "token"),
        ("--fit.strategy", "dpd", "ddp_spawn"),
    ],
)
def test_a_wrong_word_is_one_line_with_the_allowed_ones(
    option: str, value: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, hint, *rest = fails(capsys, "train", "--data", "smartwatch", "--method", "joint", option, value).splitlines()
    assert all(word in first for word in (option, value, allowed))
    assert hint.startswith("try: ")
    assert not rest
