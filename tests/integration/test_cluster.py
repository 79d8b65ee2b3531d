"""Comparisons on several machines: Dask's workers, a queue, and array jobs. Records are those of one process."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterpoise.cli.main import main
from counterpoise.errors import ConfigError, NotFoundError
from counterpoise.experiment.cluster import check_cluster
from counterpoise.experiment.compare import compare
from counterpoise.runs import RunRecord, read_records

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]
SETTINGS = {"fit": {"epochs": 5, "accelerator": "cpu"}, "model": {"width": 4}}

MORTAL = """
import os, pathlib, signal
from counterpoise.methods import Joint

class Mortal(Joint):
    '''Joint training that is killed in its fourth epoch, once, and writes down every epoch that it begins.'''

    def on_epoch_start(self, model, context):
        super().on_epoch_start(model, context)
        folder = pathlib.Path(__file__).parent
        with (folder / "epochs.txt").open("a") as file:
            file.write(f"{os.getpid()} {context.number}\\n")
        if context.number == 3 and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small data and a method of one's own; it is the current one."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=80)
    arrays = {"a": rng.normal(size=(80, 3)) + y[:, None], "b": rng.normal(size=(80, 2)) - y[:, None]}
    np.savez(tmp_path / "two words.npz", **arrays, label=y)
    (tmp_path / "mortal.py").write_text(MORTAL)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def _warnings_of_dask() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def result(record: RunRecord) -> dict[str, Any]:
    """Return everything of a record that a run determines, and not the machine: no times, no command."""
    content = json.loads(record.to_json())
    for name in ("seconds", "command", "environment"):
        del content[name]
    content["metrics"] = [metric for metric in content["metrics"] if metric["name"] != "step_ms"]
    return content


def predictions(out: Path) -> dict[str, dict[str, bytes]]:
    contents = {}
    for path in out.glob("runs/*/predictions.npz"):
        with np.load(path) as arrays:
            contents[path.parent.name] = {name: arrays[name].tobytes() for name in arrays.files}
    return contents


@pytest.mark.usefixtures("_warnings_of_dask")
def test_a_killed_worker_costs_nothing_but_time(folder: Path) -> None:
    def runs(out: str, **more: Any) -> list[RunRecord]:
        records, failures = compare(
            ["two words.npz"], ["mortal:Mortal"], seeds=2, out=Path(out), given=SETTINGS, figures=False, **more
        )
        assert not failures
        return records

    from_cluster = runs("cluster", jobs=2, backend="dask")
    lines = (folder / "epochs.txt").read_text().split()
    assert (folder / "killed").exists()
    pids, epochs = lines[::2], [int(epoch) for epoch in lines[1::2]]
    assert len(epochs) == 2 * 5 + 1, "the killed epoch is begun twice, and no other one"
    assert os.getpid() not in map(int, pids)
    one_process = runs("one", jobs=1)
    assert [result(r) for r in from_cluster] == [result(r) for r in one_process]
    assert predictions(folder / "cluster") == predictions(folder / "one") != {}


SBATCH = """#!/bin/bash
script="$(mktemp)"
cp "${@: -1}" "$script"
grep '^#SBATCH' "$script" >> FOLDER/asked.txt
setsid bash "$script" > FOLDER/job.log 2>&1 &
echo "Submitted batch job $!"
"""


