"""Deterministic epoch ordering, hold-out splits, and the batch loader of both training loops."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

from counterpoise.data._core import Split
from counterpoise.errors import ConfigError, DataError
from counterpoise.records import Batch

__all__ = ["BatchLoader", "Plan", "epoch_generator", "epoch_order", "holdout_split"]

BLOCK: Final = 1 << 20
"""Bytes of a block of neighbours, in files."""
WINDOW: Final = 256
"""Number of blocks whose samples are mixed."""
AHEAD: Final = 1
"""Number of batches that are read from files while the model computes."""

Plan: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""Function by which a method changes the order of an epoch; it takes and returns indices into the training split."""


def epoch_generator(seed: int, epoch: int, stream: int = 0) -> torch.Generator:
    """Return a generator whose state depends only on ``(seed, epoch, stream)``, not on earlier draws."""
    mixed = np.random.SeedSequence((seed, epoch, stream)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed))


def epoch_order(n: int, seed: int, epoch: int, block: int = 0) -> Tensor:
    """Return the permutation of ``0..n-1`` that belongs to an epoch, ``(n,)``.

    It depends only on its arguments, so that a run resumed at epoch 7 uses the same order as an uninterrupted run.

    With ``block``, samples are shuffled by blocks: blocks of neighbouring samples are drawn, and the samples of
    `WINDOW` blocks are mixed. The samples that are read within a short time then lie in few places of a file.

    Args:
        n: Number of samples.
        seed: Seed.
        epoch: Number of the epoch.
        block: Number of neighbours in a block; 0 permutes everything.

    Example:
        >>> bool((epoch_order(5, seed=0, epoch=3) == epoch_order(5, seed=0, epoch=3)).all())
        True
        >>> epoch_order(5, seed=0, epoch=3).sort().values
        tensor([0, 1, 2, 3, 4])
    """
    generator = epoch_generator(seed, epoch)
    if block < 1:
        return torch.randperm(n, generator=generator)
    blocks = torch.arange(n).split(block)
    mixed = []
    for chosen in torch.randperm(len(blocks), generator=generator).split(WINDOW):
        rows = torch.cat([blocks[k] for k in chosen.tolist()])
        mixed.append(rows[torch.randperm(len(rows), generator=generator)])
    return torch.cat(mixed) if mixed else torch.arange(0)


