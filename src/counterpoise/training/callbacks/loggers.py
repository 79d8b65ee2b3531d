"""Curves of a run as scalars of TensorBoard, Weights & Biases or a CSV, through Lightning's loggers."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from lightning.pytorch.callbacks import Callback

from counterpoise._extras import EXTRAS, load
from counterpoise._validation import unknown
from counterpoise.config import RunConfig
from counterpoise.errors import ConfigError, MissingExtraError
from counterpoise.runs import CurveId

if TYPE_CHECKING:
    import lightning
    from lightning.pytorch.loggers import Logger

__all__ = ["LOGGERS", "EpochLogger", "LoggerName", "check_logger", "log_folder", "log_history", "open_logger", "tag"]

LoggerName: TypeAlias = Literal["none", "tensorboard", "wandb", "csv"]

LOGGERS: Final[tuple[LoggerName, ...]] = ("none", "tensorboard", "wandb", "csv")
"""Names of the loggers of `open_logger`; the packages of the second and the third are extras with the same names."""

PROJECT: Final = "counterpoise"
"""Default project on Weights & Biases; ``WANDB_PROJECT`` overrides it."""


def tag(curve: CurveId) -> str:
    """Return the name of a curve's scalar; dashboards group scalars by the part before a slash.

    Example:
        >>> tag(CurveId("contribution", "phi_mi", "image")), tag(CurveId("loss", "total"))
        ('contribution/phi_mi/image', 'loss/total')
    """
    return str(curve)


def check_logger(name: str) -> None:
    """Raise an error before training if a logger is not available.

    Raises:
        NotFoundError: If the name is not one of `LOGGERS`.
        MissingExtraError: If its package is not installed.
    """
    if name not in LOGGERS:
        raise unknown("logger", name, LOGGERS)
    if name in ("tensorboard", "wandb") and find_spec(name) is None:
        raise MissingExtraError(
            f'{EXTRAS[name]} needs {name}. Install it with: pip install "counterpoise[{name}]". The logger `csv` needs '
            "no further package."
        )


def log_folder(folder: Path, name: str) -> Path:
    """Return the folder of a logger: a folder with its name inside the run's folder."""
    return folder / name


@contextlib.contextmanager
def open_logger(name: str, folder: Path | None, config: RunConfig) -> Iterator[list[Logger]]:
    """Open a logger by name inside this context, which covers a run.

    A run on Weights & Biases has the name of the run's folder as its id, so that an interrupted run is continued there
    as well.

    Args:
        name: One of `LOGGERS`; ``none`` opens no logger.
        folder: The run's folder.
        config: Settings that are logged as the run's hyper-parameters.

    Raises:
        NotFoundError: If the name is not one of `LOGGERS`.
        ConfigError: If its package is not installed, or there is no folder to write to.
    """
    check_logger(name)
    if name == "none":
        yield []
        return
    if folder is None:
        raise ConfigError(
            f'A logger writes into the folder of the run. Found `logger="{name}"` without `folder`; give one.'
        )
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger

    logger: Logger
    if name == "tensorboard":
        logger = TensorBoardLogger(folder, name, version="", default_hp_metric=False)
    elif name == "csv":
        logger = CSVLogger(folder, name, version="")
    else:
        log_folder(folder, name).mkdir(
            parents=True, exist_ok=True
        )  # otherwise wandb takes the system's temporary folder
        logger = WandbLogger(
            name=f"{config.method} on {Path(config.data).stem}, seed {config.seed}",
            save_dir=folder,
            id=folder.name,
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=Path(config.data).stem,
        )
    logger.log_hyperparams(config.to_dict())
    try:
        yield [logger]
    finally:
        logger.save()
        if name == "wandb":
            wandb = load("wandb", "wandb")

            wandb.finish()


def log_epoch(loggers: Iterable[Logger], values: Mapping[CurveId, float], epoch: int) -> None:
    """Write one epoch; it is on disk afterwards."""
    scalars = {tag(name): value for name, value in values.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Experiment logs directory"
        )  # the CSV file is written again from the start
        for logger in loggers:
            logger.log_metrics(scalars, step=epoch)
            logger.save()


def log_history(loggers: Sequence[Logger], history: Mapping[CurveId, Sequence[float]]) -> None:
    """Write past epochs: those of a finished run, or those before an interruption.

    Args:
        loggers: Loggers to write to.
        history: One number per epoch, by curve; NaN if a curve has none.
    """
    for epoch in range(max(map(len, history.values()), default=0)):
        log_epoch(loggers, epoch_values(history, epoch), epoch)


def epoch_values(history: Mapping[CurveId, Sequence[float]], epoch: int) -> dict[CurveId, float]:
    """Return the values of all curves in one epoch.

    Example:
        >>> loss, gap = CurveId("loss", "total"), CurveId("score", "nll")
        >>> epoch_values({loss: [0.7, 0.5], gap: [0.1]}, 1)
        {CurveId(kind='loss', name='total', modality=None): 0.5}
    """
    values = {name: curve[epoch] for name, curve in history.items() if len(curve) > epoch}
    return {name: value for name, value in values.items() if value == value}


class EpochLogger(Callback):
    """Callback that writes the curves of every epoch to the loggers: loss terms, coefficients, validation scores,
    contributions.

    Args:
        fresh: Whether the log lacks the epochs before an interruption, which are then written first.
    """

    def __init__(self, *, fresh: bool) -> None:
        self.fresh = fresh

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write the epochs before an interruption."""
        if self.fresh:
            log_history(trainer.loggers, pl_module.history)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write the epoch."""
        log_epoch(trainer.loggers, epoch_values(pl_module.history, trainer.current_epoch), trainer.current_epoch)
