"""AMSS: adaptive mask subnetworks by modality significance (TPAMI 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from counterpoise.methods.base import (
    Backward,
    Hyperparameter,
    Interval,
    NamedTensors,
    by_modality,
    require_multiclass,
)
from counterpoise.methods.logits import is_additive, modality_means, presence_masks, unimodal_logits
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs

__all__ = ["AMSS", "masked_gradient", "update_shares"]


def update_shares(label_entropy: Tensor, losses: Tensor, feature_entropy: Tensor, temperature: float) -> Tensor:
    r"""Return the share of its units that each encoder updates, ``(M,)``, in [.1, .9].

    :math:`r = \mathrm{softmax}(-t)`, :math:`t_m = (H(Y) - CE(z_m, y) + \frac12) / (T H_m)`; if one numerator is not
    positive, all t are equal. Modalities with less information update more units.

    Args:
        label_entropy: :math:`H(Y)`, scalar.
        losses: :math:`CE(z_m, y)`, ``(M,)``.
        feature_entropy: :math:`H_m`, ``(M,)``.
        temperature: T.

    Example:
        >>> update_shares(torch.tensor(1.0), torch.tensor([0.2, 0.9]), torch.tensor([2.0, 2.0]), temperature=0.5)
        tensor([0.3318, 0.6682])
    """
    gain = label_entropy - losses + 0.5
    rate = gain / (temperature * feature_entropy.clamp_min(1e-6))
    rate = torch.where((gain > 0).all(), rate, torch.ones_like(rate))
    return (-rate).softmax(0).clamp(0.1, 0.9)


def masked_gradient(gradient: Tensor, share: Tensor, *, unbiased: bool) -> Tensor:
    r"""Return a gradient of which :math:`\lceil n r \rceil` of n units are kept, and 0 for the others.

    A unit is a row (an output filter of a convolution). Units are drawn without replacement with probabilities in
    proportion to their importance, the sum of squared gradients.

    Args:
        gradient: ``(n, ...)``.
        share: Share r, scalar.
        unbiased: Whether the kept units are divided by their share of the importance plus 1/n (AMSS+).

    Example:
        >>> torch.manual_seed(0)
        <torch._C.Generator object at ...>
        >>> masked_gradient(torch.tensor([[3.0], [0.0], [0.0]]), torch.tensor(0.3), unbiased=False).tolist()
        [[3.0], [0.0], [0.0]]
    """
    count = len(gradient)
    importance = gradient.detach().float().flatten(1).square().sum(1)
    # The largest sums of log-weights and Gumbel noise are a draw without replacement.
    uniform = torch.rand(count, device=gradient.device).clamp(1e-20, 1 - 1e-7)
    rank = (importance.log() - (-uniform.log()).log()).argsort(descending=True).argsort()
    kept = (rank < (count * share - 1e-4).ceil()).view(-1, *[1] * (gradient.ndim - 1))
    if unbiased:
        inclusion = importance / importance.sum().clamp_min(1e-30) + 1 / count
        gradient = gradient / inclusion.to(gradient.dtype).view(kept.shape)
    return torch.where(kept, gradient, torch.zeros_like(gradient))


class AMSS(ModulatedObjective):
    r"""Adaptive mask subnetworks: in each step, the encoder of a more informative modality updates fewer of its units.

    "Adaptive Mask Subnetworks Considering Modality Significance", TPAMI 2025 (arXiv 2404.08347). In joint training,
    encoder m updates the share :math:`r_m` of its units (`update_shares`, with :math:`H_m` the mean entropy of the
    softmax over its features, and :math:`z_m` its slice of the fused logits); the gradients of the other units are 0
    (`masked_gradient`).

    Known from the authors' code: all formulas. Differs from it: H(Y) is the entropy of the batch's labels (the code
    uses label frequencies as logits). Inferred: units are the rows of every weight with two or more dimensions (the
    code: filters of the residual blocks' convolutions); more than two modalities; unimodal heads where the fusion has
    no slices. Gradients of exactly 0 still move under momentum and weight decay. "Unbiased" is approximate: the
    probability of being drawn without replacement is not the share.

    Args:
        strength: From joint training (0) to the method (1), in [0, 1]: the share is :math:`1 - s (1 - r_m)`.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        temperature: T; the authors use .2, and .5 for image and text.
        unbiased: Whether kept gradients are enlarged (AMSS+).

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> AMSS(unbiased=True)
        AMSS(strength=1.0, smoothing=0.0, temperature=0.2, unbiased=True)
    """

    strength = Hyperparameter(1.0, Interval(0, 1, "[]"))
    temperature = Hyperparameter(0.2, Interval(0, ends="()"))
    unbiased = Hyperparameter(False)
    _shares: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check the task."""
        require_multiclass(self, model, "it compares entropies of classes")
        self.sliced = is_additive(model.fusion)
        return model

    @torch.no_grad()
    def shares(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return the share of its units that each encoder updates, ``(M,)``."""
        target, masks = batch.target, presence_masks(model.modalities, batch.present)
        logits = unimodal_logits(model, features, sliced=self.sliced, present=batch.present)
        losses = modality_means(-model.task.log_likelihood(logits, target), masks)
        label_entropy = torch.special.entr(model.task.one_hot(target, losses.dtype).mean(0)).sum()
        spread = torch.stack([torch.special.entr(h.float().softmax(-1)).sum(-1) for h in features.values()])
        return update_shares(label_entropy, losses, modality_means(spread, masks).to(losses.dtype), self.temperature)

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """Compute the shares; there is no further term."""
        self._shares = 1 - self.strength * (1 - self.shares(model, outputs.features, batch))
        return {}, by_modality(model, "share", self._shares)

    def backpropagate(
        self, model: MultimodalClassifier, loss: Tensor, kappa: Mapping[str, Tensor], backward: Backward
    ) -> None:
        """Back-propagate, with hooks that mask the gradients of this batch on their way into ``.grad``."""
        handles = [
            p.register_hook(partial(masked_gradient, share=share, unbiased=self.unbiased))
            for m, share in zip(model.modalities, self._shares, strict=True)
            for p in model.encoder_parameters(m)
            if p.requires_grad and p.ndim > 1
        ]
        try:
            backward(loss)
        finally:
            for handle in handles:
                handle.remove()
