"""The contract of a method and the families that most methods belong to.

A method fills ``.grad``; whoever owns the loop steps::

    method.setup(model, train.target)
    optimizer = torch.optim.AdamW([*model.parameters(), *method.parameters()])
    for epoch in range(epochs):
        method.on_epoch_start(model, Epoch(epoch, epochs))
        for batch in loader:
            for record in method.steps(model, batch):    # each yield: gradients are ready, step now
                optimizer.step()
                optimizer.zero_grad()

Every method trains the model's unimodal heads on the features, whatever reaches the encoders, so that all methods offer
the same heads to all rules of inference. With ``strength=0`` every method equals joint training bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from counterpoise._validation import Interval, Options
from counterpoise.errors import ModelError
from counterpoise.model import MultimodalClassifier, Scale, scale_gradient
from counterpoise.records import Batch, Outputs, StepRecord

__all__ = ["STRENGTH", "Backward", "GradientModulation", "Method", "Objective", "unimodal_losses"]

Backward: TypeAlias = Callable[[Tensor], None]
"""How to back-propagate a scalar: the one hook that AMP, gradient accumulation and Lightning need."""

STRENGTH = Interval(0)


def _backward(loss: Tensor) -> None:
    loss.backward()


@dataclass(frozen=True)
class Epoch:
    """Where a training stands, and what a method may look at between epochs.

    Attributes:
        number: the epoch that is about to start, from 0.
        total: how many there will be.
        train: calling it gives the training set as batches in a fixed order (without augmentation), to be read in evaluation mode.
        held_out: the same for samples cut from the training set that no gradient has seen, where the method needs them; never the validation set that
            selects.
    """

    number: int
    total: int
    train: Callable[[], Iterable[Batch]] | None = None
    held_out: Callable[[], Iterable[Batch]] | None = None


class Method(nn.Module, ABC):
    """How one batch turns into gradients.

    Subclasses name their hyper-parameters in ``__init__`` and hand them to ``super().__init__``, which checks them
    against
    ``constraints`` and stores each under its own name. State that must survive a restart lives in buffers.
    """

    constraints: ClassVar[Mapping[str, Interval | Options]] = {}
    parts: ClassVar[tuple[str, ...]] = ()
    """Boolean hyper-parameters that switch named parts on and off: what ``compare --ablation`` goes through."""
    default_rule: ClassVar[str] = "fused"
    """The rule of inference that the method is meant for (see `counterpoise.inference`)."""
    needs_held_out: bool = False
    """Whether `on_epoch_start` needs `Epoch.held_out`: samples that never train."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Methods whose trained models this one needs (``("unimodal-ensemble",)`` for unimodal teachers); see `use_teachers`."""

    def __init__(self, **hyperparameters: object) -> None:
        super().__init__()
        for name, value in hyperparameters.items():
            if name in self.constraints:
                self.constraints[name].check(type(self).__name__, name, value)
            setattr(self, name, value)
        self.hyperparameters = hyperparameters

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.hyperparameters.items())})"

    def setup(self, model: MultimodalClassifier, target: Tensor) -> None:
        """Prepare for a model, once, before the optimizer is made. Draws no random numbers.

        Args:
            model: the model to be trained; a method may wrap its fusion.
            target: the targets of the whole training set, by index.
        """

    @abstractmethod
    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = _backward
    ) -> Iterator[StepRecord]:
        """Yield once per optimizer step, with the gradients ready.

        A loop takes its step and goes on with the iterator, as ``for`` does: what follows the yield sees the parameters after the step.

        Args:
            model: the model.
            batch: the samples.
            backward: how to back-propagate a scalar.
        """

    def test_metrics(self, model: MultimodalClassifier, batches: Iterable[Batch]) -> dict[str, float]:
        """Return further numbers about the test set for the record; most methods have none.

        The predictions that a run is scored by are made without labels, by a rule of inference. This is for what a release computes otherwise.
        """
        del model, batches
        return {}

    def use_teachers(self, teachers: Mapping[str, MultimodalClassifier]) -> None:
        """Receive the trained models that `requires` names, by method name, before `setup`."""

    def on_epoch_start(self, model: MultimodalClassifier, epoch: Epoch) -> None:
        """Do what belongs between epochs, before the first step of ``epoch``."""

    def resample(self, order: Tensor, generator: torch.Generator) -> Tensor:
        """Return the order of an epoch (indices into the training set), given the shuffled one."""
        del generator
        return order


def unimodal_losses(
    model: MultimodalClassifier, outputs: Outputs, target: Tensor, smoothing: float = 0.0
) -> dict[str, Tensor]:
    """Return each unimodal head's mean negative log-likelihood in nats, ``{m: scalar}``, on labels of which the share ``smoothing`` is spread over all classes."""
    task = model.task.with_smoothing(smoothing) if smoothing else model.task
    return {m: task.loss(logits, target) for m, logits in outputs.unimodal_logits.items()}


class Objective(Method):
    """Family: the method is another loss on the heads; one backward pass, one step."""

    @abstractmethod
    def head_gradient(self, model: MultimodalClassifier, batch: Batch) -> Scale | Mapping[str, Scale]:
        """Return what the gradient of the unimodal heads is multiplied by before it enters the encoders."""

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = _backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        outputs = model(batch.inputs, head_gradient=self.head_gradient(model, batch))
        fused = model.task.loss(outputs.logits, batch.target)
        unimodal = unimodal_losses(model, outputs, batch.target)
        loss = fused + torch.stack(list(unimodal.values())).sum()
        backward(loss)
        yield StepRecord(loss.detach(), _detached({"fused": fused, **unimodal}))


def _detached(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in parts.items()}


class GradientModulation(Method):
    r"""Family: joint training in which the gradient that enters each encoder is multiplied by :math:`\kappa_m`.

    All gradients of an encoder are linear in the gradient at its features, so scaling that one is scaling every
    parameter's
    (:math:`\theta_m \leftarrow \theta_m - \eta \kappa_m g_m`), at no cost, also under AMP and accumulation.
    """

    strength: float

    @abstractmethod
    def coefficients(
        self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        r"""Return :math:`\kappa_m` as one scalar tensor per modality; called without gradients."""

    def modulated_backward(
        self, model: MultimodalClassifier, loss: Tensor, kappa: Mapping[str, Tensor], backward: Backward
    ) -> None:
        """Back-propagate; a subclass may add to the gradients here."""
        del model, kappa
        backward(loss)

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = _backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        features = model.encode(batch.inputs)
        kappa: dict[str, Tensor] = {}
        if self.strength:
            with torch.no_grad():
                kappa = self.coefficients(model, features, batch)
        scaled = {m: scale_gradient(z, kappa.get(m, 1.0)) for m, z in features.items()}
        outputs = model.decode(scaled, head_gradient=0.0)
        fused = model.task.loss(outputs.logits, batch.target)
        unimodal = unimodal_losses(model, outputs, batch.target)
        loss = fused + torch.stack(list(unimodal.values())).sum()
        if kappa:
            self.modulated_backward(model, loss, kappa, backward)
        else:
            backward(loss)
        yield StepRecord(
            loss.detach(), _detached({"fused": fused, **unimodal}), {f"kappa:{m}": k for m, k in kappa.items()}
        )


def require_modality(model: MultimodalClassifier, m: str) -> None:
    """Raise `ModelError` if the model has no modality ``m``."""
    if m not in model.modalities:
        raise ModelError(f"The model has no modality `{m}`. It has {', '.join(model.modalities)}.")
