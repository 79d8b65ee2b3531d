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
from typing import TYPE_CHECKING, Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData
from counterpoise.errors import CheckpointError, ConfigError
from counterpoise.inference import Rule, make_rule
from counterpoise.methods import Method, make_method
from counterpoise.model import MultimodalClassifier, build_model
from counterpoise.runs import CurveId
from counterpoise.training.callbacks.loggers import EpochLogger, log_folder, open_logger
from counterpoise.training.callbacks.progress import EpochLines
from counterpoise.training.datamodule import MultimodalDataModule
from counterpoise.training.module import MethodModule

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

__all__ = ["Fitted", "assemble", "fit", "load_weights"]

BEST, LAST = "best.ckpt", "last.ckpt"


@dataclass(frozen=True)
class Fitted:
    """A trained model and how it got there.

    Attributes:
        model: with the weights that validation selected, in evaluation mode.
        method: with its state at that epoch.
        rule: fitted.
        history: one number per epoch, by curve.
        best_epoch: the selected epoch, from 0.
        step_ms: milliseconds per training step, of the fastest epoch.
        seconds: wall time.
    """

    model: MultimodalClassifier
    method: Method
    rule: Rule
    history: dict[CurveId, list[float]]
    best_epoch: int
    step_ms: float
    seconds: float


def assemble(
    data: MultimodalData, config: RunConfig, teachers: dict[str, MultimodalClassifier] | None = None
) -> tuple[MultimodalClassifier, Method, Rule]:
    """Build model, method and rule of a run: the same seed gives every method the same initial model."""
    torch.manual_seed(config.seed if config.model.init_seed is None else config.model.init_seed)
    model = build_model(
        {m.name: (m.kind, m.shape, m.vocabulary) for m in data.info.modalities},
        num_outputs=data.info.num_outputs,
        task=data.info.make_task(),
        fusion=config.model.fusion,
        encoders=config.model.encoders,
        width=config.model.width,
    )
    method = make_method(config.method, config.method_args)
    if teachers:
        method.use_teachers(teachers)
    model = method.prepare(model, torch.from_numpy(data.train.target))
    name = method.default_rule if config.rule == "default" else config.rule
    single = method.single_modality
    rule = make_rule(name, model.modalities, model.task, modality=single, feature_dims=model.feature_dims)
    return model, method, rule


class _PatientFrom(EarlyStopping):
    """Early stopping that starts to count when epochs can be selected."""

    def __init__(self, first: int, patience: int) -> None:
        super().__init__("selection", mode="max", patience=patience, check_finite=False, check_on_train_epoch_end=False)
        self.first = first

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch >= self.first:
            super().on_validation_end(trainer, pl_module)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice about workers, loggers and deprecated internals off the screen."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            warnings.filterwarnings("ignore", message=".*(num_workers|LeafSpec|does not have many workers|log_every).*")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C reach the caller: Lightning would end the process instead, and leave the signal ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
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

    If ``folder`` holds the checkpoint of an interrupted run of the same configuration, training goes on from there.

    Args:
        data: the data.
        config: the run.
        folder: where checkpoints go; None keeps none (the last epoch is then the result).
        callbacks: further Lightning callbacks.
        logger: where the curves go, one step per epoch: ``tensorboard``, ``wandb`` or ``csv`` (a folder of that name in ``folder``), ``none``,
            or Lightning loggers of your own.
        progress: print a line per epoch with the contributions.
        curves: estimate contributions on the validation set every epoch.
        teachers: trained models that the method requires, by method name.

    Raises:
        ConfigError: if the rule holds samples out and there are fewer than two epochs, gradients are to be accumulated for a
            method that steps several times a batch, or a logger's package is not installed.
        NotFoundError: if there is no logger of that name.
    """
    started = time.perf_counter()
    model, method, rule = assemble(data, config, teachers)
    release = config.fit.epochs // 2
    if rule.needs_holdout and release == 0:
        raise ConfigError(
            "A rule that is fitted on held-out samples needs at least 2 epochs (they are held out for half of them). "
            "Found `fit.epochs = 1`."
        )
    module = MethodModule(model, method, rule, config, release=release, curves=curves)
    if config.fit.accumulate > 1 and method.alternates:
        raise ConfigError(
            f"Method `{config.method}` steps several times a batch, so gradients of several batches cannot be added up. "
            f"Found `fit.accumulate = {config.fit.accumulate}`; set it to 1."
        )
    held_until = None if method.needs_held_out else release if rule.needs_holdout else 0
    datamodule = MultimodalDataModule(data, config.fit, seed=config.seed, release=held_until, plan=method.resample)
    extra: list[Callback] = list(callbacks)
    best: ModelCheckpoint | None = None
    resume: Path | None = None
    if folder is not None:
        best = ModelCheckpoint(folder, "best", monitor="selection", mode="max", enable_version_counter=False)
        last = ModelCheckpoint(folder, "last", save_top_k=1, every_n_epochs=1, enable_version_counter=False)
        extra += [best, last]
        resume = folder / LAST if (folder / LAST).is_file() else None
    if config.fit.patience:
        extra.append(_PatientFrom(release, config.fit.patience))
    if progress:
        extra.append(EpochLines())
    with _quiet(), _interruptible(), contextlib.ExitStack() as stack:
        if isinstance(logger, str):
            # Lightning begins a CSV anew; the other logs go on where they stopped.
            fresh = logger == "csv" or folder is None or not log_folder(folder, logger).exists()
            loggers = stack.enter_context(open_logger(logger, folder, config))
        else:
            fresh = False
            loggers = [*logger] if isinstance(logger, Iterable) else [logger]
        if loggers:
            extra.append(EpochLogger(fresh=fresh))
        trainer = lightning.Trainer(
            max_epochs=config.fit.epochs,
            accelerator=config.fit.accelerator,
            devices=1,
            precision=config.fit.precision,
            logger=loggers or False,
            callbacks=extra,
            enable_checkpointing=folder is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            log_every_n_steps=1,
        )
        trainer.fit(module, datamodule=datamodule, ckpt_path=str(resume) if resume else None, weights_only=False)
    best_epoch = trainer.current_epoch - 1
    if best is not None and folder is not None:
        best_epoch = load_weights(module, folder / BEST)
    module.to("cpu").eval()
    return Fitted(
        model,
        method,
        rule,
        module.history,
        best_epoch,
        1e3 * min(module.step_seconds, default=float("nan")),
        time.perf_counter() - started,
    )


def load_weights(module: torch.nn.Module, path: Path) -> int:
    """Load the weights of a checkpoint into a `MethodModule` and return the epoch they are from.

    Raises:
        CheckpointError: if the file is damaged, or belongs to another model or method.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        state, epoch = checkpoint["state_dict"], int(checkpoint["epoch"])
    except Exception as error:
        raise CheckpointError(f"`{path}` is no checkpoint that can be read: {type(error).__name__}: {error}") from error
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    saved = {name: tuple(value.shape) for name, value in state.items()}
    if own != saved:
        differing = sorted(n for n in own.keys() | saved.keys() if own.get(n) != saved.get(n))
        raise CheckpointError(
            f"`{path}` belongs to another model or method: {len(differing)} tensors differ, first `{differing[0]}` (here "
            f"{own.get(differing[0], 'absent')}, there {saved.get(differing[0], 'absent')}). Use the configuration saved beside it."
        )
    module.load_state_dict(state)
    return epoch
