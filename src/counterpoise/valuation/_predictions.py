"""Information in a model's own predictions: calibrated jointly, scored with the folds of the heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from counterpoise.tasks import Task
from counterpoise.valuation._valuation import Estimate
from counterpoise.valuation.assembly import combine
from counterpoise.valuation.estimators.variational import corrected
from counterpoise.valuation.heads.predictions import marginal
from counterpoise.valuation.heads.stacking import calibrated, fit_subset
from counterpoise.valuation.inputs import EstimatorInput, prepare_target

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["PredictionEstimate", "estimate_predictions", "value_predictions"]


@dataclass(frozen=True)
class PredictionEstimate:
    """Information that the predictions of one model carry about the labels.

    Attributes:
        estimate: Value, standard error and interval in nats.
        per_sample: ``(N,)`` uncorrected contributions, each from a calibration that was fitted on other folds.
        calibration: Names of the calibrations in use.
    """

    estimate: Estimate
    per_sample: np.ndarray
    calibration: str


def estimate_predictions(
    logits: ArrayLike | Tensor,
    target: ArrayLike | Tensor,
    *,
    task: str | Task = "auto",
    num_outputs: int | None = None,
    folds: int = 5,
    group: ArrayLike | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> PredictionEstimate:
    """Measure the information that a model's own predictions carry about the labels, in nats.

    The logits are calibrated as a whole: one temperature, or one temperature and one bias per output; never a scale
    per modality or class. Calibrations are fitted on the other folds, and the label frequencies are among the
    candidates. The result therefore changes only as far as the predictions themselves change.

    Args:
        logits: ``(N, C)`` logits, log-odds or means of samples that the model was not trained on.
        target: Labels, as for `estimate`.
        task: As for `estimate`.
        num_outputs: C; inferred from the labels by default.
        folds: Number of folds.
        group: ``(N,)`` groups of samples that belong together.
        seed: Seed of the fold assignment; the same as in `estimate` gives the same folds.
        confidence: Level of the interval.

    Raises:
        DataError: For logits of another shape, or NaN.

    Example:
        >>> y = np.arange(200) % 2
        >>> information = estimate_predictions(3 * np.eye(2)[y], y)
        >>> round(information.estimate.value, 2)       # log 2
        0.69
    """
    data = prepare_target(target, task=task, num_outputs=num_outputs, folds=folds, group=group, seed=seed)
    return value_predictions(data, logits, confidence=confidence)


def value_predictions(
    data: EstimatorInput, logits: ArrayLike | Tensor, *, confidence: float = 0.95
) -> PredictionEstimate:
    """Measure the same with the labels and folds of `counterpoise.valuation.inputs.prepare`.

    Args:
        data: Checked labels, with their folds.
        logits: ``(N, C)``.
        confidence: Level of the interval.

    Raises:
        DataError: For logits of another shape, or NaN.
    """
    prior = marginal(data)
    ready, kind = calibrated(data, logits, prior)
    fitted = fit_subset(data, [kind], prior, ready=[ready])
    information = corrected(data, fitted, prior)
    estimate = combine([(1.0, information)], data.group, confidence, least=0.0, most=data.largest_information)
    return PredictionEstimate(estimate, information.pointwise, fitted.predictions.name)
