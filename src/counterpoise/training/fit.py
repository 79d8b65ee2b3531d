"""Fit a model with a method under Lightning."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.utilities.exceptions import SIGTERMException

from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData
from counterpoise.errors import ConfigError, CounterpoiseError
from counterpoise.inference import Rule, make_rule
from counterpoise.methods import Method, make_method
from counterpoise.model import MultimodalClassifier, build_model
from counterpoise.runs import CurveId
from counterpoise.tasks import Task
from counterpoise.training.averaging import AveragedWeights
from counterpoise.training.callbacks.loggers import EpochLogger, log_folder, open_logger
from counterpoise.training.callbacks.progress import EpochLines
from counterpoise.training.checkpoints import BEST, CheckpointFiles, RunCheckpoints, find_resume, load_weights
from counterpoise.training.checks import check_inputs
from counterpoise.training.datamodule import MultimodalDataModule
from counterpoise.training.module import MethodModule
from counterpoise.training.parts import check_frozen, check_parts, freeze
from counterpoise.training.processes import (
    LOGS,
    ProcessReports,
    check_devices,
    reports,
    silence,
    trainer_devices,
)

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

__all__ = ["Fitted", "assemble", "fit"]


@dataclass(frozen=True)
class Fitted:
    """Result of a training run.

    Attributes:
        model: Model with the weights that validation selected, in evaluation mode.
        method: Method with its state at that epoch.
        rule: Fitted decision rule.
        history: One number per epoch, by curve.
        best_epoch: Selected epoch, from 0.
        step_ms: Milliseconds per training step, of the fastest epoch.
        seconds: Wall time.
        notes: Notes, for example on a checkpoint that could not be read, or on missing curves.
    """

    model: MultimodalClassifier
    method: Method
    rule: Rule
    history: dict[CurveId, list[float]]
    best_epoch: int
    step_ms: float
    seconds: float
    notes: tuple[str, ...] = ()


def assemble(
    data: MultimodalData, config: RunConfig, teachers: dict[str, MultimodalClassifier] | None = None
) -> tuple[MultimodalClassifier, Method, Rule]:
    """Build model, method and rule of a run. With the same seed, all methods start from the same initial model."""
    torch.manual_seed(config.seed if config.model.init_seed is None else config.model.init_seed)
    target = torch.from_numpy(data.train.target)
    task = data.info.make_task()
    model = build_model(
        {m.name: (m.kind, m.shape, m.vocabulary) for m in data.info.modalities},
        num_outputs=data.info.num_outputs,
        task=weighted_task(task, config, target),
        fusion=config.model.fusion,
        encoders=config.model.encoders,
        width=config.model.width,
        absent=config.model.absent,
    )
    method = make_method(config.method, config.method_args)
    if teachers:
        method.use_teachers(teachers)
    if method.unweighted and config.fit.class_weights != "none":
        raise ConfigError(
            f"Method `{config.method}` takes no class weights: {method.unweighted}. Found `fit.class_weights = "
            f"{config.fit.class_weights}`; set it to none."
        )
    check_parts(model, config)
    freeze(model, config.model.frozen)
    model.checkpointing = config.model.checkpointing
    built, model = model, method.prepare(model, target)
    check_frozen(built, model, config)
    name = method.default_rule if config.rule == "default" else config.rule
    single = method.single_modality
    rule = make_rule(name, model.modalities, task, modality=single, feature_dims=model.feature_dims)
    return model, method, rule


def weighted_task(task: Task, config: RunConfig, target: torch.Tensor) -> Task:
    """Return the task with the class weights of a configuration.

    Args:
        task: Task of the data.
        config: Configuration.
        target: Targets of the training set, from which balanced weights are computed.
    """
    chosen = config.fit.class_weights
    if chosen == "none":
        return task
    return task.with_class_weights(task.balanced_weights(target) if chosen == "balanced" else chosen)


class _PatientFrom(EarlyStopping):
    """Early stopping whose patience starts when epochs can be selected."""

    def __init__(self, first: int, patience: int) -> None:
        super().__init__("selection", mode="max", patience=patience, check_finite=False, check_on_train_epoch_end=False)
        self.first = first

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch >= self.first:
            super().on_validation_end(trainer, pl_module)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning, and restore the levels of its logs afterwards."""
    levels = {name: logging.getLogger(name).level for name in LOGS}
    try:
        with warnings.catch_warnings():
            silence()
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt after Ctrl-C; Lightning would end the process instead, and leave the signal ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop, SIGTERMException):
            raise SystemExit(143) from None  # 128 + SIGTERM, as shells and schedulers expect it
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


def fit(
    data: MultimodalData,
    config: RunConfig,
    *,
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
    logger: Logger | Iterable[Logger] | str = "none",
    progress: bool = False,
    curves: bool = True,
    teachers: dict[str, MultimodalClassifier] | None = None,
) -> Fitted:
    """Train one model; weights are selected on the validation set among the epochs of the second half.

    If ``folder`` holds the checkpoint of an interrupted run of the same configuration, training resumes from it.

    Args:
        data: Data set.
        config: Configuration of the run.
        folder: Folder of the checkpoints; None keeps none (the last epoch is then the result).
        callbacks: Further Lightning callbacks.
        logger: Logger of the curves, one step per epoch: ``tensorboard``, ``wandb`` or ``csv`` (a folder of that name
            in ``folder``), ``none``, or Lightning loggers of your own.
        progress: Whether to print a line per epoch with the contributions.
        curves: Whether to estimate contributions on the validation set every epoch.
        teachers: Trained models that the method requires, by method name.

    Raises:
        ConfigError: If the rule holds samples out and there are fewer than two epochs, if gradients are to be
            accumulated for a method that steps several times a batch, or if a logger's package is not installed.
        NotFoundError: If there is no logger of that name.
    """
    started = time.perf_counter()
    module, datamodule = _prepare(data, config, teachers, curves=curves)
    resume, notes = (None, []) if folder is None else find_resume(folder, module)
    try:
        best_epoch = _train(module, datamodule, folder, resume, callbacks, logger, progress=progress)
    except _UnusableCheckpointError as error:
        notes.append(f"{error} The run was started again.")
        module, datamodule = _prepare(data, config, teachers, curves=curves)
        best_epoch = _train(module, datamodule, folder, None, callbacks, logger, progress=progress)
    module.to("cpu").eval()
    return Fitted(
        module.model,
        module.method,
        module.rule,
        module.history,
        best_epoch,
        1e3 * min(module.step_seconds, default=float("nan")),
        time.perf_counter() - started,
        tuple(notes + module.notes),
    )


