"""Many small convex problems at once: limited-memory BFGS over a batch, each problem with its own history and step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import torch
from torch import Tensor

__all__ = ["minimise"]

Objective: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Preconditioner: TypeAlias = Callable[[Tensor, Tensor], Tensor]

HALVINGS: Final = 20
"""Maximum number of halvings of a step before a problem counts as finished."""


@dataclass
class _State:
    """The problems that are still open: their numbers, points, values, gradients and histories."""

    active: Tensor
    x: Tensor
    value: Tensor
    gradient: Tensor
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = field(default_factory=deque)

    def close(self, solution: Tensor, done: Tensor) -> None:
        """Write the points of some problems to the solution, and drop these problems."""
        if not done.any():
            return
        solution[self.active[done]] = self.x[done]
        rows = ~done
        self.active, self.x = self.active[rows], self.x[rows]
        self.value, self.gradient = self.value[rows], self.gradient[rows]
        self.pairs = deque(((s[rows], y[rows], r[rows]) for s, y, r in self.pairs), maxlen=self.pairs.maxlen)


def minimise(
    objective: Objective,
    start: Tensor,
    precondition: Preconditioner,
    *,
    iterations: int = 100,
    tolerance: float = 1e-7,
    history: int = 10,
) -> Tensor:
    """Minimise P independent convex functions with the same number of unknowns.

    Problems that have converged are not evaluated any more.

    Args:
        objective: Function from points ``(A, K)`` and the numbers ``(A,)`` of their problems to the values ``(A,)`` and
            the gradients ``(A, K)``.
        start: ``(P, K)``.
        precondition: An approximation of the inverse Hessians times vectors ``(A, K)``, given the problems ``(A,)``.
        iterations: Largest number of steps.
        tolerance: A problem has converged when the decrease that its quadratic model predicts is below this.
        history: Number of pairs remembered.

    Returns:
        ``(P, K)``, the best points found.

    Example:
        >>> target = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
        >>> minimise(
        ...     lambda x, rows: (0.5 * (x - target[rows]).square().sum(-1), x - target[rows]),
        ...     torch.zeros(2, 2),
        ...     lambda g, rows: g,
        ... )
        tensor([[ 1.,  2.],
                [ 3., -1.]])
    """
    solution = start.clone()
    everything = torch.arange(len(start))
    state = _State(everything, start, *objective(start, everything), deque(maxlen=history))
    for _ in range(iterations):
        direction = -_two_loop(state, precondition)
        slope = (state.gradient * direction).sum(-1)
        done = slope >= -tolerance
        state.close(solution, done)
        if not len(state.active):
            break
        stuck = _line_search(objective, state, direction[~done], slope[~done])
        state.close(solution, stuck)
    solution[state.active] = state.x
    return solution


def _line_search(objective: Objective, state: _State, direction: Tensor, slope: Tensor) -> Tensor:
    """Move every open problem along its direction, by half as much until its value has decreased; or not at all.

    Returns:
        ``(A,)`` booleans: which problems have not moved.
    """
    step = torch.ones_like(state.value)
    slack = 16 * torch.finfo(step.dtype).eps * state.value.abs().clamp_min(1e-3)
    x = state.x + direction
    value, gradient = objective(x, state.active)
    worse = torch.zeros_like(step, dtype=torch.bool)
    for _ in range(HALVINGS):
        worse = ~(value <= state.value + 1e-4 * step * slope + slack)
        if not worse.any():
            break
        step[worse] /= 2
        x[worse] = state.x[worse] + step[worse, None] * direction[worse]
        value[worse], gradient[worse] = objective(x[worse], state.active[worse])
    else:
        x[worse], value[worse], gradient[worse] = state.x[worse], state.value[worse], state.gradient[worse]
    moved, change = x - state.x, gradient - state.gradient
    curvature = (moved * change).sum(-1)
    inverse = torch.where(curvature > 1e-30, 1 / curvature.clamp_min(1e-30), torch.zeros_like(curvature))
    state.pairs.append((moved, change, inverse))
    state.x, state.value, state.gradient = x, value, gradient
    return worse


def _two_loop(state: _State, precondition: Preconditioner) -> Tensor:
    """Return the L-BFGS inverse Hessian times the gradient, per problem."""
    q, coefficients = state.gradient, []
    for moved, change, inverse in reversed(state.pairs):
        a = inverse * (moved * q).sum(-1)
        coefficients.append(a)
        q = q - a[:, None] * change
    r = precondition(q, state.active)
    if state.pairs:
        moved, change, inverse = state.pairs[-1]
        scale = (change * precondition(change, state.active)).sum(-1) * inverse
        r = r * torch.where(scale > 0, 1 / scale.clamp_min(1e-30), torch.ones_like(scale))[:, None]
    for (moved, change, inverse), a in zip(state.pairs, reversed(coefficients), strict=True):
        b = inverse * (change * r).sum(-1)
        r = r + (a - b)[:, None] * moved
    return r
