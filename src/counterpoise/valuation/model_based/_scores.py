"""The score of every sample when only some of the modalities are available."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

from counterpoise._tree import take
from counterpoise._validation import Options
from counterpoise.corruptions import Corruption, applicable, apply
from counterpoise.errors import DataError
from counterpoise.records import Inputs, Nested, batch_size
from counterpoise.tasks import Task
from counterpoise.valuation._valuation import Estimate

__all__ = ["Predict", "subset_scores", "summary"]

Predict: TypeAlias = Callable[[Inputs], Tensor]
"""From inputs to logits ``(B, C)``."""

BASELINES: Final = Options(("zeros", "mean", "permute"))
"""Kinds of corruption that remove all information of a modality."""
MEASURES: Final = Options(("accuracy", "log_likelihood"))


def _baselines(inputs: Inputs, baseline: str, seed: int) -> dict[str, Nested]:
    """Return the input that replaces each modality, of the same shape; token ids have no mean and become zeros."""
    generator = torch.Generator().manual_seed(seed)
    return {
        m: apply(value, Corruption(baseline if applicable(value, baseline) else "zeros"), generator=generator)
        for m, value in inputs.items()
    }


@torch.no_grad()
def _evaluate(predict: Predict, inputs: Inputs, target: Tensor, task: Task, size: int) -> tuple[Tensor, Tensor]:
    """Return ``(N,)`` correctness and ``(N,)`` log-likelihoods, in batches."""
    right, likelihood = [], []
    for start in range(0, len(target), size):
        rows = slice(start, start + size)
        logits = predict({m: take(value, rows) for m, value in inputs.items()}).detach()
        if logits.ndim != 2 or len(logits) != len(target[rows]):
            raise DataError(
                f"The model should return logits ({len(target[rows])}, C) for {len(target[rows])} samples. Found "
                f"{tuple(logits.shape)}."
            )
        own = target[rows].to(logits.device)
        right.append(task.sample_score(logits, own).double().cpu())
        likelihood.append(task.log_likelihood(logits.double(), own).cpu())
    return torch.cat(right), torch.cat(likelihood)


def subset_scores(
    predict: Predict,
    inputs: Inputs,
    target: Tensor,
    *,
    task: Task,
    subsets: Iterable[Sequence[str]],
    baseline: str = "mean",
    measure: str = "log_likelihood",
    batch: int = 512,
    seed: int = 0,
) -> dict[frozenset[str], np.ndarray]:
    """Return the score of every sample when only a subset of the modalities is available, ``(N,)`` by subset.

    Args:
        predict: The model.
        inputs: All samples.
        target: Targets, as the task expects them.
        task: The likelihood.
        subsets: Subsets of available modalities; the empty one is allowed.
        baseline: Replacement of the others: ``zeros``, ``mean`` or ``permute``.
        measure: ``accuracy`` or ``log_likelihood`` (nats).
        batch: Samples at a time.
        seed: Seed of the permutation.

    Raises:
        ConfigError: For an unknown baseline or measure.
        DataError: If a modality is unknown, there are no samples, or the logits have another shape.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> inputs = {"a": torch.tensor([[9.0, 0.0], [0.0, 9.0]]), "b": torch.zeros(2, 2)}
        >>> by_subset = subset_scores(lambda x: x["a"] + x["b"], inputs, torch.tensor([0, 1]), task=MultiClass(2),
        ...                       subsets=[("a",), ("b",)], baseline="zeros", measure="accuracy")
        >>> by_subset[frozenset("a")].tolist()
        [1.0, 1.0]
    """
    BASELINES.check("subset_scores", "baseline", baseline)
    MEASURES.check("subset_scores", "measure", measure)
    if batch_size(inputs) != len(target) or not len(target):
        raise DataError(f"There should be one target per sample. Found {batch_size(inputs)} and {len(target)}.")
    absent = _baselines(inputs, baseline, seed)
    by_subset: dict[frozenset[str], np.ndarray] = {}
    for subset in subsets:
        unknown = [m for m in subset if m not in inputs]
        if unknown:
            raise DataError(f"There is no modality `{unknown[0]}`. Known: {', '.join(inputs)}.")
        given = {m: value if m in subset else absent[m] for m, value in inputs.items()}
        right, likelihood = _evaluate(predict, given, target, task, batch)
        by_subset[frozenset(subset)] = (right if measure == "accuracy" else likelihood).numpy()
    return by_subset


def summary(pointwise: np.ndarray, extra: float = 0.0) -> Estimate:
    """Return the mean of the samples with its 95 % interval; ``extra`` is added to its variance."""
    n = len(pointwise)
    value = float(pointwise.mean())
    se = float(np.sqrt(pointwise.var(ddof=1) / n + extra)) if n > 1 else float("nan")
    return Estimate.around(value, se)
