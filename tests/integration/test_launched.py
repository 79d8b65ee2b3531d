"""`counterpoise train` in processes that `torchrun` or `srun` has started: the run of processes of our own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterpoise._launch import Launched, launched, refuse_several, shared_run
from counterpoise.cli.main import main
from counterpoise.errors import ConfigError
from counterpoise.runs import RunRecord, read_records

TIMES = ("step_ms",)
SLURM = {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "7"}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SLURM_") or name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "ENVIRONMENT"):
            monkeypatch.delenv(name)


def environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "1"}, None),
        (
            {"LOCAL_RANK": "1", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"},
            Launched("torchrun", 3, 4, 2),
        ),
        (SLURM, Launched("srun", 0, 2, 2)),
        ({**SLURM, "SLURM_PROCID": "1", "ENVIRONMENT": "BATCH"}, Launched("srun", 1, 2, 2)),
        ({**SLURM, "SLURM_NTASKS": "6", "SLURM_STEP_TASKS_PER_NODE": "2(x3)"}, Launched("srun", 0, 6, 2)),
        ({**SLURM, "SLURM_NTASKS": "1"}, None),
        ({**SLURM, "SLURM_JOB_NAME": "interactive"}, None),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "ENVIRONMENT": "BATCH"}, None),  # the batch script itself
    ],
)
def test_variables_of_a_process(
    variables: dict[str, str], expected: Launched | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(monkeypatch, **variables)
    assert launched() == expected


def test_machines_with_different_numbers_of_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, **SLURM, SLURM_STEP_TASKS_PER_NODE="2,1")
    with pytest.raises(ConfigError, match="same number"):
        launched()


def test_tasks_share_a_run_of_as_many_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tasks of `srun` may be workers of Dask; those of `torchrun` never are."""
    environment(monkeypatch, **SLURM)
    assert shared_run(2) == Launched("srun", 0, 2, 2)
    assert shared_run(1) is None
    refuse_several("A training", 2)
    with pytest.raises(ConfigError, match="Found 2 that srun has started"):
        refuse_several("A comparison")
    environment(monkeypatch, LOCAL_RANK="0", RANK="0", WORLD_SIZE="2")
    with pytest.raises(ConfigError, match=r"set --fit\.devices 2"):
        shared_run(1)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=90)
    path = tmp_path_factory.mktemp("data") / "toy.npz"
    np.savez(path, a=rng.normal(size=(90, 3)) + y[:, None], b=rng.normal(size=(90, 2)), label=y)
    options = ["--fit.epochs", "2", "--fit.batch_size", "8", "--fit.accelerator", "cpu", "--model.width", "4"]
    return ["train", "--data", str(path), "--method", "arm", "--fit.devices", "2", *options]


@pytest.fixture(scope="module")
def expected(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("own")
    assert main([*command, "--fit.strategy", "ddp_fork", "--out", str(out)]) == 0
    return numbers(out)


def numbers(out: Path) -> dict[str, Any]:
    """Return all numbers of the only record in a folder, without times."""
    (record,), skipped = read_records([out])
    assert not skipped
    assert isinstance(record, RunRecord)
    metrics = {str(m.id): m.value for m in record.metrics if m.name not in TIMES}
    return metrics | {str(c.id): c.values for c in record.curves}


def python(*words: str) -> list[str]:
    return [sys.executable, "-W", "ignore", *words]


@pytest.mark.slow
def test_torchrun(command: list[str], expected: dict[str, Any], tmp_path: Path) -> None:
    run = python("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "counterpoise.cli.main")
    done = subprocess.run([*run, *command, "--out", str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The run:") == 1, "one process prints"
    assert numbers(tmp_path) == expected


@pytest.mark.slow
def test_srun(command: list[str], expected: dict[str, Any], tmp_path: Path) -> None:
    """Two tasks with the variables that Slurm gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    variables = {"SLURM_NTASKS": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    tasks = [
        subprocess.Popen(
            python("-m", "counterpoise.cli.main", *command, "--out", str(tmp_path)),
            env={**os.environ, **variables, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    (first, error), (second, other) = (task.communicate(timeout=300) for task in tasks)
    assert [task.returncode for task in tasks] == [0, 0], error + other
    assert "The run:" in first
    assert not second
    assert numbers(tmp_path) == expected


def test_a_job_of_one_task_starts_its_own_processes(
    command: list[str], expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sbatch --gres=gpu:2` without `srun`: the variables of Slurm describe one task."""
    environment(monkeypatch, SLURM_NTASKS="1", SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0", SLURM_JOB_ID="7")
    assert main([*command, "--fit.strategy", "ddp_fork", "--out", str(tmp_path)]) == 0
    assert numbers(tmp_path) == expected