def holdout_split(
    target: np.ndarray, group: np.ndarray | None, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split positions into a kept and a held-out part, both sorted.

    Where there are two groups or more, whole groups are held out: they are drawn in a seeded order, and one is taken
    if that brings the held share nearer to ``share``; if none does, the smallest is. Without groups the held part is
    stratified by class (each class within one sample of its share, and at least one sample of it kept); targets that
    are not class ids are drawn at random.

    Args:
        target: ``(N,)`` class ids, or ``(N, C)`` labels or reals.
        group: ``(N,)`` group of each sample, or None.
        share: Wanted share of the held part, in (0, 1).
        seed: Seed.

    Raises:
        ConfigError: For a share outside (0, 1).
        DataError: If there are too few samples to keep one of each class and hold out one.

    Example:
        >>> target = np.array([0, 0, 0, 0, 1, 1, 1, 1])
        >>> kept, held = holdout_split(target, None, share=0.25, seed=0)
        >>> target[held]
        array([0, 1])
        >>> kept, held = holdout_split(target, np.array([7, 8, 9, 9, 7, 8, 9, 9]), share=0.5, seed=0)
        >>> held.tolist() in ([2, 3, 6, 7], [0, 1, 4, 5])
        True
    """
    if not 0 < share < 1:
        raise ConfigError(f"Parameter `share` of `holdout_split` should be in (0, 1). Found `share = {share}`.")
    rng = np.random.default_rng((seed, len(target)))
    if group is not None and len(np.unique(group)) > 1:
        held = np.isin(group, _draw_groups(group, share, rng))
    else:
        held = _draw_stratified(target, share, rng)
    return np.flatnonzero(~held), np.flatnonzero(held)


def _draw_groups(group: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    names, counts = np.unique(group, return_counts=True)
    wanted, total = share * counts.sum(), 0
    taken: list[int] = []
    for g in rng.permutation(len(names)):
        if abs(total + counts[g] - wanted) < abs(total - wanted) and len(taken) < len(names) - 1:
            taken.append(int(g))
            total += counts[g]
    return names[taken or [int(counts.argmin())]]


def _draw_stratified(target: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return a mask: shuffled samples sorted by class, from which every (1/share)-th is taken."""
    n = len(target)
    classes = target if target.ndim == 1 and target.dtype.kind in "iu" else np.zeros(n, dtype=np.int64)
    order = rng.permutation(n)
    order = order[np.argsort(classes[order], kind="stable")]
    first = np.r_[True, classes[order][1:] != classes[order][:-1]]  # one of each class stays
    free, wanted = order[~first], max(1, round(share * n))
    if wanted > len(free):
        raise DataError(
            f"Too few samples to hold out {share:.0%} and keep one of each class: {n} samples, {int(first.sum())} "
            "classes. Give more samples, or a smaller share."
        )
    held = np.zeros(n, dtype=bool)
    held[free[np.floor((np.arange(wanted) + rng.random()) * len(free) / wanted).astype(int)]] = True
    return held


class BatchLoader:
    """Batches of a split, in an order that depends on ``(seed, epoch)`` alone.

    Samples that are read from files are shuffled by blocks (see `epoch_order`), and a thread reads the next batches
    while the model computes.

    A last batch of one sample is merged with the batch before it, because batch norm cannot train on one sample.

    In distributed training, each of W processes yields its `share` of every batch. A batch then has ``W * batch_size``
    samples, in the order of a single process, and every sample is yielded by exactly one process. A last batch of fewer
    than W samples is merged with the batch before it.

    Args:
        split: The samples.
        batch_size: Samples per batch.
        seed: Seed of the orders.
        indices: The positions to use, ``(n,)``; all by default. `Batch.index` counts in the whole split all the same.
        plan: A method's re-sampling, called with each epoch's order and a generator of its own.
        shuffle: Whether to shuffle; False always keeps the order of ``indices``.

    Raises:
        ConfigError: For a batch size below 1.

    Example:
        >>> split = Split({"a": np.zeros((5, 2), np.float32), "b": np.zeros((5, 3), np.float32)}, np.arange(5))
        >>> loader = BatchLoader(split, 2, seed=0, indices=np.array([4, 2, 0]), shuffle=False)
        >>> [batch.index.tolist() for batch in loader]
        [[4, 2, 0]]
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        *,
        indices: np.ndarray | Tensor | None = None,
        plan: Plan | None = None,
        shuffle: bool = True,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(
                f"Parameter `batch_size` of `BatchLoader` should be at least 1. Found `batch_size = {batch_size}`."
            )
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.indices = torch.arange(len(split)) if indices is None else torch.as_tensor(indices, dtype=torch.long)
        self.plan = plan
        self.shuffle = shuffle
        self.epoch = 0
        self.rank, self.world = 0, 1

    def __len__(self) -> int:
        return self.count(len(self.indices), self.world)

    def count(self, samples: int, world: int = 1) -> int:
        """Return the number of batches of some samples in a number of processes."""
        return len(_bounds(samples, self.batch_size, world)) - 1

    def share(self, rank: int, world: int) -> None:
        """Yield only the share of one of several processes from now on.

        Args:
            rank: Number of the process, from 0.
            world: Number of processes.

        Raises:
            DataError: If there are fewer samples than processes.
        """
        if len(self.indices) < world:
            raise DataError(f"Each of {world} processes needs a sample. Found {len(self.indices)} samples.")
        self.rank, self.world = rank, world

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def order(self) -> Tensor:
        """Return the epoch's order, ``(n,)`` positions in the whole split."""
        if not self.shuffle:
            return self.indices
        block = max(BLOCK // max(self.split.sample_bytes, 1), 1) if self.split.is_mapped else 0
        order = self.indices[epoch_order(len(self.indices), self.seed, self.epoch, block)]
        return order if self.plan is None else self.plan(order, epoch_generator(self.seed, self.epoch, stream=1))

    def __iter__(self) -> Iterator[Batch]:
        return _read_ahead(self._batches()) if self.split.is_mapped else self._batches()

    def _batches(self) -> Iterator[Batch]:
        order = self.order()
        bounds = _bounds(len(order), self.batch_size, self.world)
        # Streams 0 and 1 are the order and the re-sampling, which are the same in all processes.
        stream = 2 + self.rank
        generator = epoch_generator(self.seed, self.epoch, stream) if self.shuffle else None
        for start, stop in pairwise(bounds):
            yield self.split.batch(order[start:stop].tensor_split(self.world)[self.rank], generator)


def _read_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the same batches while a thread reads the next ones; the order and the random draws stay the same."""
    with ThreadPoolExecutor(1, "counterpoise-reader") as reader:
        waiting = deque(reader.submit(next, batches, None) for _ in range(AHEAD))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(reader.submit(next, batches, None))
            yield batch


def _bounds(n: int, batch_size: int, world: int = 1) -> list[int]:
    size = batch_size * world
    bounds = [*range(0, n, size), n]
    if size > 1 and n > size and 0 < n % size < max(2, world):
        del bounds[-2]
    return bounds
