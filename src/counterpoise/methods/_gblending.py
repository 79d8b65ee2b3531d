"""G-Blending: gradient blending by overfitting and generalisation (Wang et al., CVPR 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoise.methods.base import STRENGTH, EpochContext, Hyperparameter, Interval
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.methods.passes import head_losses, iterate_batches, trained_alone
from counterpoise.model import MultimodalClassifier, Scale
from counterpoise.records import Batch

__all__ = ["GBlending", "blending_weights"]


def blending_weights(gain: Tensor, overfit: Tensor) -> Tensor:
    r"""Return :math:`w_k \propto \max(\Delta G_k, 0) / \Delta O_k^2`, summing to 1, or equal weights if no gain is
    positive.

    Args:
        gain: ``(K,)`` fall of the held-out loss, nats.
        overfit: ``(K,)`` growth of held-out minus training loss, nats.

    Example:
        >>> blending_weights(torch.tensor([0.4, 0.1, -0.2]), torch.tensor([0.2, 0.1, 0.1]))
        tensor([0.5000, 0.5000, 0.0000])
    """
    raw = gain.clamp_min(0) / overfit.square().clamp_min(1e-6)
    return torch.where(raw.sum() > 0, raw / raw.sum().clamp_min(1e-12), torch.full_like(raw, 1 / len(raw)))


class GBlending(ModulatedObjective):
    r"""Gradient blending: the loss of each head is weighted by how much it generalises and how little it overfits.

    Wang, Tran, Feiszli, "What Makes Training Multi-modal Classification Networks Hard?", CVPR 2020: :math:`L = w_0
    CE(z, y) + \sum_m w_m CE(u_m, y)`. At the start of every super-epoch (online) or of the training only (offline),
    each of the M + 1 heads is trained by itself for some epochs from a snapshot of the model. With the losses before
    and after, :math:`\Delta G = L^{val}_{before} - L^{val}_{after}` and :math:`\Delta O` the growth of :math:`L^{val} -
    L^{train}` give the `blending_weights`.

    Differs from a published toolkit: all losses are means per sample, evaluated in the same mode (there sums over
    different numbers of batches, one of them collected during training), :math:`\Delta G` keeps its sign, and the
    held-out samples are never trained on and are not the test set. Differs from the paper: the snapshots are trained by
    AdamW for ``inner_epochs`` (there for a whole super-epoch by the main optimizer); the heads themselves get their
    full gradient, and :math:`w_m` is the factor of the gradient that enters the encoders.

    Args:
        strength: From joint training (0) to the method (1), in [0, 1].
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        super_epoch: Number of epochs between two estimates.
        online: Whether to estimate again; otherwise only at the start.
        inner_epochs: Number of epochs that each snapshot is trained.
        inner_lr: Learning rate of the snapshots.

    Example:
        >>> GBlending(online=False)
        GBlending(strength=1.0, smoothing=0.0, super_epoch=10, online=False, inner_epochs=2, inner_lr=0.001)
    """

    strength = Hyperparameter(1.0, Interval(STRENGTH.low, 1, "[]"))
    super_epoch = Hyperparameter(10, Interval(1, integer=True))
    online = Hyperparameter(True)
    inner_epochs = Hyperparameter(2, Interval(1, integer=True))
    inner_lr = Hyperparameter(1e-3, Interval(0, ends="()"))
    needs_held_out = True
    weights: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Start with equal weights."""
        count = len(model.modalities) + 1
        self.register_buffer("weights", torch.full((count,), 1 / count))
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Estimate the weights at the start of a super-epoch."""
        due = epoch.number % self.super_epoch == 0 if self.online else epoch.number == 0
        if not self.strength or not due:
            return
        before = self._measure(model, epoch)
        gain, overfit = torch.zeros(len(self.weights)), torch.zeros(len(self.weights))
        for k in range(len(self.weights)):
            after = self._measure(self._trained(model, epoch, k), epoch)
            gain[k] = before[1, k] - after[1, k]
            overfit[k] = (after[1, k] - after[0, k]) - (before[1, k] - before[0, k])
        self.weights.copy_(self.blend(gain, overfit))

    def blend(self, gain: Tensor, overfit: Tensor) -> Tensor:
        r"""Return the weights ``(M + 1,)``, given :math:`\Delta G` and :math:`\Delta O`."""
        return blending_weights(gain, overfit)

    def _measure(self, model: MultimodalClassifier, epoch: EpochContext) -> Tensor:
        """Return training and held-out losses, ``(2, M + 1)``."""
        return torch.stack(
            [head_losses(model, iterate_batches(self, epoch, which)) for which in ("train", "held_out")]
        ).cpu()

    def _trained(self, model: MultimodalClassifier, epoch: EpochContext, k: int) -> MultimodalClassifier:
        """Return a copy of the model after training head ``k`` (0: the fused one) alone."""
        head = model.modalities[k - 1] if k else None
        batches = (iterate_batches(self, epoch) for _ in range(self.inner_epochs))
        return trained_alone(model, batches, head, lr=self.inner_lr, seed=epoch.number)

    def fused_weight(self) -> Tensor:
        """See `ModulatedObjective.fused_weight`."""
        return 1 + self.strength * (self.weights[0] - 1)

    def head_gradient(self, model: MultimodalClassifier, batch: Batch) -> dict[str, Scale]:
        """Return each modality's weight."""
        return dict(zip(model.modalities, self.strength * self.weights[1:], strict=True))