class _UnusableCheckpointError(Exception):
    """Raised for a checkpoint that Lightning cannot restore."""


def _prepare(
    data: MultimodalData,
    config: RunConfig,
    teachers: dict[str, MultimodalClassifier] | None,
    *,
    curves: bool,
) -> tuple[MethodModule, MultimodalDataModule]:
    """Build the modules and the data of a run, and check its settings."""
    model, method, rule = assemble(data, config, teachers)
    release = config.fit.epochs // 2
    until_half = rule.needs_holdout or (method.needs_held_out and method.releases_held_out)
    if until_half and release == 0:
        raise ConfigError(
            "A rule or a method that measures on held-out samples needs at least 2 epochs (they are held out for half "
            "of them). Found `fit.epochs = 1`."
        )
    if config.fit.accumulate > 1 and method.alternates:
        raise ConfigError(
            f"Method `{config.method}` steps several times a batch, so gradients of several batches cannot be added "
            f"up. Found `fit.accumulate = {config.fit.accumulate}`; set it to 1."
        )
    check_inputs(data, config, model)
    module = MethodModule(model, method, rule, config, release=release, curves=curves)
    never = method.needs_held_out and not method.releases_held_out
    held_until = None if never else release if until_half else 0
    datamodule = MultimodalDataModule(data, config.fit, seed=config.seed, release=held_until, plan=method.resample)
    check_devices(module, len(datamodule.kept))
    return module, datamodule


def _train(
    module: MethodModule,
    datamodule: MultimodalDataModule,
    folder: Path | None,
    resume: Path | None,
    callbacks: Sequence[Callback],
    logger: Logger | Iterable[Logger] | str,
    *,
    progress: bool,
) -> int:
    """Run Lightning's trainer and return the selected epoch, whose weights the module holds afterwards."""
    config = module.config
    every = [*callbacks, *_own_callbacks(module, folder, progress=progress)]
    with _quiet(), _interruptible(), reports(config.fit) as report, contextlib.ExitStack() as stack:
        if isinstance(logger, str):
            # Lightning starts a new CSV; the other logs are continued.
            fresh = logger == "csv" or folder is None or not log_folder(folder, logger).exists()
            loggers = stack.enter_context(open_logger(logger, folder, config))
        else:
            fresh = False
            loggers = [*logger] if isinstance(logger, Iterable) else [logger]
        if loggers:
            every.append(EpochLogger(fresh=fresh))
        if report is not None:
            every.append(report)
        trainer = _make_trainer(config, every, loggers, folder)
        _run_trainer(trainer, module, datamodule, resume, report)
        epochs = trainer.current_epoch if report is None else report.read(module) or 0
    return epochs - 1 if folder is None else load_weights(module, folder / BEST)


def _run_trainer(
    trainer: lightning.Trainer,
    module: MethodModule,
    datamodule: MultimodalDataModule,
    resume: Path | None,
    report: ProcessReports | None,
) -> None:
    """Train, and convert errors due to an unusable checkpoint or to weights that are not finite."""
    try:
        with contextlib.nullcontext() if report is None else report.raising(trainer):
            trainer.fit(module, datamodule=datamodule, ckpt_path=resume, weights_only=True)
    except CounterpoiseError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        if module.started:
            module.check_finite(error)
        if module.started or resume is None:
            raise
        raise _UnusableCheckpointError(f"`{resume}` could not be restored ({type(error).__name__}).") from error


def _own_callbacks(module: MethodModule, folder: Path | None, *, progress: bool) -> list[Callback]:
    """Return the callbacks of the configuration: checkpoints, early stopping, a line per epoch."""
    every: list[Callback] = []
    if folder is not None:
        every.append(RunCheckpoints(folder))
    if module.config.fit.patience:
        every.append(_PatientFrom(module.release, module.config.fit.patience))
    if module.config.fit.ema:
        every.insert(0, AveragedWeights(module.config.fit.ema))
    if progress:
        every.append(EpochLines())
    return every


def _make_trainer(
    config: RunConfig, callbacks: list[Callback], loggers: Sequence[Logger], folder: Path | None
) -> lightning.Trainer:
    devices = trainer_devices(config.fit)
    plugins = [CheckpointFiles(), *devices.pop("plugins")]
    try:
        return lightning.Trainer(
            **devices,
            max_epochs=config.fit.epochs,
            accelerator=config.fit.accelerator,
            precision=config.fit.precision,
            logger=list(loggers) or False,
            callbacks=callbacks,
            plugins=plugins,
            enable_checkpointing=folder is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            log_every_n_steps=1,
        )
    except MisconfigurationException as error:
        raise ConfigError(
            f"Lightning cannot train with `fit.accelerator = {config.fit.accelerator}` and `fit.precision = "
            f"{config.fit.precision}` on this machine: {error}"
        ) from error
