"""Many small convex problems at once: limited-memory BFGS over a batch, each problem with its own history and step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["minimise"]

Objective: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]


def minimise(
    objective: Objective,
    start: Tensor,
    precondition: Callable[[Tensor], Tensor],
    *,
    iterations: int = 100,
    tolerance: float = 1e-7,
    history: int = 10,
) -> Tensor:
    """Minimise P independent convex functions with the same number of unknowns.

    Args:
        objective: from ``(P, K)`` to the values ``(P,)`` and the gradients ``(P, K)``.
        start: ``(P, K)``.
        precondition: an approximation of the inverse Hessian times a vector, ``(P, K)`` to ``(P, K)``.
        iterations: at most so many.
        tolerance: stop when the decrease that the quadratic model predicts is below this for every problem.
        history: pairs remembered.

    Returns:
        ``(P, K)``, the best points found.

    Example:
        >>> target = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
        >>> minimise(lambda x: (0.5 * (x - target).square().sum(-1), x - target), torch.zeros(2, 2), lambda g: g)
        tensor([[ 1.,  2.],
                [ 3., -1.]])
    """
    x = start
    value, gradient = objective(x)
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=history)
    for _ in range(iterations):
        direction = -_two_loop(gradient, pairs, precondition)
        slope = (gradient * direction).sum(-1)
        if not (slope < -tolerance).any():
            break
        step = torch.ones_like(value)
        slack = 16 * torch.finfo(value.dtype).eps * value.abs().clamp_min(1e-3)
        for _ in range(20):
            candidate = x + step[:, None] * direction
            new_value, new_gradient = objective(candidate)
            worse = ~(new_value <= value + 1e-4 * step * slope + slack)
            if not worse.any():
                break
            step = torch.where(worse, step / 2, step)
        else:
            step = torch.where(worse, torch.zeros_like(step), step)
            candidate = x + step[:, None] * direction
            new_value, new_gradient = objective(candidate)
        moved, change = candidate - x, new_gradient - gradient
        curvature = (moved * change).sum(-1)
        inverse = torch.where(curvature > 1e-30, 1 / curvature.clamp_min(1e-30), torch.zeros_like(curvature))
        pairs.append((moved, change, inverse))
        x, value, gradient = candidate, new_value, new_gradient
        if not (step > 0).any():
            break
    return x


def _two_loop(
    gradient: Tensor, pairs: deque[tuple[Tensor, Tensor, Tensor]], precondition: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the L-BFGS inverse Hessian times the gradient, per problem."""
    q, coefficients = gradient, []
    for moved, change, inverse in reversed(pairs):
        a = inverse * (moved * q).sum(-1)
        coefficients.append(a)
        q = q - a[:, None] * change
    r = precondition(q)
    if pairs:
        moved, change, inverse = pairs[-1]
        scale = (change * precondition(change)).sum(-1) * inverse
        r = r * torch.where(scale > 0, 1 / scale.clamp_min(1e-30), torch.ones_like(scale))[:, None]
    for (moved, change, inverse), a in zip(pairs, reversed(coefficients), strict=True):
        b = inverse * (change * r).sum(-1)
        r = r + (a - b)[:, None] * moved
    return r
