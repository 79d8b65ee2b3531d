"""LFM: learning and aligning with a schedule between them (Yang et al., NeurIPS 2024)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from counterpoise.methods.base import EpochContext, Hyperparameter, Interval, NamedTensors, Options, require_multiclass
from counterpoise.methods.logits import is_additive, presence_masks, unimodal_logits
from counterpoise.methods.objective import ModulatedObjective, gradients
from counterpoise.methods.passes import batch_rows, concat_batches, iterate_batches
from counterpoise.model import MultimodalClassifier, evaluation_mode
from counterpoise.records import Batch, Outputs

__all__ = ["LFM", "classification_weight", "jensen_shannon", "meta_gradient"]

POLYNOMIAL = (0.2046, 3.355e-3, 1.230e-4, -2.929e-6, 2.238e-8, -5.397e-11)
MAX_ALIGNMENT = 0.95
"""Initial and largest learned weight of the alignment; the smallest is 1 - 0.95."""
EPOCHS = 200
"""Number of epochs of the authors' schedules."""


def classification_weight(progress: float) -> float:
    r"""Return the heuristic weight of the classification, in [0, 1].

    .. math:: a_0(e) = 0.2046 + 3.355\,10^{-3} e + 1.230\,10^{-4} e^2 - \ldots, \quad e = 200\,\text{progress}

    Args:
        progress: Share of the training that is done.

    Example:
        >>> classification_weight(0.0), round(classification_weight(0.5), 4)
        (0.2046, 0.5394)
    """
    epoch = EPOCHS * progress
    return min(sum(c * epoch**k for k, c in enumerate(POLYNOMIAL)), 1.0)


def jensen_shannon(logits: Tensor, masks: Tensor | None = None) -> Tensor:
    r"""Return the mean over samples of :math:`\frac1M \sum_m KL(p_m \Vert \bar p)`, in nats, between 0 and log M.

    Args:
        logits: ``(M, B, C)``.
        masks: Which samples have which modality, ``(M, B)``; M counts those that a sample has.

    Example:
        >>> round(jensen_shannon(torch.tensor([[[90.0, 0.0]], [[0.0, 90.0]]])).item(), 4)     # log 2
        0.6931
    """
    log_p = logits.log_softmax(-1)
    log_mean = log_mean_probability(log_p, masks)
    return mean_divergence((log_p.exp() * (log_p - log_mean)).sum(-1), masks)


def log_mean_probability(log_p: Tensor, masks: Tensor | None) -> Tensor:
    """Return the logarithm of the mean distribution of the modalities that a sample has, ``(B, C)``.

    Args:
        log_p: Log-probabilities, ``(M, B, C)``.
        masks: Which samples have which modality, ``(M, B)``; None if nothing is missing.
    """
    if masks is None:
        return log_p.logsumexp(0) - math.log(len(log_p))
    present = log_p.masked_fill(~masks.unsqueeze(-1), -math.inf)
    return present.logsumexp(0) - masks.sum(0).log().unsqueeze(-1)


def mean_divergence(divergence: Tensor, masks: Tensor | None) -> Tensor:
    """Return the mean over samples of the mean over the modalities that a sample has, of ``(M, B)``."""
    if masks is None:
        return divergence.mean()
    return (divergence.masked_fill(~masks, 0).sum(0) / masks.sum(0).clamp_min(1)).mean()


