"""Linear heads on fixed features: many training sets (folds) and penalties at once, and the linear probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.errors import DataError
from counterpoise.tasks import Task, make_task, task_type
from counterpoise.valuation.heads.optimisation import minimise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["L2_GRID", "LinearHeads", "linear_probe", "standardise"]

L2_GRID: Final = (1e-2, 1.0, 10.0, 100.0, 1000.0, 10000.0)
"""Candidate penalties, as pseudo-observations: the objective is the summed loss plus half of this times |W|²."""

_CHUNK: Final = 2**23


def standardise(x: Tensor) -> Tensor:
    """Return the columns with mean 0 and standard deviation 1 (constant columns 0). Labels are not used."""
    x = x if x.is_floating_point() else x.double()
    centred = x - x.mean(0)
    largest = centred.abs().amax(0)
    # In units of the largest deviation, so that squares of very small or large units neither vanish nor overflow.
    unit = torch.where(largest > 0, largest, torch.ones_like(largest))
    centred = centred / unit
    scale = centred.square().mean(0).sqrt()
    dead = largest <= 8 * torch.finfo(x.dtype).eps * x.abs().amax(0)
    return torch.where(dead, torch.zeros_like(centred), centred / torch.where(dead, torch.ones_like(scale), scale))


def _in_row_space(blocks: list[Tensor]) -> list[Tensor]:
    """Return the same samples in at most N coordinates where there are more columns than samples.

    The penalty is the same in all directions, so the best weights lie in the span of the samples (representer theorem).
    A rotation of that span therefore loses nothing, and every prediction stays what it was.
    """
    n = len(blocks[0])
    if sum(block.shape[1] for block in blocks) <= n:
        return blocks
    gram = torch.zeros(n, n, dtype=torch.float64)
    for block in blocks:
        gram += (block @ block.T).double()
    values, vectors = torch.linalg.eigh(gram)
    kept = values > 1e-9 * values[-1].clamp_min(1e-300)
    return [(vectors[:, kept] * values[kept].sqrt()).to(blocks[0].dtype)] if kept.any() else [blocks[0][:, :1] * 0]


class LinearHeads:
    """Regularised linear heads with an unpenalised intercept on standardised features, for P training sets at once.

    Args:
        blocks: Matrices ``(N, D_k)`` side by side, standardised; they are not copied.
        target: Targets, as the task expects them: ``(N,)`` class ids or ``(N, C)``.
        task: The likelihood. Regression is ridge regression in closed form.

    Example:
        >>> x = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
        >>> heads = LinearHeads([x], torch.tensor([0, 0, 1, 1]), make_task("multiclass", 2))
        >>> weights = heads.fit(torch.ones(1, 4, dtype=torch.bool), torch.tensor([1.0]))
        >>> heads.logits(weights).argmax(-1).flatten().tolist()
        [0, 0, 1, 1]
    """

    def __init__(self, blocks: Sequence[Tensor], target: Tensor, task: Task) -> None:
        self.blocks = _in_row_space(list(blocks))
        self.target = target.to(self.blocks[0].dtype) if target.is_floating_point() else target
        self.task = task
        self.n = len(target)
        self.dim = sum(block.shape[1] for block in self.blocks)
        self._gram: Tensor | None = None

    def fit(self, train: Tensor, l2: Tensor, *, iterations: int = 100, tolerance: float = 1e-7) -> Tensor:
        """Fit one head per row of ``train``.

        Args:
            train: ``(P, N)`` booleans, the training samples of each head.
            l2: ``(P,)`` penalties in pseudo-observations (see `L2_GRID`).
            iterations: Maximum number of L-BFGS steps.
            tolerance: Expected gain of the next step, in nats per sample, below which the iteration stops.

        Returns:
            ``(P, D + 1, C)`` weights, the intercept last; D counts the coordinates that are used, at most N of them.
        """
        weight = train.to(self.blocks[0].dtype)
        size = weight.sum(1)
        if self.task.is_gaussian:
            return torch.stack([self._ridge(w, float(p)) for w, p in zip(weight, l2, strict=True)])
        weight = weight / size[:, None]
        penalty = (l2 / size).to(weight.dtype)
        shape = (self.task.num_outputs, self.dim + 1)
        inverses, which = self.preconditioners(penalty)

        def objective(x: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
            return self._loss(x.view(-1, *shape), weight[active], penalty[active])

        def precondition(g: Tensor, active: Tensor) -> Tensor:
            result = torch.empty_like(g)
            for k, inverse in enumerate(inverses):
                rows = which[active] == k
                if rows.any():
                    result[rows] = (g[rows].view(-1, shape[1]) @ inverse).view(-1, shape[0] * shape[1])
            return result

        start = weight.new_zeros(len(l2), *shape)
        start[:, :, -1] = self._prior(weight)
        solution = minimise(objective, start.flatten(1), precondition, iterations=iterations, tolerance=tolerance)
        return solution.view(-1, *shape).transpose(1, 2)

    def logits(self, weights: Tensor) -> Tensor:
        """Return ``(N, P, C)`` for all samples under all heads."""
        return self.outputs(weights.transpose(1, 2).contiguous()).permute(2, 0, 1)

    def outputs(self, weights: Tensor) -> Tensor:
        """Return ``(P, C, N)`` logits of weights ``(P, C, D + 1)``."""
        return torch.cat([self._forward(weights, rows) for rows in self._chunks(weights)], 2)

    def penalised(self, loss: Tensor, slope: Tensor, weights: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(P,)`` losses with the penalty and their gradients ``(P, C (D + 1))`` in the weights.

        Args:
            loss: ``(P,)`` losses.
            slope: ``(P, C, N)`` their gradient in the logits.
            weights: ``(P, C, D + 1)``.
            penalty: ``(P,)``.
        """
        gradient = weights.new_zeros(weights.shape)
        position = 0
        for block in self.blocks:
            width = block.shape[1]
            gradient[..., position : position + width] = slope @ block
            position += width
        gradient[..., -1] = slope.sum(-1)
        free = weights[..., :-1]
        gradient[..., :-1] += penalty[:, None, None] * free
        return loss + 0.5 * penalty * free.square().sum((1, 2)), gradient.flatten(1)

    def _chunks(self, weights: Tensor) -> list[slice]:
        step = max(1, _CHUNK // (weights.shape[0] * weights.shape[1]))
        return [slice(i, min(i + step, self.n)) for i in range(0, self.n, step)]

    def _forward(self, weights: Tensor, rows: slice) -> Tensor:
        """Return ``(P, C, rows)`` logits of weights ``(P, C, D + 1)``; a softmax is fast if rows come last."""
        problems, outputs, _ = weights.shape
        flat = weights.flatten(0, 1)
        total = flat[:, -1:].expand(-1, len(range(*rows.indices(self.n))))
        position = 0
        for block in self.blocks:
            width = block.shape[1]
            total = torch.addmm(total, flat[:, position : position + width], block[rows].T)
            position += width
        return total.reshape(problems, outputs, -1)

    def _loss(self, weights: Tensor, weight: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(P,)`` losses and ``(P, C (D + 1))`` gradients of weights ``(P, C, D + 1)``."""
        problems, outputs, _ = weights.shape
        value = weight.new_zeros(problems)
        gradient = weight.new_zeros(problems * outputs, self.dim + 1)
        for rows in self._chunks(weights):
            nll, residual = self._residual(self._forward(weights, rows), self.target[rows])
            own = weight[:, rows]
            value += (nll * own).sum(1)
            residual = (residual * own[:, None]).flatten(0, 1)
            position = 0
            for block in self.blocks:
                width = block.shape[1]
                gradient[:, position : position + width].addmm_(residual, block[rows])
                position += width
            gradient[:, -1] += residual.sum(1)
        gradient = gradient.view(problems, outputs, -1)
        free = weights[:, :, :-1]
        value = value + 0.5 * penalty * free.square().sum((1, 2))
        gradient[:, :, :-1] += penalty[:, None, None] * free
        return value, gradient.flatten(1)

    def _residual(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the negative log-likelihoods ``(P, rows)`` and their gradient in the logits ``(P, C, rows)``."""
        if self.task.has_classes:  # one pass, in place
            log_p = logits.log_softmax(1)
            index = target.expand(len(logits), 1, -1)
            nll = -log_p.gather(1, index).squeeze(1)
            residual = log_p.exp_()
            return nll, residual.scatter_add_(1, index, residual.new_full(index.shape, -1.0))
        turned = logits.transpose(1, 2)
        residual = self.task.residual(turned, target)
        return -self.task.log_likelihood(turned, target), residual.transpose(1, 2)

    def _prior(self, weight: Tensor) -> Tensor:
        """Return ``(P, C)``: the intercepts of heads that predict the label frequencies."""
        return self.task.prior_logits(self.target, 1e-3 / self.n, weight).to(weight.dtype)

    def gram(self) -> Tensor:
        """Return ``(D + 1, D + 1)``: the second moments of all samples, the intercept last."""
        if self._gram is None:
            total = self.blocks[0].new_zeros(self.dim + 1, self.dim + 1)
            step = max(1, _CHUNK // (self.dim + 1))
            for i in range(0, self.n, step):
                x = torch.cat([*(b[i : i + step] for b in self.blocks), total.new_ones(min(step, self.n - i), 1)], 1)
                total.addmm_(x.T, x)
            self._gram = total / self.n
        return self._gram

    def preconditioners(self, penalty: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the inverse of the curvature bound k X'X / n + penalty (Böhning) by penalty, and that of each head."""
        k = self.task.curvature
        gram = self.gram()
        ridge = torch.ones(self.dim + 1, dtype=gram.dtype)
        ridge[-1] = 0
        jitter = 1e-6 if gram.dtype == torch.float64 else 1e-4
        levels, which = penalty.unique(return_inverse=True)
        factors = (torch.linalg.cholesky(k * gram + torch.diag(p * ridge + jitter)) for p in levels)
        return [torch.cholesky_inverse(factor) for factor in factors], which

    def _ridge(self, weight: Tensor, l2: float) -> Tensor:
        rows = weight > 0
        x = torch.cat([*(block[rows] for block in self.blocks), weight.new_ones(int(rows.sum()), 1)], 1)
        ridge = torch.full((self.dim + 1,), l2 + 1e-8 * len(x), dtype=x.dtype)
        ridge[-1] = 0
        return torch.linalg.solve(x.T @ x + torch.diag(ridge), x.T @ self.target[rows])


def choose_l2(heads: LinearHeads, train: Tensor, test: Tensor, grid: Sequence[float] = L2_GRID) -> float:
    """Return the penalty of ``grid`` that predicts the samples ``test`` best after fitting on ``train``.

    Args:
        heads: The problem.
        train: ``(N,)`` booleans.
        test: ``(N,)`` booleans.
        grid: Penalties in pseudo-observations.
    """
    penalties = torch.tensor(list(grid))
    weights = heads.fit(train.expand(len(grid), -1), penalties, tolerance=1e-4)
    logits = heads.logits(weights)[test].transpose(0, 1)
    if heads.task.is_gaussian:
        loss = (logits - heads.target[test]).square().mean((1, 2))
    else:
        loss = -heads.task.log_likelihood(logits, heads.target[test]).mean(1)
    return float(penalties[loss.argmin()])


def linear_probe(
    train_x: ArrayLike | Tensor,
    train_y: ArrayLike | Tensor,
    test_x: ArrayLike | Tensor,
    test_y: ArrayLike | Tensor,
    task: Task | str = "multiclass",
) -> float:
    """Return the test score of a linear head on fixed features.

    Multinomial (Bernoulli, least-squares) regression on standardised features; the penalty is chosen on a fifth of
    the training samples, then the head is refitted on all of them. Deterministic.

    Args:
        train_x: ``(N, D)``.
        train_y: Targets of the training samples, as `Task` takes them.
        test_x: ``(N', D)``.
        test_y: Targets of the test samples.
        task: A `Task`, or its name.

    Returns:
        The accuracy (the mean share of right labels for multi-label), or R² averaged over the outputs for regression.

    Raises:
        DataError: For no samples, mismatched lengths or dimensions, or features that are not finite.

    Example:
        >>> x = np.linspace(-1, 1, 50)[:, None]
        >>> linear_probe(x, (x[:, 0] > 0).astype(int), x, (x[:, 0] > 0).astype(int))
        1.0
    """
    xs = [torch.as_tensor(np.asarray(x, dtype=np.float64)) for x in (train_x, test_x)]
    ys = [torch.as_tensor(np.asarray(y)) for y in (train_y, test_y)]
    for part, x, y in zip(("train", "test"), xs, ys, strict=True):
        if x.ndim != 2 or len(x) != len(y) or not len(x) or x.shape[1] != xs[0].shape[1]:
            raise DataError(
                f"A probe should get features (N, {xs[0].shape[-1]}) and N targets. Found {tuple(x.shape)} and "
                f"{len(y)} targets in {part}."
            )
        if not x.isfinite().all():
            raise DataError(f"The {part} features of a probe should be finite. Found NaN or inf.")
    if isinstance(task, str):
        task = make_task(task, task_type(task).count_outputs(torch.cat(ys)))
    y = torch.cat(ys)
    seen = torch.arange(len(y)) < len(ys[0])
    inner = seen & (torch.randperm(len(y), generator=torch.Generator().manual_seed(0)) % 5 == 0)
    mean, scale = xs[0].mean(0), xs[0].std(0, correction=0)
    x = (torch.cat(xs) - mean) / torch.where(scale > 1e-12 * mean.abs().clamp_min(1), scale, torch.inf)
    heads = LinearHeads([x.float() if x.numel() > 10**6 else x], y, task)
    usable = 0 < int(inner.sum()) < int(seen.sum())
    l2 = choose_l2(heads, seen & ~inner, inner) if usable else 1.0
    logits = heads.logits(heads.fit(seen[None], torch.tensor([l2]), tolerance=1e-6))[~seen, 0]
    return task.score(logits, ys[1])
