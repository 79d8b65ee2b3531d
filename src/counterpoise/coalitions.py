r"""Coalitions: subsets of modalities, and Shapley values of a function of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import chain, combinations
from math import comb
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["shapley", "shapley_weight", "shapley_weights", "subsets"]

Player = TypeVar("Player", bound=Hashable)


def subsets(count: int) -> list[tuple[int, ...]]:
    """Return all subsets of ``range(count)``, the empty one first and the full one last.

    Example:
        >>> subsets(2)
        [(), (0,), (1,), (0, 1)]
    """
    return list(chain.from_iterable(combinations(range(count), size) for size in range(count + 1)))


def shapley_weight(size: int, count: int) -> float:
    r"""Return the weight of one marginal contribution in a Shapley value, :math:`|S|!(M-|S|-1)!/M!`.

    Args:
        size: Number of players in the coalition S that the player joins.
        count: Number of players M.

    Example:
        >>> shapley_weight(0, 3) == 1 / 3
        True
    """
    return 1 / (count * comb(count - 1, size))


def shapley_weights(count: int) -> Tensor:
    r"""Return the matrix ``(M, 2^M)`` that turns values of `subsets` into Shapley values, float64.

    :math:`\phi_m = \sum_{S \not\ni m} \frac{|S|!(M-|S|-1)!}{M!} (v(S \cup m) - v(S))`.

    Example:
        >>> shapley_weights(2)
        tensor([[-0.5000,  0.5000, -0.5000,  0.5000],
                [-0.5000, -0.5000,  0.5000,  0.5000]], dtype=torch.float64)
    """
    weights = torch.zeros(count, 2**count, dtype=torch.float64)
    for column, subset in enumerate(subsets(count)):
        for m in range(count):
            share = shapley_weight(len(subset) - (m in subset), count)
            weights[m, column] = share if m in subset else -share
    return weights


def shapley(values: Mapping[frozenset[Player], Any], players: Sequence[Player]) -> dict[Player, Any]:
    """Return the Shapley value of every player.

    Args:
        values: The value of each coalition, the empty one included: numbers, or arrays of one shape.
        players: All players.

    Example:
        >>> v = {frozenset(): 0.0, frozenset("a"): 1.0, frozenset("b"): 0.0, frozenset("ab"): 2.0}
        >>> shapley(v, "ab")
        {'a': 1.5, 'b': 0.5}
    """
    count = len(players)
    attributions = {}
    for m in players:
        without = [s for s in values if m not in s]
        attributions[m] = sum(shapley_weight(len(s), count) * (values[s | {m}] - values[s]) for s in without)
    return attributions
