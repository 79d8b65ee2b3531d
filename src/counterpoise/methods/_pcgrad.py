"""PCGrad: projecting conflicting gradients (Yu et al., NeurIPS 2020), as a baseline of gradient conflicts."""

from __future__ import annotations

from torch import Tensor

from counterpoise.methods._mmpareto import inner_product
from counterpoise.methods.objective import GradientCombination

__all__ = ["PCGrad", "projected_sum"]


def projected_sum(joint: list[Tensor], own: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    r"""Return the sum of two gradients without their conflict, and the weight of the joint one in it.

    If :math:`g_J \cdot g_m < 0`, the component along the *original* other one is removed from each:
    :math:`g_J - \frac{g_J \cdot g_m}{\lVert g_m \rVert^2} g_m` and
    :math:`g_m - \frac{g_J \cdot g_m}{\lVert g_J \rVert^2} g_J`.

    Args:
        joint: :math:`g_J`, tensor by tensor.
        own: :math:`g_m`, tensor by tensor.

    Example:
        >>> import torch
        >>> projected_sum([torch.tensor([1.0, 0.0])], [torch.tensor([-1.0, 1.0])])
        ([tensor([0.5000, 1.5000])], tensor(0.5714))
    """
    conflict = inner_product(joint, own).clamp_max(0)
    # In the sum, a projection only changes the factor of the other gradient.
    a = 1 - conflict / inner_product(joint, joint).clamp_min(1e-30)
    b = 1 - conflict / inner_product(own, own).clamp_min(1e-30)
    return [a * g + b * h for g, h in zip(joint, own, strict=True)], a / (a + b)


class PCGrad(GradientCombination):
    r"""Gradient surgery: where the joint and the unimodal gradient of an encoder conflict, each is projected.

    Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS 2020. The tasks of
    encoder m are the fused loss and its own head's loss, as in `MMPareto`. If :math:`g_1 \cdot g_2 < 0`, the component
    along the other gradient is removed from each, :math:`g_i \leftarrow g_i - \frac{g_i \cdot g_j}{|g_j|^2} g_j`, and
    the two are added (`projected_sum`). Without a conflict it is uniform training. Heads get the gradient of the plain
    sum.

    Known from the paper: the projection. The use per encoder with two tasks is this library's; with two tasks, the
    paper's random order of tasks makes no difference.

    Args:
        strength: Weight of the unimodal losses, in [0, inf).
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).

    Example:
        >>> PCGrad(strength=0.5)
        PCGrad(strength=0.5, smoothing=0.0)
    """

    def combine(self, joint: list[Tensor], own: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """See `GradientCombination.combine`."""
        return projected_sum(joint, own)
