"""The LightningModule that trains with any method by manual optimisation."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from counterpoise import distributed
from counterpoise.config import OptimConfig, RunConfig
from counterpoise.errors import ConfigError, TrainingError, describe
from counterpoise.evaluation.collect import concat_outputs, gather_outputs, to_cpu
from counterpoise.evaluation.metrics import head_score, scores
from counterpoise.inference import Rule
from counterpoise.methods import EpochContext, Method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs, StepRecord
from counterpoise.runs import CurveId, CurveKind, Metric, split_key
from counterpoise.training.averaging import averaged_weights
from counterpoise.training.curves import contributions, gradient_curves
from counterpoise.training.datamodule import MultimodalDataModule
from counterpoise.training.parts import compile_encoders, parameter_groups, uncompile
from counterpoise.training.rules import fit_rule, refresh_rule

__all__ = ["TOTAL_LOSS", "MethodModule", "accumulation_group", "clip_gradients", "make_optimizer", "seed_epoch"]

TOTAL_LOSS = CurveId("loss", "total")
"""The curve of the training loss; its terms are the other curves of kind ``loss``."""


CURVE_POINTS = 20
"""Number of estimates of the contributions in a run; between two estimates, the last one is repeated."""


def make_optimizer(
    config: OptimConfig, parameters: Sequence[nn.Parameter] | Sequence[dict[str, Any]]
) -> torch.optim.Optimizer:
    """Return the optimizer of a configuration.

    Args:
        config: Optimizer and schedule.
        parameters: Parameters, or groups of them with their own learning rates.
    """
    if config.name == "sgd":
        return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(parameters, lr=config.lr, weight_decay=config.weight_decay)


def clip_gradients(module: lightning.LightningModule, optimizer: Any, value: float, algorithm: str = "norm") -> None:
    """Clip gradients through Lightning, right before an optimizer's step.

    Args:
        module: Module that is trained.
        optimizer: Lightning's optimizer.
        value: Largest norm (or value) of the gradients; 0 never clips.
        algorithm: ``norm`` or ``value``.
    """
    if not value:
        return
    scaler = getattr(module.trainer.precision_plugin, "scaler", None)
    if scaler is not None:  # half precision: clip the gradients, not their multiples
        scaler.unscale_(optimizer.optimizer)
    module.clip_gradients(optimizer, value, algorithm)


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed torch's generators for an epoch, so that a resumed run draws what an uninterrupted one would."""
    torch.manual_seed(seed * 1_000_003 + epoch + 1)


def selection(score: float, nll: float) -> float:
    """Return the number that selects an epoch: the score, with ties broken by the negative log-likelihood.

    If the score is undefined (for example R2 of a constant target), the likelihood alone decides.

    Example:
        >>> selection(0.75, 0.5) > selection(0.75, 0.6), selection(float("nan"), 0.5)
        (True, -0.5)
    """
    value = score - 1e-4 * nll
    value = value if math.isfinite(value) else -nll
    return value if math.isfinite(value) else -1e300


def accumulation_group(index: int, batches: int, accumulate: int) -> tuple[int, bool]:
    """Return the number of batches in a batch's accumulation group, and whether it is the last of them.

    The last group of an epoch may be smaller; its gradients are divided by its own size, so that it has the same weight
    as the others.

    Args:
        index: Number of the batch in the epoch, from 0.
        batches: Number of batches in the epoch.
        accumulate: Number of batches per optimizer step.

    Example:
        >>> [accumulation_group(index, batches=3, accumulate=2) for index in range(3)]
        [(2, False), (2, True), (1, True)]
    """
    start = index - index % accumulate
    size = min(accumulate, batches - start)
    return size, index + 1 == start + size


