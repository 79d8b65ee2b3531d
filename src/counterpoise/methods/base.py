"""The interface of a method, and tools for authors of methods.

A method fills ``.grad``; the training loop calls the optimizer::

    model = method.prepare(model, train.target)
    optimizer = torch.optim.AdamW([*model.parameters(), *method.parameters()])
    for epoch in range(epochs):
        method.on_epoch_start(model, EpochContext(epoch, epochs))
        for batch in loader:
            for record in method.steps(model, batch):    # each yield: gradients are ready, step now
                optimizer.step() optimizer.zero_grad()

Every method trains the model's unimodal heads on the features, whatever gradients reach the encoders, so that all
decision rules can be used with all methods. With ``strength=0`` every method equals joint training bit for bit.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from counterpoise import distributed
from counterpoise._validation import check_keys
from counterpoise.errors import ConfigError, DataError, ModelError
from counterpoise.methods._backward import Backward, backward
from counterpoise.methods._losses import (
    NamedTensors,
    by_modality,
    detached,
    joint_step,
    present_loss,
    present_rows,
    unimodal_losses,
    watching_losses,
)
from counterpoise.methods._processes import in_all_processes, then_broadcast
from counterpoise.methods._requirements import require_fusion, require_modality, require_multiclass
from counterpoise.methods.hyperparameters import SMOOTHING, STRENGTH, Hyperparameter, Interval, Options, declarations_of
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord

__all__ = [
    "SMOOTHING",
    "STRENGTH",
    "Backward",
    "EpochContext",
    "Hyperparameter",
    "Interval",
    "Method",
    "NamedTensors",
    "Options",
    "backward",
    "by_modality",
    "detached",
    "joint_step",
    "present_loss",
    "present_rows",
    "require_fusion",
    "require_modality",
    "require_multiclass",
    "unimodal_losses",
    "watching_losses",
]


@dataclass(frozen=True)
class EpochContext:
    """Position of the training run, and the data that a method may read between epochs.

    Attributes:
        number: Number of the epoch that is about to start, from 0.
        total: Number of epochs of the run.
        train: Function that returns the training set as batches in a fixed order, without augmentation. Models should
            be in evaluation mode when they read it.
        held_out: The same for samples that were cut from the training set and never used for a gradient, for methods
            that need them. It must not be the validation set that selects the epoch. None once these samples are
            trained on.
    """

    number: int
    total: int
    train: Callable[[], Iterable[Batch]] | None = None
    held_out: Callable[[], Iterable[Batch]] | None = None


class Method(nn.Module, ABC):
    """Base class of methods, which compute gradients from batches.

    A subclass declares each hyper-parameter once, as a class attribute (`Hyperparameter`), and implements `steps`. (A
    subclass may instead have its own constructor, which passes its parameters to ``super().__init__`` by name; they are
    not checked.) It overrides `setup` if it needs buffers or another fusion, and `on_epoch_start` if it acts between
    epochs. State that must survive a restart belongs in buffers.

    Args:
        args: Value of the first hyper-parameter.
        values: Values of the others, by name.

    Raises:
        ConfigError: If a hyper-parameter is unknown or outside its limits.

    Example:
        >>> class Half(Method):
        ...     '''Joint training with a part of the gradient.'''
        ...
        ...     share = Hyperparameter(0.5, Interval(0, 1, "[]"))
        ...
        ...     def steps(self, model, batch, *, backward=backward):
        ...         loss = model.task.loss(model(batch.inputs).logits, batch.target)
        ...         backward(self.share * loss)
        ...         yield StepRecord(loss.detach())
        >>> Half(share=0.3)
        Half(share=0.3)
    """

    family: ClassVar[str] = "own step"
    """Family of the method, set by the base classes."""
    declarations: ClassVar[Mapping[str, Hyperparameter[Any]]] = {}
    """The hyper-parameters that the class declares or inherits, by name."""
    parts: ClassVar[tuple[str, ...]] = ()
    """Boolean hyper-parameters that switch named parts on and off, one ablation each (``compare --ablation``)."""
    default_rule: ClassVar[str] = "fused"
    """Default decision rule of the method (see `counterpoise.inference`)."""
    alternates: ClassVar[bool] = False
    """Whether `steps` yields more than once per batch. Such methods cannot be used with gradient accumulation."""
    trains_fusion: ClassVar[bool] = True
    """Whether the fused head is trained. If not, only rules that use the unimodal heads are meaningful."""
    needs_held_out: bool = False
    """Whether `on_epoch_start` needs `EpochContext.held_out`: samples that are not trained on."""
    releases_held_out: ClassVar[bool] = False
    """Whether these samples join the training after half of the epochs, as those of decision rules do."""
    one_process: ClassVar[str] = ""
    """Reason why the method trains in one process only; empty if several processes can train (see `steps`)."""
    unweighted: ClassVar[str] = ""
    """Reason why class weights have no effect on the method; empty if all its cross-entropies are those of the task."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Methods whose trained models this one needs (``("unimodal-ensemble",)`` for unimodal teachers); see
    `use_teachers`."""
    incomplete: ClassVar[str | None] = None
    """Reason why the method cannot be trained on samples that lack modalities, for which `steps` then raises an error;
    None if it can."""
    single_modality: str | None = None
    """The only modality that is trained and evaluated; None for a multimodal run."""
    test_batch_size: int = 512
    """Number of samples in the batches that `test_metrics` receives."""
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.declarations = declarations_of(cls)
        cls.__signature__ = _signature(cls)
        if "steps" in cls.__dict__:
            cls.steps = in_all_processes(_refusing(cls.steps))  # type: ignore[method-assign]
        if "on_epoch_start" in cls.__dict__:
            cls.on_epoch_start = then_broadcast(cls.on_epoch_start)  # type: ignore[method-assign]

    def __init__(self, *args: object, **values: object) -> None:
        super().__init__()
        declared, owner = self.declarations, type(self).__name__
        if len(args) > min(1, len(declared)):
            allowed = "its first hyper-parameter" if declared else "no hyper-parameter"
            raise ConfigError(
                f"`{owner}` takes {allowed} by position. Found {len(args)} values. Name the others: "
                f"{', '.join(declared) or 'there are none'}."
            )
        given = dict(zip(declared, args, strict=False)) | values
        # A subclass with its own constructor may pass on parameters that are declared only in its signature.
        undeclared = [name for name in self.__signature__.parameters if name not in declared]
        check_keys(f"`{owner}`", given, [*declared, *undeclared])
        self._values = {name: given.get(name, h.default) for name, h in declared.items()}
        self._values |= {name: given[name] for name in undeclared if name in given}
        for name, h in declared.items():
            h.check(owner, self._values[name])
        self.validate()

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_values", ()):
            return self._values[name]
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            raise AttributeError(f"{error}. If `setup` sets it, call `prepare` before the first step.") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_values", ()):
            owner = type(self).__name__
            raise AttributeError(
                f"Parameter `{name}` of `{owner}` cannot be changed after construction. Create a new method: "
                f"`{owner}({name}={value!r})`."
            )
        super().__setattr__(name, value)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The values of the hyper-parameters, by name."""
        return dict(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def validate(self) -> None:
        """Check relations between hyper-parameters; their individual limits are checked before.

        Raises:
            ConfigError: If two hyper-parameters contradict each other.
        """

    def prepare(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Prepare for a model, once, before the optimizer is created. Call this after the model is on its device.

        Args:
            model: Model to train. It is not changed.
            target: Targets of the whole training set, by index.

        Returns:
            The model to train: ``model`` itself or, if the method needs another fusion, a model that shares its
            encoders and unimodal heads.

        Raises:
            ModelError: If the method is not defined for the model's task or fusion, or if several processes train and
                the method is for `one_process`.
        """
        world = distributed.world_size()
        if world > 1 and self.one_process:
            raise ModelError(
                f"`{type(self).__name__}` trains in one process: {self.one_process}. Found {world} processes."
            )
        prepared = self.setup(model, target) or model
        reference = next(model.parameters(), torch.empty(0))
        if prepared is not model:
            prepared.fusion.to(reference.device)
        # Buffers keep at least single precision: running means do not survive in half precision.
        self.to(device=reference.device, dtype=torch.promote_types(reference.dtype, torch.float32))
        if world > 1:
            distributed.share_batch_norms(*(prepared.encoder(m) for m in prepared.modalities))
            distributed.broadcast_state(prepared, self)
        return prepared

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier | None:
        """Check the model and register buffers; called by `prepare`.

        No random numbers may be drawn here, so that all methods start from the same state.

        Args:
            model: Model to train.
            target: Targets of the whole training set, by index.

        Returns:
            ``model.with_fusion(...)`` if the method needs another fusion; otherwise the model, or None.
        """

    @abstractmethod
    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """Compute the gradients of a batch, and yield once per optimizer step.

        At each yield the gradients are ready: the loop takes its step and continues the iterator, as ``for`` does. The
        code after a yield runs with the parameters after the step.

        In distributed training (``torchrun``, DDP, Fabric, Accelerate), each process passes its own samples. Encoders
        run on these samples; features, targets and positions are then gathered from all processes, and gradients are
        averaged. The code of a method is therefore the same for one process and for several, and
        `DistributedDataParallel` is not needed.

        Args:
            model: Model that `prepare` returned.
            batch: Samples.
            backward: Function that back-propagates a scalar.
        """

    def test_metrics(self, model: MultimodalClassifier, batches: Iterable[Batch]) -> dict[str, float]:
        """Return further numbers about the test set for the record; most methods have none.

        A run is scored by the predictions of a decision rule, which uses no labels. This hook is for replicas of
        released code that predict in another way.
        """
        del model, batches
        return {}

    def use_teachers(self, teachers: Mapping[str, MultimodalClassifier]) -> None:
        """Receive the trained models that `requires` names, by method name, before `prepare`."""

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Update the state between epochs, before the first step of ``epoch``."""

    def resample(self, order: Tensor, generator: torch.Generator) -> Tensor:
        """Return the order of an epoch (indices into the training set), given the shuffled one."""
        del generator
        return order


def _refusing(steps: Callable[..., Iterator[StepRecord]]) -> Callable[..., Iterator[StepRecord]]:
    """Return `Method.steps` with a check that raises an error for samples that lack modalities, if the class declares
    that it cannot use them.
    """

    @functools.wraps(steps)
    def checked(
        self: Method, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        if self.incomplete is not None and batch.present is not None:
            raise DataError(
                f"`{type(self).__name__}` cannot be trained on samples that lack modalities: {self.incomplete}. Leave "
                "these samples out, or use another method."
            )
        return steps(self, model, batch, backward=backward)

    return checked


def _signature(cls: type[Method]) -> inspect.Signature:
    """Return the signature of a method's constructor: the first hyper-parameter may be given by position."""
    if cls.__init__ is not Method.__init__:  # a constructor of the author's own
        own = inspect.signature(cls.__init__)
        return own.replace(parameters=list(own.parameters.values())[1:])
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return inspect.Signature(
        [
            inspect.Parameter(name, kinds[min(k, 1)], default=h.default)
            for k, (name, h) in enumerate(cls.declarations.items())
        ]
    )
