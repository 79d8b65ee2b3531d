"""Samples of one modality: tensors, lists of texts or other objects, and nested mappings of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from counterpoise.errors import DataError

__all__ = [
    "Rows",
    "Value",
    "concat_rows",
    "each_leaf",
    "named_leaves",
    "num_rows",
    "repeat_row",
    "shapes",
    "take_rows",
    "to_value",
]

Value: TypeAlias = "Tensor | list[Any] | dict[str, Any]"
"""The input of one modality of a batch: a tensor or a list with one entry per sample, or a mapping of these."""


class Rows:
    """Rows that are added batch by batch and stored in one block of memory.

    Small results in separate blocks would fragment the memory between large temporary inputs, and memory would grow
    with every batch.

    Example:
        >>> rows = Rows()
        >>> for start in range(3):
        ...     rows.add(torch.tensor([start, start]))
        >>> rows.joined()
        tensor([0, 0, 1, 1, 2, 2])
    """

    def __init__(self) -> None:
        self._block = torch.empty(0)
        self._others: list[Tensor] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, part: Tensor) -> None:
        """Add some rows; those of another shape or dtype are kept as they are."""
        if not self._count:
            self._block = part.new_empty(0, *part.shape[1:])
        if self._others or part.shape[1:] != self._block.shape[1:] or part.dtype != self._block.dtype:
            self._others.append(part)
            return
        count = self._count + len(part)
        if count > len(self._block):
            block = self._block.new_empty(max(count, 2 * len(self._block), 1024), *part.shape[1:])
            block[: self._count] = self._block[: self._count]
            self._block = block
        self._block[self._count : count] = part
        self._count = count

    def parts(self) -> list[Tensor]:
        """Return the rows as one part, or as several parts if shapes or dtypes differ."""
        return [self._block[: self._count], *self._others]

    def joined(self) -> Tensor:
        """Return all rows."""
        parts = self.parts()
        return torch.cat(parts) if len(parts) > 1 else parts[0]


def to_value(value: Any) -> Value:
    """Return an input as tensors where it is numeric; texts and other objects stay a list, mappings keep their keys.

    Tensors are copied out of the shared memory of loader workers, whose file descriptors would otherwise stay open.

    Raises:
        DataError: For numbers that torch cannot hold (complex, masked arrays).

    Example:
        >>> to_value({"ids": np.zeros((2, 3), dtype=int)})["ids"].shape, to_value(("a", "b"))
        (torch.Size([2, 3]), ['a', 'b'])
    """
    if isinstance(value, Tensor):
        return _own(value)
    if isinstance(value, Mapping):
        return {str(key): to_value(part) for key, part in value.items()}
    if isinstance(value, list | tuple) and value and isinstance(value[0], Tensor):
        return _stacked([_own(part) for part in value])
    if isinstance(value, np.ma.MaskedArray):
        raise DataError("A model's inputs should not be masked arrays. Fill the masked entries first.")
    return _from_array(value.toarray() if hasattr(value, "toarray") else value)  # scipy.sparse


def _from_array(value: Any) -> Tensor | list[Any]:
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        return list(value)
    if array.dtype.kind in "cmMV":
        raise DataError(f"A model's inputs should be numbers or texts. Found {array.dtype}.")
    return _to_tensor(array) if array.dtype.kind in "fiub" else list(value)


def _stacked(parts: list[Tensor]) -> Tensor | list[Any]:
    return torch.stack(parts) if len({part.shape for part in parts}) == 1 else parts


def _to_tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # torch barely supports these
        array = array.astype(np.int64)
    return torch.from_numpy(np.array(array))


def _own(x: Tensor) -> Tensor:
    x = x.detach()
    x = x.to_dense() if x.layout != torch.strided else x
    return x.cpu().clone() if x.is_shared() else x.cpu()


def each_leaf(function: Callable[[str, Any], Any], value: Any, name: str = "") -> Any:
    """Apply a function to the last key above every leaf and to the leaf."""
    if isinstance(value, Mapping):
        return {key: each_leaf(function, part, key) for key, part in value.items()}
    return function(name, value)


def named_leaves(value: Value, name: str = "") -> dict[str, Any]:
    """Return every leaf by its dotted path."""
    if not isinstance(value, Mapping):
        return {name: value}
    leaves: dict[str, Any] = {}
    for key, part in value.items():
        leaves |= named_leaves(part, f"{name}.{key}".lstrip("."))
    return leaves


def num_rows(value: Value) -> int:
    """Return the number of samples."""
    return len(next(iter(named_leaves(value).values())))


def take_rows(value: Value, rows: Tensor | slice) -> Value:
    """Return some of the samples."""

    def pick(_: str, leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf[rows]
        return leaf[rows] if isinstance(rows, slice) else [leaf[i] for i in rows.tolist()]

    taken: Value = each_leaf(pick, value)
    return taken


def repeat_row(value: Value, count: int) -> Value:
    """Repeat the only sample of ``value``; tensors are expanded, not copied."""

    def repeat(_: str, leaf: Any) -> Any:
        return leaf.expand(count, *leaf.shape[1:]) if isinstance(leaf, Tensor) else leaf * count

    repeated: Value = each_leaf(repeat, value)
    return repeated


def concat_rows(parts: Sequence[Value]) -> Value:
    """Join batches of one shape."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {key: concat_rows([part[key] for part in parts]) for key in first}  # type: ignore[call-overload, index]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))  # type: ignore[arg-type]
    return [entry for part in parts for entry in part]


def shapes(inputs: Mapping[str, Value]) -> tuple[tuple[str, tuple[int, ...], str], ...]:
    """Return name, shape of one sample and dtype of every leaf; batches are joined only where these agree."""
    return tuple(
        (name, tuple(leaf.shape[1:]), str(leaf.dtype)) if isinstance(leaf, Tensor) else (name, (), "list")
        for name, leaf in named_leaves(dict(inputs)).items()
    )
