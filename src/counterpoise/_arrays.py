"""Arrays and tables from the outside: labels as NumPy arrays, and the task that they stand for.

pandas, SciPy and torch are not imported here; their objects are recognised by what they offer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from counterpoise.errors import DataError

__all__ = ["TaskGuess", "as_labels", "as_numpy", "guess_task"]

FEW_VALUES: Final = 20
"""Up to this number of distinct whole numbers they count as classes."""
SAMPLES_PER_CLASS: Final = 5
"""Whole numbers of more distinct values count as classes only if they run from 0 or 1 without a gap, and occur this
often on average."""


@dataclass(frozen=True)
class TaskGuess:
    """The task that labels stand for.

    Attributes:
        task: ``multiclass``, ``multilabel`` or ``regression``.
        notes: What was assumed, for the reader.
    """

    task: str
    notes: tuple[str, ...] = ()


def as_labels(labels: Any) -> np.ndarray:
    """Return labels as a NumPy array of numbers, booleans or strings; ``(N, 1)`` becomes ``(N,)``.

    Args:
        labels: Array, tensor, list, or a pandas object of any dtype.

    Raises:
        DataError: For missing labels (None, NaN, NA, masked), with their rows, and for mixed kinds.

    Example:
        >>> as_labels([["yes"], ["no"]]).tolist()
        ['yes', 'no']
    """
    y = as_numpy(labels)
    if y.ndim == 0:
        raise DataError("Labels should be one per sample. Found a single value.")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    missing = np.flatnonzero(_missing(y).reshape(len(y), -1).any(1)) if y.size else np.empty(0, dtype=int)
    if len(missing):
        shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"Labels should not be missing. Found None, NaN or NA in {len(missing)} of {len(y)} samples: {shown}. "
            "Drop these samples."
        )
    return _plain(y)


def guess_task(labels: Any) -> TaskGuess:
    """Return the task that labels stand for. This is the only rule in the library.

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
        if y.ndim == 2 and y.dtype.kind == "b":
            return _several(y)
        return TaskGuess("multiclass")
    if y.ndim > 1:
        return _several(y) if np.isin(y, (0, 1)).all() else TaskGuess("regression")
    if y.dtype.kind == "f" and (not np.isfinite(y).all() or (y != np.round(y)).any()):
        return TaskGuess("regression")
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


def as_numpy(value: Any) -> np.ndarray:
    """Return a NumPy array of a tensor, a sparse matrix, a list or a pandas object; missing values stay as they are."""
    if isinstance(value, np.ma.MaskedArray):
        return value.astype(object).filled(None) if np.ma.is_masked(value) else np.asarray(value.data)
    if hasattr(value, "detach"):  # torch
        value = value.detach().cpu()
        value = value.to_dense() if value.layout.__str__() != "torch.strided" else value
        return np.asarray(value.float() if str(value.dtype) == "torch.bfloat16" else value)
    if hasattr(value, "toarray"):  # SciPy
        return np.asarray(value.toarray())
    if isinstance(value, range):
        value = list(value)
    return np.asarray(value)


def _missing(y: np.ndarray) -> np.ndarray:
    """Return which entries are None, NaN, NaT or NA."""
    if y.dtype.kind == "f":
        return np.isnan(y)
    if y.dtype.kind in "mM":
        return np.isnat(y)
    if y.dtype.kind != "O":
        return np.zeros(y.shape, dtype=bool)
    flat = [v is None or type(v).__name__ in ("NAType", "NaTType") or (isinstance(v, float) and v != v) for v in y.flat]
    return np.array(flat, dtype=bool).reshape(y.shape)


def _plain(y: np.ndarray) -> np.ndarray:
    """Return an object array as numbers, booleans or strings, by what all of its entries are."""
    if y.dtype.kind != "O":
        return y
    kinds = {type(v) for v in y.flat}
    if all(issubclass(k, str) for k in kinds):
        return y.astype(str)
    if all(issubclass(k, (bool, np.bool_)) for k in kinds):
        return y.astype(bool)
    if all(issubclass(k, (int, np.integer, bool, np.bool_)) for k in kinds):
        return y.astype(np.int64)
    if all(issubclass(k, (int, float, np.integer, np.floating)) or k.__name__ == "Decimal" for k in kinds):
        return y.astype(np.float64)
    names = ", ".join(sorted(k.__name__ for k in kinds))
    raise DataError(f"Labels should all be numbers or all be strings. Found a mixture of {names}. Convert them.")
