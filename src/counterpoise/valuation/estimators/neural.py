r"""Neural bounds with a learnt critic f(z, y): InfoNCE (van den Oord et al. 2018), SMILE (Song and Ermon, ICLR 2020).

There is one critic per fold, trained on the other folds with early stopping; all folds run at once as batched matrix
products. Both bounds are evaluated on left-out samples. They are provided for comparison: on small data, small critics
learn less than the convex classifiers of the default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor

from counterpoise.valuation._valuation import Valuation
from counterpoise.valuation.assembly import Subset, SubsetEstimate
from counterpoise.valuation.estimators._common import value_subsets
from counterpoise.valuation.heads.linear import standardise
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["infonce", "infonce_pointwise", "smile", "smile_pointwise"]

WIDTH: Final = 64
RANK: Final = 16
STEPS: Final = 300
BATCH: Final = 128
NEGATIVES: Final = 512
CLIP: Final = 5.0


def infonce_pointwise(scores: Tensor) -> Tensor:
    r"""Return ``(..., B)``: :math:`f_{ii} - \log \frac1B \sum_j e^{f_{ij}}`, whose mean is at most log B.

    Args:
        scores: ``(..., B, B)``, f(z_i, y_j).

    Example:
        >>> infonce_pointwise(100 * torch.eye(4)).mean()                # log 4
        tensor(1.3863)
    """
    return scores.diagonal(dim1=-2, dim2=-1) - scores.logsumexp(-1) + np.log(scores.shape[-1])


def smile_pointwise(scores: Tensor, *, clip: float = CLIP) -> Tensor:
    r"""Return the contribution of each sample to the bound, ``(B,)``.

    Their mean is :math:`\frac1B \sum f_{ii} - \log \overline{\exp(\mathrm{clip}(f_{ij}))}_{i \ne j}`. The contribution
    of a sample includes its influence on the logarithm, so that the spread of the contributions gives the standard
    error.

    Args:
        scores: ``(B, B)``, f(z_i, y_j).
        clip: Limit of the log-ratio in the second term; with it, the estimate is no longer a bound of the information.

    Example:
        >>> smile_pointwise(torch.zeros(3, 3)).tolist()
        [0.0, 0.0, 0.0]
    """
    off = ~torch.eye(len(scores), dtype=torch.bool)
    ratio = (scores.clamp(-clip, clip).exp() * off).sum(1) / (len(scores) - 1)
    return scores.diagonal() - ratio.mean().log() - (ratio / ratio.mean() - 1)


def _nce_loss(scores: Tensor) -> Tensor:
    return -infonce_pointwise(scores).mean(-1)


def _js_loss(scores: Tensor) -> Tensor:
    off = ~torch.eye(scores.shape[-1], dtype=torch.bool)
    together = F.softplus(-scores.diagonal(dim1=-2, dim2=-1)).mean(-1)
    apart = (F.softplus(scores) * off).sum((-1, -2)) / off.sum()
    return together + apart


class _Critics:
    """K critics f(z, y) = g(z) . h(y) with one hidden layer each, as batched products."""

    def __init__(self, folds: int, dim: int, outputs: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)

        def layer(inputs: int, outputs: int) -> list[Tensor]:
            weight = torch.randn(folds, inputs, outputs, generator=generator) * inputs**-0.5
            return [weight.requires_grad_(), torch.zeros(folds, 1, outputs, requires_grad=True)]

        self.towers = [[*layer(size, WIDTH), *layer(WIDTH, RANK)] for size in (dim, outputs)]

    @property
    def parameters(self) -> list[Tensor]:
        return [p for tower in self.towers for p in tower]

    def __call__(self, z: Tensor, y: Tensor) -> Tensor:
        """Return ``(K, B, B)`` for ``(K, B, D)`` and ``(K, B, C)``."""
        g, h = (
            torch.baddbmm(b2, torch.baddbmm(b1, x, w1).relu(), w2)
            for x, (w1, b1, w2, b2) in zip((z, y), self.towers, strict=True)
        )
        return g @ h.transpose(1, 2)


def _train(problem: EstimatorInput, x: Tensor, y: Tensor, loss: Callable[[Tensor], Tensor]) -> _Critics:
    """Return critics, each trained without its fold and stopped early on a tenth of its training samples."""
    fold = torch.from_numpy(problem.fold)
    generator = torch.Generator().manual_seed(problem.seed)
    critics = _Critics(problem.folds, x.shape[1], y.shape[1], problem.seed)
    optimizer = torch.optim.AdamW(critics.parameters, lr=3e-3, weight_decay=1e-2)
    pools, checks = [], []
    for k in range(problem.folds):
        rows = (fold != k).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        cut = max(len(rows) // 10, 2)
        checks.append(rows[torch.randint(cut, (NEGATIVES,), generator=generator)] if cut < 8 else rows[:cut])
        pools.append(rows[cut:])
    size = min(len(c) for c in checks)
    held = torch.stack([c[: min(size, NEGATIVES)] for c in checks])
    best = torch.full((problem.folds,), torch.inf)
    kept = [p.detach().clone() for p in critics.parameters]
    for step in range(STEPS + 1):
        if step % 20 == 0:
            with torch.no_grad():
                value = loss(critics(x[held], y[held]))
            better = value < best
            best = torch.where(better, value, best)
            for p, copy in zip(critics.parameters, kept, strict=True):
                copy[better] = p.detach()[better]
        batch = torch.stack([pool[torch.randint(len(pool), (BATCH,), generator=generator)] for pool in pools])
        optimizer.zero_grad()
        loss(critics(x[batch], y[batch])).sum().backward()
        optimizer.step()
    with torch.no_grad():
        for p, copy in zip(critics.parameters, kept, strict=True):
            p.copy_(copy)
    return critics


def _neural(
    problem: EstimatorInput,
    loss: Callable[[Tensor], Tensor],
    pointwise: Callable[[Tensor], Tensor],
    *,
    name: str,
    bound: str,
    confidence: float,
    notes: tuple[str, ...],
) -> Valuation:
    if problem.task.has_classes:
        y = F.one_hot(problem.target, problem.task.num_outputs).float()
    else:
        y = standardise(problem.target).float()

    def measure(subset: Subset) -> SubsetEstimate:
        x = standardise(torch.from_numpy(problem.matrix(subset))).float()
        critics = _train(problem, x, y, loss)
        points = np.empty(problem.n)
        generator = torch.Generator().manual_seed(problem.seed)
        for k in range(problem.folds):
            rows = torch.from_numpy(np.flatnonzero(problem.fold == k))
            rows = rows[torch.randperm(len(rows), generator=generator)]
            for part in rows.tensor_split(max(1, -(-len(rows) // NEGATIVES))):
                with torch.no_grad():
                    shape = (problem.folds, -1, -1)
                    scores = critics(x[part].expand(*shape), y[part].expand(*shape))[k]
                points[part.numpy()] = pointwise(scores.double()).numpy()
        return SubsetEstimate(points)

    return value_subsets(problem, measure, estimator=name, confidence=confidence, bound=bound, notes=notes)


def infonce(problem: EstimatorInput, *, confidence: float = 0.95) -> Valuation:
    """The contrastive bound with up to 512 negatives: a lower bound that saturates at the log of their number."""
    size = min(NEGATIVES, problem.n // problem.folds)
    note = f"cannot exceed log {size} = {np.log(size):.2f} nats"
    return _neural(
        problem, _nce_loss, infonce_pointwise, name="infonce", bound="lower", confidence=confidence, notes=(note,)
    )


def smile(problem: EstimatorInput, *, confidence: float = 0.95) -> Valuation:
    """The smoothed Donsker-Varadhan estimate, log-ratios clipped at 5: it has less variance, and is not a bound."""
    return _neural(problem, _js_loss, smile_pointwise, name="smile", bound="estimate", confidence=confidence, notes=())
