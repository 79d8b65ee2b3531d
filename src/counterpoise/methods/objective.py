"""Base classes of most methods: modulated objectives, and combinations of two gradients per encoder.

A subclass implements one to three short functions and inherits the step, the joint limit at ``strength=0`` and the
record.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from counterpoise.methods.base import (
    SMOOTHING,
    STRENGTH,
    Backward,
    Hyperparameter,
    Method,
    NamedTensors,
    backward,
    by_modality,
    detached,
    joint_step,
    unimodal_losses,
)
from counterpoise.model import MultimodalClassifier, Scale, scale_gradient
from counterpoise.records import Batch, Outputs, StepRecord

__all__ = [
    "Alternation",
    "GradientCombination",
    "ModulatedObjective",
    "gradients",
    "keep_finite",
    "measured_backward",
    "scaled_updates",
]


class ModulatedObjective(Method):
    r"""Base class of methods with one backward pass of the joint loss, with modulated features or gradients, or with
    further loss terms.

    .. math:: L = w\, CE(z(\tilde h), y) + \sum_m CE(u_m, y) + \sum_k \mathrm{term}_k

    A subclass overrides some of `scales` (factor of the gradient that enters each encoder), `modulate` (the
    features that the fused head reads), `head_gradient` (how much of the unimodal heads' gradient enters the encoders),
    `fused_weight`, `terms` and `backpropagate`. With ``strength=0`` none of them is called, and the step is that of
    `Joint`.

    All gradients of an encoder are linear in the gradient at its features, so that a factor on the latter scales the
    gradient of every parameter (:math:`\theta_m \leftarrow \theta_m - \eta \kappa_m g_m`), at no cost, also under AMP
    and accumulation.

    Args:
        strength: From joint training (0) to the method.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).

    Example:
        >>> class Louder(ModulatedObjective):
        ...     '''Uniform training in which every encoder gets twice its gradient.'''
        ...
        ...     head_scale = 1.0
        ...
        ...     def scales(self, model, features, batch):
        ...         return {m: torch.tensor(2.0) for m in features}
        >>> Louder(strength=0.5)
        Louder(strength=0.5, smoothing=0.0)
    """

    family = "modulated objective"
    strength = Hyperparameter(1.0, STRENGTH)
    smoothing = Hyperparameter(0.0, SMOOTHING)
    head_scale: ClassVar[float] = 0.0
    """Factor by which `strength` is multiplied to give `head_gradient`, unless that is overridden."""

    def scales(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> NamedTensors:
        r"""Return :math:`\kappa_m`, the factor of the gradient that enters each encoder, ``{m: scalar}``.

        It is called without gradients. A modality that is left out keeps its gradient.
        """
        return {}

    def modulate(
        self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Mapping[str, Tensor], NamedTensors]:
        """Return the features that the fused head reads, and coefficients for the record."""
        return features, {}

    def head_gradient(self, model: MultimodalClassifier, batch: Batch) -> Scale | Mapping[str, Scale]:
        """Return the factor of the unimodal heads' gradient before it enters the encoders."""
        return self.head_scale * self.strength

    def fused_weight(self) -> Scale:
        """Return the weight of the fused loss."""
        return 1.0

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """Return further terms of the loss (scalars, weighted), and coefficients for the record."""
        return {}, {}

    def backpropagate(
        self, model: MultimodalClassifier, loss: Tensor, kappa: Mapping[str, Tensor], backward: Backward
    ) -> None:
        """Back-propagate the loss; a subclass may add to the gradients here."""
        del model, kappa
        backward(loss)

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        if not self.strength:
            yield from joint_step(model, batch, backward)
            return
        features: Mapping[str, Tensor] = model.encode(batch.inputs, batch.present)
        with torch.no_grad():
            kappa = self.scales(model, features, batch)
        features = {m: scale_gradient(z, kappa.get(m, 1.0)) for m, z in features.items()}
        read, coefficients = self.modulate(model, features, batch)
        outputs = model.decode(features, self.head_gradient(model, batch), batch.present, fused_features=read)
        fused = model.task.loss(outputs.logits, batch.target)
        unimodal = unimodal_losses(model, outputs, batch.target, self.smoothing)
        extra, more = self.terms(model, outputs, batch)
        loss = self.fused_weight() * fused + torch.stack([*unimodal.values(), *extra.values()]).sum()
        self.backpropagate(model, loss, kappa, backward)
        yield StepRecord(
            loss.detach(),
            detached({"fused": fused, **unimodal, **extra}),
            {f"kappa:{m}": k for m, k in kappa.items()} | coefficients | more,
        )


