"""Shared parts of the estimators: the label as a symbol, and the loop over subsets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from counterpoise.errors import DataError
from counterpoise.valuation._valuation import Valuation
from counterpoise.valuation.assembly import Subset, SubsetEstimate, assemble, needed_subsets
from counterpoise.valuation.functional.entropy import label_entropy
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["label_symbols", "symbol_entropy", "value_subsets"]


def value_subsets(
    problem: EstimatorInput,
    measure: Callable[[Subset], SubsetEstimate],
    *,
    estimator: str,
    confidence: float,
    bound: str = "estimate",
    entropy: float | None = None,
    notes: tuple[str, ...] = (),
) -> Valuation:
    """Return the `Valuation` of an estimator, given its measure for one subset.

    Args:
        problem: The checked input.
        measure: Function that returns I(Z_S; Y) of a subset.
        estimator: Name of the estimator.
        confidence: Level of the intervals.
        bound: Kind of the estimates.
        entropy: H(Y) if it is not the task's.
        notes: Notes on the estimates.
    """
    information = {subset: measure(subset) for subset in needed_subsets(problem.modalities)}
    own = float(problem.task.entropy(problem.target)) if entropy is None else entropy
    return assemble(
        problem, information, estimator=estimator, entropy=own, bound=bound, confidence=confidence, notes=notes
    )


def label_symbols(problem: EstimatorInput, estimator: str) -> np.ndarray:
    """Return ``(N,)`` label numbers; a combination of labels counts as one symbol.

    Raises:
        DataError: For real targets.
    """
    if problem.task.is_gaussian:
        raise DataError(
            f"Estimator `{estimator}` needs classes or labels. Found real targets; "
            "use `ksg`, `gaussian` or `variational`."
        )
    if problem.task.has_classes:
        return problem.labels
    return np.unique(problem.labels, axis=0, return_inverse=True)[1].reshape(-1)


def symbol_entropy(symbols: np.ndarray) -> float:
    """Return the plug-in entropy of symbols in nats."""
    return float(label_entropy(torch.from_numpy(symbols)))
