"""ARM part 2: the balanced min-max loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["BalancedMinMaxLoss", "reinforcement"]


def reinforcement(phi: Tensor, entropy: float, gamma: float) -> Tensor:
    r"""Return :math:`\lambda_m = 1 + \gamma (\max_k \phi_k - \phi_m) / H(Y)`: at least 1, more for a modality that
    contributes less.

    The floor matters: without it the dominant modality loses what joint training gave it.

    Args:
        phi: ``(M,)`` marginal contributions in nats.
        entropy: H(Y) in nats.
        gamma: how strongly the gap counts.

    Example:
        >>> reinforcement(torch.tensor([1.0, 0.5]), entropy=1.0, gamma=2.0)
        tensor([1., 2.])
    """
    return 1 + gamma * (phi.max() - phi) / entropy


class BalancedMinMaxLoss(nn.Module):
    r"""Maximise the joint contribution while the differences between marginal ones are driven down.

    .. math:: L = CE(h) + \sum_m \lambda_m CE(u_m), \qquad \lambda_m = 1 + \gamma (\max_k \phi_k - \phi_m)/H(Y)

    Minimising CE(h) raises :math:`\phi_{MI} \ge H - CE(h)`, the joint contribution; the weights put the unimodal
    pressure where the gap to the strongest modality is largest. No gradient flows
    through :math:`\lambda`. The paper's own formula could not be obtained: this one follows its stated aim (minimise
    the diversity of the marginal contributions while maximising the joint one).

    Args:
        gamma: how strongly the gap counts; 0 gives uniform multitask training.

    Example:
        >>> loss = BalancedMinMaxLoss(gamma=2.0)
        >>> loss(torch.tensor(1.0), {"a": torch.tensor(0.5), "b": torch.tensor(1.0)}, torch.tensor([1.0, 0.5]), entropy=1.0)
        tensor(3.5000)
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def weights(self, phi: Tensor, entropy: float) -> Tensor:
        r"""Return :math:`\lambda`, ``(M,)``, without gradient."""
        return reinforcement(phi.detach(), entropy, self.gamma)

    def forward(self, fused: Tensor, unimodal: Mapping[str, Tensor], phi: Tensor, *, entropy: float) -> Tensor:
        """Return the loss.

        Args:
            fused: scalar cross-entropy of the fused head, nats.
            unimodal: the same of each modality's head.
            phi: ``(M,)`` marginal contributions, nats, in the order of ``unimodal``.
            entropy: H(Y), nats.
        """
        return fused + (self.weights(phi, entropy) * torch.stack(list(unimodal.values()))).sum()
