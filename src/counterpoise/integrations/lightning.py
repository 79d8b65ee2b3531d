"""Lightning callbacks for a module of your own: measure what each modality contributes, and train with a method."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor

from counterpoise._extras import extra
from counterpoise._validation import Interval
from counterpoise.errors import ConfigError, ModelError
from counterpoise.integrations._monitor import Contributions
from counterpoise.integrations._training import MethodTraining
from counterpoise.methods import Method
from counterpoise.model import MultimodalClassifier

with extra("train"):
    import lightning

    from counterpoise.training.module import accumulation_group, clip_gradients

__all__ = ["ContributionMonitor", "MethodCallback"]


class ContributionMonitor(lightning.Callback):
    """Diagnose the module after training epochs, and log the numbers through the module's own logger.

    The metrics are ``contribution/<modality>/mi`` and ``.../cmi`` (available, alone and given the others),
    ``.../used``, and ``probe/<modality>``, the information that a linear probe finds in the encoder's features, in
    nats. A warning is given when an encoder stops learning. The weights, the gradients and the random state of the
    training are not changed.

    Args:
        loader: Batches that the module is not trained on; see `counterpoise.diagnose`.
        every: Number of epochs between two measurements.
        patience: Number of measurements without a rise of an encoder's probe before a warning; see the note.
        settings: Further arguments of `counterpoise.diagnose` (``modalities``, ``limit``, ``features``, ...).

    Attributes:
        stopped: Number of the epoch, from 1, in which a warning was given, by modality.

    Note:
        Probes need to know the encoders: those of a wrapped model or `MultimodalClassifier` in the module, submodules
        with the names of the modalities, or ``features={"image": "name.of.submodule", ...}``. An encoder counts as
        stopped if its inputs carry significantly more than the probe finds, or if the probe once found significantly
        more.

    Raises:
        ConfigError: If ``every`` or ``patience`` is below 1.
    """

    def __init__(self, loader: Iterable[Any], every: int = 1, *, patience: int = 3, **settings: Any) -> None:
        Interval(1, integer=True).check("ContributionMonitor", "every", every)
        Interval(1, integer=True).check("ContributionMonitor", "patience", patience)
        self.every = every
        self._contributions = Contributions(loader, settings, patience)

    @property
    def stopped(self) -> dict[str, int]:
        """Number of the epoch of the warning by modality."""
        return self._contributions.stopped

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Diagnose the module and log the result."""
        number = trainer.current_epoch + 1
        if number % self.every:
            return
        for name, value in self._contributions.measure(pl_module, number).items():
            pl_module.log(name, value)


