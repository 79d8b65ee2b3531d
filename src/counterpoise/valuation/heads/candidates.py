"""Candidate heads of the default estimator, of growing capacity; held-out likelihood chooses among them.

All are linear in fixed features of the input (or a table of cells), so that fitting is convex and quick and the
overfitting of the chosen one can be corrected for; see `counterpoise.valuation.estimators.variational`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor

from counterpoise.valuation.assembly import Subset
from counterpoise.valuation.heads.linear import L2_GRID, LinearHeads, standardise
from counterpoise.valuation.heads.saturating import PENALTY, saturating_heads
from counterpoise.valuation.heads.spread import SpreadHeads
from counterpoise.valuation.heads.table import STRENGTHS, TableHeads, cells, discrete_columns
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["Candidate", "Heads", "candidates", "linear_candidate"]

MAX_CELLS: Final = 256
MAX_FEATURES: Final = 800
MAX_QUADRATIC: Final = 38
MAX_RANDOM: Final = 24
RANDOM_FEATURES: Final = 200
MAX_SPREAD: Final = 128
MAX_SATURATING: Final = 128
SPREAD_GRID: Final = (1.0, 10.0, 100.0, 1000.0)


class Heads(Protocol):
    """Interface of the heads of a candidate: `LinearHeads` or `TableHeads`."""

    def fit(self, train: Tensor, strength: Tensor, /, *, tolerance: float = ...) -> Tensor:
        """Return one set of weights per training set ``(P, N)`` and penalty ``(P,)``."""

    def logits(self, weights: Tensor) -> Tensor:
        """Return ``(N, P, C)``."""


@dataclass(frozen=True)
class Candidate:
    """One kind of head for one subset of the modalities, and the penalties to try."""

    name: str
    heads: Heads | SpreadHeads
    grid: tuple[float, ...]


def candidates(problem: EstimatorInput, subset: Subset) -> Iterator[Candidate]:
    """Yield the candidate heads, the simplest first.

    - ``linear``, with an indicator for every value of the columns that take few values;
    - ``table``: where all columns take few values, frequencies per combination;
    - ``saturating``: linear, with a fitted share of wrong labels;
    - ``cells``: linear, with an indicator for every combination of the columns that take few values, and where there
      is room these times the other columns;
    - ``quadratic``: linear, with all products of two columns;
    - ``kernel``: linear, with random Fourier features of many widths.

    The last two are for at most 38 and 24 columns. Features of more than 512 columns get the linear heads only.
    """
    raw = [problem.features[m] for m in subset]
    n, dim = problem.n, sum(x.shape[1] for x in raw)
    if dim * n > 2e7 or dim > 512:
        yield _linear("linear", problem, [_standard(x, np.float32) for x in raw])
        return
    matrix = np.concatenate(raw, 1).astype(np.float64)
    matrix = matrix[:, (matrix != matrix[:1]).any(0)]
    if not matrix.shape[1]:
        yield _linear("linear", problem, [torch.zeros(n, 1, dtype=torch.float64)])
        return
    columns = _Columns.of(matrix)
    yield from _simple(problem, columns)
    if not columns.suffices(problem):
        yield from _flexible(problem, columns)


@dataclass(frozen=True)
class _Columns:
    """The columns of a subset.

    Attributes:
        x: ``(N, D)``, standardised, with an indicator for every value of the columns that take few values.
        rest: The other columns, standardised.
        cell: ``(N,)`` numbers of the combinations of the columns with few values; None where there are too many.
        finite: Whether all columns take few values.
    """

    x: Tensor
    rest: Tensor
    cell: np.ndarray | None
    finite: bool

    @classmethod
    def of(cls, matrix: np.ndarray) -> _Columns:
        few = discrete_columns(matrix)
        cell = cells(matrix[:, few], min(MAX_CELLS, len(matrix) // 5)) if few.any() else None
        x = _distinct(_standard(_indicators(matrix, few), np.float64))
        return cls(x, _standard(matrix[:, ~few], np.float64), cell, bool(few.all()))

    def tabulated(self, problem: EstimatorInput) -> bool:
        """Return whether a table of the combinations represents the columns completely."""
        return self.finite and self.cell is not None and TableHeads.suits(problem.task)

    def suffices(self, problem: EstimatorInput) -> bool:
        """Return whether such a table has enough samples per cell that no other kind can be better."""
        return self.tabulated(problem) and self.cell is not None and 50 * int(self.cell.max()) < problem.n


def _simple(problem: EstimatorInput, columns: _Columns) -> Iterator[Candidate]:
    """Yield linear heads, and a table where all columns take few values."""
    x, cell, tabulated = columns.x, columns.cell, columns.tabulated(problem)
    if not tabulated or cell is None or x.shape[1] < cell.max():
        yield _linear("linear", problem, [x])
    if tabulated and cell is not None:
        yield Candidate("table", TableHeads(cell, problem.target, problem.task), STRENGTHS)


def _flexible(problem: EstimatorInput, columns: _Columns) -> Iterator[Candidate]:
    """Yield heads with a variance of their own, with combinations of values, with products and with random features."""
    x, extra = columns.x, columns.x
    if problem.task.is_gaussian and x.shape[1] <= MAX_SPREAD and 5 * x.shape[1] < problem.n:
        yield _spread(problem, x)
    yield from _saturating(problem, x)
    if columns.cell is not None and not columns.tabulated(problem) and columns.cell.max() > 1:
        blocks = [_standard(np.eye(columns.cell.max() + 1)[columns.cell], np.float64), columns.rest]
        yield from _combinations(problem, columns.cell, blocks)
        extra = torch.cat(blocks, 1)
    if x.shape[1] <= MAX_QUADRATIC:
        i, j = np.triu_indices(x.shape[1])
        products = x[:, i] * x[:, j]
        yield _linear("quadratic", problem, [extra, standardise(products[:, products.std(0) > 1e-9])])
    if x.shape[1] <= MAX_RANDOM and not columns.finite:
        yield _linear("kernel", problem, [extra, standardise(_random_features(x, problem.seed))])


def _saturating(problem: EstimatorInput, x: Tensor) -> Iterator[Candidate]:
    """Yield linear heads of bounded confidence, if some labels seem to be wrong."""
    if problem.task.is_gaussian or x.shape[1] > MAX_SATURATING:
        return
    heads = saturating_heads([x], problem.target, problem.task)
    if heads is not None:
        yield Candidate("saturating", heads, (PENALTY,))


def _spread(problem: EstimatorInput, x: Tensor) -> Candidate:
    squares = [standardise(x.square())] if 10 * x.shape[1] < problem.n else []
    return Candidate("spread", SpreadHeads(x, torch.cat([x, *squares], 1), problem.target), SPREAD_GRID)


def _combinations(problem: EstimatorInput, cell: np.ndarray, blocks: list[Tensor]) -> Iterator[Candidate]:
    """Yield linear heads on indicators of the cells, and where there is room on these times the other columns."""
    yield _linear("cells", problem, blocks)
    indicators, rest = torch.from_numpy(np.eye(cell.max() + 1)[cell]), blocks[1]
    if 0 < rest.shape[1] * indicators.shape[1] <= MAX_FEATURES:
        products = (rest[:, :, None] * indicators[:, None]).flatten(1)
        yield _linear("cells x rest", problem, [*blocks, standardise(products)])


def linear_candidate(problem: EstimatorInput, subset: Subset) -> Candidate:
    """Return linear heads on the unchanged columns."""
    blocks = [_standard(problem.features[m], np.float32) for m in subset]
    return Candidate("linear", LinearHeads(blocks, problem.target, problem.task), L2_GRID)


def _indicators(matrix: np.ndarray, few: np.ndarray) -> np.ndarray:
    """Return the columns, those with few but more than two values as one indicator per value but the first."""
    columns = []
    for k, column in enumerate(matrix.T):
        levels = np.unique(column) if few[k] else column[:2]
        columns.append((column[:, None] == levels[1:]).astype(float) if len(levels) > 2 else column[:, None])
    return np.concatenate(columns, 1)


def _distinct(x: Tensor) -> Tensor:
    """Return standardised columns without those that an earlier one equals up to its sign (one of two indicators)."""
    same = ((x.T @ x).abs() / len(x) > 1 - 1e-9).triu(1).any(0)
    return x[:, ~same]


def _linear(name: str, problem: EstimatorInput, blocks: list[Tensor]) -> Candidate:
    size = problem.n * sum(block.shape[1] for block in blocks)
    if size > 5 * 10**4:
        blocks = [block.float() for block in blocks]
    grid = L2_GRID if name == "linear" else L2_GRID[1:]
    return Candidate(name, LinearHeads(blocks, problem.target, problem.task), grid)


def _standard(x: np.ndarray, dtype: type) -> Tensor:
    # The mean goes first: float32 does not hold a column whose offset is much larger than its spread.
    return standardise(torch.from_numpy(np.ascontiguousarray(x))).to(
        torch.float32 if dtype is np.float32 else torch.float64
    )


def _random_features(x: Tensor, seed: int) -> Tensor:
    """Return random Fourier features of Gaussian kernels whose widths spread over a factor of sixteen."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(x.shape[1], RANDOM_FEATURES, generator=generator, dtype=x.dtype)
    scale = 2 ** (4 * torch.rand(RANDOM_FEATURES, generator=generator, dtype=x.dtype) - 2)
    phase = 2 * torch.pi * torch.rand(RANDOM_FEATURES, generator=generator, dtype=x.dtype)
    return torch.cos(x @ (directions * scale / x.shape[1] ** 0.5) + phase)
