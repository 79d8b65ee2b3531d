"""Second component of ARM: the balanced min-max loss, and the share of the fused gradient that encoders receive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from counterpoise.methods.arm._heldout import HeldOutContributions, significance
from counterpoise.methods.objective import scaled_updates
from counterpoise.model import MultimodalClassifier

__all__ = ["BalancedMinMaxLoss", "fused_share", "synergy_share"]


def synergy_share(additive: Tensor, fused: Tensor, entropy: float, eps: float = 0.1) -> Tensor:
    r"""Return the share of the fused head's information that no sum over modalities provides.

    .. math:: \rho = \left(1 - \frac{I_\mathrm{add}^+}{\max(I_h, \epsilon H(Y))}\right)^+

    It is 1 for parity, where no modality is informative alone, and before any information has been learned. It is 0 if
    logits that are a sum of one term per modality provide as much information as the fused head.

    Args:
        additive: Information of such logits, :math:`I_\mathrm{add} = H(Y) - CE`, nats.
        fused: Information of the fused head, :math:`I_h = H(Y) - CE(h)`, nats.
        entropy: H(Y) in nats.
        eps: Share of H(Y) below which information counts as none.

    Example:
        >>> nothing, parity, copies = (0.0, 0.0), (0.0, 0.5), (0.5, 0.5)
        >>> [synergy_share(*torch.tensor(known), entropy=0.7).item() for known in (nothing, parity, copies)]
        [1.0, 1.0, 0.0]
    """
    return (1 - additive.clamp_min(0) / fused.clamp_min(eps * entropy)).clamp_min(0)


def fused_share(known: HeldOutContributions, entropy: float) -> Tensor:
    r"""Return :math:`\rho`, the share of the fused gradient that encoders receive besides that of their own losses.

    It is the `synergy_share` of the held-out samples, reduced to 0 where the unimodal heads together are informative
    and the fused head adds nothing significant to them.

    Args:
        known: Contributions on held-out samples.
        entropy: H(Y) in nats.
    """
    added = significance(known.joint - known.additive, known.synergy_error)
    unknown = 1 - significance(known.additive, known.additive_error)
    return synergy_share(known.additive, known.joint, entropy) * torch.maximum(added, unknown)


class BalancedMinMaxLoss(nn.Module):
    r"""Maximise the joint contribution while the gap between the marginal contributions is narrowed from below.

    .. math:: L = CE(h) + \sum_m CE(u_m) + \gamma \sum_m s_m \frac{gap_m}{H(Y)} \left(CE(u_m) -
        \mathrm{sg}\, CE(u_{k^*})\right)

    Minimising CE(h) raises :math:`\phi_{MI} \ge H - CE(h)`, the joint contribution. The last sum is the distance to the
    strongest modality :math:`k^*`, weighted by the gap between the held-out contributions as far as it is significant
    (:math:`s_m`). The strongest modality is a constant in it, so that the gap is closed by improving the weak modality
    and never by degrading the strong one. In effect the unimodal loss of modality m is multiplied by :math:`\lambda_m`,
    see `counterpoise.methods.arm.update_scales`.

    Adam and related optimizers normalise the gradient, so that a factor on the loss of an encoder has no effect.
    Therefore :math:`\lambda_m` multiplies the *update* that the optimizer made (`scaled_step`), which is equivalent
    under SGD and effective under every optimizer. The paper's own formula was not accessible; this one follows its
    stated aim.

    Args:
        modalities: M.

    Example:
        >>> loss = BalancedMinMaxLoss(2)
        >>> loss.update(torch.tensor([1.0, 1.5]))
        >>> loss(torch.tensor(1.0), {"a": torch.tensor(0.5), "b": torch.tensor(1.0)})
        tensor(3.)
    """

    weights: Tensor

    def __init__(self, modalities: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.ones(modalities))
        self._factors = [1.0] * modalities

    def update(self, weights: Tensor) -> None:
        r"""Set :math:`\lambda`, ``(M,)``."""
        self.weights.copy_(weights)
        self.synchronise()

    def synchronise(self) -> None:
        """Copy the buffer to Python numbers between epochs, so that steps do not synchronise with the device."""
        self._factors = self.weights.tolist()

    def forward(self, fused: Tensor, unimodal: Mapping[str, Tensor]) -> Tensor:
        r"""Return :math:`CE(h) + \sum_m \lambda_m CE(u_m)`, for the record.

        Args:
            fused: Scalar cross-entropy of the fused head, nats.
            unimodal: Cross-entropy of each modality's head.
        """
        return fused + (self.weights.to(fused) * torch.stack(list(unimodal.values()))).sum()

    @contextmanager
    def scaled_step(self, model: MultimodalClassifier) -> Iterator[None]:
        r"""Multiply the update of each encoder by :math:`\lambda_m`.

        The optimizer's step is taken within the context.

        Args:
            model: Model.
        """
        with scaled_updates(model, dict(zip(model.modalities, self._factors, strict=True))):
            yield
