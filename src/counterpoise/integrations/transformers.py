"""Hugging Face's Trainer: measure what each modality contributes, and train with a method of the catalogue."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise._extras import extra
from counterpoise._validation import Interval
from counterpoise.errors import ConfigError, ModelError
from counterpoise.integrations._monitor import Contributions
from counterpoise.integrations._training import MethodSampler, MethodTraining
from counterpoise.methods import Method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import StepRecord

with extra("transformers"):
    import accelerate  # noqa: F401 -- the Trainer imports it late, with a message of its own
    import transformers

__all__ = ["ContributionMonitor", "MethodTrainer"]


class ContributionMonitor(transformers.TrainerCallback):
    """Diagnose the model after training epochs, and log the numbers through the Trainer's own loggers.

    The metrics are ``contribution/<modality>/mi`` and ``.../cmi`` (available, alone and given the others),
    ``.../used``, and ``probe/<modality>``, the information that a linear probe finds in the encoder's features, in
    nats. A warning is given when an encoder stops learning. The weights, the gradients and the random state of the
    training are not changed. `counterpoise.integrations.lightning.ContributionMonitor` explains which encoders are
    probed.

    Args:
        loader: Batches that the model is not trained on; see `counterpoise.diagnose`.
        every: Number of epochs between two measurements.
        patience: Number of measurements without a rise of an encoder's probe before a warning.
        log: Function that logs numbers, ``trainer.log``. Without it, the numbers are in ``state.log_history`` and on
            the screen, but loggers such as TensorBoard and W&B do not receive them, because the Trainer calls these
            before the user's callbacks. `MethodTrainer` passes its own.
        settings: Further arguments of `counterpoise.diagnose` (``modalities``, ``limit``, ``features``, ...).

    Attributes:
        stopped: Number of the epoch, from 1, in which a warning was given, by modality.

    Raises:
        ConfigError: If ``every`` or ``patience`` is below 1.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        every: int = 1,
        *,
        patience: int = 3,
        log: Callable[[dict[str, float]], None] | None = None,
        **settings: Any,
    ) -> None:
        Interval(1, integer=True).check("ContributionMonitor", "every", every)
        Interval(1, integer=True).check("ContributionMonitor", "patience", patience)
        self.every, self.log = every, log
        self._contributions = Contributions(loader, settings, patience)
        self._numbers: dict[str, float] = {}

    @property
    def stopped(self) -> dict[str, int]:
        """Number of the epoch of the warning by modality."""
        return self._contributions.stopped

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Diagnose the model, and log the numbers."""
        number = round(state.epoch)
        if number % self.every:
            return
        model = kwargs["model"]
        model = model.model if isinstance(model, _Trained) else model
        numbers = self._contributions.measure(model, number)
        if self.log is None:
            self._numbers, control.should_log = numbers, True
        else:
            due = control.should_log  # logging resets it, and the Trainer may have a loss to log
            self.log(numbers)
            control.should_log = due

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Add the numbers of the last measurement to the logs of the Trainer."""
        if self._numbers and logs is not None:
            logs |= self._numbers
            state.log_history[-1] |= self._numbers
            self._numbers = {}


class _Trained(nn.Module):
    """The model and the method as one module, so that the Trainer's optimizer and checkpoints hold both."""

    accepts_loss_kwargs = False

    def __init__(self, training: MethodTraining, model: MultimodalClassifier) -> None:
        super().__init__()
        self.model, self.method = model, training.method
        self._training = training

    def forward(self, **inputs: Any) -> dict[str, Tensor]:
        """Return the fused logits, and their loss if there are labels."""
        labels = inputs.pop(str(self._training.label), None)
        logits = self.model(self._training.select(inputs)).logits
        return (
            {"logits": logits} if labels is None else {"loss": self.model.task.loss(logits, labels), "logits": logits}
        )


