"""Training on several devices: Lightning starts one process per device, and this module collects their results."""

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
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch.multiprocessing.spawn import ProcessException

from counterpoise import errors
from counterpoise.config import FitConfig
from counterpoise.errors import ConfigError, CounterpoiseError, TrainingError
from counterpoise.runs import CurveId

if TYPE_CHECKING:
    from counterpoise.training.module import MethodModule

__all__ = [
    "ProcessReports",
    "SharedSteps",
    "check_devices",
    "make_strategy",
    "number_of_nodes",
    "reports",
    "started_by_others",
]

LOGS: Final = ("lightning.fabric", "lightning.pytorch", "torch.multiprocessing.spawn")
_FORK: Final = ("ddp_fork", "ddp_notebook")


def silence() -> None:
    """Keep Lightning's advice about workers, loggers and deprecated internals off the screen."""
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
        """Connect the processes without a line of log for each."""
        silence()
        super().setup_environment()

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


def started_by_others() -> bool:
    """Return whether ``torchrun`` or a scheduler has started one process per device already."""
    return "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def make_strategy(config: FitConfig) -> SharedSteps | Literal["auto"]:
    """Return the strategy of the configuration: none for one device."""
    if config.devices == 1 and not started_by_others():
        return "auto"
    if started_by_others():
        return SharedSteps(start_method="popen")  # Lightning finds the processes and starts none
    return SharedSteps(start_method="fork" if config.strategy in _FORK else "spawn")


def number_of_nodes(config: FitConfig) -> int:
    """Return the number of machines: that of all processes over that of the devices of one machine."""
    if not started_by_others():
        return 1
    world = int(os.environ["WORLD_SIZE"])
    if world % config.devices:
        raise ConfigError(
            f"The number of processes should be a multiple of `fit.devices = {config.devices}`. Found {world} "
            "processes; set `fit.devices` to their number on one machine."
        )
    return world // config.devices


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
    """Brings the curves of a run, and the reason of its failure, from the processes that train to the one that waits.

    Args:
        folder: Folder that all processes see.
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
        silence()  # the first code of ours that runs in a fresh process

    def read(self, module: MethodModule) -> int | None:
        """Give the module the curves of the processes; return the number of epochs, or None if nothing was reported."""
        path = self.folder / "report.json"
        if not path.exists():
            return None
        report = json.loads(path.read_text())
        module.history = {CurveId(kind, name, m): values for kind, name, m, values in report["history"]}
        module.step_seconds, module.notes = report["step_seconds"], report["notes"]
        return int(report["epochs"])

    @contextmanager
    def raising(self, trainer: lightning.Trainer) -> Iterator[None]:
        """Raise the error of a process that failed, or say which one was killed."""
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
    """Return an error that tells which process was ended by a signal, if one was."""
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
    """Yield a callback for the time of a training whose processes Lightning starts; else None."""
    if config.devices == 1 or started_by_others():
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="counterpoise-") as folder:
        yield ProcessReports(Path(folder))
