"""Arrays of any library as NumPy arrays."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import numpy as np

from counterpoise.errors import DataError


def as_numpy(value: Any) -> np.ndarray:
    """Return a NumPy array of a tensor, a sparse matrix, a list or a pandas object; missing values stay as they are."""
    if isinstance(value, np.ma.MaskedArray):
        plain = value.data.astype(object) if np.ma.is_masked(value) else np.asarray(value.data)
        if np.ma.is_masked(value):
            plain[np.ma.getmaskarray(value)] = None
        return plain
    if hasattr(value, "detach"):  # torch
        value = value.detach().cpu()
        value = value.to_dense() if value.layout.__str__() != "torch.strided" else value
        return np.asarray(value.float() if str(value.dtype) == "torch.bfloat16" else value)
    if hasattr(value, "toarray"):  # SciPy
        return np.asarray(value.toarray())
    if isinstance(value, range):
        value = list(value)
    try:
        return np.asarray(value)
    except ValueError as error:
        raise DataError(
            f"An array should have rows of one shape. Found a {type(value).__name__} that NumPy cannot read: {error}"
        ) from error


def missing_entries(y: np.ndarray) -> np.ndarray:
    """Return which entries are None, NaN, NaT or NA."""
    if y.dtype.kind == "f":
        return np.isnan(y)
    if y.dtype.kind in "mM":
        return np.isnat(y)
    if y.dtype.kind != "O":
        return np.zeros(y.shape, dtype=bool)
    flat = [v is None or type(v).__name__ in ("NAType", "NaTType") or (isinstance(v, float) and v != v) for v in y.flat]
    return np.array(flat, dtype=bool).reshape(y.shape)


_PLAIN_TYPES: Final[tuple[tuple[tuple[type, ...], type], ...]] = (
    ((str,), str),
    ((bool, np.bool_), bool),
    ((int, np.integer, bool, np.bool_), np.int64),
    ((int, float, np.integer, np.floating, Decimal), np.float64),
)
"""Types of Python objects, and the type of the array that holds them."""


def as_plain(y: np.ndarray, name: str) -> np.ndarray:
    """Return an object array as numbers, booleans or strings, whichever type all of its entries have."""
    if y.dtype.kind != "O":
        return y
    kinds = {type(v) for v in y.flat}
    for allowed, dtype in _PLAIN_TYPES:
        if all(issubclass(k, allowed) for k in kinds):
            return y.astype(dtype)
    names = ", ".join(sorted(k.__name__ for k in kinds))
    raise DataError(f"`{name}` should hold only numbers or only texts. Found {names}. Convert them to one type.")
