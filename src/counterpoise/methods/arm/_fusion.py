"""First component of ARM: dynamic feature-level fusion."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from counterpoise.fusion import Fusion

__all__ = ["AsymmetricFusion", "fusion_weights"]


def fusion_weights(phi: Tensor, entropy: float, tau: float, eps: float = 0.02) -> Tensor:
    r"""Return the weights with which features enter the fused head.

    .. math:: w_m \propto \left(\frac{\operatorname{mean}_k \phi_k^+ + \epsilon H}{\phi_m^+ + \epsilon H}\right)^\tau,
        \quad \operatorname{mean}_m w_m = 1

    The less a modality contributes, the larger its weight. Equal contributions give 1, and so does :math:`\tau = 0`.

    Args:
        phi: ``(M,)`` marginal contributions in nats.
        entropy: H(Y) in nats, the scale of contributions.
        tau: Exponent; 0 for no re-weighting.
        eps: Floor of a contribution as a share of H(Y).

    Example:
        >>> fusion_weights(torch.tensor([1.0, 0.0]), entropy=1.0, tau=0.5)
        tensor([0.2457, 1.7543])
    """
    positive = phi.clamp_min(0) + eps * entropy
    raw = (positive.mean() / positive).pow(tau)
    return raw / raw.mean()


class AsymmetricFusion(Fusion):
    """A fusion whose inputs are scaled, per modality, by `fusion_weights` of the current contributions.

    It wraps any fusion. The weights are a buffer: they are saved with the model and used as they are at inference, so
    that no label can reach a prediction.

    Args:
        inner: Fusion to wrap.

    Example:
        >>> from counterpoise.fusion import Concat
        >>> fusion = AsymmetricFusion(Concat({"a": 2, "b": 2}, num_outputs=3))
        >>> fusion.update(torch.tensor([1.0, 0.0]), entropy=1.0, tau=0.5)
        >>> fusion.weights
        tensor([0.2457, 1.7543])
    """

    weights: Tensor

    def __init__(self, inner: Fusion) -> None:
        super().__init__(inner.feature_dims, inner.num_outputs)
        self.inner = inner
        self.register_buffer("weights", torch.ones(len(inner.feature_dims)))

    def update(self, phi: Tensor, *, entropy: float, tau: float, eps: float = 0.02) -> None:
        """Set the weights from marginal contributions ``(M,)`` in nats."""
        self.weights.copy_(fusion_weights(phi, entropy, tau, eps))

    def _weighted(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {m: features[m] * w for m, w in zip(self.feature_dims, self.weights, strict=True)}

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return the inner fusion's logits for the scaled features."""
        return self.inner(self._weighted(features))

    def slice_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the inner fusion's slices for the scaled features."""
        return self.inner.slice_logits(self._weighted(features))
