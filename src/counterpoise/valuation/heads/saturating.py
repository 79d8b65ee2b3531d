"""Linear heads with bounded confidence, for labels of which some are wrong independently of the features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from counterpoise.tasks import Task
from counterpoise.valuation.heads.linear import LinearHeads
from counterpoise.valuation.heads.optimisation import minimise

__all__ = ["PENALTY", "SaturatingHeads", "saturating_heads"]

PENALTY: Final = 1.0
"""Penalty in pseudo-observations. It is small, because the share of wrong labels also regularises."""
START: Final = -2.0
"""Log-odds of the share of wrong labels where the search begins."""
FEW: Final = 0.02
"""Share of wrong labels below which linear heads are used instead."""


def saturating_heads(blocks: Sequence[Tensor], target: Tensor, task: Task) -> SaturatingHeads | None:
    """Return saturating heads, or None if the heads fitted to all samples find hardly any wrong labels."""
    heads = SaturatingHeads(blocks, target, task)
    everything = torch.ones(1, len(target), dtype=torch.bool)
    weights = heads.fit(everything, torch.tensor([PENALTY]), tolerance=0.1 / len(target))
    return heads if float(heads.shares_of(weights).max()) >= FEW else None


class SaturatingHeads:
    r"""Heads :math:`q(y|z) = (1 - e)\, \mathrm{softmax}(W z)_y + e\, p(y)` with a share e of labels drawn at random.

    A share of wrong labels bounds the posterior away from 0 and 1. Linear heads cannot follow it there: their slope
    becomes a compromise between the samples near the boundary and the wrong labels far from it. Here the share of
    wrong labels is one more parameter of each output (for classes: of each head); the label frequencies p(y) are those
    of the training samples. The likelihood is not concave, so that the search starts at the linear heads.

    Args:
        blocks: Matrices ``(N, D_k)`` side by side, standardised.
        target: Targets, as the task expects them.
        task: The likelihood, of labels.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> x = torch.linspace(-3, 3, 400, dtype=torch.float64)[:, None]
        >>> y = (x[:, 0] > 0).long()
        >>> y[::5] = 1 - y[::5]                                            # a fifth of the labels is wrong
        >>> heads = SaturatingHeads([x], y, MultiClass(2))
        >>> weights = heads.fit(torch.ones(1, 400, dtype=torch.bool), torch.tensor([0.1]))
        >>> heads.logits(weights)[0, 0].softmax(-1).round(decimals=1)
        tensor([0.8000, 0.2000], dtype=torch.float64)
    """

    def __init__(self, blocks: Sequence[Tensor], target: Tensor, task: Task) -> None:
        self.linear = LinearHeads(blocks, target, task)
        self.task = task
        self.shares = task.num_outputs if task.has_independent_outputs else 1

    def fit(self, train: Tensor, strength: Tensor, *, tolerance: float = 1e-7) -> Tensor:
        """Return ``(P, D + 3, C)``: weights, intercept, log-odds of the share of wrong labels, and prior logits."""
        linear = self.linear
        start = linear.fit(train, strength, tolerance=100 * tolerance).transpose(1, 2)
        shape = start.shape[1:]
        weight = train.to(start.dtype) / train.sum(1, keepdim=True)
        penalty = (strength / train.sum(1)).to(start.dtype)
        prior = self.task.prior_logits(linear.target, 0.5, train.double()).to(start.dtype)
        inverses, which = linear.preconditioners(penalty)

        def objective(x: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
            w, odds = x[:, : -self.shares].view(-1, *shape), x[:, -self.shares :]
            with torch.enable_grad():
                z = linear.outputs(w).transpose(1, 2).detach().requires_grad_()
                share = odds.detach().requires_grad_()
                nll = -self.task.log_likelihood(self._bounded(z, share, prior[active]), linear.target)
                loss = (nll * weight[active]).sum(1)
                slope, share_slope = torch.autograd.grad(loss.sum(), (z, share))
            value, gradient = linear.penalised(loss.detach(), slope.transpose(1, 2), w, penalty[active])
            return value, torch.cat([gradient, share_slope], 1)

        def precondition(g: Tensor, active: Tensor) -> Tensor:
            result = 4 * g
            for k, inverse in enumerate(inverses):
                rows = which[active] == k
                own = g[rows, : -self.shares].view(-1, shape[1]) @ inverse
                result[rows, : -self.shares] = own.view(-1, shape[0] * shape[1])
            return result

        odds = start.new_full((len(train), self.shares), START)
        solution = minimise(
            objective, torch.cat([start.flatten(1), odds], 1), precondition, iterations=100, tolerance=tolerance
        )
        shares = solution[:, -self.shares :].expand(-1, shape[0])[:, None]
        fitted = solution[:, : -self.shares].view(-1, *shape).transpose(1, 2)
        return torch.cat([fitted, shares, prior[:, None]], 1)

    def shares_of(self, weights: Tensor) -> Tensor:
        """Return ``(P, C)``: the shares of wrong labels, those of the classes of one head all alike."""
        return weights[:, -2].sigmoid()

    def logits(self, weights: Tensor) -> Tensor:
        """Return ``(N, P, C)`` for all samples under all heads."""
        z = self.linear.outputs(weights[:, :-2].transpose(1, 2)).transpose(1, 2)
        return self._bounded(z, weights[:, -2, : self.shares], weights[:, -1]).transpose(0, 1)

    def _bounded(self, z: Tensor, odds: Tensor, prior: Tensor) -> Tensor:
        """Return logits ``(P, N, C)`` of the mixture with the label frequencies."""
        share = odds.sigmoid()[:, None]
        if self.task.has_independent_outputs:
            return self.task.link((1 - share) * self.task.mean(z) + share * self.task.mean(prior)[:, None])
        clean = self.task.normalise(z) + torch.nn.functional.logsigmoid(-odds)[:, None]
        wrong = self.task.normalise(prior)[:, None] + torch.nn.functional.logsigmoid(odds)[:, None]
        return torch.logaddexp(clean, wrong)
