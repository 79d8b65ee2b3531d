"""Scores of predictions, and a pass over a split in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from counterpoise.model import MultimodalClassifier, evaluation_mode
from counterpoise.records import Batch, Outputs
from counterpoise.tasks import Task

__all__ = ["collect", "concatenate", "scores"]


def concatenate(parts: list[Outputs]) -> Outputs:
    """Join the outputs of several batches."""
    first = parts[0]
    return Outputs(
        {m: torch.cat([p.features[m] for p in parts]) for m in first.features},
        torch.cat([p.logits for p in parts]),
        {m: torch.cat([p.unimodal_logits[m] for p in parts]) for m in first.unimodal_logits},
    )


def to_cpu(outputs: Outputs) -> Outputs:
    """Return detached float32 outputs on the CPU."""
    return Outputs(
        {m: z.detach().float().cpu() for m, z in outputs.features.items()},
        outputs.logits.detach().float().cpu(),
        {m: z.detach().float().cpu() for m, z in outputs.unimodal_logits.items()},
    )


@torch.no_grad()
def collect(model: MultimodalClassifier, batches: Iterable[Batch]) -> tuple[Outputs, Tensor]:
    """Run a model in evaluation mode over batches.

    Returns:
        The outputs of all samples, and their targets, on the CPU.
    """
    device = next(model.parameters()).device
    parts, targets = [], []
    with evaluation_mode(model):
        for batch in batches:
            parts.append(to_cpu(model(batch.to(device).inputs)))
            targets.append(batch.target)
    return concatenate(parts), torch.cat(targets)


def scores(task: Task, logits: Tensor, target: Tensor) -> dict[str, float]:
    """Return the metrics of predictions by name.

    Multi-class: accuracy, macro_f1, nll (nats), ece (15 bins). Multi-label: accuracy (share of right labels), macro_f1, nll.
    Regression: r2, rmse, nll (unit variance).

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> found = scores(MultiClass(2), torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]]), torch.tensor([0, 1, 1]))
        >>> round(found["accuracy"], 4), round(found["macro_f1"], 4)
        (0.6667, 0.6667)
    """
    from torchmetrics.functional.classification import (
        multiclass_calibration_error,
        multiclass_f1_score,
        multilabel_f1_score,
    )

    logits = logits.float()
    found = {"nll": task.loss(logits.double(), target).item()}
    if task.name == "regression":
        error = (logits - target).square()
        spread = (target - target.mean(0)).square().sum()
        return found | {"r2": (1 - error.sum() / spread).item(), "rmse": error.mean().sqrt().item()}
    found["accuracy"] = task.sample_score(logits, target).mean().item()
    if task.name == "multiclass":
        found["macro_f1"] = multiclass_f1_score(logits, target, num_classes=task.num_outputs, average="macro").item()
        found["ece"] = multiclass_calibration_error(logits.softmax(-1), target, task.num_outputs, n_bins=15).item()
    else:
        found["macro_f1"] = multilabel_f1_score(logits.sigmoid(), target.long(), task.num_outputs).item()
    return found
