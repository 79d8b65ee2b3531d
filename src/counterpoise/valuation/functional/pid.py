r"""Partial information decomposition of two sources and a label, from a table of probabilities.

.. math:: I(A, B; Y) = R + U_A + U_B + S, \quad I(A; Y) = R + U_A, \quad I(B; Y) = R + U_B

One more equation is needed, and several have been proposed. Two definitions are implemented:

- `broja` (Bertschinger, Rauh, Olbrich, Jost and Ay, Entropy 2014): unique information is the smallest :math:`I_Q(A; Y |
  B)` of all distributions Q that agree with P on (A, Y) and on (B, Y). It is never negative, and is the reference.
- `imin` (Williams and Beer, arXiv 1004.2515): redundancy is :math:`\sum_y p(y) \min_m I(Y = y; Z_m)`. It needs only
  each source's classifier, so it scales; it counts two independent bits about Y as redundant if they are equally
  informative about each y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import linprog

from counterpoise.errors import DataError

__all__ = ["Decomposition", "broja", "imin"]

TINY: Final = 1e-300


@dataclass(frozen=True)
class Decomposition:
    """Redundant, unique and synergistic information of two sources about a label, in nats.

    Attributes:
        redundant: Information that both sources carry.
        unique_a: Information that only the first source carries.
        unique_b: Information that only the second source carries.
        synergistic: Information that only both sources together carry.
        definition: ``broja`` or ``imin``.
        gap: Maximum distance from the optimum (`broja`), in nats.
    """

    redundant: float
    unique_a: float
    unique_b: float
    synergistic: float
    definition: str
    gap: float = 0.0


def _checked(joint: np.ndarray) -> np.ndarray:
    joint = np.asarray(joint, dtype=np.float64)
    if joint.ndim != 3 or not np.isfinite(joint).all() or (joint < 0).any() or joint.sum() <= 0:
        raise DataError(
            f"A decomposition needs a table (A, B, Y) of non-negative numbers. Found shape {joint.shape}"
            + (", with negative or non-finite entries." if joint.ndim == 3 else ".")
        )
    return joint / joint.sum()


def _information(pair: np.ndarray) -> float:
    """Return the mutual information of a table ``(X, Y)``."""
    product = pair.sum(1, keepdims=True) * pair.sum(0, keepdims=True)
    return float((pair * np.log(np.maximum(pair, TINY) / np.maximum(product, TINY))).sum())


def broja(joint: np.ndarray, *, tolerance: float = 1e-6, iterations: int = 5000) -> Decomposition:
    r"""Return the decomposition of Bertschinger et al.

    :math:`\min_Q I_Q(A; Y | B)` is a double minimisation, :math:`\min_Q \min_R D(Q \| R)` with R such that A and Y are
    independent given B (Banerjee, Rauh and Montúfar, ISIT 2018). Both steps are information projections: the one on R
    is in closed form, the one on Q is iterative proportional fitting. The problem is convex; every hundred steps
    linear programs (HiGHS, by scipy) bound how far the optimum can be, and stop the iteration.

    Args:
        joint: ``(A, B, Y)`` probabilities or counts; normalised here.
        tolerance: Maximum distance from the optimum in nats at which the iteration stops.
        iterations: Maximum number of steps; ``gap`` is the accuracy that was reached.

    Raises:
        DataError: For another shape, negative or non-finite entries.

    Example:
        >>> xor = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]])
        >>> round(float(broja(xor).synergistic / np.log(2)), 4)
        1.0
    """
    p = _checked(joint)
    a_y, b_y = p.sum(1), p.sum(0)  # (A, Y), (B, Y)
    y = p.sum((0, 1))
    q = a_y[:, None] * b_y[None] / np.maximum(y, TINY)
    gap = np.inf
    for step in range(iterations):
        q_b = q.sum((0, 2), keepdims=True)
        r = q.sum(2, keepdims=True) * q.sum(0, keepdims=True) / np.maximum(q_b, TINY)
        q = _fit_marginals(r, a_y, b_y)
        if step % 100 == 99 or step == iterations - 1:
            gap = _gap(q, a_y, b_y)
            if gap < tolerance:
                break
    i_a, i_b, i_ab = _information(a_y), _information(b_y), _information(p.reshape(-1, p.shape[2]))
    together = _information(q.reshape(-1, p.shape[2]))
    unique_a, unique_b = together - i_b, together - i_a
    return Decomposition(i_a - unique_a, unique_a, unique_b, i_ab - together, "broja", float(gap))


def _fit_marginals(r: np.ndarray, a_y: np.ndarray, b_y: np.ndarray, *, rounds: int = 200) -> np.ndarray:
    """Return the information projection of ``r`` on the tables with the given marginals (A, Y) and (B, Y)."""
    for _ in range(rounds):
        r = r * (a_y / np.maximum(r.sum(1), TINY))[:, None]
        sums = r.sum(0)
        r = r * (b_y / np.maximum(sums, TINY))[None]
        if np.abs(r.sum(1) - a_y).max() < 1e-13:
            break
    return r


def _gap(q: np.ndarray, a_y: np.ndarray, b_y: np.ndarray) -> float:
    """Return the Frank-Wolfe gap: an upper bound of f(q) - min f for f(q) = I_q(A, B; Y) up to a constant."""
    total = q.sum(2, keepdims=True)
    gradient = np.log(np.maximum(q, 1e-30) / np.maximum(total, 1e-30))
    gap = 0.0
    size_a, size_b = len(a_y), len(b_y)
    rows = np.kron(np.eye(size_a), np.ones(size_b))
    columns = np.kron(np.ones(size_a), np.eye(size_b))
    for k in range(a_y.shape[1]):
        cost = gradient[:, :, k].reshape(-1)
        allowed = (a_y[:, None, k] * b_y[None, :, k]).reshape(-1) > 0
        limits = np.concatenate([a_y[:, k], b_y[:, k]])
        bounds = [(0, None if ok else 0) for ok in allowed]
        solution = linprog(cost, A_eq=np.concatenate([rows, columns]), b_eq=limits, bounds=bounds, method="highs")
        gap += float(cost @ q[:, :, k].reshape(-1)) - (solution.fun if solution.status == 0 else -np.inf)
    return max(gap, 0.0)


def imin(joint: np.ndarray) -> Decomposition:
    r"""Return the decomposition of Williams and Beer.

    Args:
        joint: ``(A, B, Y)`` probabilities or counts; normalised here.

    Raises:
        DataError: For another shape, negative or non-finite entries.

    Example:
        >>> copies = np.zeros((2, 2, 2)); copies[0, 0, 0] = copies[1, 1, 1] = 0.5
        >>> round(float(imin(copies).redundant / np.log(2)), 4)
        1.0
    """
    p = _checked(joint)
    a_y, b_y, y = p.sum(1), p.sum(0), p.sum((0, 1))
    redundant = float(np.minimum(_specific(a_y, y), _specific(b_y, y)) @ y)
    i_a, i_b, i_ab = _information(a_y), _information(b_y), _information(p.reshape(-1, p.shape[2]))
    return Decomposition(redundant, i_a - redundant, i_b - redundant, i_ab - i_a - i_b + redundant, "imin")


def _specific(pair: np.ndarray, y: np.ndarray) -> np.ndarray:
    r"""Return ``(Y,)``: :math:`I(Y = y; X) = \sum_x p(x | y) \log p(y | x) / p(y)`."""
    x = pair.sum(1, keepdims=True)
    ratio = np.log(np.maximum(pair, TINY) / np.maximum(x * y, TINY))
    return np.asarray((pair * ratio).sum(0) / np.maximum(y, TINY))
