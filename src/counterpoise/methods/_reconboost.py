"""ReconBoost: alternating, boosting-like training of the modalities (Hua et al., ICML 2024)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from counterpoise.methods.base import (
    Backward,
    EpochContext,
    Hyperparameter,
    Interval,
    Method,
    backward,
    detached,
    joint_step,
    present_rows,
    require_multiclass,
    watching_losses,
)
from counterpoise.methods.logits import discounted_loss, require_additive
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord

__all__ = ["ReconBoost", "reconcilement_loss"]


def reconcilement_loss(
    own: Tensor, others: Tensor, target: Tensor, ratio: float, weights: Tensor | None = None
) -> Tensor:
    r"""Return the mean of :math:`-(1 - r\, \mathrm{softmax}(F_{-m})_y) \log p_m(y)`, in nats.

    Samples that the other modalities already classify correctly count less.

    Args:
        own: Logits of the modality, ``(B, C)``.
        others: Summed logits of all others; no gradient flows through them.
        target: ``(B,)``.
        ratio: r, in [0, 1].
        weights: Factor of each sample, ``(B,)``, see `Task.sample_weights`; None for 1.

    Example:
        >>> right, zero, y = torch.tensor([[50.0, 0.0]]), torch.zeros(1, 2), torch.tensor([0])
        >>> ratio = reconcilement_loss(zero, right, y, 0.2) / reconcilement_loss(zero, zero, y, 0.0)
        >>> round(ratio.item(), 4)
        0.8
    """
    return discounted_loss(own, others, target, ratio, weights)


class ReconBoost(Method):
    r"""Modalities are trained in turn on the part of the labels that the others do not explain yet, then all together.

    Hua, Xu, Bao, Yang, Huang, "ReconBoost: Boosting Can Achieve Modality Reconcilement", ICML 2024. With the slices
    :math:`F_m` of the fused logits, stage t belongs to modality t mod M: first ``stage_epochs`` of `reconcilement_loss`
    on that modality's encoder and slice alone, then ``rectify_epochs`` of :math:`CE(\sum_m F_m, y)` on everything.

    Differs from the authors' code: the weights :math:`w_1 = 5, w_2 = 1` become their ratio, and the loss is not divided
    by the number of classes; the ensemble's scale is left to the fused head; slices of an additive head take the place
    of a shared two-layer head; the agreement term is left out (in the code no gradient flows through it); the optimizer
    is the loop's throughout; no unimodal pre-training. A published toolkit runs one epoch per phase. There is no
    strength, because alternation has no limit that is joint training.

    Args:
        ratio: :math:`w_2 / w_1`, in [0, 1]; the authors use 0.2 (CREMA-D) and 0.25 (AVE, ModelNet40).
        stage_epochs: Number of epochs of a modality's stage.
        rectify_epochs: Number of epochs of the joint phase after it.

    Raises:
        ModelError: (by `prepare`) for a task without classes, or a fusion without slices.

    Example:
        >>> ReconBoost(stage_epochs=1, rectify_epochs=1)
        ReconBoost(ratio=0.2, stage_epochs=1, rectify_epochs=1)
    """

    ratio = Hyperparameter(0.2, Interval(0, 1, "[]"))
    stage_epochs = Hyperparameter(4, Interval(1, integer=True))
    rectify_epochs = Hyperparameter(4, Interval(0, integer=True))

    turn: int | None = 0

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check task and fusion."""
        require_multiclass(self, model, "it weighs samples by the probability of their class")
        require_additive(self, model, "adds up one learner per modality")
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Determine the modality of the current stage; None stands for the joint phase."""
        stage, within = divmod(epoch.number, self.stage_epochs + self.rectify_epochs)
        self.turn = stage % len(model.modalities) if within < self.stage_epochs else None

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        if self.turn is None:
            yield from joint_step(model, batch, backward)
            return
        turn = sorted(model.modalities)[self.turn]
        features = {}
        for m in model.modalities:
            with torch.set_grad_enabled(m == turn):
                features[m] = model.features(batch.inputs, m, batch.present)
        slices = model.fusion.slices(features, batch.present)
        others = torch.stack([z for m, z in slices.items() if m != turn]).sum(0)
        mine, known, target = present_rows(batch.mask(turn), slices[turn], others, batch.target)
        weights = model.task.sample_weights(target)
        own = reconcilement_loss(mine, known, target, self.ratio, weights) if len(target) else (0 * slices[turn]).sum()
        heads = watching_losses(model, features, batch)
        loss = own + torch.stack(list(heads.values())).sum()
        backward(loss)
        yield StepRecord(loss.detach(), detached({"reconcilement": own, **heads}))
