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
from typing import Any, ClassVar, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from counterpoise import distributed
from counterpoise._validation import check_keys
from counterpoise.errors import ConfigError, DataError, ModelError
from counterpoise.fusion import Fusion
from counterpoise.methods.hyperparameters import SMOOTHING, STRENGTH, Hyperparameter, Interval, Options, declarations_of
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs, StepRecord
from counterpoise.tasks import Task

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

Backward: TypeAlias = Callable[[Tensor], None]
"""Function that back-propagates a scalar, through which AMP, gradient accumulation and Lightning are supported."""

NamedTensors: TypeAlias = dict[str, Tensor]
"""Tensors by name: loss terms or coefficients, one scalar each."""

FusionT = TypeVar("FusionT", bound=Fusion)


def backward(loss: Tensor) -> None:
    """Back-propagate a scalar: the default of ``backward`` in `Method.steps`."""
    loss.backward()


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
            cls.steps = _in_all_processes(_refusing(cls.steps))  # type: ignore[method-assign]
        if "on_epoch_start" in cls.__dict__:
            cls.on_epoch_start = _then_broadcast(cls.on_epoch_start)  # type: ignore[method-assign]

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


def _in_all_processes(steps: Callable[..., Iterator[StepRecord]]) -> Callable[..., Iterator[StepRecord]]:
    """Return steps that compute with the samples of all processes; in one process these are the steps themselves."""

    @functools.wraps(steps)
    def shared(
        self: Method, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        if distributed.world_size() == 1 or distributed.is_sharing():  # a step inside a step shares already
            return steps(self, model, batch, backward=backward)
        return _shared_steps(self, steps, model, batch, backward)

    return shared


def _shared_steps(
    method: Method,
    steps: Callable[..., Iterator[StepRecord]],
    model: MultimodalClassifier,
    batch: Batch,
    backward: Backward,
) -> Iterator[StepRecord]:
    counts, whole = _of_all_processes(batch)
    with distributed.sharing(counts):
        records = steps(method, model, Batch(**whole), backward=backward)
    with distributed.averaged_gradients([*model.parameters(), *method.parameters()]):
        while True:
            with distributed.sharing(counts):
                record = next(records, None)
            if record is None:
                return
            yield record


def _of_all_processes(batch: Batch) -> tuple[list[int], dict[str, Any]]:
    """Return the number of samples of each process, and the fields of the batch: own inputs, targets of all."""
    device = batch.target.device
    counts, lacking = zip(*distributed.exchange([len(batch), batch.present is not None], device), strict=True)
    whole: dict[str, Any] = {"inputs": batch.inputs}
    for name in ("target", "index"):
        whole[name] = distributed.gather_rows(getattr(batch, name).to(device), counts)
    if any(lacking):
        whole["present"] = distributed.gather_masks(batch.modalities, batch.present, batch.target, counts)
    return list(counts), whole


def _then_broadcast(hook: Callable[..., None]) -> Callable[..., None]:
    """Return an epoch hook after which method and model are equal in all processes, bit for bit."""

    @functools.wraps(hook)
    def shared(self: Method, model: MultimodalClassifier, epoch: EpochContext) -> None:
        hook(self, model, epoch)
        distributed.broadcast_state(model, self)

    return shared


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


def unimodal_losses(
    model: MultimodalClassifier, outputs: Outputs, target: Tensor, smoothing: float = 0.0
) -> NamedTensors:
    """Return each unimodal head's mean negative log-likelihood in nats, ``{m: scalar}``.

    The mean is over the samples that have the modality; it is 0, without a gradient, if none has it.

    Args:
        model: Model, for its task.
        outputs: Outputs for the batch.
        target: Targets of the batch.
        smoothing: Share of every label that is spread evenly over all classes.
    """
    task = model.task.with_smoothing(smoothing) if smoothing else model.task
    return {m: present_loss(task, z, target, outputs.mask(m)) for m, z in outputs.unimodal_logits.items()}


def watching_losses(model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> NamedTensors:
    """Return the losses of unimodal heads that read detached features, ``{m: scalar}``; see `unimodal_losses`."""
    return {
        m: present_loss(model.task, model.head(m)(h.detach()), batch.target, batch.mask(m)) for m, h in features.items()
    }


def present_loss(task: Task, logits: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean loss over the samples that have a modality; 0 if no sample of the batch has it.

    Args:
        task: Likelihood.
        logits: ``(B, C)``.
        target: Targets of the batch.
        mask: Which samples have the modality, ``(B,)``; None if all have it.
    """
    logits, target = present_rows(mask, logits, target)
    return task.loss(logits, target) if len(target) else (0 * logits).sum()


def present_rows(mask: Tensor | None, *values: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of tensors ``(B, ...)`` whose samples have a modality; the tensors themselves without a mask.

    Example:
        >>> present_rows(torch.tensor([True, False]), torch.tensor([3, 4]), torch.tensor([5, 6]))
        (tensor([3]), tensor([5]))
    """
    if mask is None or bool(mask.all()):
        return values
    rows = mask.nonzero().flatten()
    return tuple(value[rows] for value in values)


def detached(terms: Mapping[str, Tensor]) -> NamedTensors:
    """Return tensors without their graph, for a record."""
    return {name: value.detach() for name, value in terms.items()}


def by_modality(model: MultimodalClassifier, letter: str, values: Tensor) -> NamedTensors:
    """Name a coefficient per modality, ``{"<letter>:<m>": scalar}``, for the record."""
    return {f"{letter}:{m}": v.detach() for m, v in zip(model.modalities, values, strict=True)}


def joint_step(
    model: MultimodalClassifier, batch: Batch, backward: Backward, head_gradient: float = 0.0
) -> Iterator[StepRecord]:
    """Take one step of joint training, with unimodal heads that read detached features.

    Args:
        model: Model.
        batch: Samples.
        backward: Function that back-propagates a scalar.
        head_gradient: Factor of the unimodal heads' gradient before it enters the encoders.
    """
    outputs = model(batch.inputs, head_gradient=head_gradient, present=batch.present)
    fused = model.task.loss(outputs.logits, batch.target)
    unimodal = unimodal_losses(model, outputs, batch.target)
    loss = fused + torch.stack(list(unimodal.values())).sum()
    backward(loss)
    yield StepRecord(loss.detach(), detached({"fused": fused, **unimodal}))


def require_modality(model: MultimodalClassifier, m: str) -> None:
    """Raise `ModelError` if the model has no modality ``m``."""
    if m not in model.modalities:
        raise ModelError(f"The model has no modality `{m}`. It has {', '.join(model.modalities)}.")


def require_multiclass(method: Method, model: MultimodalClassifier, why: str) -> None:
    """Raise `ModelError` unless the task is multi-class.

    Args:
        method: Method that needs classes.
        model: Model.
        why: Reason why the method needs classes, for the message.
    """
    if not model.task.has_classes:
        raise ModelError(
            f"`{type(method).__name__}` needs a multiclass task: {why}. Found a {model.task.name} task. Use a method "
            "that is defined for it (uniform, ogm-ge, umt, ...)."
        )


def require_fusion(method: Method, model: MultimodalClassifier, kind: type[FusionT]) -> FusionT:
    """Return the fusion that `Method.prepare` has set in the model.

    Args:
        method: Method that needs the fusion.
        model: Model that is trained.
        kind: Class of the fusion.

    Raises:
        ModelError: If the fusion is of another class: the model is not the one that `Method.prepare` returned.
    """
    if not isinstance(model.fusion, kind):
        owner, fusion_name = type(method).__name__, type(model.fusion).__name__
        raise ModelError(
            f"`{owner}` trains a model with the fusion `{kind.__name__}`. Found `{fusion_name}`. Use the model that "
            "`prepare` returns: `model = method.prepare(model, target)`."
        )
    return model.fusion
