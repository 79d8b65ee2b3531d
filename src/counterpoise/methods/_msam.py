"""M-SAM: modality-aware sharpness-aware minimisation (NeurIPS 2025)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from counterpoise.coalitions import shapley_weights
from counterpoise.methods.base import (
    STRENGTH,
    Backward,
    Hyperparameter,
    Interval,
    Method,
    backward,
    by_modality,
    detached,
    joint_step,
    require_multiclass,
    unimodal_losses,
)
from counterpoise.methods.logits import subset_logits
from counterpoise.methods.objective import gradients
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Presence, StepRecord

__all__ = ["MSAM", "accuracy_shares", "ascent_step"]


@torch.no_grad()
def accuracy_shares(
    model: MultimodalClassifier, features: Mapping[str, Tensor], target: Tensor, present: Presence | None = None
) -> Tensor:
    """Return each modality's share of the batch accuracy, ``(M,)``: Shapley values, at least 0, scaled to the sum 1.

    The features of absent modalities are zeros. If no value is positive, all shares are 0.

    Args:
        model: Model.
        features: ``{m: (B, D_m)}``.
        target: ``(B,)``.
        present: Which samples have which modality.
    """
    accuracy = (subset_logits(model, features, present=present).argmax(-1) == target).double().mean(-1)
    values = (shapley_weights(len(features)).to(accuracy) @ accuracy).clamp_min(0)
    return (values / values.sum().clamp_min(1e-12)).float()


def ascent_step(gradient: list[Tensor], radius: float) -> list[Tensor]:
    r"""Return :math:`\rho g / \lVert g \rVert`, tensor by tensor; zeros if the norm is 0 or not finite.

    Example:
        >>> ascent_step([torch.tensor([3.0]), torch.tensor([4.0])], radius=0.5)
        [tensor([0.3000]), tensor([0.4000])]
    """
    norm = torch.stack([g.norm() for g in gradient]).norm()
    usable = (norm > 0) & norm.isfinite()
    factor = torch.where(usable, radius / norm.clamp_min(1e-30), torch.zeros_like(norm))
    return [torch.where(usable, g * factor, torch.zeros_like(g)) for g in gradient]


class MSAM(Method):
    r"""Modality-aware SAM: the loss of the dominant modality is minimised together with its sharpness.

    "Modality-Aware SAM", NeurIPS 2025 (arXiv 2510.24919). :math:`v_m` is the modality's share of the batch accuracy
    (`accuracy_shares`) and d the dominant one. With the joint loss :math:`\ell`, the update follows :math:`v_d \nabla
    \ell(\theta + \epsilon) + (1 - v_d) \nabla \ell(\theta)`, with :math:`\epsilon = \rho \nabla \ell / \lVert \nabla
    \ell \rVert` over all parameters (`ascent_step`). The second pass runs on a copy of the parameters, with the same
    dropout masks, and leaves the statistics of normalisation layers alone.

    Known from the abstract and a public restatement of the equations; no code was found. Inferred: the accuracy as what
    the Shapley values share; values clamped at 0 and scaled, so that :math:`\rho = 0` is joint training;
    :math:`\rho = .05`.

    Args:
        strength: Factor of :math:`\rho`, in [0, inf).
        radius: :math:`\rho`.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> MSAM(radius=0.1)
        MSAM(strength=1.0, radius=0.1)
    """

    strength = Hyperparameter(1.0, STRENGTH)
    radius = Hyperparameter(0.05, Interval(0))

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check the task."""
        require_multiclass(self, model, "it shares the accuracy among the modalities")
        return model

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        if not self.strength:
            yield from joint_step(model, batch, backward)
            return
        device = batch.target.device
        # The forked generator restores the random state, so that the second pass draws the same dropout masks.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            features = model.encode(batch.inputs, batch.present)
            outputs = model.decode(features, 0.0, batch.present)
        fused = model.task.loss(outputs.logits, batch.target)
        shares = accuracy_shares(model, {m: h.detach() for m, h in features.items()}, batch.target, batch.present)
        dominant = shares.max().to(fused.dtype)
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        gradient = gradients(fused, list(trained.values()))
        steps = ascent_step(gradient, self.strength * self.radius)
        moved = {name: p + e for (name, p), e in zip(trained.items(), steps, strict=True)}
        kept = {name: value.clone() for name, value in model.named_buffers()}
        sharp = torch.func.functional_call(model, {**moved, **kept}, (batch.inputs, 0.0, batch.present))
        perturbed = model.task.loss(sharp.logits, batch.target)
        unimodal = unimodal_losses(model, outputs, batch.target)
        plain = [((1 - dominant) * p * g).sum() for p, g in zip(trained.values(), gradient, strict=True)]
        heads = torch.stack(list(unimodal.values())).sum()
        backward(dominant * perturbed + heads + torch.stack(plain).sum())
        yield StepRecord(
            (fused + heads).detach(),
            detached({"fused": fused, "perturbed": perturbed, **unimodal}),
            by_modality(model, "share", shares),
        )
