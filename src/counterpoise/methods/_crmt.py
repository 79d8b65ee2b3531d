"""CRMT: certifiably robust multimodal training (Yang et al., ICLR 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor, nn

from counterpoise._tree import take
from counterpoise.fusion import Fusion, only_present
from counterpoise.methods.base import (
    Backward,
    EpochContext,
    Hyperparameter,
    Interval,
    Method,
    backward,
    by_modality,
    detached,
    require_fusion,
    require_multiclass,
    watching_losses,
)
from counterpoise.methods.logits import presence_masks
from counterpoise.methods.passes import iterate_batches
from counterpoise.model import MultimodalClassifier, evaluation_mode, scale_gradient
from counterpoise.records import Batch, Presence, StepRecord

__all__ = ["CRMT", "CertifiedFusion", "certified_margin", "other_class_scores"]

RATE = 0.03
"""Factor of the gradient of the class weights in the second step."""


class CertifiedFusion(Fusion):
    r"""Branches with unit rows, weighted per class: :math:`z = \sum_m a_m \odot o_m + b`, :math:`o_m = \hat W_m h_m`.

    Args:
        heads: One linear layer per modality, whose weights are copied.
        start: First value of every :math:`a_{m,c}`.

    Example:
        >>> fusion = CertifiedFusion({"a": nn.Linear(2, 4), "b": nn.Linear(3, 4)})
        >>> fusion({"a": torch.ones(5, 2), "b": torch.ones(5, 3)}).shape
        torch.Size([5, 4])
    """

    def __init__(self, heads: Mapping[str, nn.Linear], start: float = 0.1) -> None:
        outputs = next(iter(heads.values())).out_features
        super().__init__({m: h.in_features for m, h in heads.items()}, outputs)
        self.weights = nn.ParameterDict({f"weight_{m}": h.weight.detach().clone() for m, h in heads.items()})
        bias = next(iter(heads.values())).bias
        self.scale = nn.Parameter(torch.full_like(bias, start).repeat(len(heads), 1))
        self.bias = nn.Parameter(torch.zeros_like(bias))

    absent = "skip"

    def branch_scores(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """Return :math:`o_m`, ``(M, B, C)``; 0 for absent modalities."""
        rows = (F.normalize(self.weights[f"weight_{m}"], dim=-1) for m in self.feature_dims)
        return torch.stack(
            [only_present(features[m] @ w.T, m, present) for m, w in zip(self.feature_dims, rows, strict=True)]
        )

    def mix(self, scores: Tensor) -> Tensor:
        """Return z, ``(B, C)``, for :math:`o`, ``(M, B, C)``."""
        return (self.scale.unsqueeze(1) * scores).sum(0) + self.bias

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """See `Fusion.forward`."""
        return self.mix(self.branch_scores(features, present))


def other_class_scores(scores: Tensor, target: Tensor, masks: Tensor | None = None) -> Tensor:
    r"""Return :math:`\mathrm{mean}_i \log(\sum_m \sum_{c \ne y} e^{o_{m,c} - o_{m,y}} + 10^{-5})`.

    Args:
        scores: :math:`o`, ``(M, B, C)``.
        target: ``(B,)``.
        masks: Which samples have which modality, ``(M, B)``; the sum is over those that a sample has.

    Example:
        >>> other_class_scores(torch.zeros(2, 1, 3), torch.tensor([0]))                  # log 4
        tensor(1.3863)
    """
    right = target.view(1, -1, 1).expand(len(scores), -1, 1)
    gaps = (scores - scores.gather(-1, right)).scatter(-1, right, -math.inf)
    if masks is not None:
        gaps = gaps.masked_fill(~masks.unsqueeze(-1), -math.inf)
    flat = gaps.transpose(0, 1).flatten(1)
    return torch.logaddexp(flat.logsumexp(1), torch.full_like(flat[:, 0], math.log(1e-5))).mean()


def certified_margin(
    scores: Tensor, scale: Tensor, bias: Tensor, lipschitz: Tensor, target: Tensor, masks: Tensor | None = None
) -> Tensor:
    r"""Return the mean certified distance to the decision boundary: no smaller change of the inputs can change the
    prediction.

    .. math:: \frac{\sum_m (a_{m,y} o_{m,y} - a_{m,c} o_{m,c}) + b_y - b_c}
        {\sqrt{\sum_m (a_{m,y} L_{m,y} + a_{m,c} L_{m,c})^2}}

    with c the strongest wrong class.

    Args:
        scores: :math:`o`, ``(M, B, C)``.
        scale: :math:`a`, ``(M, C)``.
        bias: Bias b, ``(C,)``.
        lipschitz: :math:`L`, ``(M, C)``.
        target: ``(B,)``.
        masks: Which samples have which modality, ``(M, B)``; the scores of the others are 0, and they cannot change.
    """
    logits = (scale.unsqueeze(1) * scores).sum(0) + bias
    right = target.unsqueeze(1)
    wrong = logits.detach().scatter(1, right, -math.inf).argmax(1)
    gap = (logits.gather(1, right) - logits.gather(1, wrong.unsqueeze(1))).squeeze(1)
    slope = (scale * lipschitz)[:, target] + (scale * lipschitz)[:, wrong]
    slope = slope if masks is None else slope * masks
    return (gap / slope.square().sum(0).clamp_min(1e-20).sqrt()).mean()


class CRMT(Method):
    r"""Certifiable robustness: branches that each predict the class, then class weights for the largest margin.

    Yang, Wei, Liang, Hu, "Quantifying and Enhancing Multi-modal Robustness with Modality Preference", ICLR 2024 (arXiv
    2402.06244). The model to train has `CertifiedFusion`. First :math:`L = CE(z, y) + \rho` `other_class_scores`. In
    the last quarter of the training, only the class weights a are trained, to maximise the `certified_margin`. Its
    constants :math:`L_{m,c}` are the largest norms of the gradient of :math:`o_{m,c}` by the inputs of the training
    samples.

    Known from the authors' code: both losses, :math:`\rho = 2`, the start of a, and the lower rate of the second part.
    Differs from it: rows have length 1 and are not centred; sums of exponentials are taken in logarithms; the model is
    in evaluation mode in the second part (the code: statistics of batch norm move on); each modality's constants are
    its own (the code adds them up). Inputs without gradients (token ids, nested inputs) count with the constant 1 of
    the features. Under Adam the lower rate has little effect. The variants with adversarial samples and with mixtures
    are left out. There is no strength, because the fusion is replaced.

    Args:
        rho: :math:`\rho`.
        share: Share of the epochs, at the end, in which only the class weights are trained; the authors add a third.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> CRMT(share=0.0)
        CRMT(rho=2.0, share=0.0)
    """

    rho = Hyperparameter(2.0, Interval(0))
    share = Hyperparameter(0.25, Interval(0, 1, "[)"))
    lipschitz: Tensor
    measured: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Replace the fusion, and register the constants."""
        require_multiclass(self, model, "it separates the true class from the others")
        self.certifying = False
        if not isinstance(model.fusion, CertifiedFusion):
            heads = {m: head for m in model.modalities if isinstance(head := model.head(m), nn.Linear)}
            model = model.with_fusion(CertifiedFusion(heads))
        self.register_buffer("lipschitz", torch.ones(len(model.modalities), model.task.num_outputs))
        self.register_buffer("measured", torch.zeros((), dtype=torch.bool))
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Start the second part when it is due, with the constants of the current encoders."""
        self.certifying = epoch.number >= round(epoch.total * (1 - self.share))
        if self.certifying and not self.measured:
            fusion = require_fusion(self, model, CertifiedFusion)
            with evaluation_mode(model):
                for whole in iterate_batches(self, epoch):
                    norms = [self._slopes(model, fusion, whole.to(self.lipschitz.device), m) for m in model.modalities]
                    slopes = torch.stack(norms).to(self.lipschitz.dtype)
                    self.lipschitz.copy_(torch.maximum(self.lipschitz, slopes) if self.measured else slopes)
                    self.measured.fill_(True)

    @staticmethod
    def _slopes(model: MultimodalClassifier, fusion: CertifiedFusion, batch: Batch, m: str) -> Tensor:
        """Return the largest norm of the gradient of each :math:`o_{m,c}` by a sample's input, ``(C,)``."""
        mask = batch.mask(m)
        value = batch.inputs[m] if mask is None else take(batch.inputs[m], mask.nonzero().flatten())
        rows = F.normalize(fusion.weights[f"weight_{m}"].detach(), dim=-1)
        if not (isinstance(value, Tensor) and value.is_floating_point()):
            return torch.ones(len(rows), device=rows.device)
        if not len(value):
            return torch.zeros(len(rows), device=rows.device)
        with torch.enable_grad():
            leaf = value.detach().requires_grad_()
            scores = (model.encoder(m)(leaf) @ rows.T).sum(0)
            slopes = [torch.autograd.grad(s, leaf, retain_graph=True)[0].flatten(1).norm(dim=1).max() for s in scores]
        return torch.stack(slopes)

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        fusion = require_fusion(self, model, CertifiedFusion)
        masks = presence_masks(model.modalities, batch.present)
        if self.certifying:
            with evaluation_mode(model), torch.no_grad():
                features = model.encode(batch.inputs, batch.present)
                scores = fusion.branch_scores(features, batch.present)
            scale = scale_gradient(fusion.scale, RATE)
            margin = certified_margin(scores, scale, fusion.bias.detach(), self.lipschitz, batch.target, masks)
            parts = {"margin": -margin}
        else:
            features = model.encode(batch.inputs, batch.present)
            scores = fusion.branch_scores(features, batch.present)
            fused = model.task.loss(fusion.mix(scores), batch.target)
            parts = {"fused": fused, "branches": self.rho * other_class_scores(scores, batch.target, masks)}
        parts |= watching_losses(model, features, batch)
        loss = torch.stack(list(parts.values())).sum()
        backward(loss)
        yield StepRecord(
            loss.detach(), detached(parts), by_modality(model, "weight", fusion.scale.detach().clone().mean(1))
        )
