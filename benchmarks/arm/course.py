"""What the course of a training leaves in ``study.jsonl``: contributions to test predictions, and frequencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from counterpoise.methods.arm import held_out_contributions

if TYPE_CHECKING:
    from study import Training

__all__ = ["POINTS", "frequencies", "measured"]

POINTS: Final = (0.25, 0.5, 0.75, 1.0)
"""Parts of a training after which the contributions to predictions of test samples are measured."""


def measured(training: Training) -> dict[str, list[Any]]:
    """Return contributions to predictions of test samples in the course of a training, in nats.

    Returns:
        ``epoch``; ``alone`` and ``marginal`` of every modality; ``joint``; and ``by_class``, what every modality's head
        knows at the end about the samples of each class.
    """
    target, task = torch.from_numpy(training.data.test.target), training.model.task
    prior = task.prior_logits(torch.from_numpy(training.data.train.target)).float()
    count = len(training.heads["test"])
    rows: dict[str, list[Any]] = {"epoch": [], "alone": [], "marginal": [], "joint": []}
    for epoch in sorted({max(1, round(p * count)) for p in POINTS}):
        known = held_out_contributions(task, training.heads["test"][epoch - 1].float(), target, prior)
        rows["epoch"].append(epoch)
        rows["joint"].append(rounded(known.joint))
        rows["alone"].append(rounded(known.alone))
        rows["marginal"].append(rounded(known.marginal))
    sums = torch.zeros(task.num_outputs, known.own.shape[1]).index_add_(0, known.target, known.own)
    rows["by_class"] = rounded(sums / known.target.bincount(minlength=task.num_outputs).clamp_min(1)[:, None], 2)
    return rows


def rounded(values: Tensor, digits: int = 4) -> Any:
    """Return a tensor as nested lists of rounded numbers."""
    return (values.double() * 10**digits).round().div(10**digits).tolist()


def frequencies(training: Training) -> list[float]:
    """Return how often the samples of each class are drawn at the end, relative to the mean; empty if all alike."""
    resampler = getattr(training.method, "resampler", None)
    if resampler is None or bool((resampler.frequency == resampler.frequency[0]).all()):
        return []
    target = torch.from_numpy(training.data.train.target)[: len(resampler.frequency)]
    often = (resampler.frequency / resampler.frequency.mean()).double()
    sums = torch.zeros(training.model.task.num_outputs, dtype=torch.double).index_add_(0, target, often)
    return list(rounded(sums / target.bincount(minlength=len(sums)).clamp_min(1), 3))
