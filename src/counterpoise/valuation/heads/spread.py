"""Regression heads whose noise depends on the features: a linear mean and a log-linear variance."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from counterpoise.valuation.heads.predictions import Scored
from counterpoise.valuation.inputs import NOISE_FLOOR

__all__ = ["SpreadHeads"]

ROUNDS: Final = 4
STEPS: Final = 12


class SpreadHeads:
    r"""Gaussian heads :math:`y_c \sim N(w_c x, \exp(v_c u))` with an unpenalised intercept in both parts.

    Mean and variance are fitted in turn (Harvey, "Estimating regression models with multiplicative heteroscedasticity",
    Econometrica 1976): weighted ridge regression for the mean, then Fisher scoring for the log-variance, whose
    information matrix :math:`\frac12 \sum u u^\top` does not depend on the parameters.

    Args:
        x: ``(N, D)`` standardised columns for the mean.
        u: ``(N, E)`` standardised columns for the log-variance.
        target: ``(N, C)`` reals.
        ridge: Penalty of the mean, in pseudo-observations.
    """

    def __init__(self, x: Tensor, u: Tensor, target: Tensor, ridge: float = 1.0) -> None:
        one = x.new_ones(len(x), 1)
        self.x, self.u = torch.cat([x, one], 1), torch.cat([u, one], 1)
        self.target = target
        self.ridge = ridge
        self.variance = target.var(0, correction=0).clamp_min(1e-300)

    def score(self, rows: Tensor, penalty: float) -> Scored:
        """Fit on some samples and return the predictive distributions of all.

        Args:
            rows: ``(N,)`` booleans.
            penalty: Penalty of the log-variance, in pseudo-observations.
        """
        outputs = [self._fit(c, rows, penalty) for c in range(self.target.shape[1])]
        means = torch.stack([m for m, _ in outputs], 1)
        log_variance = torch.stack([v for _, v in outputs], 1)
        residual = self.target - means
        terms = residual.square() * (-log_variance).exp() + log_variance + torch.log(torch.tensor(2 * torch.pi))
        return Scored(-0.5 * terms.sum(1, keepdim=True), means, torch.diag_embed(log_variance.exp()))

    def _fit(self, c: int, rows: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
        """Return ``(N,)`` means and ``(N,)`` log-variances of one output, in its own unit."""
        x, u, y = self.x[rows], self.u[rows], self.target[rows, c]
        floor = float((NOISE_FLOOR * self.variance[c]).log())
        ceiling = float((1e4 * self.variance[c]).log())
        free = torch.ones(u.shape[1], dtype=u.dtype)
        free[-1] = 0
        information = 0.5 * u.T @ u + torch.diag(penalty * free + 1e-9 * len(u))
        factor = torch.linalg.cholesky(information)
        keep = torch.ones(x.shape[1], dtype=x.dtype)
        keep[-1] = 0
        v = torch.zeros(u.shape[1], dtype=u.dtype)
        v[-1] = float(self.variance[c].log())
        w = torch.zeros(x.shape[1], dtype=x.dtype)
        for _ in range(ROUNDS):
            eta = (u @ v).clamp(floor, ceiling)
            precision = (v[-1] - eta).exp()
            gram = x.T @ (precision[:, None] * x) + torch.diag(self.ridge * keep + 1e-9 * len(x))
            w = torch.linalg.solve(gram, x.T @ (precision * y))
            squares = (y - x @ w).square()
            v[-1] += (squares * (-(u @ v)).exp()).mean().clamp_min(1e-12).log()
            for _ in range(STEPS):
                ratio = (squares * (-(u @ v).clamp(floor, ceiling)).exp()).clamp_max(20)
                gradient = 0.5 * u.T @ (ratio - 1) - penalty * free * v
                step = torch.cholesky_solve(gradient[:, None], factor)[:, 0]
                v = v + step / max(1.0, float((u @ step).abs().max()))
        return self.x @ w, (self.u @ v).clamp(floor, ceiling)
