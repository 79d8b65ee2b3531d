"""Readers of numbers: cells of a table, feature sequences, and one array per file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise._validation import Interval
from counterpoise.data._info import Modality
from counterpoise.data._kinds import kind_of
from counterpoise.data.preparation._files import fitted, open_npy, read_npy
from counterpoise.data.preparation._findings import Remark, UnreadableError
from counterpoise.data.preparation._reader import Reader

__all__ = ["ArrayFile", "Numbers", "Padded"]

LOOKED_AT: Final = 200
"""Files whose headers are read to learn the shape of all."""


class Numbers(Reader):
    """Numbers of a table's row, of one shape, float32.

    Args:
        shape: ``(D,)``, or ``(T, D)`` for a sequence.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def read(self, source: Any, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        try:
            with np.errstate(over="ignore"):  # what does not fit becomes infinite and is reported
                row = np.asarray(source, np.float32)
        except (TypeError, ValueError) as error:
            raise UnreadableError("undecodable", f"{str(source)[:60]!r} is not an array of numbers") from error
        if row.shape != self.shape:
            raise UnreadableError("undecodable", f"shape {row.shape}, expected {self.shape}")
        if not np.isfinite(row).all():
            bad = int((~np.isfinite(row)).sum())
            raise UnreadableError("not finite", f"{bad} of {row.size} numbers are empty or infinite")
        return row

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        return Modality(name, "vector" if len(self.shape) == 1 else "sequence", self.shape)


class Padded(Reader):
    """Feature sequences ``(T, D)`` of any length, cut to the last ``length`` steps or padded with zeros in front.

    Infinite and NaN entries (COVAREP has -inf where a frame has no pitch) become 0 and are reported.

    Args:
        size: D.
        length: Steps.
    """

    settings = ("length",)

    def __init__(self, size: int, length: int) -> None:
        Interval(1, integer=True).check("Padded", "length", length)
        self.size, self.length = size, length

    def read(self, source: Any, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        with np.errstate(over="ignore"):  # what does not fit becomes infinite and is reported
            rows = np.asarray(source, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.size:
            raise UnreadableError("undecodable", f"shape {rows.shape}, expected (T, {self.size})")
        bad = ~np.isfinite(rows)
        if bad.any():
            remark("not finite", f"{int(bad.sum())} of {rows.size} entries, set to 0")
        rows = np.where(bad, 0, rows)[-self.length :]
        return np.pad(rows, ((self.length - len(rows), 0), (0, 0)))

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        return Modality(name, "sequence", (self.length, self.size))


class ArrayFile(Reader):
    """One ``.npy`` per sample, all of the commonest shape."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype = "float32"

    def fit(self, sources: Iterable[Path]) -> None:
        """Take the commonest shape and type of the first readable files."""
        shapes: Counter[tuple[tuple[int, ...], str]] = Counter()
        for source in islice(sources, LOOKED_AT):
            try:
                array = open_npy(source)
            except UnreadableError:
                continue
            if array.dtype.kind in "uibf":
                pixels = array.dtype == np.uint8 and array.ndim > 1
                shapes[array.shape, "uint8" if pixels else "float32"] += 1
        if shapes:
            self.shape, self.dtype = shapes.most_common(1)[0][0]

    def read(self, source: Path, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        array = read_npy(source)
        if self.dtype == "uint8" and array.dtype != np.uint8:
            raise UnreadableError(
                "undecodable", f"{source}: {array.dtype}, expected uint8 pixels as in the other files"
            )
        return fitted(array, self.shape, source).astype(self.dtype).reshape(self._stored)

    @property
    def _stored(self) -> tuple[int, ...]:
        """The shape of a sample: grey images get a channel."""
        grey = len(self.shape) == 2 and kind_of("", self.shape, np.dtype(self.dtype)) == "image"
        return (1, *self.shape) if grey else self.shape or (1,)

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        kind = kind_of("", self._stored, np.dtype(self.dtype))
        return Modality(name, kind, self._stored)
