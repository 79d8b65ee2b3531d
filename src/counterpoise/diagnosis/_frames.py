"""Conversion of tables to features: each column by its own type, with indicators of missing cells and hashed texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from counterpoise._columns import is_free_text
from counterpoise._extras import extra
from counterpoise.diagnosis._matrices import hashed_texts

__all__ = ["filled", "is_frame", "readable"]


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


def readable(m: str, value: Any) -> tuple[Any, list[str]]:
    """Return the features of a modality without missing cells, and with free texts replaced by counts of their words.

    `counterpoise._columns.is_free_text` decides whether a column of words is a category or free text; a column of
    pandas' type ``category`` is always a category.

    Args:
        m: Name of the modality, for the notes.
        value: Columns of a DataFrame, a sequence of texts, or anything else, which is returned unchanged.

    Returns:
        The features, and notes on the conversions.
    """
    if not is_frame(value):
        texts = _free_texts(value)
        return (value, []) if texts is None else (_word_counts(texts), [_counted(m, "the texts")])
    texts = [c for c in value.columns if _is_words(value[c]) and is_free_text(value[c].nunique(), len(value))]
    encoded, notes = filled(_encoded_texts(value, texts) if texts else value)
    return encoded, [_counted(m, ", ".join(map(str, texts)))] * bool(texts) + notes


def _counted(m: str, what: str) -> str:
    return f"available information in {m} was measured on hashed words of {what}"


def _is_words(column: Any) -> bool:
    if column.dtype.kind not in "OU" and str(column.dtype) not in ("string", "str"):
        return False
    return all(isinstance(value, str) for value in column.dropna())


def _free_texts(value: Any) -> list[str] | None:
    """Return the texts of a sequence ``(N,)`` or ``(N, 1)`` of free texts; None for anything else."""
    if not _may_hold_words(value):
        return None
    array = np.asarray(value, dtype=object)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    words = array.ndim == 1 and all(isinstance(x, str) for x in array)
    return array.tolist() if words and is_free_text(len(set(array)), len(array)) else None


def _may_hold_words(value: Any) -> bool:
    """Return whether a value is a list that begins with a text, or an array or Series of texts or objects."""
    if isinstance(value, list | tuple):
        return bool(value) and isinstance(value[0], str)
    dtype = getattr(value, "dtype", None)
    return str(dtype) != "category" and getattr(dtype, "kind", "") in ("O", "U")


def _word_counts(texts: list[str]) -> np.ndarray:
    """Return counts of hashed words and letter triples, without columns that are the same for all texts."""
    counts = hashed_texts(texts).numpy()
    return np.asarray(counts[:, (counts != counts[:1]).any(0)])


def _encoded_texts(frame: Any, texts: Sequence[str]) -> Any:
    """Return a table with some columns of texts replaced by counts of hashed words and letter triples."""
    with extra("data"):
        import pandas as pd

    parts = [frame.drop(columns=list(texts))]
    for name in texts:
        counts = _word_counts(frame[name].fillna("").astype(str).tolist())
        parts.append(pd.DataFrame(counts, index=frame.index, columns=[f"{name} {k}" for k in range(counts.shape[1])]))
    return pd.concat(parts, axis=1)
