"""Processes that `torchrun` or Slurm's `srun` has started: which of them this one is. Torch-free."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal

from counterpoise.errors import ConfigError

__all__ = ["Launched", "launched", "refuse_several", "shared_run"]


@dataclass(frozen=True)
class Launched:
    """One of several processes that another program has started.

    Attributes:
        by: The program.
        rank: Number of this process, from 0.
        world: Number of all processes.
        local: Number of processes per machine.
    """

    by: Literal["torchrun", "srun"]
    rank: int
    world: int
    local: int

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.world // self.local


def launched() -> Launched | None:
    """Return which of several processes this is; None if it was started alone, also in the batch script of a job."""
    env = os.environ
    if "LOCAL_RANK" in env and "RANK" in env and int(env.get("WORLD_SIZE", "1")) > 1:
        return _checked("torchrun", int(env["RANK"]), int(env["WORLD_SIZE"]), env.get("LOCAL_WORLD_SIZE", ""))
    tasks = int(env.get("SLURM_NTASKS") or 1)
    # The batch script of a job has a number of tasks and a rank, too: one process, whatever was asked for.
    step = "SLURM_STEP_ID" in env or env.get("ENVIRONMENT") != "BATCH"
    if tasks == 1 or "SLURM_PROCID" not in env or not step or env.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    here = env.get("SLURM_STEP_TASKS_PER_NODE") or env.get("SLURM_NTASKS_PER_NODE") or env.get("SLURM_TASKS_PER_NODE")
    return _checked("srun", int(env["SLURM_PROCID"]), tasks, here or "")


def _checked(by: Literal["torchrun", "srun"], rank: int, world: int, local: str) -> Launched:
    """Read the number of processes per machine, such as ``2`` or ``2(x3)``; all machines have as many."""
    number = re.fullmatch(r"(\d+)(\(x\d+\))?", local)
    if local and (number is None or world % int(number[1])):
        raise ConfigError(f"Every machine should have the same number of processes. Found {local} of {world} in all.")
    return Launched(by, rank, world, world if number is None else int(number[1]))


def shared_run(devices: int) -> Launched | None:
    """Return which of the processes of one run this is; None if the run is trained by this process and its children.

    Tasks of `srun` share a run if there are as many as devices. Others are workers, for example of Dask, that train
    runs of their own.

    Args:
        devices: Number of devices of the run.

    Raises:
        ConfigError: If `torchrun` has started another number of processes.
    """
    process = launched()
    if process is None or process.world == devices:
        return process
    if process.by == "srun":
        return None
    raise ConfigError(
        f"The number of processes that torchrun starts should be `fit.devices`, on all machines together. Found "
        f"{process.world} processes and `fit.devices = {devices}`; set --fit.devices {process.world}."
    )


def refuse_several(what: str, devices: int = 1) -> None:
    """Raise `ConfigError` if several processes were started for what one process does.

    Args:
        what: What is done, as the subject of the message.
        devices: Number of devices that one run is trained on, if it is one run.
    """
    process = launched()
    if process is None or (devices > 1 and process.world == devices):
        return
    more = f", or set --fit.devices {process.world}" if what == "A training" else ""
    raise ConfigError(
        f"{what} starts its processes by itself. Found {process.world} that {process.by} has started. Start one{more}."
    )
