"""Loss of the score without a modality."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from counterpoise._validation import Interval
from counterpoise.errors import DataError
from counterpoise.records import Inputs
from counterpoise.tasks import Task
from counterpoise.valuation._valuation import Estimate
from counterpoise.valuation.model_based._scores import Predict, subset_scores, summary

__all__ = ["ablation", "conditional_utilisation", "perceptual_score"]


def ablation(
    predict: Predict,
    inputs: Inputs,
    target: Tensor,
    *,
    task: Task,
    measure: str = "accuracy",
    baseline: str = "mean",
    batch: int = 512,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return the loss of the score when each modality is removed, one at a time (leave one out).

    Args:
        predict: The model.
        inputs: All samples.
        target: Targets, as the task expects them.
        task: The likelihood.
        measure: ``accuracy`` or ``log_likelihood`` (nats).
        baseline: ``zeros``, ``mean`` or ``permute``.
        batch: Samples at a time.
        seed: Seed of the permutation.

    Raises:
        ConfigError: For an unknown baseline or measure.
        DataError: See `subset_scores`.

    Example:
        >>> import torch
        >>> from counterpoise.tasks import MultiClass
        >>> inputs = {"a": torch.tensor([[9.0, 0.0], [0.0, 9.0]] * 2), "b": torch.zeros(4, 2)}
        >>> drops = ablation(lambda x: x["a"] + x["b"], inputs, torch.tensor([0, 1] * 2), task=MultiClass(2))
        >>> {m: e.value for m, e in drops.items()}
        {'a': 0.5, 'b': 0.0}
    """
    names = tuple(inputs)
    subsets = [names, *(tuple(k for k in names if k != m) for m in names)]
    v = subset_scores(
        predict, inputs, target, task=task, subsets=subsets, baseline=baseline, measure=measure, batch=batch, seed=seed
    )
    whole = v[frozenset(names)]
    return {m: summary(whole - v[frozenset(names) - {m}]) for m in names}


def perceptual_score(
    predict: Predict, inputs: Inputs, target: Tensor, *, task: Task, repeats: int = 5, batch: int = 512, seed: int = 0
) -> dict[str, Estimate]:
    """Return the accuracy lost when a modality comes from another sample, as a share of the model's accuracy.

    Gat, Schwartz and Schwing, "Perceptual Score", NeurIPS 2021 (normalised by the model's accuracy), averaged over
    ``repeats`` permutations.

    Args:
        predict: The model.
        inputs: All samples.
        target: Targets, as the task expects them.
        task: The likelihood.
        repeats: Permutations.
        batch: Samples at a time.
        seed: Seed of the permutations.

    Raises:
        ConfigError: For no repeats.
        DataError: If the model is never right; see also `subset_scores`.
    """
    Interval(1, integer=True).check("perceptual_score", "repeats", repeats)
    names = tuple(inputs)
    draws = [
        subset_scores(
            predict,
            inputs,
            target,
            task=task,
            subsets=[names, *(tuple(k for k in names if k != m) for m in names)],
            baseline="permute",
            measure="accuracy",
            batch=batch,
            seed=seed + k,
        )
        for k in range(repeats)
    ]
    whole = draws[0][frozenset(names)]
    if whole.mean() <= 0:
        raise DataError("The perceptual score is a share of the model's accuracy. The model is never right.")
    without = {m: np.mean([d[frozenset(names) - {m}] for d in draws], axis=0) for m in names}
    return {m: summary(whole - without[m]).scaled(1 / float(whole.mean())) for m in names}


def conditional_utilisation(accuracy: float, accuracy_without: Mapping[str, float]) -> dict[str, float]:
    """Return the conditional utilisation rate of each modality: the share of the accuracy that is lost without it.

    Wu, Jastrzebski, Cho and Geras, "Characterizing and overcoming the greedy nature of learning in multi-modal deep
    neural networks", ICML 2022.

    Args:
        accuracy: Accuracy of the model with all modalities.
        accuracy_without: Accuracy with all other modalities, by modality.

    Raises:
        DataError: If the accuracy is not positive.

    Example:
        >>> conditional_utilisation(0.5, {"a": 0.25, "b": 0.5})
        {'a': 0.5, 'b': 0.0}
    """
    if not accuracy > 0:
        raise DataError(f"A utilisation rate is a share of the accuracy, which should be positive. Found {accuracy}.")
    return {m: (accuracy - without) / accuracy for m, without in accuracy_without.items()}
