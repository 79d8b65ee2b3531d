"""Diagnosing and re-learning (Wei et al., ECCV 2024)."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from counterpoise.methods._joint import Joint
from counterpoise.methods.base import STRENGTH, EpochContext, Hyperparameter, Interval, require_multiclass
from counterpoise.methods.passes import iterate_batches
from counterpoise.model import MultimodalClassifier, evaluation_mode

__all__ = ["Relearning", "purity"]

SHARE = 20 / 90
"""The authors re-learn every 20 of 90 epochs."""


def purity(features: np.ndarray, target: np.ndarray, clusters: int) -> float:
    """Return the share of samples that belong to the most frequent class of their k-means cluster, in [0, 1].

    Features are scaled to [0, 1] per dimension first.

    Args:
        features: ``(N, D)``.
        target: ``(N,)`` class ids.
        clusters: k.

    Example:
        >>> purity(np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([0, 0, 1, 1]), 2)
        1.0
    """
    from sklearn.cluster import KMeans

    low, high = features.min(0), features.max(0)
    scaled = (features - low) / np.where(high > low, high - low, 1)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # fewer distinct points than clusters: early in training that is a finding, not an error
        found = KMeans(min(clusters, len(scaled)), n_init=3, random_state=0).fit_predict(scaled)
    counts = np.zeros((clusters, target.max() + 1))
    np.add.at(counts, (found, target), 1)
    return float(counts.max(1).sum() / len(target))


class Relearning(Joint):
    r"""Diagnosing and re-learning: encoders whose features separate the training set much better than held-out samples forget.

    Wei, Li, Feng, Hu, "Diagnosing and Re-learning for Balanced Multimodal Learning", ECCV 2024. Every few epochs, with the
    `purity` P of clusters of :math:`h_m` on training and held-out samples: :math:`w_m = \tanh(\lambda |P_m^{train} - P_m^{held}|)`,
    :math:`\theta_m \leftarrow w_m \theta_m^{init} + (1 - w_m) \theta_m`, for encoders only. In between it is joint training.

    Differs from a published toolkit, which diagnoses on the test set: here held-out samples that never train. Differs from the
    authors' code: no unimodal losses enter the encoders. The optimizer's moments are not reset.

    Args:
        strength: :math:`\lambda`, in [0, inf); the authors use 3.
        every: epochs between two re-learnings; None takes the authors' share of the run (20 of 90).
        times: how often at most.

    Raises:
        ModelError: (at setup) for a task without classes.
        ConfigError: for an interval below one epoch.

    Example:
        >>> Relearning(every=5)
        Relearning(strength=3.0, every=5, times=3)
    """

    strength = Hyperparameter(3.0, STRENGTH)
    every = Hyperparameter[int | None](None, Interval(1, integer=True))
    times = Hyperparameter(3, Interval(0, integer=True))
    needs_held_out = True

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Remember the initial encoders."""
        require_multiclass(self, model, "purity counts classes")
        for m in model.modalities:
            own = model.encoder_parameters(m)
            initial = parameters_to_vector(own).detach().clone() if own else torch.zeros(0)
            self.register_buffer(f"initial_{m}", initial)
        return model

    @torch.no_grad()
    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Diagnose and re-learn if the time has come."""
        every = self.every or max(1, round(SHARE * epoch.total))
        if not self.strength or epoch.number == 0 or epoch.number % every or epoch.number // every > self.times:
            return
        found = {which: self._purities(model, epoch, which) for which in ("train", "held_out")}
        for m in model.modalities:
            w = np.tanh(self.strength * abs(found["train"][m] - found["held_out"][m]))
            start, initial = 0, getattr(self, f"initial_{m}")
            for p in model.encoder_parameters(m):
                if p.requires_grad:
                    p.lerp_(initial[start : start + p.numel()].view_as(p).to(p), w)
                start += p.numel()

    def _purities(self, model: MultimodalClassifier, epoch: EpochContext, which: str) -> dict[str, float]:
        device = next(model.parameters()).device
        features: dict[str, list[Tensor]] = {m: [] for m in model.modalities}
        targets = []
        with evaluation_mode(model):
            for batch in iterate_batches(self, epoch, which):
                for m, h in model.encode(batch.to(device).inputs).items():
                    features[m].append(h.float().cpu())
                targets.append(batch.target.cpu())
        y = torch.cat(targets).numpy()
        return {m: purity(torch.cat(h).numpy(), y, model.task.num_outputs) for m, h in features.items()}