@pytest.mark.usefixtures("_warnings_of_dask")
def test_a_queue_starts_the_workers_that_its_configuration_describes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slurm, with an `sbatch` that runs the job script on this machine."""
    tools = folder / "bin"
    tools.mkdir()
    (tools / "sbatch").write_text(SBATCH.replace("FOLDER", str(folder)))
    (tools / "scancel").write_text('#!/bin/bash\nfor id in "$@"; do kill -- -$id; done\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    (folder / "jobqueue.yaml").write_text(
        "jobqueue:\n  slurm:\n    cores: 1\n    memory: 2GB\n    queue: short\n    walltime: '00:10:00'\n"
        "    scheduler-options: {host: 127.0.0.1}\n"
    )
    options = ["--data", "two words.npz", "--methods", "joint", "--seeds", "3,7", "--fit.epochs", "1"]
    options += ["--fit.accelerator", "cpu", "--model.width", "4", "--backend", "dask", "--cluster", "jobqueue.yaml"]
    assert main(["compare", *options, "--out", "out"]) == 2
    assert "--jobs" in capsys.readouterr().err
    assert main(["compare", *options, "--out", "out", "--jobs", "1"]) == 0
    records, _ = read_records([folder / "out"])
    assert sorted(r.seed for r in records) == [3, 7]
    asked = (folder / "asked.txt").read_text()
    assert "-p short" in asked
    assert "-t 00:10:00" in asked
    assert asked.count("--mem=") == 1, "one job for one worker"


def test_an_array_job_runs_the_printed_commands_and_report_puts_them_together(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", "--data", "two words.npz", "--methods", "uniform[strength=0.5]", "--seeds", "7,"]
    command += ["--out", "array out", "--fit.epochs", "2", "--fit.accelerator", "cpu", "--model.width", "4"]
    assert main([*command, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    (folder / "commands.txt").write_text("\n".join(lines) + "\n")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for task in (1, 2):  # as the documentation has it: task k of the array runs line k
        script = f'eval "$(sed -n "{task}p" commands.txt)"'
        subprocess.run(["bash", "-c", script], check=True, capture_output=True, env={**os.environ, "PATH": path})
    assert main([*command, "--dry-run"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["report", "array out", "--out", "page.html"]) == 0
    assert "uniform" in (folder / "page.html").read_text()
    given = {"fit": {"epochs": 2, "accelerator": "cpu"}, "model": {"width": 4}}
    one_process, _ = compare(
        ["two words.npz"], ["uniform[strength=0.5]"], seeds=[7], out=Path("one"), given=given, jobs=1, figures=False
    )
    records, _ = read_records([folder / "array out"])
    by_key = {record.key: result(record) for record in records}
    assert by_key == {record.key: result(record) for record in one_process}
    assert shlex.split(lines[0])[:2] == ["counterpoise", "train"]


def test_a_cluster_that_cannot_be_used_is_one_error(folder: Path) -> None:
    (folder / "empty.yaml").write_text("distributed: {}\n")
    (folder / "two.yaml").write_text("jobqueue: {slurm: {cores: 1}, pbs: {cores: 1}}\n")
    (folder / "list.yaml").write_text("- 1\n")
    for cluster, error in {
        "slrum": NotFoundError,
        "absent.yaml": NotFoundError,
        "absent.json": NotFoundError,
        "empty.yaml": ConfigError,
        "two.yaml": ConfigError,
        "list.yaml": ConfigError,
    }.items():
        with pytest.raises(error, match=cluster):
            check_cluster(cluster, 2)
    with pytest.raises(ConfigError, match="jobs"):
        check_cluster("slurm", None)
    check_cluster("pbs", 2)
    check_cluster("tcp://localhost:8786", None)


@pytest.mark.parametrize("options", [["--cluster", "slurm"], ["--backend", "dusk"]])
def test_options_of_the_command_line(folder: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--data", "two words.npz", "--out", "out", *options]) == 2
    assert "backend" in capsys.readouterr().err
    assert not (folder / "out" / "runs").exists()


@pytest.mark.usefixtures("_warnings_of_dask")
def test_workers_without_counterpoise_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr("counterpoise.experiment.cluster.__name__", "counterpoise_of_another_machine")
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        where: dict[str, Any] = {"backend": "dask", "cluster": cluster.scheduler_address}
        with pytest.raises(ConfigError, match="No module named"):
            compare(["two words.npz"], ["joint"], seeds=1, out=folder / "out", given=SETTINGS, **where)


@pytest.mark.usefixtures("_warnings_of_dask")
def test_a_worker_with_several_threads_is_refused(folder: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        where: dict[str, Any] = {"backend": "dask", "cluster": cluster.scheduler_address}
        with pytest.raises(ConfigError, match="one thread"):
            compare(["two words.npz"], ["joint"], seeds=1, out=folder / "out", given=SETTINGS, **where)