class MethodTrainer(transformers.Trainer):
    """A Trainer that trains with a method of the catalogue.

    The method's steps replace the Trainer's loss. Its parameters are in the optimizer and in checkpoints, its
    epoch hook is called, and it re-samples the training set. Arguments of the Trainer keep their meaning.

    Args:
        model: Model of `counterpoise.wrap`, or a `MultimodalClassifier`. After training, ``trainer.trained`` is the
            model and its ``net`` is the module that was wrapped.
        args: Arguments of the Trainer.
        method: Method.
        held_out: Data set of samples that are not trained on, for methods that need them.
        target: Targets of the training set by position; None reads them from the data set.
        options: Further arguments of `transformers.Trainer`.

    Raises:
        ConfigError: If the method needs held-out samples and they are missing, if it steps several times a batch, or if
            the training set has no positions.
        ModelError: If the method is not defined for the model.
    """

    def __init__(
        self,
        model: MultimodalClassifier,
        args: transformers.TrainingArguments | None = None,
        *,
        method: Method,
        held_out: Any = None,
        target: Tensor | None = None,
        **options: Any,
    ) -> None:
        if method.alternates:
            raise ConfigError(
                f"`{type(method).__name__}` steps several times a batch, and the Trainer steps once. Use "
                "`counterpoise.integrations.lightning.MethodCallback` or a loop of your own."
            )
        if not isinstance(model, MultimodalClassifier):
            raise ModelError(
                "`MethodTrainer` needs a model of `counterpoise.wrap(model, encoders={...}, num_outputs=...)`, or a "
                f"`MultimodalClassifier`. Found {type(model).__name__}."
            )
        args = copy.copy(args) if args is not None else transformers.TrainingArguments("tmp_trainer")
        args.remove_unused_columns = False  # the columns belong to the model inside
        args.label_names = args.label_names or ["labels"]
        rows = _rows(options.get("train_dataset"))
        options["data_collator"] = options.get("data_collator") or _collator(options.get("processing_class"))
        self.sampler = MethodSampler(method, len(rows), _seed(args))

        def loader_over(data: Any, sampler: Any = None) -> torch.utils.data.DataLoader[Any]:
            size, collate = args.per_device_train_batch_size, options["data_collator"]
            return torch.utils.data.DataLoader(data, size, sampler=sampler, collate_fn=collate)

        loader = loader_over(rows, self.sampler)
        held = None if held_out is None else loader_over(held_out)
        self.training = MethodTraining(method, loader, held_out=held, label=args.label_names[0])
        self.trained = self.training.prepare(model, target)
        self._open: list[Iterator[StepRecord]] = []
        options["callbacks"] = [_Hooks(self), *(options.get("callbacks") or [])]
        super().__init__(_Trained(self.training, self.trained), args, **options)
        for monitor in self.callback_handler.callbacks:
            if isinstance(monitor, ContributionMonitor) and monitor.log is None:
                monitor.log = self.log

    def _get_train_sampler(self, train_dataset: Any = None) -> MethodSampler:
        return self.sampler

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Create the optimizer, and check that it holds every parameter of the model and of the method."""
        optimizer = super().create_optimizer(*args, **kwargs)
        self.training.check_optimizers([optimizer])
        return optimizer

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Compute the gradients by the method, and return its loss."""
        model.train()
        batch = self.training.batch(self._prepare_inputs(inputs))

        def backward(loss: Tensor) -> None:
            self.accelerator.backward(loss / self.current_gradient_accumulation_steps)

        with self.compute_loss_context_manager():
            steps = self.training.method.steps(self.trained, batch, backward=backward)
            record = next(iter(steps))
        self._open.append(steps)
        return record.loss / self.current_gradient_accumulation_steps

    def finish_steps(self) -> None:
        """Run the method's actions after the optimizer's step."""
        for steps in self._open:
            with suppress(StopIteration):
                next(steps)
        self._open = []


class _Hooks(transformers.TrainerCallback):
    """Callback that runs the method's actions between epochs and after steps."""

    def __init__(self, trainer: MethodTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Call the method's epoch hook."""
        if abs(state.epoch - round(state.epoch)) > 1e-6:
            raise ConfigError(
                f"A training with a method resumes at the start of an epoch. Found epoch {state.epoch:.2f}. Save "
                "checkpoints with save_strategy='epoch'."
            )
        self.trainer.training.start_epoch(round(state.epoch), state.num_train_epochs)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Run the method's actions after the step."""
        self.trainer.finish_steps()


def _rows(data: Any) -> Any:
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise ConfigError("`MethodTrainer` needs a training set with positions. Pass train_dataset=...")
    return data


def _seed(args: transformers.TrainingArguments) -> int:
    return args.seed if args.data_seed is None else args.data_seed


def _collator(processing_class: Any) -> Any:
    if processing_class is None or not hasattr(processing_class, "pad"):
        return transformers.default_data_collator
    return transformers.DataCollatorWithPadding(processing_class)
