"""Rows that stay on disk until they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from counterpoise.errors import DataError

__all__ = ["MappedRows", "as_rows", "blocks", "check_finite", "rows_not_finite"]

IN_MEMORY: Final = 1 << 29
"""Arrays up to this many bytes (512 MiB) are copied into memory once, contiguous."""
BLOCK: Final = 1 << 25


class MappedRows:
    """An array ``(N, ...)`` in memory-mapped pieces: what is indexed is read, nothing else is.

    Knows as much of NumPy's interface as a split needs: ``shape``, ``dtype``, ``len``, indexing by a position, a slice
    or an array of positions, and
    ``np.asarray`` (which reads everything).

    Example:
        >>> rows = MappedRows([np.arange(6).reshape(3, 2), np.arange(4).reshape(2, 2)])
        >>> rows.shape, rows[np.array([4, 0])].tolist()
        ((5, 2), [[2, 3], [0, 1]])
    """

    def __init__(self, pieces: Sequence[np.ndarray]) -> None:
        self.pieces = list(pieces)
        self.starts = np.cumsum([0, *(len(piece) for piece in pieces)])
        self.shape = (int(self.starts[-1]), *pieces[0].shape[1:])
        self.dtype = pieces[0].dtype
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.concatenate(self.pieces).astype(dtype or self.dtype, copy=False)

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, (int, np.integer)):
            return self[np.array([index])][0]
        rows = np.arange(len(self))[index]
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        home = np.searchsorted(self.starts, rows, side="right") - 1
        for k in np.unique(home):
            here = home == k
            values[here] = self.pieces[k][rows[here] - self.starts[k]]
        return values

    def min(self) -> Any:
        """Return the smallest entry."""
        return min(piece.min() for piece in self.pieces)

    def max(self) -> Any:
        """Return the largest entry."""
        return max(piece.max() for piece in self.pieces)


def as_rows(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Return the pieces as one array: copied if it is small, else as `MappedRows`, typed as the array it stands for."""
    if sum(piece.nbytes for piece in pieces) <= IN_MEMORY:
        return np.concatenate(pieces)
    return MappedRows(pieces)  # type: ignore[return-value]


def blocks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield an array's rows in blocks of about 32 MiB, each with its first row's position."""
    row = max(int(np.prod(array.shape[1:])) * array.dtype.itemsize, 1)
    step = max(BLOCK // row, 1)
    for start in range(0, len(array), step):
        yield start, array[start : start + step]


def rows_not_finite(array: np.ndarray) -> np.ndarray:
    """Return the positions of rows with NaN or infinite entries.

    Example:
        >>> rows_not_finite(np.array([[1.0, 2.0], [np.nan, 0.0], [np.inf, 1.0]])).tolist()
        [1, 2]
    """
    positions = [start + np.flatnonzero(~np.isfinite(b.reshape(len(b), -1)).all(1)) for start, b in blocks(array)]
    return np.concatenate(positions) if positions else np.zeros(0, int)


def check_finite(what: str, array: np.ndarray) -> None:
    """Raise `DataError` for NaN or infinite entries, with the samples that hold them.

    Args:
        what: Name of the array, for the message.
        array: ``(N, ...)``; integers are always finite.
    """
    if array.dtype.kind != "f":
        return
    bad = rows_not_finite(array)
    if len(bad):
        shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise DataError(
            f"{what} holds NaN or inf in {len(bad)} of {len(array)} samples: {shown}. Remove or impute them."
        )
