"""Entropies in nats. Pure functions, never clamped."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from counterpoise.errors import DataError

__all__ = ["entropy", "gaussian_entropy", "label_entropy", "miller_madow"]


def entropy(probabilities: Tensor, *, dim: int = -1) -> Tensor:
    r"""Return the Shannon entropy :math:`-\sum_c p_c \log p_c` along ``dim``, with :math:`0 \log 0 = 0`.

    Args:
        probabilities: ``(..., C)``, non-negative. They are not normalised here.
        dim: The axis of the outcomes.

    Returns:
        The entropy in nats, in the dtype of ``probabilities``.

    Example:
        >>> entropy(torch.tensor([0.5, 0.5, 0.0]))
        tensor(0.6931)
    """
    return torch.special.entr(probabilities).sum(dim)


def label_entropy(target: Tensor, num_classes: int | None = None) -> Tensor:
    r"""Return the plug-in entropy :math:`\hat H(Y)` of class ids, in nats.

    The plug-in entropy is too small by about (classes - 1) / (2 N) on average; `miller_madow` adds that back.

    Args:
        target: ``(N,)`` class ids.
        num_classes: C, to which the ids are compared; inferred from the ids by default.

    Returns:
        A scalar in float64.

    Raises:
        DataError: If there is no sample, or an id lies outside 0..C-1.

    Example:
        >>> label_entropy(torch.tensor([0, 1, 2, 3]))                   # log 4
        tensor(1.3863, dtype=torch.float64)
    """
    counts = _counts(target, num_classes)
    return entropy(counts / counts.sum())


def miller_madow(target: Tensor, num_classes: int | None = None) -> Tensor:
    r"""Return :math:`\hat H(Y) + (K - 1) / 2N`, the plug-in entropy less its leading bias; K classes occur.

    Args:
        target: ``(N,)`` class ids.
        num_classes: C, to check the ids against.

    Returns:
        A scalar in float64, in nats.

    Raises:
        DataError: As for `label_entropy`.

    Example:
        >>> miller_madow(torch.tensor([0, 1])) - label_entropy(torch.tensor([0, 1]))
        tensor(0.2500, dtype=torch.float64)
    """
    counts = _counts(target, num_classes)
    return entropy(counts / counts.sum()) + ((counts > 0).sum() - 1) / (2 * counts.sum())


def gaussian_entropy(covariance: Tensor) -> Tensor:
    r"""Return :math:`\frac12 \log\det(2 \pi e \Sigma)`, the differential entropy of a Gaussian, in nats.

    Args:
        covariance: ``(..., d, d)``, positive definite.

    Returns:
        ``(...)``. For data that are not Gaussian this is an upper bound of their entropy.

    Example:
        >>> gaussian_entropy(torch.eye(1, dtype=torch.float64))
        tensor(1.4189, dtype=torch.float64)
    """
    return 0.5 * (covariance.shape[-1] * (math.log(2 * math.pi) + 1) + torch.logdet(covariance))


def _counts(target: Tensor, num_classes: int | None) -> Tensor:
    if not len(target):
        raise DataError("The entropy of labels needs at least one label. Found none.")
    low, high = int(target.min()), int(target.max())
    if low < 0 or (num_classes is not None and high >= num_classes):
        bound = "" if num_classes is None else f"..{num_classes - 1}"
        raise DataError(f"Labels should lie in 0{bound}. Found {low if low < 0 else high}. Number the classes from 0.")
    return torch.bincount(target.long()).double()
