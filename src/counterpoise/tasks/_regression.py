"""Real targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from counterpoise._validation import Interval
from counterpoise.errors import ConfigError, DataError
from counterpoise.tasks._task import Task

LOG_2PI: Final = math.log(2 * math.pi)


class Regression(Task):
    """C real targets; Gaussian likelihood with the given standard deviation.

    The standard deviation turns squared errors into nats. Models are trained with ``scale=1`` (half the squared error,
    up to a constant); valuations estimate it from held-out residuals (see `counterpoise.valuation`).

    Args:
        num_outputs: C.
        scale: Standard deviation of the noise, the same for all outputs.
        offset: Values in the user's unit at which the C targets are 0; empty for targets that were not standardised.
        unit: Sizes in the user's unit of a difference of 1 in the C targets; empty for targets that were not
            standardised.

    Example:
        >>> Regression(1).log_likelihood(torch.zeros(1, 1), torch.zeros(1, 1))   # -log(2 pi)/2
        tensor([-0.9189])
    """

    name = "regression"
    score_name = "r2"
    has_discrete_entropy = False
    is_gaussian = True

    def __init__(
        self, num_outputs: int = 1, scale: float = 1.0, offset: Sequence[float] = (), unit: Sequence[float] = ()
    ) -> None:
        super().__init__(num_outputs)
        Interval(0, math.inf, "()").check("Regression", "scale", scale)
        if len(offset) != len(unit) or len(unit) not in (0, num_outputs):
            raise ConfigError(
                f"A regression of {num_outputs} targets should have as many offsets and units, or none. Found "
                f"{len(offset)} and {len(unit)}."
            )
        self.scale, self.offset, self.unit = scale, tuple(offset), tuple(unit)

    def in_units(self, values: Tensor) -> Tensor:
        """Return ``values * unit + offset`` in float64, or the values themselves without units."""
        if not self.unit:
            return values
        values = values.double()
        return values * values.new_tensor(self.unit) + values.new_tensor(self.offset)

    def describe(self, values: Tensor, names: Sequence[str] = ()) -> list[str]:
        """Return values in the user's unit."""
        return super().describe(self.in_units(values), names)

    def mean(self, logits: Tensor) -> Tensor:
        """Return the means, which the logits are."""
        return logits

    def link(self, mean: Tensor) -> Tensor:
        """Return the means."""
        return mean

    def per_output_log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(..., B, C)``, one log-density per output."""
        z = (target.to(logits.dtype) - logits) / self.scale
        return -(0.5 * z.square() + 0.5 * LOG_2PI + math.log(self.scale))

    def residual(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.residual`."""
        return super().residual(logits, target) / self.scale**2

    def combine(self, experts: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted mean: a product of Gaussians of equal variance has this mean."""
        return super().combine(experts, weights / weights.sum(0))

    def entropy(self, target: Tensor) -> Tensor:
        """Return the differential entropy of a Gaussian with the targets' covariance (an upper bound of H(Y))."""
        centred = target.double() - target.double().mean(0)
        covariance = centred.T @ centred / len(target)
        return 0.5 * (self.num_outputs * (LOG_2PI + 1) + torch.logdet(covariance))

    def kl(self, logits: Tensor, other: Tensor) -> Tensor:
        """See `Task.kl`."""
        return 0.5 * ((logits - other) / self.scale).square().sum(-1)

    def score(self, logits: Tensor, target: Tensor) -> float:
        """Return R², the mean over outputs of the share of their variance that is explained.

        Every output counts equally (``multioutput="uniform_average"`` in scikit-learn), so that outputs with a large
        variance do not dominate. As in scikit-learn, an output that does not vary counts as 1 if predicted exactly and
        as 0 otherwise.
        """
        target = target.double()
        residual = (target - logits.double()).square().sum(0)
        spread = (target - target.mean(0)).square().sum(0)
        rounding = len(target) * (1e-12 * target.abs().amax(0)).square()
        exact = (residual <= rounding).to(residual.dtype)
        return torch.where(spread > rounding, 1 - residual / spread, exact).mean().item()

    def check_target(self, target: Tensor) -> None:
        """See `Task.check_target`."""
        if target.ndim != 2 or target.shape[1] != self.num_outputs or not target.is_floating_point():
            raise DataError(
                f"Regression targets should be floats of shape (N, {self.num_outputs}). Found "
                f"{tuple(target.shape)}, {target.dtype}."
            )
        bad = (~target.isfinite()).any(-1).nonzero().flatten()
        if len(bad):
            raise DataError(f"Regression targets should be finite. Found {target[bad[0]].tolist()} at sample {bad[0]}.")
