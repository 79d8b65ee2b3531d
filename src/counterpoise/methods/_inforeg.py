"""InfoReg: adaptive regulation of information acquisition (Huang et al., CVPR 2025)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from counterpoise.methods.base import (
    Backward,
    EpochContext,
    Hyperparameter,
    Interval,
    NamedTensors,
    backward,
    by_modality,
)
from counterpoise.methods.logits import is_additive, target_scale, true_scores, unimodal_logits
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs, StepRecord

__all__ = ["InfoReg", "anchor_weights", "window_open"]


def anchor_weights(scores: Tensor, beta: float) -> Tensor:
    r"""Return :math:`\beta_m = \beta \exp(\tanh(s_m - \mathrm{mean}_{j \ne m} s_j))` for modalities above the others, else 0.

    Args:
        scores: ``(M,)`` mean probabilities of the true class.
        beta: :math:`\beta`.

    Example:
        >>> anchor_weights(torch.tensor([0.9, 0.4]), beta=1.0)
        tensor([1.5874, 0.0000])
    """
    gap = scores - (scores.sum() - scores) / (len(scores) - 1)
    return torch.where(gap > 0, beta * gap.tanh().exp(), torch.zeros_like(gap))


def window_open(traces: Tensor, window: int, threshold: float) -> bool:
    r"""Return whether the Fisher trace still grows: (mean of the last n - mean of the n before) / mean of the last n > threshold.

    n is ``window``, or half of the epochs so far while these are fewer. Before two epochs it is open.

    Args:
        traces: ``(epochs,)``.
        window: epochs per mean.
        threshold: in relative growth.

    Example:
        >>> window_open(torch.tensor([1.0, 1.0, 2.0, 2.0]), 2, 0.05), window_open(torch.ones(4), 2, 0.05)
        (True, False)
    """
    n = min(window, len(traces) // 2)
    if n == 0:
        return True
    last, before = traces[-n:].mean(), traces[-2 * n : -n].mean()
    return bool(last - before > threshold * last)


class InfoReg(ModulatedObjective):
    r"""Regulated information acquisition: while encoders still gather information fast, the leading one is held back.

    Huang, Wei, Yang, Hu, "Adaptive Unimodal Regulation for Balanced Multimodal Information Acquisition", CVPR 2025.
    :math:`L = CE(z, y) + \sum_m CE(u_m, y)`; the trace of the Fisher information of an encoder is estimated by :math:`\sum g^2` over an epoch; while it grows
    (`window_open`) and modality m leads, :math:`\beta_m (\theta_m - \theta_m^\text{epoch start})` with `anchor_weights` is added to its gradient.

    Differs from the authors' code: each encoder has its own window (there the audio encoder's decides); the scores are means over the
    batch (there sums, so tanh is always 1); one :math:`\beta` for all (there .95 for audio and .1 for video); the unimodal heads are their own (there slices); no
    backward passes for logging. Inferred: the windows before there are 20 epochs.

    Args:
        strength: multiplies everything that is added to joint training, in [0, inf).
        beta: :math:`\beta`.
        window: epochs per mean of the trace.
        threshold: relative growth that counts as fast.

    Example:
        >>> InfoReg(beta=0.1)
        InfoReg(strength=1.0, beta=0.1, window=10, threshold=0.05)
    """

    beta = Hyperparameter(0.95, Interval(0))
    window = Hyperparameter(10, Interval(1, integer=True))
    threshold = Hyperparameter(0.05, Interval(0))
    head_scale = 1.0
    scale: Tensor
    trace: Tensor
    history: Tensor
    epochs: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Make room for the traces of the last epochs."""
        self.sliced = is_additive(model.fusion)
        self.open: dict[str, bool] = {}
        self.anchors: dict[str, list[Tensor]] = {}
        self.register_buffer("scale", target_scale(model.task, target))
        self.register_buffer("trace", torch.zeros(len(model.modalities)))
        self.register_buffer("history", torch.zeros(2 * self.window, len(model.modalities)))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.long))
        return model

    @torch.no_grad()
    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Close the books of the last epoch, decide who is in its window, and drop anchor."""
        if not self.strength:
            return
        if epoch.number:
            self.history.copy_(torch.cat([self.history[1:], self.trace.unsqueeze(0)]))
            self.epochs.add_(1)
            self.trace.zero_()
        known = min(int(self.epochs), len(self.history))
        past = self.history[len(self.history) - known :]
        for k, m in enumerate(model.modalities):
            self.open[m] = window_open(past[:, self.watched(model, k)], self.window, self.threshold)
            self.anchors[m] = [p.detach().clone() for p in model.encoder_parameters(m)]

    def watched(self, model: MultimodalClassifier, k: int) -> int:
        """Return whose trace opens and closes the window of the ``k``-th modality: its own."""
        return k

    def pull(self, model: MultimodalClassifier, scores: Tensor, count: int) -> Tensor:
        r"""Return :math:`\beta_m`, ``(M,)``, given the summed scores of ``count`` samples."""
        return anchor_weights(scores / count, self.beta)

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        with torch.no_grad():
            alone = unimodal_logits(model, outputs.features, sliced=self.sliced)
            beta = self.strength * self.pull(model, true_scores(model, alone, batch.target, self.scale), len(batch))
        terms = {}
        for k, m in enumerate(model.modalities):
            pairs = [
                (p - anchor).square().sum()
                for p, anchor in zip(model.encoder_parameters(m), self.anchors.get(m, []), strict=False)
                if p.requires_grad
            ]
            if self.open.get(m) and pairs:
                terms[f"anchor:{m}"] = 0.5 * beta[k] * torch.stack(pairs).sum()
        return terms, by_modality(model, "beta", beta)

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`; afterwards the squared gradients are added to the traces."""
        for record in super().steps(model, batch, backward=backward):
            if self.strength:
                for k, m in enumerate(model.modalities):
                    grads = [p.grad for p in model.encoder_parameters(m) if p.grad is not None and p.ndim >= 2]
                    if grads:
                        self.trace[k] += torch.stack(torch._foreach_norm(grads)).square().sum().to(self.trace.dtype)
            yield record
