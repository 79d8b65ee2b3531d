"""Heads for finite alphabets: label frequencies in each cell, shrunk towards the overall frequencies of the labels."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.tasks import Task

__all__ = ["STRENGTHS", "TableHeads", "cells", "discrete_columns"]

STRENGTHS: Final = (1e-3, 1e-2, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0, 1000.0, 1e5)
"""Candidate numbers of prior samples per cell."""

MAX_LEVELS: Final = 32


def discrete_columns(x: np.ndarray) -> np.ndarray:
    """Return ``(D,)`` booleans: the columns that take few values, each of them often.

    Example:
        >>> discrete_columns(np.array([[0, 0.1], [1, 0.2], [0, 0.3], [1, 0.4], [0, 0.5], [1, 0.6]] * 5)).tolist()
        [True, True]
        >>> discrete_columns(np.linspace(0, 1, 30)[:, None]).tolist()
        [False]
    """
    limit = min(MAX_LEVELS, len(x) // 5)
    probe = x[: 4 * MAX_LEVELS]
    few = np.array([len(np.unique(column)) <= limit for column in probe.T], dtype=bool)
    few[few] = [len(np.unique(x[:, k])) <= limit for k in np.flatnonzero(few)]
    return few


def cells(x: np.ndarray, limit: int) -> np.ndarray | None:
    """Return ``(N,)`` numbers of the distinct rows of ``x``, or None if there are more than ``limit``.

    Example:
        >>> cells(np.array([[0, 1], [1, 1], [0, 1]]), 4).tolist()
        [0, 1, 0]
    """
    code = np.zeros(len(x), dtype=np.int64)
    for column in x.T:
        levels, own = np.unique(column, return_inverse=True)
        if len(levels) == 1:
            continue
        kept, code = np.unique(code * len(levels) + own.reshape(-1), return_inverse=True)
        if len(kept) > limit:
            return None
    return code.reshape(-1)


class TableHeads:
    r"""Smoothed conditional frequencies :math:`q(y | c) = (n_{cy} + s\, p(y)) / (n_c + s)` for many training sets.

    Args:
        cell: ``(N,)`` cell numbers.
        target: Class ids ``(N,)`` or zeros and ones ``(N, C)``.
        task: Multi-class or multi-label.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> heads = TableHeads(np.array([0, 0, 1, 1]), torch.tensor([0, 0, 1, 1]), MultiClass(2))
        >>> heads.logits(heads.fit(torch.ones(1, 4, dtype=torch.bool), torch.tensor([2.0]))).softmax(-1)[0]
        tensor([[0.7500, 0.2500]], dtype=torch.float64)
    """

    def __init__(self, cell: np.ndarray, target: Tensor, task: Task) -> None:
        self.cell = torch.from_numpy(cell)
        self.count = int(cell.max()) + 1
        self.target = target
        self.task = task

    def fit(self, train: Tensor, strength: Tensor, *, tolerance: float = 0.0) -> Tensor:
        """Return ``(P, cells, C)``: log-probabilities or log-odds, for training sets ``(P, N)`` and strengths ``(P,)``.

        There is no iteration, so that ``tolerance`` has no effect.
        """
        return torch.stack([self._fit(rows, float(s)) for rows, s in zip(train, strength, strict=True)])

    @staticmethod
    def suits(task: Task) -> bool:
        """Return whether the likelihood of a task is determined by its mean."""
        return not task.is_gaussian

    def _fit(self, rows: Tensor, strength: float) -> Tensor:
        cell, values = self.cell[rows], self.task.one_hot(self.target[rows], torch.float64)
        total = values.new_zeros(self.count, values.shape[1]).index_add_(0, cell, values)
        size = torch.bincount(cell, minlength=self.count).double()[:, None]
        prior = self.task.mean(self.task.prior_logits(self.target[rows], 0.5))
        return self.task.link((total + strength * prior) / (size + strength))

    def logits(self, weights: Tensor) -> Tensor:
        """Return ``(N, P, C)`` for all samples under all heads."""
        return weights.transpose(0, 1)[self.cell]
