"""Conversion of tables to features: each column by its own type, with indicators of missing cells and hashed texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from counterpoise._columns import is_free_text
from counterpoise._extras import extra
from counterpoise.diagnosis._texts import hashed_texts, read_times, recurring_words

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
        notes.append(_gaps(name, missing))
    return frame, notes


def _gaps(name: Any, missing: np.ndarray) -> str:
    share = f"{int(missing.sum())} of {len(missing)} values"
    return f"{share} of `{name}` are missing; that counts as information of its own"


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
    """Return the features of a modality without missing cells, and with free texts replaced by numbers.

    `counterpoise._columns.is_free_text` decides whether a column of words is a category or free text; a column of
    pandas' type ``category`` is always a category. Texts that are all ISO 8601 times become times, and others become
    counts of the words that recur. Texts without such words (identifiers, file names) and categories that differ in
    most rows are left out, because no information in them can be measured; whether a cell is missing can.

    Args:
        m: Name of the modality, for the notes.
        value: Columns of a DataFrame, a sequence of texts, or anything else, which is returned unchanged.

    Returns:
        The features, and notes on the conversions. There are no columns if all of them were left out.
    """
    if not is_frame(value):
        texts = _free_texts(value)
        if texts is None:
            return value, []
        numbers = _as_numbers(texts)
        if numbers is None:
            return np.empty((len(texts), 0)), [_unmeasurable("the texts")]
        return numbers, [] if _is_time(numbers) else [_counted(m, "the texts")]
    table = _Converted(value, {c: value[c] for c in value.columns})
    for name in value.columns:
        table.convert(name)
    encoded, notes = filled(table.frame())
    counted = [_counted(m, ", ".join(map(str, table.counted)))] if table.counted else []
    return encoded, [*counted, *table.notes, *notes]


def _counted(m: str, what: str) -> str:
    return f"available information in {m} was measured on hashed words of {what}"


def _unmeasurable(what: str) -> str:
    return (
        f"{what}: left out, because the texts have no words that recur often enough to be measured, as identifiers and "
        "file names"
    )


@dataclass
class _Converted:
    """The columns of a table, whose texts are replaced one by one.

    Attributes:
        given: The table.
        columns: Its columns.
        parts: Columns that replace those of texts, by name.
        counted: Names of the columns that became counts of words.
        notes: Notes on the other columns.
    """

    given: Any
    columns: dict[Any, Any]
    parts: dict[Any, np.ndarray] = field(default_factory=dict)
    counted: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def convert(self, name: Any) -> None:
        """Replace a column of free texts by numbers; leave out one of identifiers."""
        column = self.columns[name]
        free = _is_free(column)
        if not free and not (_is_level(column) and _differs_in_most_rows(column)):
            return
        missing = column.isna().to_numpy()
        numbers = _as_numbers([None if gap else x for x, gap in zip(column, missing, strict=True)]) if free else None
        del self.columns[name]
        if numbers is not None and _is_time(numbers):
            self.columns[name] = numbers  # `filled` fills the gaps
            return
        self._replace(name, numbers)
        if missing.any():
            self.parts[f"{name} is missing"] = missing.astype(np.float64)
            self.notes.append(_gaps(name, missing))

    def _replace(self, name: Any, numbers: np.ndarray | None) -> None:
        """Add counts of words in the place of a column, or a note if it is left out."""
        if numbers is None:
            self.notes.append(_unmeasurable(f"`{name}`"))
            return
        self.counted.append(name)
        self.parts |= {f"{name} {k}": x for k, x in enumerate(numbers.T)}

    def frame(self) -> Any:
        """Return the columns as a table."""
        with extra("data"):
            import pandas as pd

        return pd.DataFrame({**self.columns, **self.parts}, index=self.given.index)


def _is_level(column: Any) -> bool:
    return str(column.dtype) == "category" or _is_words(column)


def _is_free(column: Any) -> bool:
    return str(column.dtype) != "category" and _is_words(column) and is_free_text(column.nunique(), len(column))


def _differs_in_most_rows(column: Any) -> bool:
    """Return whether a column has too many levels for a category; `counterpoise._arrays.as_matrix` refuses these."""
    distinct = column.nunique()
    return bool(distinct > 2 and 2 * (distinct + column.isna().any()) > len(column))


def _is_time(values: np.ndarray) -> bool:
    return values.dtype.kind == "M"


def _as_numbers(texts: list[Any]) -> np.ndarray | None:
    """Return texts as times ``(N,)`` or as counts of their words ``(N, D)``; None if no word recurs.

    Args:
        texts: The texts; None where one is missing.
    """
    times = read_times(texts)
    if times is not None:
        return times
    known = recurring_words([text for text in texts if text is not None])
    if not known:
        return None
    counts = hashed_texts(["" if text is None else text for text in texts], known).numpy()
    return np.asarray(counts[:, (counts != counts[:1]).any(0)])


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
