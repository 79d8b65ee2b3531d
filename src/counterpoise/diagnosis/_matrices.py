"""Inputs as matrices that heads can be fitted on. No label is looked at, so information can only be lost."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from counterpoise._tree import leaves
from counterpoise.records import Nested

__all__ = ["MAX_COLUMNS", "as_matrix"]

MAX_COLUMNS: Final = 512
KEPT: Final = 128
MOST_PIXELS: Final = 16384
BUCKETS: Final = 4096
"""Token ids beyond so many share columns."""


def as_matrix(value: Nested, *, seed: int = 0) -> tuple[Tensor, str]:
    """Return ``(N, D)`` float64 and what was done to get there, or an empty text.

    Tensors are flattened. Integers ``(N, L)`` with more than two columns count as token ids (0 is padding) and become
    counts per token. Images and videos of more than 16,384 numbers are averaged over blocks first. More than 512 columns are replaced by their 128 principal components.

    Args:
        value: a tensor ``(N, ...)`` or a mapping of such; leaves called ``*mask*`` are passed over.
        seed: of the randomised decomposition.

    Example:
        >>> as_matrix(torch.tensor([[2, 2, 1], [1, 0, 0]]))[0]          # counts of the tokens 1 and 2
        tensor([[1., 2.],
                [1., 0.]], dtype=torch.float64)
    """
    parts, tokens, pooled = [], False, False
    for name, leaf in leaves(value).items():
        if "mask" in name.rpartition(".")[2] or name.endswith("token_type_ids"):
            continue
        counted = not leaf.is_floating_point() and leaf.dtype not in (torch.bool, torch.uint8)
        counted = counted and leaf.ndim == 2 and leaf.shape[1] > 2 and bool((leaf >= 0).all())
        tokens |= counted
        if not counted and leaf.ndim >= 4 and leaf[0].numel() > MOST_PIXELS:
            leaf, pooled = _pooled(leaf), True
        parts.append(_counts(leaf) if counted else leaf.reshape(len(leaf), -1).double())
    matrix = torch.cat(parts, 1)
    notes = ["token counts"] if tokens else []
    notes += ["pixels averaged over blocks"] if pooled else []
    if matrix.shape[1] > MAX_COLUMNS and len(matrix) > KEPT and bool(matrix.isfinite().all()):
        notes.append(f"{KEPT} principal components of {matrix.shape[1]} columns")
        matrix = _components(matrix, seed)
    return matrix, ", ".join(notes)


def _pooled(images: Tensor) -> Tensor:
    """Return ``(N, ..., H', W')`` float32 of at most `MOST_PIXELS` numbers a sample."""
    outer = int(np.prod(images.shape[1:-2]))
    side = max(int((MOST_PIXELS / outer) ** 0.5), 1)
    flat = images.reshape(len(images), outer, *images.shape[-2:])
    size = (min(side, flat.shape[-2]), min(side, flat.shape[-1]))
    return torch.cat([adaptive_avg_pool2d(part.float(), size) for part in flat.split(256)])


def _counts(ids: Tensor) -> Tensor:
    """Return how often every token occurs in each sample; padding does not count."""
    bucket = torch.where(ids > 0, (ids - 1) % BUCKETS + 1, 0)
    counts = torch.zeros(len(ids), int(bucket.max()) + 1, dtype=torch.float64)
    counts.scatter_add_(1, bucket, torch.ones_like(bucket, dtype=torch.float64))
    counts = counts[:, 1:]
    used = (counts > 0).any(0)
    return counts[:, used] if used.any() else counts.new_zeros(len(ids), 1)


def _components(matrix: Tensor, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        centred = matrix - matrix.mean(0)
        left, values, _ = torch.svd_lowrank(centred, q=KEPT, niter=2)
    return left * values
