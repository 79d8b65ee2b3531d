"""Distances of a feature vector to the features of training samples, as a measure of how unusual it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Density"]

RIDGE = 0.05
SIZE = 3


class Density(nn.Module):
    r"""Three numbers that measure how far an encoder's output is from those of its training samples.

    .. math:: r = [\log(1 + \min_c (z - \mu_c)^\top W^{-1} (z - \mu_c)),\; \log(1 + (z - \mu)^\top T^{-1} (z - \mu)),\;
        \log(.01 + |z|)]

    with class means :math:`\mu_c`, within-class covariance W and total covariance T, both with
    :math:`.05\,\mathrm{tr}/D + 10^{-6}` added to the diagonal. `fit` computes them in float64 on the CPU.

    Args:
        dim: Number of features D.
        classes: Number of classes C.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> z, y = torch.randn(200, 4, generator=g), torch.arange(200) % 2
        >>> density = Density(4, 2)
        >>> density.fit(z, y)
        >>> usual, far = density(z).mean(0), density(z + 10).mean(0)
        >>> bool((far > usual).all())
        True
    """

    means: Tensor
    mean: Tensor
    within: Tensor
    total: Tensor

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("within", torch.eye(dim))  # inverse square roots
        self.register_buffer("total", torch.eye(dim))

    def fit(self, features: Tensor, target: Tensor) -> None:
        """Compute the moments of training samples from features ``(N, D)`` and classes ``(N,)``.

        A class without samples is placed at the overall mean.
        """
        z, target, classes = features.cpu().double(), target.cpu(), len(self.means)
        counts = torch.bincount(target, minlength=classes).double()[:, None]
        sums = z.new_zeros(self.means.shape).index_add_(0, target, z)
        mean = z.mean(0)
        means = torch.where(counts > 0, sums / counts.clamp_min(1), mean)
        self.mean.copy_(mean)
        self.means.copy_(means)
        self.within.copy_(_whiten(z - means[target]))
        self.total.copy_(_whiten(z - mean))

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(B, 3)``."""
        z = features.to(self.mean.dtype)
        # Differences come before products: in single precision, features far from the origin would lose their digits.
        centred = z - self.mean
        means = (self.means - self.mean) @ self.within
        inside = torch.cdist(centred @ self.within, means, compute_mode="donot_use_mm_for_euclid_dist")
        inside = inside.square().amin(-1)
        outside = (centred @ self.total).square().sum(-1)
        return torch.stack([inside.log1p(), outside.log1p(), (0.01 + z.norm(dim=-1)).log()], -1)


def _whiten(centred: Tensor) -> Tensor:
    """Return A with A A' the inverse of the ridged covariance of ``centred`` ``(N, D)``."""
    covariance = centred.T @ centred / len(centred)
    dim = len(covariance)
    ridge = RIDGE * covariance.trace() / dim + 1e-6
    lower = torch.linalg.cholesky(covariance + ridge * torch.eye(dim, dtype=covariance.dtype, device=covariance.device))
    return torch.linalg.inv(lower).T
