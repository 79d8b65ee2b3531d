"""Conversion of inputs, batch by batch, to matrices on which classifiers are fitted. Labels are not used, so that
information can only be lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pad

from counterpoise.corruptions import is_mask
from counterpoise.diagnosis._samples import Rows, Value, named_leaves
from counterpoise.diagnosis._texts import hashed_texts

__all__ = ["MAX_COLUMNS", "MatrixBuilder", "as_matrix"]

MAX_COLUMNS: Final = 512
KEPT: Final = 128
MOST_PIXELS: Final = 4096
BUCKETS: Final = 4096
"""Token ids beyond this number share columns."""


def as_matrix(value: Value, *, seed: int = 0) -> tuple[Tensor, str]:
    """Return ``(N, D)`` float64 and a description of the conversion, empty if none was needed.

    Tensors are flattened. Integers ``(N, L)`` with more than two columns count as token ids (0 is padding) and become
    counts per token; texts become counts of hashed words and of their groups of three letters. Images and videos of
    more than 4,096 numbers are averaged over blocks first. More than 512 columns are replaced by their 128 principal
    components.

    Args:
        value: A tensor ``(N, ...)``, a list of N texts, or a mapping of these; masks are ignored.
        seed: Seed of the randomised decomposition.

    Example:
        >>> as_matrix(torch.tensor([[2, 2, 1], [1, 0, 0]]))[0]          # counts of the tokens 1 and 2
        tensor([[1., 2.],
                [1., 0.]], dtype=torch.float64)
    """
    builder = MatrixBuilder()
    builder.add(value)
    return builder.matrix(seed=seed)


class MatrixBuilder:
    """Collector of one modality, batch by batch; of large inputs it keeps only summaries."""

    def __init__(self) -> None:
        self._parts: dict[str, Rows] = {}
        self._notes: set[str] = set()

    def add(self, value: Value) -> None:
        """Add the samples of a batch."""
        leaves = named_leaves(value)
        masks = {name: leaf for name, leaf in leaves.items() if is_mask(name) and isinstance(leaf, Tensor)}
        for name, leaf in leaves.items():
            if is_mask(name):
                continue
            self._parts.setdefault(name, Rows()).add(self._summary(leaf, masks.values()))

    def _summary(self, leaf: Any, masks: Iterable[Tensor]) -> Tensor:
        if not isinstance(leaf, Tensor):
            self._notes.add("hashed words" if all(isinstance(x, str) for x in leaf) else "")
            return hashed_texts(leaf)
        if _is_tokens(leaf):
            mask = next((x for x in masks if x.shape == leaf.shape), None)
            return leaf if mask is None else leaf * (mask != 0).to(leaf.dtype)
        if leaf.ndim >= 4 and leaf[0].numel() > MOST_PIXELS:
            self._notes.add("pixels averaged over blocks")
            return _averaged(leaf)
        return leaf.float() if leaf.dtype in (torch.bfloat16, torch.float16) else leaf

    def matrix(self, *, seed: int = 0) -> tuple[Tensor, str]:
        """Return ``(N, D)`` float64 and a description of the conversion. The batches are released meanwhile."""
        columns = [self._columns(self._parts.pop(name).parts()) for name in list(self._parts)]
        matrix = torch.cat([c.flatten(1) for c in columns], 1) if len(columns) > 1 else columns[0].flatten(1)
        notes = sorted(note for note in self._notes if note)
        if matrix.shape[1] > MAX_COLUMNS and len(matrix) > KEPT and bool(matrix.isfinite().all()):
            notes.append(f"{KEPT} principal components of {matrix.shape[1]} columns")
            matrix = _components(matrix, seed)
        return matrix.double(), ", ".join(notes)

    def _columns(self, parts: list[Tensor]) -> Tensor:
        if _is_tokens(parts[0]):
            self._notes.add("token counts")
            longest = max(part.shape[1] for part in parts)
            return _counts(torch.cat([pad(part, (0, longest - part.shape[1])) for part in parts]))
        if len({tuple(part.shape[1:]) for part in parts}) > 1:  # sequences of differing length
            self._notes.add("averages over time")
            return torch.cat([part.reshape(len(part), -1, part.shape[-1]).float().mean(1) for part in parts])
        joined = torch.cat(parts)
        return joined if joined.dtype in (torch.float32, torch.float64) else joined.double()


def _is_tokens(leaf: Tensor) -> bool:
    whole = not leaf.is_floating_point() and leaf.dtype not in (torch.bool, torch.uint8)
    return whole and leaf.ndim == 2 and leaf.shape[1] > 2 and bool((leaf >= 0).all())


def _averaged(images: Tensor) -> Tensor:
    """Return ``(N, ..., H', W')`` float32 of at most `MOST_PIXELS` numbers a sample."""
    outer = int(np.prod(images.shape[1:-2]))
    side = max(int((MOST_PIXELS / outer) ** 0.5), 1)
    flat = images.reshape(len(images), outer, *images.shape[-2:])
    size = (min(side, flat.shape[-2]), min(side, flat.shape[-1]))
    return torch.cat([adaptive_avg_pool2d(part.float(), size) for part in flat.split(64)])


def _counts(ids: Tensor) -> Tensor:
    """Return how often every token occurs in each sample; padding does not count."""
    bucket = torch.where(ids > 0, (ids - 1) % BUCKETS + 1, 0).long()
    counts = torch.zeros(len(ids), int(bucket.max()) + 1, dtype=torch.float32)
    counts.scatter_add_(1, bucket, torch.ones_like(bucket, dtype=torch.float32))
    counts = counts[:, 1:]
    used = (counts > 0).any(0)
    return counts[:, used] if used.any() else counts.new_zeros(len(ids), 1)


def _components(matrix: Tensor, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        left, values, _ = torch.svd_lowrank(matrix.sub_(matrix.mean(0)), q=KEPT, niter=2)
    return left * values
