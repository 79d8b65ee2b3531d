"""InfoReg: adaptive regulation of information acquisition (Huang et al., CVPR 2025)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from counterpoise.methods.base import Backward, EpochContext, Hyperparameter, Interval, NamedTensors, by_modality
from counterpoise.methods.logits import is_additive, target_scale, true_scores, unimodal_logits
from counterpoise.methods.objective import ModulatedObjective, keep_finite, measured_backward
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs

__all__ = ["InfoReg", "anchor_weights", "window_open"]


def anchor_weights(scores: Tensor, beta: float) -> Tensor:
    r"""Return :math:`\beta_m = \beta \exp(\tanh(s_m - \mathrm{mean}_{j \ne m} s_j))` for leading modalities, else 0.

    Args:
        scores: ``(M,)`` mean probabilities of the true class.
        beta: :math:`\beta`.

    Example:
        >>> anchor_weights(torch.tensor([0.9, 0.4]), beta=1.0)
        tensor([1.5874, 0.0000])
    """
    gap = scores - (scores.sum() - scores) / (len(scores) - 1)
    return torch.where(gap > 0, beta * gap.tanh().exp(), torch.zeros_like(gap))


def window_open(traces: Tensor, threshold: float) -> bool:
    r"""Return whether the Fisher trace still grows: :math:`(\bar T_t - \bar T_{t-1}) / \bar T_t` > threshold.

    :math:`\bar T_t` is the mean of the last n epochs and :math:`\bar T_{t-1}` the mean of the n epochs that end one
    epoch earlier. The history starts with zeros, so a steady trace counts as growing for the first n epochs.

    Args:
        traces: ``(n + 1,)``, the last n + 1 epochs, zeros before the first one.
        threshold: Relative growth.

    Example:
        >>> window_open(torch.tensor([0.0, 1.0, 1.0]), 0.05), window_open(torch.ones(3), 0.05)
        (True, False)
    """
    last, before = traces[1:].mean(), traces[:-1].mean()
    return bool(last - before > threshold * last)


class InfoReg(ModulatedObjective):
    r"""Regulated information acquisition: the leading encoder is slowed down while its information grows fast.

    Huang, Wei, Yang, Hu, "Adaptive Unimodal Regulation for Balanced Multimodal Information Acquisition", CVPR 2025.
    :math:`L = CE(z, y) + \sum_m CE(u_m, y)`. The trace of the Fisher information of an encoder is estimated by the mean
    of :math:`\sum g^2` over the steps of an epoch. While it grows (`window_open`; the first epoch is always open) and
    modality m leads, :math:`\beta_m (\theta_m - \theta_m^\text{epoch start})` with `anchor_weights` is added to its
    gradient.

    Differs from the authors' code: each encoder has its own window (there the audio encoder's trace decides for all),
    and the trace sums squares over weights (there means per layer; only the course matters). The scores are means over
    the batch (there sums, so that tanh saturates). One :math:`\beta` for all (there .95 for audio and .1 for video).
    The unimodal heads are separate (there slices). No backward passes for logging. Gradients are those of the loss
    itself under loss scaling and accumulation, and steps whose gradients are not finite do not count.

    Args:
        strength: Factor of everything that is added to joint training, in [0, inf).
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        beta: :math:`\beta`.
        window: Number of epochs n per mean of the trace.
        threshold: Relative growth that counts as fast.

    Example:
        >>> InfoReg(beta=0.1)
        InfoReg(strength=1.0, smoothing=0.0, beta=0.1, window=10, threshold=0.05)
    """

    beta = Hyperparameter(0.95, Interval(0))
    window = Hyperparameter(10, Interval(1, integer=True))
    threshold = Hyperparameter(0.05, Interval(0))
    head_scale = 1.0
    scale: Tensor
    trace: Tensor
    count: Tensor
    history: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register the traces of the last epochs, which start with zeros."""
        count = len(model.modalities)
        self.sliced = is_additive(model.fusion)
        self.open: dict[str, bool] = {}
        self.anchors: dict[str, list[Tensor]] = {}
        self.register_buffer("scale", target_scale(model.task, target), persistent=False)
        self.register_buffer("trace", torch.zeros(count))
        self.register_buffer("count", torch.zeros(count))
        self.register_buffer("history", torch.zeros(self.window + 1, count))
        return model

    @torch.no_grad()
    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Record the trace of the last epoch, update each modality's window, and store reference parameters."""
        if not self.strength:
            return
        if epoch.number:
            mean = self.trace / self.count.clamp_min(1)
            self.history.copy_(torch.cat([self.history[1:], mean.unsqueeze(0)]))
            self.trace.zero_()
            self.count.zero_()
        for k, m in enumerate(model.modalities):
            growing = window_open(self.history[:, self.watched(model, k)], self.threshold)
            self.open[m] = epoch.number == 0 or growing
            self.anchors[m] = [p.detach().clone() for p in model.encoder_parameters(m)]

    def watched(self, model: MultimodalClassifier, k: int) -> int:
        """Return the index of the trace that opens and closes the window of the ``k``-th modality, which is its own."""
        return k

    def pull(self, model: MultimodalClassifier, scores: Tensor, count: int) -> Tensor:
        r"""Return :math:`\beta_m`, ``(M,)``, given the summed scores of ``count`` samples."""
        return anchor_weights(scores / count, self.beta)

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        with torch.no_grad():
            logits = unimodal_logits(model, outputs.features, sliced=self.sliced, present=outputs.present)
            scores = true_scores(model, logits, batch.target, self.scale, batch.present)
            beta = self.strength * self.pull(model, scores, len(batch))
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

    def backpropagate(
        self, model: MultimodalClassifier, loss: Tensor, kappa: Mapping[str, Tensor], backward: Backward
    ) -> None:
        """Back-propagate, and add the squared gradients of the encoders' weights to the traces."""
        groups = [[p for p in model.encoder_parameters(m) if p.ndim >= 2] for m in model.modalities]
        squared = measured_backward(loss, backward, groups)
        self.trace.copy_(keep_finite(self.trace, squared))
        self.count.copy_(self.count + squared.isfinite())
