"""Calibration of a model's own logits as a whole: one temperature, or one temperature and a bias per output."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoise.tasks import Task
from counterpoise.valuation.heads.optimisation import minimise

__all__ = ["CalibrationHeads"]


class CalibrationHeads:
    r"""Heads :math:`s z + b` on logits z, with one scale s for all outputs, for many training sets at once.

    The scale is not penalised and never negative, so that predictions with the wrong sign carry no information. The
    biases are penalised: an infinite penalty leaves the temperature alone.

    Args:
        logits: ``(N, C)`` logits, log-odds or means.
        target: Targets, as the task expects them.
        task: The likelihood.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> z, y = torch.tensor([[3.0, 0.0], [0.0, 3.0]] * 20), torch.tensor([0, 1] * 15 + [1, 0] * 5)
        >>> heads = CalibrationHeads(z, y, MultiClass(2))
        >>> w = heads.fit(torch.ones(1, 40, dtype=torch.bool), torch.tensor([1e9]))
        >>> round(w[0, 0].item(), 3)                                            # log(30 / 10) / 3
        0.366
    """

    def __init__(self, logits: Tensor, target: Tensor, task: Task) -> None:
        self.real = task.is_gaussian
        self.offset = logits.double().mean(0) if self.real else logits.new_zeros(logits.shape[1]).double()
        z = logits.double() - self.offset
        if not task.has_independent_outputs:  # of classes, only differences count
            z = z - z.mean(1, keepdim=True)
        self.size = float(z.square().mean().sqrt()) or 1.0
        self.z = z / self.size
        self.target = target
        self.task = task

    def fit(self, train: Tensor, strength: Tensor, *, tolerance: float = 1e-7) -> Tensor:
        """Return ``(P, C + 1)``: the scale, then the biases, for training sets ``(P, N)`` and penalties ``(P,)``."""
        if self.real:
            return torch.stack([self._least_squares(rows, float(p)) for rows, p in zip(train, strength, strict=True)])
        weight = train.double() / train.sum(1, keepdim=True)
        penalty = strength.double() / train.sum(1)

        def objective(x: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                nll = -self.task.log_likelihood(self._forward(x), self.target)  # (P, N)
                value = (nll * weight[active]).sum(1) + 0.5 * penalty[active] * x[:, 1:].square().sum(1)
                (gradient,) = torch.autograd.grad(value.sum(), x)
            return value.detach(), gradient

        def precondition(g: Tensor, active: Tensor) -> Tensor:
            scale = torch.cat(
                [g.new_ones(len(g), 1), (1 / (0.25 + penalty[active]))[:, None].expand(-1, g.shape[1] - 1)], 1
            )
            return 4 * g * scale / scale.amax().clamp_min(1)

        start = self.z.new_zeros(len(train), self.z.shape[1] + 1)
        start[:, 0] = self.size
        fitted = minimise(objective, start, precondition, iterations=200, tolerance=tolerance)
        turned = fitted[:, 0] < 0
        if turned.any():
            fitted[turned] = 0.0
            fitted[turned, 1:] = torch.stack([self.task.prior_logits(self.target[rows], 0.5) for rows in train[turned]])
        fitted[:, 0] /= self.size
        return fitted

    def logits(self, weights: Tensor) -> Tensor:
        """Return ``(N, P, C)`` for all samples under all heads."""
        scaled = torch.cat([weights[:, :1] * self.size, weights[:, 1:]], 1)
        return self._forward(scaled).transpose(0, 1)

    def _forward(self, x: Tensor) -> Tensor:
        return x[:, :1, None] * self.z + x[:, None, 1:]

    def _least_squares(self, rows: Tensor, penalty: float) -> Tensor:
        """Return scale and biases of the regression of the targets on the means that the model predicts."""
        z, y = self.z[rows], self.target[rows]
        share = len(z) / (len(z) + penalty)
        # Outputs count in units of their own spread, so that the common scale does not follow the largest unit.
        unit = y.var(0, correction=0).clamp_min(1e-300)
        target = y - self.offset
        centre_z, centre_y = share * z.mean(0), share * target.mean(0)
        above = ((z - centre_z) * (target - centre_y) / unit).sum()
        below = ((z - centre_z).square() / unit).sum().clamp_min(1e-300)
        scale = (above / below).clamp_min(0)
        bias = centre_y - scale * centre_z + self.offset
        if scale == 0:
            bias = y.mean(0)
        return torch.cat([scale[None] / self.size, bias])