def meta_gradient(
    parameters: list[nn.Parameter],
    inner: Callable[[], tuple[Tensor, Tensor]],
    outer: Callable[[], Tensor],
    alignment: float,
    lookahead: float,
    strength: float = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""Return the derivative of the classification loss after one gradient step by the weight of the alignment.

    With :math:`L(\theta; a_1) = (1 + s(1 - 2 a_1))\, CE + 2 s a_1 JS` and :math:`\theta' = \theta - \xi \nabla
    L(\theta; a_1)`, exactly: :math:`\frac{d}{d a_1} CE'(\theta') = -2 s \xi \langle \nabla CE'(\theta'), \nabla
    JS(\theta) - \nabla CE(\theta) \rangle`, over all parameters. The parameters are restored bit for bit.

    Args:
        parameters: :math:`\theta`.
        inner: Function that returns CE and JS on the samples of the step.
        outer: Function that returns CE' of other samples.
        alignment: :math:`a_1`.
        lookahead: :math:`\xi`, length of the step.
        strength: Strength s.

    Returns:
        The derivative, and the same divided by the norms of both vectors and by :math:`2 s \xi`: a cosine, in [-1, 1].

    Example:
        >>> w = nn.Parameter(torch.tensor([1.0, 1.0]))
        >>> inner, outer = lambda: (w[0] ** 2, w[1] ** 2), lambda: w[0] ** 2
        >>> gradient = meta_gradient([w], inner, outer, alignment=0.9, lookahead=0.1)
        >>> [round(x.item(), 4) for x in gradient]          # less alignment would help the classification
        [0.768, 0.7071]
    """
    classify, align = (gradients(loss, parameters) for loss in inner())
    saved = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p, c, a in zip(parameters, classify, align, strict=True):
            p.sub_(lookahead * ((1 + strength * (1 - 2 * alignment)) * c + 2 * strength * alignment * a))
    after = gradients(outer(), parameters)
    with torch.no_grad():
        for p, old in zip(parameters, saved, strict=True):
            p.copy_(old)
    flat = [torch.cat([g.flatten() for g in part]) for part in (classify, align, after)]
    difference = flat[1] - flat[0]
    product = -(flat[2] @ difference)
    return 2 * strength * lookahead * product, product / (flat[2].norm() * difference.norm()).clamp_min(1e-30)


class LFM(ModulatedObjective):
    r"""Learning and aligning: the modalities' predictions are aligned first, and the classification counts more later.

    Yang, Wan, Jiang, Xu, "Facilitating Multimodal Classification via Dynamically Learning Modality Gap", NeurIPS 2024:
    :math:`L = 2 [a_0 CE(z, y) + a_1 JS(p_1, \ldots, p_M)]`, :math:`a_0 = 1 - a_1`. :math:`p_m` is the softmax of M
    times the modality's slice of the fused logits, or of its own head for fusions without slices. The weight follows

    - the authors' heuristic schedule, `classification_weight`, stretched to the length of the run; or
    - a learned one: :math:`a_1` starts at .95, and before every further epoch :math:`a_1 \leftarrow \mathrm{clip}(a_1 -
      \eta\, h, .05, .95)`, where h is the `meta_gradient` on fixed training samples (the step is computed on one half
      and evaluated on the other). :math:`\eta` is halved every tenth of the run and multiplied by 200 over the number
      of epochs, since the authors train for 200.

    Differs from the authors' code: the divergence is that of Jensen and Shannon (there :math:`KL(\bar p \Vert p_m)`,
    the reverse). The meta-gradient is exact for one step ahead and over all parameters (there a product with the
    Hessian, of the first parameter tensor only), and h is its cosine, since its size shrinks with the step (so
    :math:`\eta` is not comparable with their 1e-4). More than two modalities: the generalised divergence.

    Args:
        strength: From joint training (0) to the method (1); weights :math:`1 + s(2 a_0 - 1)` and :math:`2 s a_1`.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        schedule: "heuristic" or "learned".
        rate: :math:`\eta` of the learned schedule.
        lookahead: :math:`\xi`, length of the step that it looks ahead; the authors train with 0.01.
        samples: Number of training samples for the learned schedule, at least 2; the authors use 16.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> LFM(schedule="learned")
        LFM(strength=1.0, smoothing=0.0, schedule='learned', rate=0.03, lookahead=0.01, samples=16)
    """

    schedule = Hyperparameter("heuristic", Options(("heuristic", "learned")))
    rate = Hyperparameter(0.03, Interval(0))
    lookahead = Hyperparameter(0.01, Interval(0, ends="()"))
    samples = Hyperparameter(16, Interval(2, integer=True))
    alignment: Tensor
    chosen: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register the learned weight, and the samples that it is learned on."""
        require_multiclass(self, model, "it compares distributions over classes")
        self.sliced = is_additive(model.fusion)
        self.a0 = classification_weight(0.0) if self.schedule == "heuristic" else 1 - MAX_ALIGNMENT
        self._picked: Batch | None = None
        self.register_buffer("alignment", torch.tensor(MAX_ALIGNMENT))
        self.register_buffer("chosen", torch.full((self.samples,), -1))
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Follow the schedule."""
        if self.schedule == "heuristic":
            self.a0 = classification_weight(epoch.number / epoch.total)
            return
        if self.strength and epoch.number:
            eta = self.rate * EPOCHS / epoch.total * 0.5 ** (10 * epoch.number // epoch.total)
            _, cosine = self.hypergradient(model, epoch)
            self.alignment.sub_(eta * cosine.to(self.alignment)).clamp_(1 - MAX_ALIGNMENT, MAX_ALIGNMENT)
        self.a0 = 1 - self.alignment.item()

    def hypergradient(self, model: MultimodalClassifier, epoch: EpochContext) -> tuple[Tensor, Tensor]:
        """Return `meta_gradient` on the chosen training samples, in evaluation mode."""
        batch = self._meta_batch(epoch).to(next(model.parameters()).device)
        rows = torch.arange(len(batch))
        step, judge = batch_rows(batch, rows[::2]), batch_rows(batch, rows[1::2])

        def inner() -> tuple[Tensor, Tensor]:
            outputs = model(step.inputs, present=step.present)
            return model.task.loss(outputs.logits, step.target), self._divergence(model, outputs)

        def outer() -> Tensor:
            return model.task.loss(model(judge.inputs, present=judge.present).logits, judge.target)

        parameters = [p for p in model.parameters() if p.requires_grad]
        with evaluation_mode(model):
            return meta_gradient(parameters, inner, outer, self.alignment.item(), self.lookahead, self.strength)

    def _meta_batch(self, epoch: EpochContext) -> Batch:
        """Return the fixed training samples, spread over the set; their indices are part of the state."""
        if self._picked is None:
            if bool((self.chosen < 0).any()):
                index = torch.cat([b.index for b in iterate_batches(self, epoch)])
                self.chosen.copy_(index[torch.linspace(0, len(index) - 1, self.samples).round().long()])
            parts = [
                batch_rows(b, torch.isin(b.index, self.chosen.cpu()).nonzero()[:, 0])
                for b in iterate_batches(self, epoch)
            ]
            self._picked = concat_batches([part for part in parts if len(part)])
        return self._picked

    def fused_weight(self) -> float:
        """See `ModulatedObjective.fused_weight`."""
        return 1 + self.strength * (2 * self.a0 - 1)

    def divergence(self, logits: Tensor, masks: Tensor | None = None) -> Tensor:
        """Return the divergence of the modalities' predictions ``(M, B, C)``, in nats."""
        return jensen_shannon(logits, masks)

    def _divergence(self, model: MultimodalClassifier, outputs: Outputs) -> Tensor:
        alone = unimodal_logits(model, outputs.features, sliced=self.sliced, present=outputs.present)
        masks = presence_masks(model.modalities, outputs.present)
        return self.divergence(alone * len(alone) if self.sliced else alone, masks)

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        return {"alignment": 2 * self.strength * (1 - self.a0) * self._divergence(model, outputs)}, {}