class GradientCombination(Method):
    r"""Base class of methods that combine two gradients per encoder: that of the joint loss and that of its own head's
    loss.

    The heads and the fusion get the gradient of the plain sum. The combined gradient d enters through the surrogate
    :math:`\langle \theta, \mathrm{sg}(d) \rangle`, whose gradient it is, so that for AMP and accumulation there is one
    loss to back-propagate. Parameters that encoders share get the plain sum, too.

    Args:
        strength: Weight of the unimodal losses; 0 is joint training.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
    """

    family = "gradient combination"
    strength = Hyperparameter(1.0, STRENGTH)
    smoothing = Hyperparameter(0.0, SMOOTHING)

    @abstractmethod
    def combine(self, joint: list[Tensor], own: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return the combined gradient, tensor by tensor, and the weight of ``joint`` in it; no gradients flow."""

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        if not self.strength:
            yield from joint_step(model, batch, backward)
            return
        features = model.encode(batch.inputs, batch.present)
        outputs = model.decode(features, present=batch.present)
        fused = model.task.loss(outputs.logits, batch.target)
        unimodal = unimodal_losses(model, outputs, batch.target, self.smoothing)
        surrogate, alphas = [], []
        for m in model.modalities:
            terms, alpha = self._combined(model, m, fused, self.strength * unimodal[m])
            surrogate += terms
            alphas.append(alpha)
        total = fused + self.strength * torch.stack(list(unimodal.values())).sum()
        shared = _shared_parameters(model)
        if shared:
            surrogate += [(p * g).sum() for p, g in zip(shared, gradients(total, shared), strict=True)]
        # The heads and the fusion are trained on detached features, because the surrogate holds the encoders'
        # gradients.
        watching = model.decode({m: h.detach() for m, h in features.items()}, present=batch.present)
        heads = model.task.loss(watching.logits, batch.target)
        heads = heads + torch.stack(list(unimodal_losses(model, watching, batch.target).values())).sum()
        backward(torch.stack([heads, *surrogate]).sum())
        yield StepRecord(
            total.detach(), detached({"fused": fused, **unimodal}), by_modality(model, "alpha", torch.stack(alphas))
        )

    def _combined(
        self, model: MultimodalClassifier, m: str, fused: Tensor, unimodal: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Return the terms of the surrogate of one encoder, and the weight of the joint gradient (0.5 if frozen)."""
        parameters = [p for p in model.encoder_parameters(m) if p.requires_grad]
        if not parameters:
            return [], torch.full((), 0.5, device=fused.device)
        joint, own = gradients(fused, parameters), gradients(unimodal, parameters)
        with torch.no_grad():
            combined, alpha = self.combine(joint, own)
        return [(p * d).sum() for p, d in zip(parameters, combined, strict=True)], alpha


def _shared_parameters(model: MultimodalClassifier) -> list[nn.Parameter]:
    """Return the trained parameters that belong to several encoders."""
    own = {id(p) for m in model.modalities for p in model.encoder_parameters(m)}
    every = {id(p): p for m in model.modalities for p in model.encoder(m).parameters() if p.requires_grad}
    return [p for key, p in every.items() if key not in own]


class Alternation(Method):
    """Base class of methods with several optimizer steps per batch, one modality at a time.

    The gradients of several batches cannot be added up, because other parameters change in between.
    """

    family = "alternation"
    alternates = True


def gradients(loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    """Return the gradient by each parameter, zeros where the loss does not depend on it; the graph stays."""
    grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(grads, parameters, strict=True)]


def measured_backward(loss: Tensor, backward: Backward, groups: Sequence[Sequence[nn.Parameter]]) -> Tensor:
    r"""Back-propagate a loss, and return the squared norm of its gradient by each group of parameters, ``(G,)``.

    The gradients are those of this loss: a factor that ``backward`` applies (loss scaling under ``16-mixed``, gradient
    accumulation) is divided out, and gradients of earlier batches in ``.grad`` are not included. If the scaled
    gradients overflow, the result is not finite; `keep_finite` leaves such a step out of a running sum.

    Args:
        loss: Scalar.
        backward: Function that back-propagates it.
        groups: Groups of parameters; those without a gradient count as 0.

    Example:
        >>> w = nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> measured_backward(0.5 * (w * w).sum(), lambda loss: (1024 * loss).backward(), [[w]])
        tensor([25.])
    """
    factor: list[Tensor] = []
    arrived: list[list[Tensor]] = [[] for _ in groups]
    # The hook on the loss receives the gradient with which `backward` starts, which is its factor, without a
    # synchronisation.
    handles = [loss.register_hook(factor.append)] if loss.requires_grad else []
    for group, grads in zip(groups, arrived, strict=True):
        handles += [p.register_hook(grads.append) for p in group if p.requires_grad]
    try:
        backward(loss)
    finally:
        for handle in handles:
            handle.remove()
    scale = factor[0].float() if factor else loss.new_ones(())
    zero = torch.zeros((), device=loss.device)
    # Norms first, then the factor, then the square: the square of a scaled gradient overflows much earlier.
    norms = [torch.stack(torch._foreach_norm(grads)).float().norm() if grads else zero for grads in arrived]
    return (torch.stack(norms) / scale).square()


def keep_finite(total: Tensor, step: Tensor) -> Tensor:
    """Return ``total + step``, or ``total`` where ``step`` is not finite (an overflowing step has no effect).

    Example:
        >>> keep_finite(torch.ones(2), torch.tensor([1.0, float("inf")]))
        tensor([2., 1.])
    """
    return total + torch.where(step.isfinite(), step, torch.zeros_like(step)).to(total.dtype)


@contextmanager
def scaled_updates(model: MultimodalClassifier, factors: Mapping[str, float | Tensor]) -> Iterator[None]:
    """Multiply the update that an optimizer makes to each encoder by a factor.

    Optimizers that normalise the gradient (Adam and related ones) cancel a factor on it. A factor on the
    update equals another learning rate for every optimizer whose step is proportional to it, with its momentum and
    weight decay. Wrap the yield of a method's `steps` in this context: the loop takes its step during the yield.
    Encoders with a factor of 1 cost nothing; the parameters of the others are copied.

    Args:
        model: Model.
        factors: Factor by modality, a number or a scalar tensor; those that are left out are 1.

    Example:
        >>> from counterpoise.model import build_model
        >>> model = build_model({"a": ("vector", (4,), 0), "b": ("vector", (6,), 0)}, num_outputs=3, width=8)
        >>> weight = next(model.encoder("a").parameters())
        >>> before = weight.detach().clone()
        >>> with torch.no_grad(), scaled_updates(model, {"a": 0.5}):
        ...     _ = weight.add_(1.0)  # what an optimizer would do
        >>> torch.allclose(weight, before + 0.5)
        True
    """
    scaled = {m: factor for m, factor in factors.items() if isinstance(factor, Tensor) or factor != 1}
    before = [
        (p, p.detach().clone(), factor)
        for m, factor in scaled.items()
        for p in model.encoder_parameters(m)
        if p.requires_grad
    ]
    yield
    with torch.no_grad():
        for p, old, factor in before:
            p.lerp_(old, 1 - factor.to(p.dtype) if isinstance(factor, Tensor) else 1 - factor)
