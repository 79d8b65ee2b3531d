"""MSES: modality-specific early stopping (Fujimori et al., ACPR 2019)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from counterpoise.methods.base import EpochContext, Hyperparameter, Interval, NamedTensors
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.methods.passes import head_losses, iterate_batches
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

__all__ = ["MSES", "patience_update"]


def patience_update(loss: Tensor, best: Tensor, waited: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best losses so far, and for how many epochs each modality has waited for a better one, ``(M,)`` each.

    Args:
        loss: ``(M,)`` losses of this epoch.
        best: ``(M,)`` best losses before.
        waited: ``(M,)`` number of epochs since then.

    Example:
        >>> patience_update(torch.tensor([0.5, 0.9]), torch.tensor([0.6, 0.8]), torch.tensor([2, 2]))
        (tensor([0.5000, 0.8000]), tensor([0, 3]))
    """
    better = loss < best
    return torch.where(better, loss, best), torch.where(better, torch.zeros_like(waited), waited + 1)


class MSES(ModulatedObjective):
    r"""Modality-specific early stopping: an encoder stops when the held-out loss of its head stops falling.

    Fujimori, Endo, Kawai, Mochizuki, "Modality-Specific Learning Rate Control for Multimodal Classification", ACPR
    2019: the multitask loss :math:`CE(z, y) + \sum_m CE(u_m, y)`. At the start of every epoch the loss of each unimodal
    head on held-out samples is compared with its best so far. After ``patience`` epochs without a better one, the
    gradient that enters that encoder is multiplied by :math:`1 - s`. With ``release`` the encoder trains again as soon
    as the loss is better than its best.

    Inferred (the abstract could be read, the formulas could not): the patience, and that a stopped encoder may
    continue. Momentum and weight decay of the optimizer still move a stopped encoder. A partial strength has little
    effect under Adam, which divides gradients by their running size.

    Args:
        strength: Strength s, in [0, 1]; 1 stops an encoder completely.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        patience: Number of epochs without a better loss.
        release: Whether a stopped encoder may train again.

    Example:
        >>> MSES(patience=5)
        MSES(strength=1.0, smoothing=0.0, patience=5, release=True)
    """

    strength = Hyperparameter(1.0, Interval(0, 1, "[]"))
    patience = Hyperparameter(3, Interval(1, integer=True))
    release = Hyperparameter(True)
    needs_held_out = True
    head_scale = 1.0
    best: Tensor
    waited: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Register the best losses and the number of epochs since then."""
        self.register_buffer("best", torch.full((len(model.modalities),), float("inf")))
        self.register_buffer("waited", torch.zeros(len(model.modalities), dtype=torch.long))
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Compare the held-out losses with the best so far."""
        if not self.strength:
            return
        loss = head_losses(model, iterate_batches(self, epoch, "held_out"))[1:].to(self.best)
        best, waited = patience_update(loss, self.best, self.waited)
        stopped = self.waited >= self.patience
        if not self.release:
            waited = torch.where(stopped, self.waited, waited)
        self.best.copy_(best)
        self.waited.copy_(waited)

    def scales(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> NamedTensors:
        """See `ModulatedObjective.scales`."""
        kappa = 1 - self.strength * (self.waited >= self.patience).to(self.best.dtype)
        return dict(zip(features, kappa, strict=True))
