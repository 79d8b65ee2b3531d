"""Arrays with missing rows: finding, masking and blanking them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from counterpoise._arrays import missing_entries
from counterpoise.data._mapped import blocks
from counterpoise.errors import DataError

__all__ = ["blanked", "separate_absent", "without_gaps"]


def without_gaps(value: Any) -> Any:
    """Return a list of arrays with NaN instead of None; other values are returned unchanged.

    Example:
        >>> without_gaps([np.zeros(2), None])
        [array([0., 0.]), array([nan, nan])]
    """
    is_list = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object)
    rows = [row for row in value if row is not None] if is_list else []
    if not rows or len(rows) == len(value) or not np.shape(rows[0]):
        return value
    gap = np.full(np.shape(rows[0]), np.nan)
    return [gap if row is None else row for row in value]


def separate_absent(
    arrays: Mapping[str, np.ndarray], present: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
    """Find the absent rows and replace them by the first row that is present.

    Rows are absent if ``present`` is False for them, or if they hold only NaN. The stand-in keeps the checks and
    choices that follow (finite numbers, digits, kinds) from reading anything else; `blanked` removes it.

    Args:
        arrays: ``{m: (N, ...)}``.
        present: ``{m: (N,)}``, True or 1 where a sample has the modality.

    Returns:
        The arrays, and ``{m: (N,) bool}`` for every modality or None if nothing is missing.

    Raises:
        DataError: If a mask has another length or other values, if no sample has a modality, or if a sample has no
            modality.
    """
    masks = {m: _mask(m, array, present.get(m)) for m, array in arrays.items()}
    if all(mask.all() for mask in masks.values()):
        return dict(arrays), None
    filled = {}
    for m, array in arrays.items():
        rows = np.flatnonzero(masks[m])
        if not len(rows):
            raise DataError(f"No sample has the modality `{m}`. Leave it out.")
        filled[m] = array if len(rows) == len(array) else array[np.where(masks[m], np.arange(len(array)), rows[0])]
    empty = np.flatnonzero(~np.any(list(masks.values()), 0))
    if len(empty):
        shown = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        raise DataError(
            f"Every sample should have at least one modality. Found none in {len(empty)} of "
            f"{len(next(iter(masks.values())))} samples: {shown}. Leave these samples out."
        )
    return filled, masks


def blanked(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Return an array with zeros in the rows where ``mask`` ``(N,)`` is False; without a mask, return it unchanged."""
    if mask is None or mask.all():
        return array
    return np.where(mask.reshape(-1, *[1] * (array.ndim - 1)), array, np.zeros((), array.dtype))


def _mask(m: str, array: np.ndarray, given: Any) -> np.ndarray:
    """Return which rows are present."""
    mask = ~_empty_rows(array)
    if given is None:
        return mask
    values = np.asarray(given)
    if values.shape != (len(array),) or values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise DataError(
            f"`present` of `{m}` should hold True or False (1 or 0) for each of {len(array)} samples. Found "
            f"{values.dtype} of shape {values.shape}."
        )
    return mask & values.astype(bool)


def _empty_rows(array: np.ndarray) -> np.ndarray:
    """Return which rows hold only NaN (or None)."""
    empty = np.zeros(len(array), bool)
    if array.dtype == object:
        missing: np.ndarray = missing_entries(array.reshape(len(array), -1))
        return np.asarray(missing.all(1))
    if array.dtype.kind == "f":
        for start, block in blocks(array):
            rows = block.reshape(len(block), -1)
            suspects = np.flatnonzero(np.isnan(rows[:, 0])) if rows.shape[1] else np.zeros(0, int)
            empty[start + suspects] = np.isnan(rows[suspects]).all(1)
    return empty
