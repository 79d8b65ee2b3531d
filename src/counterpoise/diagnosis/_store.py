"""Storage of a loader's batches, in memory up to a budget and beyond it in temporary files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from counterpoise.diagnosis._samples import Value, concat_rows, named_leaves, num_rows, shapes, take_rows

__all__ = ["Store"]

BUDGET: Final = 64 * 2**20
"""Bytes of inputs that are held in memory."""

Inputs = dict[str, Value]


class Store:
    """Inputs of N samples, batch by batch.

    Args:
        budget: Bytes to hold in memory; further batches go to a temporary folder, which is removed with the store.

    Example:
        >>> store = Store()
        >>> store.add({"a": torch.zeros(3, 2)})
        >>> store.add({"a": torch.ones(2, 2)})
        >>> [len(inputs["a"]) for _, inputs in store.batches(4)], [len(inputs["a"]) for _, inputs in store.batches()]
        ([4, 1], [3, 2])
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.n = 0
        self.bytes_per_sample = 1
        self._budget, self._used = budget, 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._chunks: list[Inputs | Path] = []
        self._starts: list[int] = []
        self._kept: list[Tensor | None] = []
        self._shapes: list[Any] = []

    def add(self, inputs: Mapping[str, Value]) -> None:
        """Add a batch."""
        chunk: Inputs = dict(inputs)
        size = sum(_bytes(leaf) for leaf in named_leaves(chunk).values())
        self._starts.append(self.n)
        rows = num_rows(chunk)
        self.n += rows
        self.bytes_per_sample = max(self.bytes_per_sample, size // max(rows, 1))
        self._kept.append(None)
        self._shapes.append(shapes(chunk))
        storable = all(isinstance(leaf, Tensor) for leaf in named_leaves(chunk).values())
        if self._used + size <= self._budget or not storable:
            self._used += size
            self._chunks.append(chunk)
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="counterpoise-")
        path = Path(self._folder.name) / f"{len(self._chunks)}.pt"
        # A view would be saved with everything that it is a view of.
        torch.save({m: _contiguous(value) for m, value in chunk.items()}, path)
        self._chunks.append(path)

    def keep(self, rows: Tensor) -> None:
        """Keep only the samples at some positions (sorted); they are numbered again from 0."""
        starts, total = [], 0
        for k, start in enumerate(self._starts):
            end = self._starts[k + 1] if k + 1 < len(self._starts) else self.n
            own = rows[(rows >= start) & (rows < end)] - start
            kept = self._kept[k]
            self._kept[k] = own if kept is None else kept[own]
            starts.append(total)
            total += len(own)
        self._starts, self.n = starts, total

    @property
    def uniform(self) -> bool:
        """Whether all batches have samples of the same shapes."""
        return len(set(self._shapes)) <= 1

    @property
    def in_memory(self) -> bool:
        """Whether no batch had to be written to a file."""
        return self._folder is None

    def _chunk(self, k: int) -> Inputs:
        chunk = self._chunks[k]
        loaded: Inputs = torch.load(chunk, weights_only=True) if isinstance(chunk, Path) else chunk
        kept = self._kept[k]
        return loaded if kept is None else {m: take_rows(value, kept) for m, value in loaded.items()}

    def batches(self, size: int | None = None) -> Iterator[tuple[slice, Inputs]]:
        """Yield rows and inputs.

        Args:
            size: Number of samples per batch, to which the loader's batches are joined and split if their shapes agree;
                None keeps the loader's batches.
        """
        held: list[Inputs] = []
        start, count, shape = 0, 0, None
        for k in range(len(self._chunks)):
            own = len(self._kept[k]) if self._kept[k] is not None else None  # type: ignore[arg-type]
            if own == 0:
                continue
            if held and (size is None or count >= size or self._shapes[k] != shape):
                yield from self._split(held, start, size)
                start, count, held = start + count, 0, []
            chunk = self._chunk(k)
            held.append(chunk)
            count, shape = count + num_rows(chunk), self._shapes[k]
        if held:
            yield from self._split(held, start, size)

    @staticmethod
    def _split(held: list[Inputs], start: int, size: int | None) -> Iterator[tuple[slice, Inputs]]:
        joined = held[0] if len(held) == 1 else {m: concat_rows([part[m] for part in held]) for m in held[0]}
        count = num_rows(joined)
        step = size or count
        for low in range(0, count, step):
            high = min(low + step, count)
            part = joined if step >= count else {m: take_rows(v, slice(low, high)) for m, v in joined.items()}
            yield slice(start + low, start + high), part

    def row(self, position: int) -> Inputs:
        """Return one sample, padded as in its own batch."""
        k = max(i for i, start in enumerate(self._starts) if start <= position)
        chunk = self._chunk(k)
        at = torch.tensor([position - self._starts[k]])
        return {m: take_rows(value, at) for m, value in chunk.items()}

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._folder is not None:
            self._folder.cleanup()


def _bytes(leaf: Any) -> int:
    return leaf.numel() * leaf.element_size() if isinstance(leaf, Tensor) else 100 * len(leaf)


def _contiguous(value: Value) -> Value:
    if isinstance(value, Tensor):
        return value.clone()
    return {k: _contiguous(part) for k, part in value.items()} if isinstance(value, dict) else value
