"""Labels, and the task that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from counterpoise._arrays._numpy import as_numpy, as_plain, missing_entries
from counterpoise.errors import DataError

FEW_VALUES: Final = 20
"""Whole numbers with at most this number of distinct values count as classes."""

SAMPLES_PER_CLASS: Final = 5
"""Whole numbers with more distinct values count as classes only if they run from 0 or 1 without a gap and each occurs
at least this often on average."""


@dataclass(frozen=True)
class TaskGuess:
    """The task that labels stand for.

    Attributes:
        task: ``multiclass``, ``multilabel`` or ``regression``.
        notes: Assumptions that were made, for the reader.
    """

    task: str
    notes: tuple[str, ...] = ()


def as_labels(labels: Any, name: str = "Labels") -> np.ndarray:
    """Return labels as a NumPy array of numbers, booleans or strings; ``(N, 1)`` becomes ``(N,)``.

    Args:
        labels: Array, tensor, list, or a pandas object of any dtype.
        name: Name of the arrays in messages.

    Raises:
        DataError: For missing labels (None, NaN, NA, masked), with their rows, and for mixed kinds.

    Example:
        >>> as_labels([["yes"], ["no"]]).tolist()
        ['yes', 'no']
    """
    y = as_numpy(labels)
    if y.ndim == 0:
        raise DataError(f"{name} should be one per sample. Found a single value.")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    missing = np.flatnonzero(missing_entries(y).reshape(len(y), -1).any(1)) if y.size else np.empty(0, dtype=int)
    if len(missing):
        shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"{name} should not be missing. Found None, NaN or NA in {len(missing)} of {len(y)} samples: {shown}. "
            "Drop these samples."
        )
    return as_plain(y, name)


def guess_task(labels: Any) -> TaskGuess:
    """Return the task that labels stand for. All parts of the library use this rule.

    - strings, booleans, categories: classes;
    - fractions: regression;
    - ``(N, C)`` zeros and ones: several labels (a note if every sample has exactly one), other columns: regression;
    - whole numbers, stored as integers or floats: classes if there are at most 20 distinct values, or if they run from
      0 or 1 without a gap with five samples each on average; else regression, with a note.

    Args:
        labels: ``(N,)`` or ``(N, C)``; see `as_labels`.

    Raises:
        DataError: For missing labels.

    Example:
        >>> guess_task([0, 1, 2]).task, guess_task([0.5, 1.0]).task, guess_task([[0, 1], [1, 1]]).task
        ('multiclass', 'regression', 'multilabel')
        >>> guess_task(range(20, 60)).task
        'regression'
    """
    y = as_labels(labels)
    if y.dtype.kind not in "fiu":
        return _several(y) if y.ndim == 2 and y.dtype.kind == "b" else TaskGuess("multiclass")
    if y.ndim > 1:
        return _several(y) if np.isin(y, (0, 1)).all() else TaskGuess("regression")
    if y.dtype.kind == "f" and (not np.isfinite(y).all() or (y != np.round(y)).any()):
        return TaskGuess("regression")
    return _guess_whole(y)


def _guess_whole(y: np.ndarray) -> TaskGuess:
    """Return the task of whole numbers ``(N,)``, see `guess_task`."""
    values = np.unique(y)
    stored = "whole numbers stored as floats" if y.dtype.kind == "f" else "whole numbers"
    gapless = len(values) > 0 and values[0] in (0, 1) and values[-1] - values[0] == len(values) - 1
    if len(values) <= FEW_VALUES or (gapless and len(y) >= SAMPLES_PER_CLASS * len(values)):
        note = f"labels are {stored} with {len(values)} distinct values: treated as classes"
        return TaskGuess("multiclass", (note,) if y.dtype.kind == "f" else ())
    note = (
        f"labels are {stored}, {len(values)} distinct values: treated as regression; pass task='multiclass' if they "
        "are classes"
    )
    return TaskGuess("regression", (note,))


def _several(y: np.ndarray) -> TaskGuess:
    one_hot = "every sample has exactly one of the labels: if these are classes, pass class ids (N,)"
    return TaskGuess("multilabel", (one_hot,) if (y.sum(1) == 1).all() else ())
