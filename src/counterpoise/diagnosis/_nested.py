"""What one modality may be: a tensor, or a mapping of tensors. Joining, choosing and changing such things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoise.errors import DataError
from counterpoise.records import Nested

__all__ = ["join", "to_tensors"]


def to_tensors(value: Any) -> Nested:
    """Return arrays, numbers and lists as tensors; mappings keep their keys.

    Raises:
        DataError: for what cannot be a tensor (text, say).

    Example:
        >>> to_tensors({"ids": np.zeros((2, 3), dtype=int)})["ids"].shape
        torch.Size([2, 3])
    """
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: to_tensors(part) for key, part in value.items()}
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"A model's inputs should be tensors, arrays or mappings of them. Found {type(value).__name__} of "
            f"{array.dtype}. Turn text into token ids before the loader hands it out."
        )
    return torch.from_numpy(array)


def join(parts: Sequence[Nested]) -> Nested:
    """Join batches; sequences that were padded to different lengths are padded with zeros to the longest.

    Example:
        >>> join([torch.ones(1, 2), torch.ones(1, 3)])
        tensor([[1., 1., 0.],
                [1., 1., 1.]])
    """
    first = parts[0]
    if not isinstance(first, Tensor):
        nested: list[Any] = list(parts)
        return {key: join([part[key] for part in nested]) for key in first}
    tensors: list[Tensor] = list(parts)  # type: ignore[arg-type]
    shapes = {tuple(x.shape[1:]) for x in tensors}
    if len(shapes) == 1:
        return torch.cat(tensors)
    if len({len(shape) for shape in shapes}) != 1:
        raise DataError(f"Batches should differ in length only. Found samples of shapes {sorted(shapes)}.")
    longest = [max(sizes) for sizes in zip(*shapes, strict=True)]
    joined = first.new_zeros(sum(len(x) for x in tensors), *longest)
    start = 0
    for x in tensors:
        joined[(slice(start, start + len(x)), *(slice(0, size) for size in x.shape[1:]))] = x
        start += len(x)
    return joined
