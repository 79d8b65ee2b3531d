"""Conversion to float32 without losing the digits in which samples differ. Importing it needs no torch."""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["keep_digits"]

LOST: Final = 1e-3
"""Rounding errors above this share of a column's standard deviation are too large."""


def keep_digits(name: str, values: np.ndarray) -> tuple[np.ndarray, str]:
    """Return numbers as float32; columns whose digits float32 cannot hold are standardised first, in float64.

    For example, seconds since 1970 differ by less than the resolution of float32 at their size, and numbers around
    1e-160 become zero in float32.

    Args:
        name: Name of the modality, for the note.
        values: ``(N, ..., D)``; columns are its last axis. NaN and infinite entries are left alone.

    Returns:
        The numbers, and a note on what was changed, or an empty text.

    Example:
        >>> seconds = 1.7e9 + np.arange(4.0)[:, None]
        >>> exact, note = keep_digits("time", seconds)
        >>> len(np.unique(seconds.astype(np.float32))), len(np.unique(exact))
        (1, 4)
    """
    with np.errstate(over="ignore", under="ignore"):
        rounded = values.astype(np.float32, copy=False)
    if (
        values.dtype.kind == "b"
        or values.dtype.itemsize <= 2
        or values.dtype == np.float32
        or values.ndim < 2
        or not values.size
    ):
        return rounded, ""
    wide = values.reshape(-1, values.shape[-1])
    flat = rounded.reshape(-1, values.shape[-1])
    changed = []
    for column in range(wide.shape[1]):
        exact = _standardised(wide[:, column].astype(np.float64), flat[:, column])
        if exact is not None:
            flat[:, column] = exact
            changed.append(column)
    if not changed:
        return rounded, ""
    example = wide[:, changed[0]].astype(np.float64)
    note = f"`{name}`: {len(changed)} of {wide.shape[1]} columns were standardised, because float32 cannot hold their "
    return flat.reshape(values.shape), note + f"digits (from {np.nanmin(example):.6g} to {np.nanmax(example):.6g})"


def _standardised(values: np.ndarray, rounded: np.ndarray) -> np.ndarray | None:
    """Return a column with mean 0 and standard deviation 1, or None if float32 holds it well enough."""
    finite = np.isfinite(values)
    inside = values[finite]
    if not len(inside) or not np.isfinite(rounded[finite]).all():  # too large for float32 is an error elsewhere
        return None
    scale = float(np.abs(inside).max())
    if not scale:
        return None
    spread = float((inside / scale).std())
    error = float((np.abs(rounded[finite].astype(np.float64) - inside) / scale).max())
    if not spread > 1e-15 or error <= LOST * spread:
        return None
    centred = values / scale
    standardised: np.ndarray = ((centred - centred[finite].mean()) / spread).astype(np.float32)
    return standardised
