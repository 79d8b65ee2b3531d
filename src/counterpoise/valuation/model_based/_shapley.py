"""Shapley values of the modalities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from torch import Tensor

from counterpoise import coalitions
from counterpoise._validation import Interval
from counterpoise.records import Inputs
from counterpoise.tasks import Task
from counterpoise.valuation._valuation import Estimate
from counterpoise.valuation.model_based._scores import Predict, subset_scores, summary

__all__ = ["Shapley", "shapley"]

EXACT: Final = 6
"""Maximum number of modalities for which all subsets are evaluated."""


@dataclass(frozen=True)
class Shapley:
    """Shapley values of the modalities.

    Attributes:
        values: Shapley values by modality, in nats (log-likelihood) or as a share (accuracy).
        per_sample: ``(N,)`` by modality.
        total: v(all) - v(none), to which the values sum.
        measure: ``accuracy`` or ``log_likelihood``.
        baseline: Replacement of absent modalities.
        permutations: Number of orders that were drawn; 0 if all subsets were evaluated.
    """

    values: dict[str, Estimate]
    per_sample: dict[str, np.ndarray]
    total: float
    measure: str
    baseline: str
    permutations: int = 0


def shapley(
    predict: Predict,
    inputs: Inputs,
    target: Tensor,
    *,
    task: Task,
    measure: str = "log_likelihood",
    baseline: str = "mean",
    permutations: int = 50,
    batch: int = 512,
    seed: int = 0,
) -> Shapley:
    r"""Return the Shapley values of the modalities, of accuracy or of the log-likelihood.

    .. math:: \varphi_m = \sum_{S \not\ni m} \frac{|S|! (M - |S| - 1)!}{M!} [v(S \cup m) - v(S)]

    Exact up to six modalities (2^M evaluations). Beyond, orders of the modalities are drawn, each with its reverse;
    the standard error then has a part from the samples and one from the orders.

    Args:
        predict: The model.
        inputs: All samples.
        target: Targets, as the task expects them.
        task: The likelihood.
        measure: ``accuracy`` or ``log_likelihood`` (nats).
        baseline: ``zeros``, ``mean`` or ``permute``.
        permutations: Orders drawn beyond six modalities (rounded up to pairs, two pairs at least).
        batch: Samples at a time.
        seed: Seed of the orders and of the permutation baseline.

    Raises:
        ConfigError: For an unknown baseline or measure, or no permutations.
        DataError: See `subset_scores`.

    Example:
        >>> import torch
        >>> from counterpoise.tasks import MultiClass
        >>> inputs = {"a": torch.tensor([[9.0, 0.0], [0.0, 9.0]]), "b": torch.zeros(2, 2)}
        >>> result = shapley(lambda x: x["a"] + x["b"], inputs, torch.tensor([0, 1]), task=MultiClass(2))
        >>> [round(result.values[m].value, 2) for m in "ab"]             # log 2 and 0
        [0.69, 0.0]
    """
    Interval(1, integer=True).check("shapley", "permutations", permutations)
    names = tuple(inputs)

    def score(subsets: Iterable[Sequence[str]]) -> dict[frozenset[str], np.ndarray]:
        return subset_scores(
            predict,
            inputs,
            target,
            task=task,
            subsets=subsets,
            baseline=baseline,
            measure=measure,
            batch=batch,
            seed=seed,
        )

    if len(names) <= EXACT:
        v = score([s for k in range(len(names) + 1) for s in combinations(names, k)])
        per_sample = coalitions.shapley(v, names)
        extra, drawn = dict.fromkeys(names, 0.0), 0
    else:
        per_sample, extra, v, drawn = _sampled(score, names, permutations, seed)
    total = float((v[frozenset(names)] - v[frozenset()]).mean())
    values = {m: summary(per_sample[m], extra[m]) for m in names}
    return Shapley(values, per_sample, total, measure, baseline, drawn)


def _sampled(
    score: Callable[[Iterable[Sequence[str]]], dict[frozenset[str], np.ndarray]],
    names: tuple[str, ...],
    permutations: int,
    seed: int,
) -> tuple[dict[str, np.ndarray], dict[str, float], dict[frozenset[str], np.ndarray], int]:
    rng = np.random.default_rng(seed)
    pairs = max(2, -(-permutations // 2))
    v = score([(), names])
    sums = {m: np.zeros_like(v[frozenset()]) for m in names}
    means: dict[str, list[float]] = {m: [] for m in names}
    for _ in range(pairs):
        order = [names[k] for k in rng.permutation(len(names))]
        gains = {m: np.zeros_like(v[frozenset()]) for m in names}
        for sequence in (order, order[::-1]):
            for k, m in enumerate(sequence):
                before, after = frozenset(sequence[:k]), frozenset(sequence[: k + 1])
                v |= score([tuple(after)]) if after not in v else {}
                gains[m] += 0.5 * (v[after] - v[before])
        for m in names:
            sums[m] += gains[m]
            means[m].append(float(gains[m].mean()))
    extra = {m: float(np.var(means[m], ddof=1) / pairs) for m in names}
    return {m: total / pairs for m, total in sums.items()}, extra, v, 2 * pairs
