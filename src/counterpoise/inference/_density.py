"""How usual a feature vector is: distances to what an encoder made of training samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Density"]

RIDGE = 0.05
SIZE = 3


class Density(nn.Module):
    r"""Three numbers that tell whether an encoder's output looks like those of its training samples.

    .. math:: r = [\log(1 + \min_c (z - \mu_c)^\top W^{-1} (z - \mu_c)),\; \log(1 + (z - \mu)^\top T^{-1} (z - \mu)),\;
        \log(.01 + |z|)]

    with class means :math:`\mu_c`, within-class covariance W and total covariance T, both with :math:`.05\,\mathrm{tr}/D + 10^{-6}` on
    the diagonal.

    Args:
        dim: D.
        classes: C.

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
        self.register_buffer("means", torch.zeros(classes, dim, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("within", torch.eye(dim, dtype=torch.float64))  # inverse square roots
        self.register_buffer("total", torch.eye(dim, dtype=torch.float64))

    def fit(self, features: Tensor, target: Tensor) -> None:
        """Take the moments of training samples: features ``(N, D)``, classes ``(N,)``.

        A class without samples is placed at the overall mean.
        """
        z, classes = features.double(), len(self.means)
        counts = torch.bincount(target, minlength=classes).double()[:, None]
        sums = torch.zeros_like(self.means).index_add_(0, target, z)
        self.mean.copy_(z.mean(0))
        self.means.copy_(torch.where(counts > 0, sums / counts.clamp_min(1), self.mean))
        self.within.copy_(_whiten(z - self.means[target]))
        self.total.copy_(_whiten(z - self.mean))

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(B, 3)``."""
        z = features.double()
        inside = torch.cdist(z @ self.within, self.means @ self.within).square().amin(-1)
        outside = ((z - self.mean) @ self.total).square().sum(-1)
        return torch.stack([inside.log1p(), outside.log1p(), (0.01 + z.norm(dim=-1)).log()], -1)


def _whiten(centred: Tensor) -> Tensor:
    """Return A with A A' the inverse of the ridged covariance of ``centred`` ``(N, D)``."""
    covariance = centred.T @ centred / len(centred)
    dim = len(covariance)
    ridge = RIDGE * covariance.trace() / dim + 1e-6
    lower = torch.linalg.cholesky(covariance + ridge * torch.eye(dim, dtype=covariance.dtype, device=covariance.device))
    return torch.linalg.inv(lower).T
