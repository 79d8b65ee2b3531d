"""Families beyond those of the base: shaped objectives, and what several methods share.

`Shaped` is joint training with up to three things changed; a method of this family writes one to three short functions
and inherits the step, the joint limit at ``strength=0`` and the record.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from counterpoise.coalitions import subsets
from counterpoise.errors import ModelError
from counterpoise.fusion import Fusion
from counterpoise.methods._joint import Joint
from counterpoise.methods.base import Backward, Method, _backward, _detached, unimodal_losses
from counterpoise.model import MultimodalClassifier, Scale, scale_gradient
from counterpoise.records import Batch, Outputs, StepRecord

__all__ = [
    "GradientCombination",
    "Named",
    "Shaped",
    "alone_logits",
    "by_modality",
    "decode",
    "discounted_loss",
    "gradients",
    "is_additive",
    "joint_step",
    "require_multiclass",
    "subset_logits",
    "true_scores",
]

Named: TypeAlias = dict[str, Tensor]


def joint_step(model: MultimodalClassifier, batch: Batch, backward: Backward) -> Iterator[StepRecord]:
    """One step of joint training, exactly as `Joint` does it."""
    yield from Joint().steps(model, batch, backward=backward)


def require_multiclass(method: Method, model: MultimodalClassifier, why: str) -> None:
    """Raise `ModelError` unless the task is multi-class.

    Args:
        method: who asks.
        model: the model.
        why: what of the method needs classes, for the message.
    """
    if model.task.name != "multiclass":
        raise ModelError(
            f"`{type(method).__name__}` needs a multiclass task: {why}. Found a {model.task.name} task. Use a method that "
            "is defined for it (uniform, ogm-ge, umt, ...)."
        )


def by_modality(model: MultimodalClassifier, letter: str, values: Tensor) -> Named:
    """Name a coefficient per modality, ``{"<letter>:<m>": scalar}``, for the record."""
    return {f"{letter}:{m}": v.detach() for m, v in zip(model.modalities, values, strict=True)}


def is_additive(fusion: Fusion) -> bool:
    """Return whether a fusion's logits are a sum over modalities (asked once, at setup)."""
    reference = next(fusion.parameters(), torch.empty(0))
    try:
        fusion.slice_logits({m: reference.new_zeros(1, d) for m, d in fusion.feature_dims.items()})
    except ModelError:
        return False
    return True


def alone_logits(model: MultimodalClassifier, features: Mapping[str, Tensor], *, sliced: bool) -> Tensor:
    """Return what each modality says alone, ``(M, B, C)``: its slice of the fused logits, or its own head's.

    Args:
        model: the model.
        features: ``{m: (B, D_m)}``.
        sliced: whether to take slices, see `is_additive`.
    """
    if sliced:
        slices = model.fusion.slice_logits(features)
        return torch.stack([slices[m] for m in model.modalities])
    return torch.stack([model.head(m)(features[m]) for m in model.modalities])


def true_scores(model: MultimodalClassifier, logits: Tensor, target: Tensor) -> Tensor:
    r"""Return :math:`s_m = \sum_i p_m(y_i | x_i)`, ``(M,)``, for logits ``(M, B, C)``."""
    return model.task.log_likelihood(logits, target).exp().sum(-1)


def discounted_loss(logits: Tensor, known: Tensor, target: Tensor, discount: float) -> Tensor:
    r"""Return :math:`\mathrm{mean}_i (1 - \delta\, \mathrm{sg}\, q_i(y_i)) (-\log p_i(y_i))`: cross-entropy, less where others know.

    Args:
        logits: of p, ``(B, C)``.
        known: logits of q, ``(B, C)``; no gradient flows through them.
        target: ``(B,)``.
        discount: :math:`\delta`, in [0, 1].

    Example:
        >>> y, zero = torch.tensor([0]), torch.zeros(1, 2)
        >>> discounted_loss(zero, zero, y, 0.5) / discounted_loss(zero, zero, y, 0.0)     # 1 - 0.5 * 0.5
        tensor(0.7500)
    """
    index = target.unsqueeze(-1)
    sure = known.detach().softmax(-1).gather(-1, index).squeeze(-1)
    return -((1 - discount * sure) * logits.log_softmax(-1).gather(-1, index).squeeze(-1)).mean()


def decode(
    model: MultimodalClassifier,
    features: Mapping[str, Tensor],
    fused_features: Mapping[str, Tensor],
    head_gradient: Scale | Mapping[str, Scale] = 0.0,
) -> Outputs:
    """Return outputs whose fused logits read ``fused_features`` and whose unimodal heads read ``features``."""
    scales = head_gradient if isinstance(head_gradient, Mapping) else dict.fromkeys(model.modalities, head_gradient)
    unimodal = {m: model.head(m)(scale_gradient(features[m], scales[m])) for m in model.modalities}
    return Outputs(features, model.fusion(fused_features), unimodal)


