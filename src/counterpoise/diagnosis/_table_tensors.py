"""Tables for torch modules and functions: one tensor of numbers per modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoise._arrays import missing_entries
from counterpoise._columns import check_columns, column_groups
from counterpoise.diagnosis._estimators import aligned_labels, is_matrix, names_of, training_table
from counterpoise.diagnosis._frames import is_frame
from counterpoise.errors import DataError

__all__ = ["as_batches"]

Batches = list[tuple[dict[str, Tensor], np.ndarray]]


def as_batches(
    table: Any,
    y: Any,
    modalities: Mapping[str, Sequence[Any]] | Sequence[str] | None,
    *,
    batch_size: int,
    train: Any = None,
) -> tuple[Batches, Batches | None, tuple[str, ...], list[str]]:
    """Return a table as batches ``({m: (B, D)}, labels)`` of float32 tensors, columns in the order given.

    Args:
        table: DataFrame, or array ``(N, D)``.
        y: Labels, or the name of a column.
        modalities: ``{name: [columns]}``, positions for an array.
        batch_size: B.
        train: ``(table, labels)`` of training samples; or a table, if ``y`` is the name of a column.

    Returns:
        The batches, those of the training samples, the names of the modalities, and notes.

    Raises:
        DataError: For columns that do not hold numbers, or have empty cells; for indexes that differ.
        NotFoundError: For an unknown column.
    """
    if not isinstance(modalities, Mapping):
        raise DataError("A table needs modalities={'name': ['column', ...], ...}: which columns make up each modality.")
    if not is_frame(table) and not is_matrix(table):
        raise DataError(
            "Labels are given besides a table: a DataFrame or an array (N, D). Found a loader. Leave y out, and yield "
            "the labels with the batches."
        )
    table = table if is_frame(table) else np.asarray(table)
    known = names_of(table)
    named = y if isinstance(y, str) else None
    groups = column_groups(modalities, known, label=named)
    check_columns([] if named is None else [named], known, "The table")
    labels = y if named is None else table[named]
    seen = None
    if train is not None:
        part, given = training_table(train, named, table)
        seen = _batches(part, groups, aligned_labels(part, given), batch_size)
    notes = _unused(known, {named}.union(*groups.values()))
    return _batches(table, groups, aligned_labels(table, labels), batch_size), seen, tuple(groups), notes


def _unused(known: Sequence[Any], taken: set[Any]) -> list[str]:
    """Return a note on the columns of a table that belong to no modality, if there are any."""
    unused = [str(c) for c in known if c not in taken]
    return [f"columns in no modality are left out: {', '.join(unused)}"] if unused else []


def _batches(table: Any, groups: Mapping[str, Sequence[Any]], labels: np.ndarray, size: int) -> Batches:
    inputs = _tensors(table, groups)
    return [
        ({m: x[k : k + size] for m, x in inputs.items()}, labels[k : k + size]) for k in range(0, len(labels), size)
    ]


def _tensors(table: Any, groups: Mapping[str, Sequence[Any]]) -> dict[str, Tensor]:
    """Return the columns of each modality as float32 ``(N, D)``."""
    arrays = _columns_of_numbers(table, [c for names in groups.values() for c in names])
    return {
        m: torch.from_numpy(np.stack([arrays[c] for c in names], 1).astype(np.float32)) for m, names in groups.items()
    }


def _columns_of_numbers(table: Any, names: Sequence[Any]) -> dict[Any, np.ndarray]:
    """Return columns of numbers ``(N,)`` without empty cells."""
    columns = {c: table[c] if is_frame(table) else table[:, c] for c in names}
    numbers = {c: _numbers(column) for c, column in columns.items()}
    words = [f"`{c}` ({columns[c].dtype})" for c, values in numbers.items() if values is None]
    if words:
        raise DataError(
            f"A torch module takes numbers. Found {', '.join(words)}. Encode these columns as the model was trained "
            "(category codes, token ids), or diagnose a pipeline that encodes them and has predict_proba."
        )
    return _without_gaps({c: values for c, values in numbers.items() if values is not None})


def _without_gaps(arrays: dict[Any, np.ndarray]) -> dict[Any, np.ndarray]:
    """Return columns of numbers, after checking that no cell is empty."""
    empty = {c: int(np.isnan(values).sum()) for c, values in arrays.items() if np.isnan(values).any()}
    if empty:
        shown = ", ".join(f"`{c}` ({n} of {len(arrays[c])})" for c, n in empty.items())
        raise DataError(
            f"A torch module takes numbers in every cell. Found empty cells in {shown}. Fill them in first."
        )
    return arrays


def _numbers(column: Any) -> np.ndarray | None:
    """Return a column of numbers or booleans as float64 with NaN in empty cells, or None for another one."""
    if str(column.dtype) in ("category", "string", "str") or column.dtype.kind in "mMSU":
        return None
    if column.dtype.kind == "O":
        values = np.array(column, dtype=object)
        missing = missing_entries(values)
        if not all(isinstance(x, int | float | np.number | np.bool_) for x in values[~missing]):
            return None
        return np.where(missing, np.nan, values).astype(np.float64)
    if hasattr(column, "to_numpy"):
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.asarray(column, dtype=np.float64)
