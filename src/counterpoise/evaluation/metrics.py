"""Scores of predictions, for training, records and diagnosis."""

from __future__ import annotations

import math
from typing import Final

from torch import Tensor

from counterpoise.records import Outputs
from counterpoise.tasks import Task

__all__ = ["CALIBRATION_BINS", "calibration_error", "head_score", "scores"]

CALIBRATION_BINS: Final = 15
"""Bins of equal width for the expected calibration error."""


def scores(task: Task, logits: Tensor, target: Tensor) -> dict[str, float]:
    """Return the metrics of predictions by name.

    - the score of the task (`Task.score`): ``accuracy`` for classes, the share of right labels for several labels, and
      ``r2``, the mean over outputs, for real targets;
    - ``nll``: mean negative log-likelihood in nats (unit variance for real targets), without label smoothing;
    - ``macro_f1``: mean F1 score over classes or labels;
    - ``ece``: expected calibration error (see `calibration_error`);
    - ``rmse``: root mean squared error in the unit of the targets, for real targets.

    Args:
        task: The task.
        logits: Predictions ``(N, C)``.
        target: N targets, as the task defines them.

    Example:
        >>> import torch
        >>> from counterpoise.tasks import MultiClass
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
        >>> values = scores(MultiClass(2), logits, torch.tensor([0, 1, 1]))
        >>> round(values["accuracy"], 4), round(values["macro_f1"], 4)
        (0.6667, 0.6667)
    """
    logits, target = logits.detach().double(), target.to(logits.device)
    values = {
        "nll": -task.log_likelihood(logits, target).mean().item(),
        task.score_name: task.score(logits, target),
    }
    point = task.point(logits)
    if point.is_floating_point():
        error = task.in_units(point) - task.in_units(task.one_hot(target, point.dtype))
        values["rmse"] = error.square().mean().sqrt().item()
    else:
        values["macro_f1"] = _macro_f1(task, point, target)
    calibration = calibration_error(task, logits, target)
    return values if calibration is None else values | {"ece": calibration}


def head_score(task: Task, outputs: Outputs, target: Tensor, m: str) -> float:
    """Return the score of the head of modality ``m`` on the samples that have the modality, NaN if there are none.

    Args:
        task: Likelihood.
        outputs: Outputs of a model.
        target: Targets of its samples.
        m: Modality.
    """
    logits, mask = outputs.unimodal_logits[m], outputs.mask(m)
    if mask is not None:
        logits, target = logits[mask], target[mask]
    return scores(task, logits, target)[task.score_name] if len(target) else math.nan


def calibration_error(task: Task, logits: Tensor, target: Tensor) -> float | None:
    r"""Return the expected calibration error, :math:`\sum_b \frac{n_b}{n} |\mathrm{acc}_b - \mathrm{conf}_b|`.

    A prediction's confidence is the probability of the predicted class (Guo et al., "On Calibration of Modern Neural
    Networks", ICML 2017, Eq. 3). With several labels, every label of every sample is one prediction, whose confidence
    is the probability of the predicted value.

    Args:
        task: The task.
        logits: Predictions ``(N, C)``.
        target: N targets, as the task defines them.

    Returns:
        The error in [0, 1], or None for a task without `Task.confidence`.

    Example:
        >>> from counterpoise.tasks import MultiLabel
        >>> import torch
        >>> from counterpoise.tasks import MultiLabel
        >>> logits = torch.tensor([[0.9, 0.9]]).logit()
        >>> round(calibration_error(MultiLabel(2), logits, torch.tensor([[1.0, 0.0]])), 3)
        0.4
    """
    from torchmetrics.functional.classification import binary_calibration_error

    confidence = task.confidence(logits.double())
    if confidence is None:
        return None
    right = task.point(logits) == target.to(logits.device)
    # Whether a prediction is right is a binary event, and its confidence the probability of that event.
    error = binary_calibration_error(confidence.flatten(), right.flatten().long(), n_bins=CALIBRATION_BINS)
    return float(error)


def _macro_f1(task: Task, point: Tensor, target: Tensor) -> float:
    from torchmetrics.functional.classification import multiclass_f1_score, multilabel_f1_score

    if task.has_classes:
        return float(multiclass_f1_score(point, target, num_classes=task.num_outputs, average="macro"))
    return float(multilabel_f1_score(point, target.long(), num_labels=task.num_outputs, average="macro"))
