"""Copies among samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

MIN_DISTINCT: Final = 30
"""With fewer distinct rows, equal rows are values of a discrete variable."""

MAX_REPEATS: Final = 20
"""Rows that repeat more often than this on average are values of a discrete variable."""

CHANCE: Final = 4.0
"""Equal rows count as chance up to this multiple of the number expected from independent columns."""

WIDE: Final = 1 << 14
"""Rows of more bytes than this are hashed as bytes, which is then faster than hashing their numbers."""

COMPARED: Final = 4096
"""Maximum number of columns of an array from which the expected number of equal rows is computed."""

HALF_COLUMNS: Final = 1.2
"""Equal rows count as chance if half of the columns have more equal pairs than this multiple of those of all
columns."""

FREQUENT: Final = 0.05
"""A value that fills more than this share of a continuous column is a placeholder (for missing cells, for example), if
its frequency also exceeds `FREQUENT_RATIO` times the median."""

FREQUENT_RATIO: Final = 10.0
"""Smallest ratio of the frequency of a placeholder to the median frequency of the values of the column."""


def find_copies(arrays: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return which samples are copies of each other, as numbers from 0 ``(N,)``, or None if there are no copies.

    Samples are copies if all of their columns are equal and this is unlikely to be chance, because discrete data repeat
    without being copied. Equal rows count as chance in three cases: a few distinct rows make up all samples; the
    frequencies of the values in each column explain as many equal pairs; or half of the columns already have many more
    equal pairs than all columns together. Rows whose continuous columns all hold placeholders (the value that fills
    missing cells, or the zeros of a sensor that is off) are not copies either.

    Args:
        arrays: ``(N, ...)`` each, of the same samples.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(60, 2))
        >>> find_copies([np.repeat(x, 2, axis=0)])[:6].tolist(), find_copies([x])
        ([0, 0, 1, 1, 2, 2], None)
    """
    n = len(arrays[0])
    arrays = [a.reshape(n, -1) for a in arrays]
    code = _row_codes(arrays)
    distinct, first, copies = np.unique(code, return_index=True, return_inverse=True)
    if not MIN_DISTINCT <= len(distinct) < n < MAX_REPEATS * len(distinct):
        return None
    arrays = [_some_columns(a) for a in arrays]
    continuous = [_continuous(a[first]) for a in arrays]
    bare = _without_values(np.concatenate([a[:, smooth] for a, smooth in zip(arrays, continuous, strict=True)], 1))
    if bare.any():
        order = np.where(bare, len(distinct) + np.arange(n), copies.reshape(-1))
        copies = np.unique(order, return_inverse=True)[1]
    if _are_chance(_equal_pairs(copies), arrays, first, continuous):
        return None
    first = np.unique(copies, return_index=True)[1]
    order = np.argsort(np.argsort(first))
    return order[copies.reshape(-1)]


def _are_chance(
    pairs: float, arrays: Sequence[np.ndarray], first: np.ndarray, continuous: Sequence[np.ndarray]
) -> bool:
    """Return whether as many equal pairs are likely in columns that are not copied."""
    if pairs <= CHANCE * _chance_pairs(arrays, first, continuous):
        return True
    return not any(c.any() for c in continuous) and _half_pairs(arrays) > HALF_COLUMNS * pairs


def _without_values(x: np.ndarray) -> np.ndarray:
    """Return which rows ``(N,)`` hold a placeholder, a value far more frequent than others, in every continuous column.

    Copies alone do not make a value so frequent: if rows are copied, other values are repeated as well.
    """
    bare = np.full(len(x), x.shape[1] > 0)
    for column in x.T:
        _, value, counts = np.unique(column, return_inverse=True, return_counts=True)
        frequent = counts > max(FREQUENT * len(column), FREQUENT_RATIO * np.median(counts))
        bare &= frequent[value.reshape(-1)]
        if not bare.any():
            break
    return bare


def _row_codes(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return ``(N,)`` hashes of the rows of all arrays together, equal for equal rows."""
    n = len(arrays[0])
    code = np.zeros(n, dtype=np.uint64)
    rng = np.random.default_rng(1)
    for a in arrays:
        if a.shape[1] * a.itemsize > WIDE:
            digests = b"".join(hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=8).digest() for row in a)
            code += np.frombuffer(digests, dtype=np.uint64)
            continue
        weights = rng.integers(1, 2**63, size=a.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        for start in range(0, n, 4096):
            bits = np.ascontiguousarray(a[start : start + 4096] + 0.0, dtype=np.float64).view(np.uint64)  # -0.0 is 0.0
            mixed = (bits ^ (bits >> np.uint64(29))) * weights
            mixed ^= mixed >> np.uint64(32)
            code[start : start + 4096] += (mixed * np.uint64(0x9E3779B97F4A7C15)).sum(1, dtype=np.uint64)
    return code


def _some_columns(a: np.ndarray) -> np.ndarray:
    """Return at most `COMPARED` columns, evenly spaced, which is enough to estimate how many rows are equal by
    chance.
    """
    if a.shape[1] <= COMPARED:
        return a
    return a[:, np.linspace(0, a.shape[1] - 1, COMPARED).astype(int)]


def _equal_pairs(codes: np.ndarray) -> float:
    sizes = np.bincount(codes.reshape(-1)).astype(float)
    return float((sizes * (sizes - 1)).sum() / 2)


def _half_pairs(arrays: Sequence[np.ndarray]) -> float:
    """Return the number of equal pairs in half of the columns, averaged over five draws of columns."""
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(5):
        # At least one column of each array would favour arrays of few columns, so that all columns are drawn together.
        dims = [a.shape[1] for a in arrays]
        chosen = np.zeros(sum(dims), dtype=bool)
        chosen[rng.permutation(sum(dims))[: (sum(dims) + 1) // 2]] = True
        parts = np.split(chosen, np.cumsum(dims)[:-1])
        codes = _row_codes([a[:, part] for a, part in zip(arrays, parts, strict=True) if part.any()])
        pairs.append(_equal_pairs(np.unique(codes, return_inverse=True)[1]))
    return float(np.mean(pairs))


def _chance_pairs(arrays: Sequence[np.ndarray], first: np.ndarray, continuous: Sequence[np.ndarray]) -> float:
    """Return how many equal pairs independent columns of the same frequencies would have.

    The frequencies of continuous columns are those in distinct rows: if rows are copied, so are their values.
    """
    n = len(arrays[0])
    pairs = n * (n - 1) / 2
    for a, smooth in zip(arrays, continuous, strict=True):
        for k, column in enumerate(a.T):
            sizes = np.unique(column[first] if smooth[k] else column, return_counts=True)[1].astype(float)
            count = sizes.sum()
            pairs *= float((sizes * (sizes - 1)).sum()) / max(count * (count - 1), 1)
            if pairs < 1e-3:
                return pairs
    return pairs


def _continuous(x: np.ndarray) -> np.ndarray:
    """Return which columns of distinct rows ``(U, D)`` hold fractions that differ in nearly every row."""
    mask = (x != np.round(x)).any(0)
    mask[mask] = [2 * len(np.unique(column)) > len(x) for column in x[:, mask].T]
    return np.asarray(mask)
