"""Nested tensors: one modality's input is a tensor, or a mapping of tensors (token ids and their mask)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "Nested",
    "concat",
    "leaves",
    "map_leaves",
    "map_named",
    "size_of",
    "take",
    "to_device",
    "where",
    "zeros_like",
]

Nested: TypeAlias = "Tensor | Mapping[str, Any]"
"""The input of one modality: a tensor, or a (nested) mapping of tensors."""


def leaves(value: Nested, name: str = "") -> dict[str, Tensor]:
    """Return every tensor by its dotted path.

    Example:
        >>> list(leaves({"text": {"ids": torch.zeros(1), "mask": torch.zeros(1)}}))
        ['text.ids', 'text.mask']
    """
    if isinstance(value, Tensor):
        return {name: value}
    tensors: dict[str, Tensor] = {}
    for key, part in value.items():
        tensors |= leaves(part, f"{name}.{key}".lstrip("."))
    return tensors


def map_leaves(function: Callable[..., Tensor], value: Nested, *others: Nested) -> Nested:
    """Apply a function to every tensor, together with the tensors of ``others`` at the same place.

    Example:
        >>> map_leaves(torch.add, {"a": torch.ones(1)}, {"a": torch.ones(1)})
        {'a': tensor([2.])}
    """
    if isinstance(value, Tensor):
        return function(value, *others)
    nested: list[Any] = list(others)
    return {key: map_leaves(function, part, *(other[key] for other in nested)) for key, part in value.items()}


def map_named(function: Callable[[str, Tensor], Tensor], value: Nested, name: str = "") -> Nested:
    """Apply a function to every tensor; its first argument is the dotted path, as in `leaves`."""
    if isinstance(value, Tensor):
        return function(name, value)
    return {key: map_named(function, part, f"{name}.{key}".lstrip(".")) for key, part in value.items()}


def size_of(value: Nested) -> int:
    """Return the number of samples, the length of the first dimension."""
    return len(next(iter(leaves(value).values())))


def take(value: Nested, index: Tensor | slice) -> Nested:
    """Return the samples at ``index``, a slice or a tensor of positions."""

    def pick(x: Tensor) -> Tensor:
        return x[index.to(x.device) if isinstance(index, Tensor) else index]

    return map_leaves(pick, value)


def concat(parts: Sequence[Nested]) -> Nested:
    """Concatenate batches of one structure along the first dimension."""
    return map_leaves(lambda *tensors: torch.cat(tensors), *parts)


def zeros_like(value: Nested) -> Nested:
    """Return zeros of the same structure."""
    return map_leaves(torch.zeros_like, value)


def where(rows: Tensor, value: Nested, other: Nested) -> Nested:
    """Return ``value`` in the rows where ``rows`` ``(B,)`` is true, and ``other`` elsewhere.

    Example:
        >>> where(torch.tensor([True, False]), torch.ones(2, 1), torch.zeros(2, 1)).flatten()
        tensor([1., 0.])
    """
    return map_leaves(lambda x, y: torch.where(rows.view(-1, *[1] * (x.ndim - 1)), x, y), value, other)


def to_device(value: Any, device: torch.device | str, *, non_blocking: bool = False) -> Any:
    """Move every tensor to ``device``."""
    return map_leaves(lambda x: x.to(device, non_blocking=non_blocking), value)