def subset_logits(
    model: MultimodalClassifier, features: Mapping[str, Tensor], absent: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Return the fused logits of every subset of modalities, ``(2^M, B, C)``, in one pass through the fusion.

    Args:
        model: the model.
        features: ``{m: (B, D_m)}``.
        absent: what stands for a missing modality, ``{m: (1, D_m)}``; zeros by default.
    """
    names = model.modalities
    every = subsets(len(names))
    stacked = {}
    for k, m in enumerate(names):
        missing = torch.zeros_like(features[m]) if absent is None else absent[m].expand_as(features[m])
        stacked[m] = torch.cat([features[m] if k in subset else missing for subset in every])
    return model.fusion(stacked).unflatten(0, (len(every), -1))


class GradientCombination(Method):
    r"""Family: each encoder's gradient is made of two, that of the joint loss and that of its own head's.

    The heads and the fusion get the gradient of the plain sum. The combined gradient d enters through the surrogate
    :math:`\langle \theta, \mathrm{sg}(d) \rangle`, whose gradient it is, so that AMP and accumulation see one loss to
    back-propagate. Parameters that encoders share get the plain sum, too.
    """

    strength: float

    @abstractmethod
    def combine(self, joint: list[Tensor], own: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return the combined gradient, tensor by tensor, and the weight of ``joint`` in it; no gradients flow."""

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = _backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        if not self.strength:
            yield from joint_step(model, batch, backward)
            return
        features = model.encode(batch.inputs)
        outputs = model.decode(features)
        fused = model.task.loss(outputs.logits, batch.target)
        unimodal = unimodal_losses(model, outputs, batch.target)
        surrogate, alphas, done = [], [], set()
        for m in model.modalities:
            parameters = [p for p in model.encoder_parameters(m) if p.requires_grad]
            done |= {id(p) for p in parameters}
            if not parameters:
                alphas.append(torch.full((), 0.5, device=fused.device))
                continue
            joint = gradients(fused, parameters)
            own = gradients(self.strength * unimodal[m], parameters)
            with torch.no_grad():
                combined, alpha = self.combine(joint, own)
            surrogate += [(p * d).sum() for p, d in zip(parameters, combined, strict=True)]
            alphas.append(alpha)
        total = fused + self.strength * torch.stack(list(unimodal.values())).sum()
        shared = {id(p): p for m in model.modalities for p in model.encoder(m).parameters() if p.requires_grad}
        rest = [p for key, p in shared.items() if key not in done]
        if rest:
            surrogate += [(p * g).sum() for p, g in zip(rest, gradients(total, rest), strict=True)]
        watching = model.decode({m: h.detach() for m, h in features.items()})
        heads = model.task.loss(watching.logits, batch.target)
        heads = heads + torch.stack(list(unimodal_losses(model, watching, batch.target).values())).sum()
        backward(torch.stack([heads, *surrogate]).sum())
        yield StepRecord(
            total.detach(), _detached({"fused": fused, **unimodal}), by_modality(model, "alpha", torch.stack(alphas))
        )


def gradients(loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    """Return the gradient by each parameter, zeros where the loss does not depend on it; the graph stays."""
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]


class Shaped(Method):
    r"""Family: one backward pass of the joint loss, with changed features, gradients or further terms.

    .. math:: L = w\, CE(z(\tilde h), y) + \sum_m CE(u_m, y) + \sum_k \mathrm{term}_k

    A method overrides what it needs of `scales` (multiply the gradient that enters each encoder), `modulate` (change the
    features that the fused head reads), `head_gradient` (what of the unimodal heads' gradient enters the encoders),
    `fused_weight` and `terms`. With ``strength=0`` none is called and the step is that of `Joint`.
    """

    strength: float
    head_scale: ClassVar[float] = 0.0
    """What `strength` is multiplied by to give `head_gradient`, unless that is overridden."""

    def scales(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> Named:
        """Return the factor of the gradient that enters each encoder, ``{m: scalar}``; called without gradients."""
        return {}

    def modulate(
        self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Mapping[str, Tensor], Named]:
        """Return the features that the fused head reads, and coefficients for the record."""
        return features, {}

    def head_gradient(self, model: MultimodalClassifier, batch: Batch) -> Scale | Mapping[str, Scale]:
        """Return what the gradient of the unimodal heads is multiplied by before it enters the encoders."""
        return self.head_scale * self.strength

    def fused_weight(self) -> Scale:
        """Return the weight of the fused loss."""
        return 1.0

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[Named, Named]:
        """Return further terms of the loss (scalars, weighted), and coefficients for the record."""
        return {}, {}

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = _backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        if not self.strength:
            yield from joint_step(model, batch, backward)
            return
        features: Mapping[str, Tensor] = model.encode(batch.inputs)
        with torch.no_grad():
            kappa = self.scales(model, features, batch)
        features = {m: scale_gradient(z, kappa.get(m, 1.0)) for m, z in features.items()}
        read, coefficients = self.modulate(model, features, batch)
        outputs = decode(model, features, read, self.head_gradient(model, batch))
        fused = model.task.loss(outputs.logits, batch.target)
        unimodal = unimodal_losses(model, outputs, batch.target)
        extra, more = self.terms(model, outputs, batch)
        loss = self.fused_weight() * fused + torch.stack([*unimodal.values(), *extra.values()]).sum()
        backward(loss)
        yield StepRecord(
            loss.detach(),
            _detached({"fused": fused, **unimodal, **extra}),
            {f"kappa:{m}": k for m, k in kappa.items()} | coefficients | more,
        )
