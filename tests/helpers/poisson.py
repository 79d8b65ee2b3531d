"""A task that lives outside of the package: counts."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoise.errors import DataError
from counterpoise.tasks import Task


class Poisson(Task):
    """Counts; the logits are log-rates. Only what is abstract is defined."""

    name = "poisson"
    score_name = "deviance_explained"

    def mean(self, logits: Tensor) -> Tensor:
        return logits.exp()

    def link(self, mean: Tensor) -> Tensor:
        return mean.clamp_min(1e-9).log()

    def per_output_log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        return target * logits - logits.exp() - torch.lgamma(target + 1.0)

    def kl(self, logits: Tensor, other: Tensor) -> Tensor:
        return (logits.exp() * (logits - other) - logits.exp() + other.exp()).sum(-1)

    def check_target(self, target: Tensor) -> None:
        if target.ndim != 2 or bool((target < 0).any()):
            raise DataError("Counts should not be negative and have shape (N, C).")
