"""Second component of ARM: the balanced min-max loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["BalancedMinMaxLoss", "reinforcement", "synergy_share"]

PRIOR_SHARE = 0.3
"""Information of a sum over modalities that is assumed before anything is measured, as a share of H(Y)."""


def reinforcement(phi: Tensor, entropy: float, gamma: float) -> Tensor:
    r"""Return :math:`\lambda_m = 1 + \gamma (\max_k \phi_k - \phi_m) / H(Y)`, at least 1, ``(M,)``.

    A modality that contributes less gets a larger weight. The floor matters: without it the dominant modality loses
    what joint training gave it.

    Args:
        phi: ``(M,)`` marginal contributions in nats.
        entropy: H(Y) in nats.
        gamma: Weight of the gap.

    Example:
        >>> reinforcement(torch.tensor([1.0, 0.5]), entropy=1.0, gamma=2.0)
        tensor([1., 2.])
    """
    return 1 + gamma * (phi.max() - phi) / entropy


def synergy_share(additive: Tensor, fused: Tensor, entropy: float, eps: float = 0.1) -> Tensor:
    r"""Return the share of the fused head's information that no sum over modalities provides.

    .. math:: \rho = \left(1 - \frac{I_\mathrm{add}^+}{\max(I_h, \epsilon H(Y))}\right)^+

    It is 1 for parity, where no modality is informative alone, and where nothing is known yet. It is 0 where logits
    that are a sum of one term per modality provide as much information as the fused head.

    Args:
        additive: Information of such logits, :math:`I_\mathrm{add} = H(Y) - CE`, nats.
        fused: Information of the fused head, :math:`I_h = H(Y) - CE(h)`, nats.
        entropy: H(Y) in nats.
        eps: Share of H(Y) below which nothing counts as known.

    Example:
        >>> nothing, parity, copies = (0.0, 0.0), (0.0, 0.5), (0.5, 0.5)
        >>> [synergy_share(*torch.tensor(known), entropy=0.7).item() for known in (nothing, parity, copies)]
        [1.0, 1.0, 0.0]
    """
    return (1 - additive.clamp_min(0) / fused.clamp_min(eps * entropy)).clamp_min(0)


class BalancedMinMaxLoss(nn.Module):
    r"""Maximise the joint contribution while the differences between marginal contributions are reduced.

    .. math:: L = CE(h) + \sum_m \lambda_m CE(u_m), \qquad \lambda_m = 1 + \gamma (\max_k \phi_k - \phi_m)/H(Y)

    Minimising CE(h) raises :math:`\phi_{MI} \ge H - CE(h)`, the joint contribution; the weights put the unimodal losses
    where the gap to the strongest modality is largest. No gradient flows through :math:`\lambda`. The paper's own
    formula could not be obtained: this one follows its stated aim (minimise the diversity of the marginal contributions
    while maximising the joint one).

    The gradient of CE(h) trains an encoder on the residual of the *other* modalities, and so lets a dominant modality
    suppress the rest. Encoders need it only for information that modalities provide together and not one by one: the
    share :math:`\rho` of it, the `synergy_share` of moving averages. The fused head itself gets all of it. A loop
    multiplies the gradient at the features that the fused head reads by `share` (`counterpoise.model.scale_gradient`)
    and then reports the batch to `observe`. Encoders first learn from their unimodal losses, because early features
    tend to persist: the averages start as if a sum over modalities provided the share `PRIOR_SHARE` of H(Y). If the
    unimodal losses have not improved after 20 to 50 steps, the gradient of the fused loss is enabled.

    Args:
        gamma: Weight of the gap; 0 weighs every modality by 1.
        decay: Decay of the moving averages behind `share`.

    Example:
        >>> loss = BalancedMinMaxLoss(gamma=2.0)
        >>> unimodal = {"a": torch.tensor(0.5), "b": torch.tensor(1.0)}
        >>> loss(torch.tensor(1.0), unimodal, torch.tensor([1.0, 0.5]), entropy=1.0)
        tensor(3.5000)
    """

    known: Tensor

    def __init__(self, gamma: float = 2.0, decay: float = 0.95) -> None:
        super().__init__()
        self.gamma = gamma
        self.decay = decay
        self.register_buffer("known", torch.tensor([PRIOR_SHARE, 0.0]))

    @torch.no_grad()
    def observe(self, additive: Tensor, fused: Tensor, entropy: float) -> None:
        """Update the averages with the information in a batch, :math:`H(Y) - CE` in nats, see `synergy_share`.

        Args:
            additive: Information of a sum over modalities.
            fused: Information of the fused head.
            entropy: H(Y) in nats.
        """
        self.known.lerp_(torch.stack([additive, fused]) / entropy, 1 - self.decay)

    def share(self) -> Tensor:
        r"""Return :math:`\rho`, the share of the fused gradient that enters the encoders: a scalar in [0, 1]."""
        return synergy_share(self.known[0], self.known[1], entropy=1.0)

    def weights(self, phi: Tensor, entropy: float) -> Tensor:
        r"""Return :math:`\lambda`, ``(M,)``, without gradient."""
        return reinforcement(phi.detach(), entropy, self.gamma)

    def forward(self, fused: Tensor, unimodal: Mapping[str, Tensor], phi: Tensor, *, entropy: float) -> Tensor:
        """Return the loss.

        Args:
            fused: Scalar cross-entropy of the fused head, nats.
            unimodal: Cross-entropy of each modality's head.
            phi: ``(M,)`` marginal contributions, nats, in the order of ``unimodal``.
            entropy: H(Y), nats.
        """
        return fused + (self.weights(phi, entropy) * torch.stack(list(unimodal.values()))).sum()