class MethodCallback(lightning.Callback):
    """Train a LightningModule of your own with a method of the catalogue.

    The module holds the model: a `counterpoise.MultimodalClassifier`, or a network wrapped by `counterpoise.wrap`.
    During fitting, the method's steps replace its ``training_step``. The module's optimizer, schedulers, validation and
    callbacks keep working, as do gradient clipping, accumulation and precision of the trainer.

    The method becomes the submodule ``counterpoise_method``, so that ``self.parameters()`` and checkpoints contain it.
    The loss, its terms and the coefficients are logged as ``method/loss``, ``method/<term>``, ``method/<coefficient>``.

    Args:
        method: Method.
        held_out: Samples that are not trained on, for methods that need them; see `MethodTraining`.
        target: Targets of the training set by position; None reads them from the training loader.
        model: Name of the model in the module; None uses the only `MultimodalClassifier` among its submodules.
        label: Key of the target in batches that are mappings.

    Raises:
        ConfigError: While fitting: if a parameter is in no optimizer, if the method re-samples and the training loader
            has no `MethodSampler`, if it needs held-out samples and they are missing, or if gradients of several
            batches are accumulated for a method that steps several times a batch.
        ModelError: While fitting: if the module holds no model or several, or the method is not defined for it.
    """

    def __init__(
        self,
        method: Method,
        held_out: Iterable[Any] | None = None,
        *,
        target: Tensor | None = None,
        model: str | None = None,
        label: str | None = None,
    ) -> None:
        self.method, self.held_out, self.target, self.name, self.label = method, held_out, target, model, label
        self.training: MethodTraining | None = None
        self._automatic = True

    # -- fitting -------------------------------------------------------------------------------------------------------

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Prepare the method before the optimizers are created, and replace ``training_step`` by its steps."""
        if stage != "fit":
            return
        if trainer.world_size > 1:
            raise ConfigError(
                f"`MethodCallback` trains in one process, because Lightning averages gradients after the method has "
                f"read them. Found {trainer.world_size} processes. Train with `counterpoise.training.fit` "
                "(fit.devices), or in a loop of your own (examples/fabric_loop.py)."
            )
        if trainer.accumulate_grad_batches > 1 and self.method.alternates:
            raise ConfigError(
                f"`{type(self.method).__name__}` steps several times a batch, so gradients of several batches cannot "
                f"be added up. Found `accumulate_grad_batches = {trainer.accumulate_grad_batches}`. Set it to 1."
            )
        name = _model_name(pl_module) if self.name is None else self.name
        self.training = MethodTraining(self.method, _training_loader(trainer), held_out=self.held_out, label=self.label)
        model = cast(MultimodalClassifier, pl_module.get_submodule(name))
        setattr(pl_module, name, self.training.prepare(model, self.target))
        pl_module.counterpoise_method = self.method
        if self.training.sampler is not None:
            self.training.sampler.before = lambda: self._start_epoch(trainer)
        self._automatic = pl_module.automatic_optimization
        pl_module.automatic_optimization = False

        def training_step(batch: Any, batch_idx: int) -> None:
            self._step(trainer, pl_module, batch, batch_idx)

        pl_module.training_step = training_step  # type: ignore[method-assign]

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Restore the module's own ``training_step``."""
        if stage == "fit" and "training_step" in pl_module.__dict__:
            del pl_module.__dict__["training_step"]
            pl_module.automatic_optimization = self._automatic

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Check that every parameter is in an optimizer, and that the run starts with an epoch."""
        if trainer.fit_loop.restarted_mid_epoch:
            raise ConfigError(
                f"A training with a method resumes at the start of an epoch. The checkpoint was written within epoch "
                f"{trainer.current_epoch}. Write checkpoints at the end of epochs: ModelCheckpoint(..., "
                "save_on_train_epoch_end=True)."
            )
        self._prepared().check_optimizers(trainer.optimizers)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Call the method's epoch hook."""
        self._start_epoch(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Step the schedulers that step once per epoch."""
        _step_schedulers(trainer, "epoch", trainer.current_epoch + 1)

    def _prepared(self) -> MethodTraining:
        assert self.training is not None, "Lightning calls `setup` first"
        return self.training

    def _start_epoch(self, trainer: lightning.Trainer) -> None:
        self._prepared().start_epoch(trainer.current_epoch, _epochs(trainer))

    def _step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        training = self._prepared()
        model = training.model
        assert model is not None
        size, last = accumulation_group(batch_idx, int(trainer.num_training_batches), trainer.accumulate_grad_batches)

        def backward(loss: Tensor) -> None:
            pl_module.manual_backward(loss / size if size > 1 else loss)

        optimizers = pl_module.optimizers()
        for record in self.method.steps(model, training.batch(batch), backward=backward):
            if last:
                for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
                    algorithm = trainer.gradient_clip_algorithm or "norm"
                    clip_gradients(pl_module, optimizer, float(trainer.gradient_clip_val or 0), str(algorithm))
                    optimizer.step()
                    optimizer.zero_grad()
            values = {"loss": record.loss, **record.parts, **record.coefficients}
            pl_module.log_dict({f"method/{k}": v for k, v in values.items()}, batch_size=1)
        if last:
            _step_schedulers(trainer, "step", trainer.global_step)


def _step_schedulers(trainer: lightning.Trainer, interval: str, count: int) -> None:
    """Step the schedulers as Lightning does for modules with automatic optimisation."""
    for config in trainer.lr_scheduler_configs:
        if config.interval != interval or count % config.frequency:
            continue
        scheduler: Any = config.scheduler
        if not config.reduce_on_plateau:
            scheduler.step()
        elif config.monitor in trainer.callback_metrics:
            scheduler.step(trainer.callback_metrics[config.monitor])


def _epochs(trainer: lightning.Trainer) -> int:
    """Return the number of epochs of a run that ends after a number of epochs or of steps."""
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        return trainer.max_epochs
    if trainer.max_steps > 0:
        return math.ceil(trainer.max_steps * trainer.accumulate_grad_batches / trainer.num_training_batches)
    raise ConfigError("Methods need to know the length of the training. Set `max_epochs` or `max_steps`.")


def _model_name(pl_module: lightning.LightningModule) -> str:
    names = [name for name, part in pl_module.named_children() if isinstance(part, MultimodalClassifier)]
    if len(names) != 1:
        raise ModelError(
            "The LightningModule should hold one model that methods can train. Found "
            f"{', '.join(names) or 'none'}. In its constructor, set self.model = counterpoise.wrap(self.net, "
            "encoders={...}, num_outputs=...), or name it: MethodCallback(method, model='...')."
        )
    return names[0]


def _training_loader(trainer: lightning.Trainer) -> Any:
    loader = trainer.fit_loop._data_source.dataloader()
    if loader is None:
        raise ConfigError("Methods read the training loader before the first epoch. Pass it to `trainer.fit`.")
    return loader
