"""Diagnosing and re-learning (Wei et al., ECCV 2024)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from counterpoise.methods._joint import Joint
from counterpoise.methods.base import STRENGTH, EpochContext, Hyperparameter, Interval, present_rows, require_multiclass
from counterpoise.methods.passes import iterate_batches
from counterpoise.model import MultimodalClassifier, evaluation_mode

__all__ = ["Relearning", "cluster", "purity"]

SHARE = 20 / 90
"""The authors re-learn every 20 of 90 epochs."""


def cluster(points: Tensor, clusters: int, *, restarts: int = 3, rounds: int = 100) -> Tensor:
    """Return the k-means cluster of each point, ``(N,)``.

    Lloyd's rounds start from k-means++ centres, and the best of several restarts is returned. Random numbers are drawn
    from a separate generator, so that the same points always give the same clusters.

    Args:
        points: ``(N, D)``.
        clusters: K, at most N.
        restarts: Number of initialisations.
        rounds: Largest number of rounds of each.

    Example:
        >>> cluster(torch.tensor([[0.0], [0.1], [5.0], [5.1]]), 2).unique(return_counts=True)[1]
        tensor([2, 2])
    """
    generator = torch.Generator().manual_seed(0)
    best, labels = math.inf, torch.zeros(len(points), dtype=torch.long)
    for _ in range(restarts):
        centres = _initial_centres(points, clusters, generator)
        for _ in range(rounds):
            distance, nearest = torch.cdist(points, centres).min(1)
            counts = torch.bincount(nearest, minlength=clusters).unsqueeze(1)
            sums = torch.zeros_like(centres).index_add_(0, nearest, points)
            moved = torch.where(counts > 0, sums / counts.clamp_min(1), centres)  # an empty cluster keeps its centre
            if torch.equal(moved, centres):
                break
            centres = moved
        inertia = distance.square().sum().item()
        if inertia < best:
            best, labels = inertia, nearest
    return labels


def _initial_centres(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Return k-means++ centres: each next one is drawn in proportion to the squared distance from those before."""
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    while len(centres) < clusters:
        squared = torch.cdist(points, centres).min(1).values.square()
        weights = squared if squared.sum() > 0 else torch.ones_like(squared)  # fewer distinct points than clusters
        centres = torch.cat([centres, points[torch.multinomial(weights, 1, generator=generator)]])
    return centres


def purity(features: Tensor, target: Tensor, clusters: int) -> float:
    """Return the share of samples that belong to the most frequent class of their k-means cluster, in [0, 1].

    Features are scaled to [0, 1] per dimension first.

    Args:
        features: ``(N, D)``, on the CPU.
        target: ``(N,)`` class ids.
        clusters: K.

    Example:
        >>> purity(torch.tensor([[0.0], [0.1], [5.0], [5.1]]), torch.tensor([0, 0, 1, 1]), 2)
        1.0
    """
    low, high = features.aminmax(dim=0)
    scaled = (features - low) / torch.where(high > low, high - low, torch.ones_like(low))
    assignment = cluster(scaled, min(clusters, len(scaled)))
    counts = torch.zeros(clusters, int(target.max()) + 1).index_put_(
        (assignment, target), torch.ones(()), accumulate=True
    )
    return counts.amax(1).sum().item() / len(target)


class Relearning(Joint):
    r"""Diagnosing and re-learning: encoders that overfit are moved back towards their initial weights.

    Wei, Li, Feng, Hu, "Diagnosing and Re-learning for Balanced Multimodal Learning", ECCV 2024. Every few epochs, with
    the `purity` P of clusters of :math:`h_m` on training and held-out samples: :math:`w_m = \tanh(\lambda |P_m^{train}
    - P_m^{held}|)`, :math:`\theta_m \leftarrow w_m \theta_m^{init} + (1 - w_m) \theta_m`, for encoders only. Otherwise
    it is joint training, as in the authors' code, which re-learns after epoch 20, 40 and 60 (from 0).

    Differs from a published toolkit, which diagnoses on the test set: the held-out samples here are cut from the
    training set and never trained on. The moments of the optimizer are not reset.

    Args:
        strength: :math:`\lambda`, in [0, inf); the authors use 3.
        every: Number of epochs between two re-learnings; None takes the authors' share of the run (20 of 90).
        times: Largest number of re-learnings.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> Relearning(every=5)
        Relearning(strength=3.0, every=5, times=3)
    """

    strength = Hyperparameter(3.0, STRENGTH)
    every = Hyperparameter[int | None](None, Interval(1, integer=True))
    times = Hyperparameter(3, Interval(0, integer=True))
    needs_held_out = True

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Store the initial encoders."""
        require_multiclass(self, model, "purity counts classes")
        for m in model.modalities:
            own = model.encoder_parameters(m)
            initial = parameters_to_vector(own).detach().clone() if own else torch.zeros(0)
            self.register_buffer(f"initial_{m}", initial)
        return model

    @torch.no_grad()
    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Diagnose and re-learn after every ``every``-th epoch."""
        every = self.every or max(1, round(SHARE * epoch.total))
        done = epoch.number - 1  # the authors re-learn after epoch 20, from 0
        if not self.strength or done < 1 or done % every or done // every > self.times:
            return
        purities = {which: self._purities(model, epoch, which) for which in ("train", "held_out")}
        for m in model.modalities:
            w = math.tanh(self.strength * abs(purities["train"][m] - purities["held_out"][m]))
            start, initial = 0, getattr(self, f"initial_{m}")
            for p in model.encoder_parameters(m):
                if p.requires_grad:
                    p.lerp_(initial[start : start + p.numel()].view_as(p).to(p), w)
                start += p.numel()

    def _purities(self, model: MultimodalClassifier, epoch: EpochContext, which: str) -> dict[str, float]:
        device = next(model.parameters()).device
        features: dict[str, list[Tensor]] = {m: [] for m in model.modalities}
        targets: dict[str, list[Tensor]] = {m: [] for m in model.modalities}
        with evaluation_mode(model):
            for whole in iterate_batches(self, epoch, which):
                batch = whole.to(device)
                for m, h in model.vectors(model.encode(batch.inputs, batch.present)).items():
                    h, target = present_rows(batch.mask(m), h, batch.target)
                    features[m].append(h.float().cpu())
                    targets[m].append(target.cpu())
        labels = {m: torch.cat(y) for m, y in targets.items()}
        return {
            m: purity(torch.cat(h), labels[m], model.task.num_outputs) if len(labels[m]) else 0.0
            for m, h in features.items()
        }
