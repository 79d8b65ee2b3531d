"""Single runs of a comparison: their commands, which are missing, and which are trained again."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from counterpoise.cli.main import build_parser, main
from counterpoise.config import RunConfig
from counterpoise.data import open_data
from counterpoise.errors import ConfigError, NotFoundError
from counterpoise.experiment.cells import chosen_runs
from counterpoise.experiment.folders import run_folder

RUNS = [
    *(RunConfig("toy", "joint", seed=seed) for seed in range(3)),
    *(RunConfig("toy", "arm", {"tau": tau}, seed=seed) for tau in (1.0, 2.0) for seed in range(3)),
    RunConfig("toy", "mine:Method"),
]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["joint"], [0, 1, 2]),
        (["joint:1"], [1]),
        (["arm:2"], [5, 8]),
        (["arm[tau=2.0]"], [6, 7, 8]),
        (["arm[tau=2.0]:0", "joint:2"], [2, 6]),
        (["mine:Method"], [9]),
        (["mine:Method:0"], [9]),
        ([], []),
    ],
)
def test_a_cell_names_runs(cells: list[str], expected: list[int]) -> None:
    assert [RUNS.index(run) for run in chosen_runs(RUNS, cells)] == expected


@pytest.mark.parametrize("cell", ["", ":", ":1", "joint:", "joint:-1", "joint:1.5", "arm[tau"])
def test_a_cell_that_cannot_be_read(cell: str) -> None:
    with pytest.raises(ConfigError):
        chosen_runs(RUNS, [cell])


@pytest.mark.parametrize("cell", ["amr", "joint:3", "arm[tau=3.0]", "mine:Other"])
def test_a_cell_that_no_run_belongs_to(cell: str) -> None:
    with pytest.raises(NotFoundError):
        chosen_runs(RUNS, [cell])


def test_a_folder_of_a_run_has_a_name_that_a_person_can_read(tmp_path: Path) -> None:
    data = open_data("world-xor")
    names = [
        run_folder(config, data, tmp_path).name
        for config in (
            RunConfig("world-xor", "arm", seed=2),
            RunConfig("world-xor", "arm", rule="calibrated", seed=2),
            RunConfig("world-xor", "mine:Method", seed=11),
        )
    ]
    short = r"-[0-9a-f]{10}"
    for name, expected in zip(
        names,
        ("world-xor-arm-seed2", "world-xor-arm-calibrated-seed2", "world-xor-mine-Method-seed11"),
        strict=True,
    ):
        assert re.fullmatch(expected + short, name)


def test_the_printed_commands_train_the_runs_of_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A comparison that was filled by its printed commands has nothing left to do, and `--redo` trains one run."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=60)
    np.savez(tmp_path / "d.npz", a=rng.normal(size=(60, 2)) + y[:, None], b=rng.normal(size=(60, 2)), label=y)
    command = ["compare", "--data", str(tmp_path / "d.npz"), "--methods", "ogm-ge[strength=0.5]", "--seeds", "1"]
    command += ["--out", str(tmp_path / "out"), "--fit.epochs", "1", "--model.width", "4", "--fit.accelerator", "cpu"]

    def planned(*more: str) -> list[list[str]]:
        assert main([*command, "--dry-run", *more]) == 0
        return [shlex.split(line)[1:] for line in capsys.readouterr().out.splitlines()]

    missing = planned()
    assert len(missing) == 2
    assert not (tmp_path / "out").exists()
    for words in missing:
        assert main(words) == 0
    capsys.readouterr()
    assert planned() == []
    assert planned("--redo", "ogm-ge:0") == missing[1:]
    records = {path: path.read_text() for path in (tmp_path / "out").rglob("record.json")}
    assert main([*command, "--redo", "ogm-ge", "--jobs", "1", "--figures", "false"]) == 0
    assert not (tmp_path / "out" / "figures").exists()
    again = {path: path.read_text() for path in (tmp_path / "out").rglob("record.json")}
    changed = [path for path in again if again[path] != records[path]]
    assert len(changed) == 1
    old, new = (json.loads(texts[changed[0]]) for texts in (records, again))
    assert new["row"]["method"] == "ogm-ge"
    assert [m for m in old["metrics"] if m["name"] != "step_ms"] == [
        m for m in new["metrics"] if m["name"] != "step_ms"
    ]
    lines = (tmp_path / "out" / "runs.jsonl").read_text().splitlines()
    assert {json.loads(line)["seconds"] for line in lines} == {json.loads(text)["seconds"] for text in again.values()}


def dry_run(tmp_path: Path, *options: str) -> list[str]:
    return ["compare", "--data", "world-xor", "--methods", "joint", "--seeds", "1", "--out", str(tmp_path), *options]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--cluster", "slurm"], ["--backend dask"]),
        (["--backend", "dask", "--cluster", "slrum", "--jobs", "2"], ["slrum", "slurm"]),
        (["--backend", "dask", "--cluster", "slurm"], ["--jobs"]),
        (["--backend", "dask", "--cluster", "absent.yaml", "--jobs", "2"], ["absent.yaml"]),
        (["--jobs", "0"], ["`jobs`", "0"]),
        (["--tune", "0"], ["--tune"]),
    ],
)
def test_a_dry_run_refuses_what_the_comparison_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], parts: list[str]
) -> None:
    assert main(dry_run(tmp_path, "--dry-run", *options)) == 2
    printed = capsys.readouterr()
    assert not printed.out
    for part in parts:
        assert part in printed.err


def test_a_dry_run_for_a_cluster_needs_no_dask_and_the_comparison_names_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("dask", "distributed", "dask_jobqueue"):
        monkeypatch.setitem(sys.modules, package, None)
    command = dry_run(tmp_path, "--backend", "dask", "--cluster", "slurm", "--jobs", "2")
    assert main([*command, "--dry-run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(command) == 2
    assert "counterpoise[dask]" in capsys.readouterr().err


def test_lists_in_a_printed_command_are_read_as_they_were_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--fit.class_weights", "[0.5, 2.0]", "--model.frozen", "[heads]", "--optim.rates", '{"heads": 0.1}']
    assert main(dry_run(tmp_path, "--dry-run", *given)) == 0
    (line,) = capsys.readouterr().out.splitlines()
    train = build_parser()["train"].parse_args(shlex.split(line)[2:], defaults=False)
    assert list(train.fit.class_weights) == [0.5, 2.0]
    assert list(train.model.frozen) == ["heads"]
    assert train.optim.rates == {"heads": 0.1}
