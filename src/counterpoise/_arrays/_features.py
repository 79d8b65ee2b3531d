"""Features of a modality as floats."""

from __future__ import annotations

from typing import Any

import numpy as np

from counterpoise._arrays._numpy import as_numpy, as_plain, missing_entries
from counterpoise.errors import DataError


def as_matrix(name: str, value: Any) -> np.ndarray:
    """Return the features of a modality as floats ``(N, D)``.

    Numbers stay numbers, for any storage (nullable, object, sparse, bfloat16, negative strides); more than two
    axes are flattened; dates become seconds; booleans 0 and 1; texts and categories become one indicator column per
    value.

    Args:
        name: Name of the modality, for messages.
        value: Array, tensor, list, sparse matrix, or a pandas object.

    Raises:
        DataError: For missing values, NaN or inf (with their samples), complex numbers, and texts that differ in nearly
            every sample.

    Example:
        >>> as_matrix("colour", ["red", "green", "red"]).tolist()
        [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    if hasattr(value, "columns") and hasattr(value, "dtypes"):
        return _table_columns(name, value)
    if all(hasattr(value, name) for name in ("dtype", "index", "array")):  # a pandas series
        return _column(name, value, len(value))
    array = as_numpy(value)
    if array.ndim == 0:
        raise DataError(f"Modality `{name}` should be an array (N, ...). Found a single number.")
    array = array.reshape(len(array), -1) if len(array) else array.reshape(0, 1)
    if array.dtype.kind in "fiub":
        return _finite(name, array)
    if array.dtype.kind == "V":
        raise DataError(f"Modality `{name}` should hold numbers, texts or dates. Found records of {array.dtype}.")
    return np.concatenate([_column(name, column, len(array)) for column in array.T], 1)


def _table_columns(name: str, table: Any) -> np.ndarray:
    """Return the columns of a table as floats; every column keeps its own type."""
    columns = [_column(f"{name}`, column `{c}", table[c], len(table)) for c in table.columns]
    if not columns:
        raise DataError(f"Modality `{name}` should have at least one column. Found none.")
    return np.concatenate(columns, 1)


def _column(name: str, column: Any, n: int) -> np.ndarray:
    """Return one column as floats: ``(N, 1)``, or one indicator per value."""
    values = as_numpy(column)
    dtype = str(getattr(column, "dtype", ""))
    missing = np.flatnonzero(missing_entries(values))
    if len(missing):
        raise _bad_samples(name, "missing values", missing, n)
    if values.dtype.kind == "c":
        raise DataError(f"Modality `{name}` holds complex numbers. Give real and imaginary parts as two columns.")
    if values.dtype.kind == "O" and hasattr(values.flat[0] if n else None, "timestamp"):
        values = values.astype("datetime64[ns]")
    if values.dtype.kind in "mM":
        return _seconds(values)[:, None]
    if dtype != "category":
        values = as_plain(values, name)
        if values.dtype.kind in "fiub":
            return _finite(name, values[:, None])
    return _indicators(name, values, n)


def _indicators(name: str, values: np.ndarray, n: int) -> np.ndarray:
    """Return one indicator column per distinct text."""
    levels, codes = np.unique(values.astype(str), return_inverse=True)
    if 2 * len(levels) > n and len(levels) > 2:
        raise DataError(
            f"Modality `{name}` holds {len(levels)} different texts in {n} samples: names or sentences rather than "
            "categories. Leave it out, or turn it into numbers (for example with an embedding)."
        )
    return np.eye(len(levels))[codes.reshape(-1)]


def _seconds(values: np.ndarray) -> np.ndarray:
    """Return times in seconds since the first of them, so that no digit is lost to the origin."""
    first = values.min() if len(values) else values
    return np.asarray((values - first).astype("timedelta64[us]").astype(np.float64) / 1e6)


def _finite(name: str, x: np.ndarray) -> np.ndarray:
    x = np.ascontiguousarray(x if x.dtype in (np.float32, np.float64) else x.astype(np.float64))
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf
        bad = np.flatnonzero(~np.isfinite(x.sum(1, dtype=np.float64)))
    bad = bad[~np.isfinite(x[bad]).all(1)]
    if len(bad):
        raise _bad_samples(name, "NaN or inf", bad, len(x))
    return x


def _bad_samples(name: str, what: str, bad: np.ndarray, n: int) -> DataError:
    shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
    return DataError(f"Modality `{name}` holds {what} in {len(bad)} of {n} samples: {shown}. Remove or impute them.")
