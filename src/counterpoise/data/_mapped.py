"""Rows that stay on disk until they are read."""

from __future__ import annotations

import bisect
import ctypes
import mmap
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise.errors import DataError

__all__ = ["MappedRows", "as_rows", "blocks", "check_finite", "rows_not_finite"]

IN_MEMORY: Final = 1 << 29
"""Data up to this many bytes (512 MiB) are copied into memory once, contiguous."""
COPIED: Final = 1 << 24
"""Arrays of larger data are copied if they have at most this number of bytes (16 MiB)."""
BLOCK: Final = 1 << 25
RESIDENT: Final = 1 << 25
"""Approximate number of mapped bytes after which they are released (32 MiB)."""
_AT_ONCE: Final = 32
"""Number of rows that are read between two checks of the mapped size; a row may map up to 2 MiB around it."""


class MappedRows:
    """An array ``(N, ...)`` in memory-mapped pieces, of which only the indexed rows are read.

    It has the part of NumPy's interface that a split needs: ``shape``, ``dtype``, ``len``, indexing by a position, a
    slice or an array of positions, and ``np.asarray`` (which reads everything).

    The pages that were read are released every 32 MiB, so that the resident memory of the process does not grow to the
    size of the data. The files stay in the cache of the operating system while there is room.

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
        self._least = _mapped_bytes()
        self._files: list[tuple[int, int]] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.concatenate(self.pieces).astype(dtype or self.dtype, copy=False)

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, (int, np.integer)):
            return self[np.array([index])][0]
        rows = self._positions(index)
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for first in range(0, len(rows), _AT_ONCE):
            part = rows[first : first + _AT_ONCE]
            home = np.searchsorted(self.starts, part, side="right") - 1
            for k in np.unique(home):
                here = home == k
                values[first : first + _AT_ONCE][here] = self.pieces[k][part[here] - self.starts[k]]
            self._release()
        return values

    def _positions(self, index: Any) -> np.ndarray:
        if isinstance(index, slice):
            return np.arange(*index.indices(len(self)))
        rows = np.asarray(index)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64, copy=False)
        if len(rows) and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"Positions should be in {-len(self)}..{len(self) - 1}. Found {rows.min()}..{rows.max()}.")
        return np.where(rows < 0, rows + len(self), rows)

    def _release(self) -> None:
        """Unmap the pages that were read, if many are mapped. The next read maps them again."""
        if _LIBRARY is None or _mapped_bytes() < self._least + RESIDENT:
            return
        if self._files is None:
            self._files = _mapped_files(self.pieces)
        for start, length in self._files:
            _LIBRARY.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED)
        if hasattr(_LIBRARY, "malloc_trim"):  # batches that were freed leave holes between what is kept of them
            _LIBRARY.malloc_trim(ctypes.c_size_t(0))
        self._least = _mapped_bytes()

    def min(self) -> Any:
        """Return the smallest entry."""
        return min(piece.min() for piece in self.pieces)

    def max(self) -> Any:
        """Return the largest entry."""
        return max(piece.max() for piece in self.pieces)


_LIBRARY: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


def _mapped_bytes() -> int:
    """Return the bytes of files that are mapped into this process and in memory."""
    if _LIBRARY is None:
        return 0
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[2]) * mmap.PAGESIZE


def _mapped_files(pieces: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Return address and length of the pages that are mapped from files and are not memory of the process.

    Only these pages can be dropped without loss. The list is empty on systems other than Linux.
    """
    if _LIBRARY is None:
        return []
    maps = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, inode, *_ = line.split()
        if inode != "0":
            start, end = (int(x, 16) for x in span.split("-"))
            maps.append((start, end))
    maps.sort()
    files = []
    for piece in pieces:
        start = piece.ctypes.data
        k = bisect.bisect_right(maps, (start, sys.maxsize)) - 1
        if k >= 0 and start + piece.nbytes <= maps[k][1] and piece.flags.c_contiguous:
            first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
            length = (start + piece.nbytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
            if length > 0:
                files.append((first, length))
    return files


def as_rows(pieces: Sequence[np.ndarray], *, large: bool = False) -> np.ndarray:
    """Return the pieces as one array: a copy if it is small, else `MappedRows` (typed as an array).

    Args:
        pieces: The pieces.
        large: Whether the array belongs to data of more than `IN_MEMORY` bytes, of which only small arrays are copied.
    """
    if sum(piece.nbytes for piece in pieces) <= (COPIED if large else IN_MEMORY):
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
