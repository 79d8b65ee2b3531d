"""Conversion of tables to features: each column by its own type, with indicators of missing cells and hashed texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from counterpoise._extras import extra
from counterpoise.diagnosis._matrices import hashed_texts

__all__ = ["encoded_texts", "filled", "is_frame"]


def is_frame(value: Any) -> bool:
    """Return whether a value is a pandas DataFrame, without importing pandas."""
    return hasattr(value, "iloc") and hasattr(value, "columns")


def filled(frame: Any) -> tuple[Any, list[str]]:
    """Return a table without missing cells.

    Missing numbers and dates are replaced by the column's mean, and an indicator column marks them. Missing words
    become a category of their own. A column without any value stays as it is.

    Args:
        frame: The columns of one modality.

    Returns:
        The table, and a note for each column that had missing cells.

    Example:
        >>> import pandas as pd
        >>> table, notes = filled(pd.DataFrame({"age": [20.0, None, 40.0], "city": ["A", "B", None]}))
        >>> table.to_numpy().tolist()
        [[20.0, 'A', 0.0], [30.0, 'B', 1.0], [40.0, 'missing', 0.0]]
        >>> notes[0]
        '1 of 3 values of `age` are missing; that counts as information of its own'
    """
    notes, frame = [], frame.copy()
    for name in list(frame.columns):
        column = frame[name]
        missing = column.isna().to_numpy()
        if not missing.any() or missing.all():
            continue
        numbers = _numbers(column, missing)
        if numbers is None:
            frame[name] = _with_level(column, missing)
        else:
            frame[name] = np.where(missing, numbers[~missing].mean(), numbers)
            frame[f"{name} is missing"] = missing.astype(np.float64)
        share = f"{int(missing.sum())} of {len(column)} values"
        notes.append(f"{share} of `{name}` are missing; that counts as information of its own")
    return frame, notes


def _numbers(column: Any, missing: np.ndarray) -> np.ndarray | None:
    """Return a column of numbers, booleans or dates (in seconds since the first) as floats, or None for others."""
    kept = column[~missing]
    kept = kept if str(column.dtype) == "category" else kept.infer_objects()
    if str(column.dtype) == "category" or kept.dtype.kind not in "fiubmM":
        return None
    if kept.dtype.kind in "mM":
        kept = (kept - kept.min()).dt.total_seconds()
    values = np.full(len(column), np.nan)
    values[~missing] = kept.to_numpy(dtype=np.float64)
    return values


def _with_level(column: Any, missing: np.ndarray) -> np.ndarray:
    """Return a column of words as texts; missing cells get a word that no other cell holds."""
    values = np.array([str(value) for value in column], dtype=object)
    level = "missing"
    while level in values[~missing]:
        level += "_"
    values[missing] = level
    return values


def encoded_texts(frame: Any, texts: Sequence[str]) -> Any:
    """Return a table with free texts replaced by counts of hashed words and letter triples.

    Args:
        frame: The columns of one modality.
        texts: Names of the columns with free text.
    """
    with extra("data"):
        import pandas as pd

    parts = [frame.drop(columns=list(texts))]
    for name in texts:
        counts = hashed_texts(frame[name].fillna("").astype(str).tolist()).numpy()
        counts = counts[:, (counts != counts[:1]).any(0)]
        parts.append(pd.DataFrame(counts, index=frame.index, columns=[f"{name} {k}" for k in range(counts.shape[1])]))
    return pd.concat(parts, axis=1)