class MethodModule(lightning.LightningModule):
    """Model, method and rule under Lightning.

    Every epoch it keeps one number per curve in ``history``: the training loss and its parts, the method's
    coefficients, and on the validation set the score of the rule and of each head and the cross-fitted contributions.

    Args:
        model: Model.
        method: Method, already prepared for the model.
        rule: Decision rule.
        config: Configuration of the run.
        release: First epoch that may be selected, at whose start the rule is fitted.
        curves: Whether to estimate contributions on the validation set every epoch.
    """

    def __init__(
        self,
        model: MultimodalClassifier,
        method: Method,
        rule: Rule,
        config: RunConfig,
        *,
        release: int,
        curves: bool = True,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.method = method
        self.rule = rule
        self.config = config
        self.release = release
        self.curves = curves
        self.history: dict[CurveId, list[float]] = {}
        self.step_seconds: list[float] = []
        self._sums: dict[CurveId, Tensor] = {}
        self._steps = 0
        self._validation: list[tuple[Outputs, Tensor]] = []
        self._started = 0.0
        self.notes: list[str] = []
        self.started = False
        self._contributions: tuple[Metric, ...] = ()

    # -- optimisation ------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Return the optimizer over model and method, and the schedule."""
        config = self.config.optim
        optimizer = make_optimizer(config, parameter_groups(self.model, self.method, config))
        schedules: list[dict[str, Any]] = []
        if config.schedule == "step":
            schedules.append({"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, config.step, config.factor)})
        elif config.schedule == "cosine":
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.fit.epochs)
            schedules.append({"scheduler": cosine})
        steps = round(config.warmup * math.ceil(self._data.batches_of_epoch(0) / self.config.fit.accumulate))
        if steps > 1:
            rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / steps, total_iters=steps - 1)
            schedules.append({"scheduler": rise, "interval": "step"})
        return [optimizer], schedules

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch."""
        return batch.to(device, non_blocking=True)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Compute the gradients by the method, then step."""
        optimizer = self.optimizers()
        size, last = accumulation_group(batch_idx, int(self.trainer.num_training_batches), self.config.fit.accumulate)

        def backward(loss: Tensor) -> None:
            self.manual_backward(loss / size if size > 1 else loss)

        for number, record in enumerate(self.method.steps(self.model, batch, backward=backward)):
            if number and self.config.fit.accumulate > 1:
                raise ConfigError(
                    f"`{type(self.method).__name__}` stepped twice for one batch, so gradients of several batches "
                    f"cannot be added up. Found `fit.accumulate = {self.config.fit.accumulate}`; set it to 1, and set "
                    "`alternates = True` in the method's class."
                )
            if last:
                clip_gradients(self, optimizer, self.config.optim.clip)
                optimizer.step()  # type: ignore[union-attr]
                optimizer.zero_grad()  # type: ignore[union-attr]
            self._remember(record)
        if last:
            self._step_schedules("step")

    def _remember(self, record: StepRecord) -> None:
        """Add to running sums on the device, which are read only at the end of the epoch."""
        named = {self._curve("loss", key): part for key, part in record.parts.items()}
        named |= {self._curve("coefficient", key): value for key, value in record.coefficients.items()}
        named[TOTAL_LOSS] = record.loss
        for name, value in named.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._steps += 1

    def _curve(self, kind: CurveKind, key: str) -> CurveId:
        return CurveId(kind, *split_key(key, self.model.modalities))

    # -- epochs ------------------------------------------------------------------------------------------------------

    @property
    def _data(self) -> MultimodalDataModule:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def on_fit_start(self) -> None:
        """Synchronise the replicas of several processes, let batch norms use all samples of a step, and compile the
        encoders.
        """
        if distributed.world_size() > 1:
            distributed.share_batch_norms(*(self.model.encoder(m) for m in self.model.modalities))
            distributed.broadcast_state(self)
        compile_encoders(self.model, self.config.fit.compile)

    def on_fit_end(self) -> None:
        """Undo the compilation of the encoders."""
        uncompile(self.model)

    def on_train_epoch_start(self) -> None:
        """Seed the epoch, fit the decision rule when due, and call the method's epoch hook."""
        epoch = self.trainer.current_epoch
        self.started = True
        if self.rule.needs_holdout and epoch == self.release:
            with averaged_weights(self.trainer):
                fit_rule(self.rule, self.model, self._data, self.config.seed)
        seed_epoch(self.config.seed, epoch)
        offered = self.method.needs_held_out and self._data.holds_out(epoch)
        held = self._data.held_out_pass if offered else None
        self.method.on_epoch_start(
            self.model, EpochContext(epoch, self.config.fit.epochs, train=self._data.train_pass, held_out=held)
        )
        self._sums, self._steps, self._started = {}, 0, self._clock()

    def _clock(self) -> float:
        """Return seconds of the processor if one thread trains (so that other runs do not count), else wall time."""
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        return time.process_time() if alone else time.perf_counter()

    def on_validation_start(self) -> None:
        """Stop the clock of the training steps and record the time (Lightning validates inside the training epoch)."""
        if self._steps and not self.trainer.sanity_checking:
            self.step_seconds.append((self._clock() - self._started) / self._steps)
            self._write_down({name: total.item() / self._steps for name, total in self._sums.items()})

    def on_train_epoch_end(self) -> None:
        """Step the schedule."""
        self._step_schedules("epoch")

    def _step_schedules(self, interval: str) -> None:
        for schedule in self.trainer.lr_scheduler_configs:
            if schedule.interval == interval:
                schedule.scheduler.step()  # type: ignore[call-arg]

    def _write_down(self, values: dict[CurveId, float]) -> None:
        """Add an epoch to the curves; missing numbers of earlier epochs become NaN."""
        for name, value in values.items():
            curve = self.history.setdefault(name, [])
            curve += [float("nan")] * (self.trainer.current_epoch - len(curve))
            curve.append(value)

    # -- validation --------------------------------------------------------------------------------------------------

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Store the outputs."""
        self._validation.append((to_cpu(self.model(batch.inputs, present=batch.present)), batch.target.cpu()))

    def _validation_outputs(self) -> tuple[Outputs, Tensor]:
        """Return the outputs and targets of the validation set.

        Raises:
            TrainingError: If the outputs are not finite.
        """
        outputs = concat_outputs([o for o, _ in self._validation])
        target = torch.cat([t for _, t in self._validation])
        self._validation = []
        if self._data.shares_validation:
            outputs, target = gather_outputs(outputs, target, self.device)
        values = (outputs.logits, *outputs.unimodal_logits.values(), *outputs.features.values())
        if not all(bool(value.isfinite().all()) for value in values):
            raise self._diverged("the outputs of the model are not finite")
        return outputs, target

    def check_finite(self, error: Exception) -> None:
        """Raise `TrainingError` if an error has its cause in weights that are not finite."""
        if not all(bool(p.isfinite().all()) for p in self.model.parameters()):
            raise self._diverged("the weights of the model are not finite") from error

    def _diverged(self, reason: str) -> TrainingError:
        losses = self.history.get(TOTAL_LOSS, [])
        last = f"the training loss was {losses[-1]:.3g}" if losses else "no epoch was completed"
        return TrainingError(
            f"Training diverged in epoch {self.trainer.current_epoch + 1}: {reason} ({last}). Lower the learning rate "
            f"(--optim.lr, now {self.config.optim.lr:g})."
        )

    def _estimate_contributions(self, outputs: Outputs, target: Tensor) -> None:
        """Estimate contributions on the validation set. If this fails, the curve has a gap, and a note is kept."""
        try:
            self._contributions = contributions(outputs, target, self.model.task)
        except Exception as error:
            self._contributions = ()
            if not self.notes:
                note = "Contributions on the validation set could not be estimated in every epoch"
                self.notes.append(f"{note}: {describe(error)}")

    def on_validation_epoch_end(self) -> None:
        """Score the rule and every head, estimate contributions, and set the criterion that selects an epoch."""
        outputs, target = self._validation_outputs()
        if self.trainer.current_epoch >= self.release:
            refresh_rule(self.rule, self.model, self._data)
        task = self.model.task
        predicted = scores(task, self.rule.to("cpu")(outputs), target)
        score = predicted[task.score_name]
        name = task.score_name
        reached = {CurveId("score", name): score, CurveId("score", "nll"): predicted["nll"]}
        reached[CurveId("score", f"fused_{name}")] = scores(task, outputs.logits, target)[name]
        for m in outputs.unimodal_logits:
            reached[CurveId("score", name, m)] = head_score(task, outputs, target, m)
        if self.curves:
            every = max(1, self.config.fit.epochs // CURVE_POINTS)
            if self.trainer.current_epoch % every == 0 or not self._contributions:
                self._estimate_contributions(outputs, target)
            reached |= {CurveId("contribution", c.name, c.modality): c.value for c in self._contributions}
            if self.method.trains_fusion and self.method.single_modality is None:
                reached |= gradient_curves(self.model, outputs, target, self.history)
        self._write_down(reached)
        # The better likelihood decides ties in the score (small sets). Epochs before the release are left out.
        selectable = self.trainer.current_epoch >= self.release
        self.log("selection", selection(score, predicted["nll"]) if selectable else float("-inf"), logger=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the curves with the weights."""
        checkpoint["history"] = [[*curve, values] for curve, values in self.history.items()]
        checkpoint["step_seconds"] = self.step_seconds
        checkpoint["contributions"] = [[c.name, c.value, c.modality] for c in self._contributions]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the curves."""
        self.history = {CurveId(kind, name, m): values for kind, name, m, values in checkpoint["history"]}
        self.step_seconds = checkpoint["step_seconds"]
        self._contributions = tuple(Metric(*parts) for parts in checkpoint["contributions"])
