"""Training on several devices: one process per device, started by Lightning, `torchrun` or `srun`."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import lightning
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch.multiprocessing.spawn import ProcessException

from counterpoise import errors
from counterpoise._launch import shared_run
from counterpoise.config import FitConfig
from counterpoise.errors import ConfigError, CounterpoiseError, TrainingError
from counterpoise.runs import CurveId

if TYPE_CHECKING:
    from counterpoise.training.module import MethodModule

__all__ = [
    "ProcessReports",
    "SharedSteps",
    "check_devices",
    "reports",
    "trainer_devices",
]

LOGS: Final = ("lightning.fabric", "lightning.pytorch", "torch.multiprocessing.spawn")
_FORK: Final = ("ddp_fork", "ddp_notebook")


def silence() -> None:
    """Suppress Lightning's advice about workers, loggers and deprecated internals."""
    for name in LOGS:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings("ignore", message=".*(num_workers|LeafSpec|does not have many workers|log_every).*")


class SharedSteps(DDPStrategy):
    """Distributed data parallel training for methods, whose steps exchange features and gradients by themselves.

    Lightning starts the processes, connects them and writes checkpoints once, as with its own strategy. The model is
    not wrapped in `DistributedDataParallel`, which would average gradients after a method has read them.
    """

    def setup_environment(self) -> None:
        """Connect the processes without a log line for each."""
        silence()
        super().setup_environment()

    def configure_ddp(self) -> None:
        """Return without wrapping the module."""


class _Tasks(SLURMEnvironment):
    """Tasks of `srun`, of which this process is one. The library writes the checkpoints, and Slurm requeues the job."""

    def __init__(self) -> None:
        super().__init__(auto_requeue=False)

    @staticmethod
    def _validate_srun_variables() -> None:
        """Accept all ways to request tasks; `counterpoise._launch` counts them."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """See `_validate_srun_variables`."""

    def local_rank(self) -> int:
        """Return the number of this process on its machine."""
        return int(os.environ.get("SLURM_LOCALID", os.environ["SLURM_PROCID"]))

    def node_rank(self) -> int:
        """Return the number of this machine."""
        return int(os.environ.get("SLURM_NODEID", 0))


def trainer_devices(config: FitConfig) -> dict[str, Any]:
    """Return the arguments of Lightning's trainer about processes: devices, machines, strategy and environment.

    Raises:
        ConfigError: If `torchrun` has started another number of processes than there are devices.
    """
    process = shared_run(config.devices)
    if process is not None:  # they are started: Lightning connects them
        environment: ClusterEnvironment = TorchElasticEnvironment() if process.by == "torchrun" else _Tasks()
        return {
            "devices": process.local,
            "num_nodes": process.nodes,
            "strategy": SharedSteps(start_method="popen"),
            "plugins": [environment],
        }
    method: Literal["fork", "spawn"] = "fork" if config.strategy in _FORK else "spawn"
    return {
        "devices": config.devices,
        "strategy": SharedSteps(start_method=method) if config.devices > 1 else "auto",
        "plugins": [LightningEnvironment()],  # in a job of Slurm, too: its variables do not describe our processes
    }


def check_devices(module: MethodModule, samples: int) -> None:
    """Check that a training on several devices can start.

    Raises:
        ConfigError: If the method trains in one process only, or there are fewer samples than devices.
    """
    devices, method = module.config.fit.devices, module.method
    if devices == 1:
        return
    if method.one_process:
        raise ConfigError(
            f"Method `{module.config.method}` trains in one process: {method.one_process}. Found `fit.devices = "
            f"{devices}`; set it to 1."
        )
    if samples < devices:
        raise ConfigError(
            f"Each device needs a sample of a batch. Found {samples} training samples and `fit.devices = {devices}`."
        )


class ProcessReports(Callback):
    """Callback that passes the curves of a run, or the reason of its failure, from the training processes to the
    parent.

    Args:
        folder: Folder that all processes can access.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.owner = folder, os.getpid()

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write the curves, in the first process."""
        if os.getpid() == self.owner or not trainer.is_global_zero:
            return
        report = {
            "history": [[*curve, values] for curve, values in pl_module.history.items()],
            "step_seconds": pl_module.step_seconds,
            "notes": pl_module.notes,
            "epochs": trainer.current_epoch,
        }
        (self.folder / "report.json").write_text(json.dumps(report))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        silence()  # the first code of the library that runs in a fresh process

    def read(self, module: MethodModule) -> int | None:
        """Copy the curves of the processes to the module; return the number of epochs, or None if nothing was
        reported.
        """
        path = self.folder / "report.json"
        if not path.exists():
            return None
        report = json.loads(path.read_text())
        module.history = {CurveId(kind, name, m): values for kind, name, m, values in report["history"]}
        module.step_seconds, module.notes = report["step_seconds"], report["notes"]
        return int(report["epochs"])

    @contextmanager
    def raising(self, trainer: lightning.Trainer) -> Iterator[None]:
        """Raise the error of a process that failed, or an error that names the process that was killed."""
        try:
            yield
        except ProcessException as error:
            raise _raised(error) or _ended(trainer) or error from None


def _raised(error: ProcessException) -> CounterpoiseError | None:
    """Return the error of the library that a process raised, read from the end of its traceback."""
    raised = re.findall(r"^counterpoise\.errors\.(\w+): (.*)", str(error), re.MULTILINE | re.DOTALL)
    kind = getattr(errors, raised[-1][0], None) if raised else None
    return None if kind is None else kind(raised[-1][1].strip())


def _ended(trainer: lightning.Trainer) -> TrainingError | None:
    """Return an error that names the process that was ended by a signal, if there is one."""
    processes = list(getattr(trainer.strategy.launcher, "procs", []))
    for rank, process in enumerate(processes):
        code = process.exitcode or 0
        if code < 0 and -code != signal.SIGTERM:  # torch ends the others by SIGTERM
            name = signal.Signals(-code).name
            return TrainingError(
                f"Process {rank + 1} of {len(processes)} was ended by {name}"
                f"{' (often for lack of memory)' if name == 'SIGKILL' else ''}, and so were the others. Run the same "
                "command again to resume from the last epoch."
            )
    return None


@contextmanager
def reports(config: FitConfig) -> Iterator[ProcessReports | None]:
    """Yield a callback for the duration of a training whose processes Lightning starts; else None."""
    if config.devices == 1 or shared_run(config.devices) is not None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="counterpoise-") as folder:
        yield ProcessReports(Path(folder))
