"""MMPareto: innocent unimodal assistance by Pareto integration of gradients (Wei & Hu, ICML 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoise.methods.base import Hyperparameter, Interval
from counterpoise.methods.objective import GradientCombination

__all__ = ["MMPareto", "inner_product", "min_norm", "pareto_gradient"]


def min_norm(first: list[Tensor], second: list[Tensor]) -> Tensor:
    r"""Return :math:`\alpha` of the shortest vector :math:`\alpha g_1 + (1 - \alpha) g_2`, in [0, 1].

    .. math:: \alpha = \mathrm{clip}((g_2 - g_1) \cdot g_2 / \lVert g_1 - g_2 \rVert^2, 0, 1)

    It is one half if both are equal.

    Args:
        first: :math:`g_1`, tensor by tensor.
        second: :math:`g_2`, tensor by tensor.

    Example:
        >>> min_norm([torch.tensor([1.0, 0.0])], [torch.tensor([0.0, 3.0])])
        tensor(0.9000)
    """
    difference = [b - a for a, b in zip(first, second, strict=True)]
    squared = inner_product(difference, difference)
    alpha = (inner_product(difference, second) / squared.clamp_min(1e-30)).clamp(0, 1)
    return torch.where(squared > 0, alpha, torch.full_like(alpha, 0.5))


def pareto_gradient(joint: list[Tensor], own: list[Tensor], gamma: float) -> tuple[list[Tensor], Tensor]:
    r"""Return the combined gradient of one encoder and the weight of the joint one.

    If the two gradients do not conflict (positive inner product), both weigh one half; otherwise they get the weights
    of `min_norm`. :math:`d = 2 \alpha g_J + 2 (1 - \alpha) g_m`. Tensors in which d is shorter than :math:`g_J + g_m`
    are stretched to that length, and all are multiplied by :math:`\gamma`.

    Args:
        joint: :math:`g_J`, tensor by tensor.
        own: :math:`g_m`, tensor by tensor.
        gamma: :math:`\gamma`.

    Example:
        >>> d, alpha = pareto_gradient([torch.tensor([1.0, 0.0])], [torch.tensor([0.0, 1.0])], gamma=1.5)
        >>> d, alpha
        ([tensor([1.5000, 1.5000])], tensor(0.5000))
    """
    alpha = torch.where(
        inner_product(joint, own) > 0, torch.full_like(inner_product(joint, own), 0.5), min_norm(joint, own)
    )
    combined = []
    for a, b in zip(joint, own, strict=True):
        d = 2 * alpha * a + 2 * (1 - alpha) * b
        length = d.norm()
        stretch = torch.where(
            length > 0, ((a + b).norm() / length.clamp_min(1e-30)).clamp_min(1), torch.ones_like(length)
        )
        combined.append(gamma * stretch * d)
    return combined, alpha


def inner_product(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Return the inner product of two lists of tensors."""
    return torch.stack([(a * b).sum() for a, b in zip(first, second, strict=True)]).sum()


class MMPareto(GradientCombination):
    r"""Pareto integration: the unimodal loss helps each encoder only where it does not hurt the joint loss.

    Wei, Hu, "MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance", ICML 2024. For encoder m with
    :math:`g_J = \nabla CE(z, y)` and :math:`g_m = \nabla CE(u_m, y)`: `pareto_gradient`. Heads get the gradient of the
    plain sum.

    Differs from the authors' code: every encoder has only its own two tasks (there the concatenation of all is inside
    the min-norm list, which scales the inner products), with M + 1 restricted backward passes instead of M + 2 full
    ones. A published toolkit collects the gradients without clearing them in between, so that both are the sum of all
    and its row is uniform multitask training with a factor.

    Args:
        strength: Weight of the unimodal losses, in [0, inf); the authors use 1.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        gamma: :math:`\gamma`, factor of the combined gradient.

    Example:
        >>> MMPareto(gamma=1.0)
        MMPareto(strength=1.0, smoothing=0.0, gamma=1.0)
    """

    gamma = Hyperparameter(1.5, Interval(0, ends="()"))

    def combine(self, joint: list[Tensor], own: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """See `GradientCombination.combine`."""
        return pareto_gradient(joint, own, self.gamma)
