"""Exponential moving average of the weights, through Lightning's callback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

__all__ = ["AveragedWeights", "averaged_weights"]


class AveragedWeights(EMAWeightAveraging):
    """Callback that averages the weights after every batch; validation, decision rules and checkpoints use the average.

    Buffers (running statistics of batch norms, state of methods and rules) are not averaged; those of the trained model
    are used. Differs from Lightning's callback, which restores the weights before the module scores its epoch.

    Args:
        decay: Share of the average that is kept at a step, in (0, 1).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay, use_buffers=False)
        self.swapped = False

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Move the average to the device of the training."""
        if self._average_model is not None:
            self._average_model.to(pl_module.device)

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Replace the weights by the average."""
        self._swap_models(pl_module)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep the average, because the module scores the epoch and updates its rule after this hook."""

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Restore the weights."""
        self._swap_models(pl_module)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save average and weights, each with the current buffers."""
        assert self._average_model is not None
        for kept, buffer in zip(self._average_model.module.buffers(), pl_module.buffers(), strict=True):
            kept.data.copy_(buffer.data)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def _swap_models(self, pl_module: lightning.LightningModule) -> None:
        assert self._average_model is not None
        self.swapped = not self.swapped
        with torch.no_grad():
            for average, weight in zip(self._average_model.module.parameters(), pl_module.parameters(), strict=True):
                kept = average.detach().clone()
                average.copy_(weight)
                weight.copy_(kept)

    def _copy_average_to_current(self, pl_module: lightning.LightningModule) -> None:
        assert self._average_model is not None
        with torch.no_grad():
            for average, weight in zip(self._average_model.module.parameters(), pl_module.parameters(), strict=True):
                weight.copy_(average)


@contextmanager
def averaged_weights(trainer: lightning.Trainer) -> Iterator[None]:
    """Replace the weights by the average inside this context, if a run has one."""
    every: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    averages = [c for c in every if isinstance(c, AveragedWeights) and not c.swapped]
    for callback in averages:
        callback._swap_models(trainer.lightning_module)
    try:
        yield
    finally:
        for callback in averages:
            callback._swap_models(trainer.lightning_module)
