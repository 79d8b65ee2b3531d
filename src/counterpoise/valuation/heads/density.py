"""Densities of one real target: kernel estimates, which follow targets that are not Gaussian."""

from __future__ import annotations

from math import log, pi
from typing import Final

import torch
from torch import Tensor

__all__ = ["BANDWIDTHS", "kernel_log_density"]

BANDWIDTHS: Final = (1.0, 0.4, 0.15, 0.05)
"""Bandwidths in units of the rule of thumb for Gaussian data (Silverman 1986)."""
MAX_CENTRES: Final = 2000


def kernel_log_density(y: Tensor, rows: Tensor, bandwidth: float, floor: float) -> Tensor:
    """Return ``(N,)``: the log-density of all samples under a Gaussian kernel estimate from some of them.

    A sample is never used for its own density.

    Args:
        y: ``(N,)`` reals.
        rows: ``(N,)`` booleans, the samples of the estimate.
        bandwidth: Bandwidth, in units of the rule of thumb.
        floor: Smallest width of the kernel.

    Example:
        >>> y = torch.cat([torch.full((50,), -1.0), torch.full((50,), 1.0)]) + 0.01 * torch.randn(100)
        >>> all_rows = torch.ones(100, dtype=torch.bool)
        >>> bool(kernel_log_density(y, all_rows, 0.1, 0.01).mean() > kernel_log_density(y, all_rows, 1.0, 0.01).mean())
        True
    """
    index = rows.nonzero().flatten()
    if len(index) > MAX_CENTRES:
        index = index[torch.linspace(0, len(index) - 1, MAX_CENTRES).long()]
    centres = y[index]
    width = max(bandwidth * 0.9 * float(centres.std()) * len(centres) ** -0.2, floor)
    densities = []
    for part in torch.arange(len(y)).split(4096):
        terms = -0.5 * ((y[part, None] - centres) / width).square()
        own = part[:, None] == index
        terms = terms.masked_fill(own, -torch.inf)
        count = len(centres) - own.sum(1)
        densities.append(terms.logsumexp(1) - count.log() - log(width) - 0.5 * log(2 * pi))
    return torch.cat(densities)
