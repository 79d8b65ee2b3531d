"""First component of ARM: dynamic feature-level fusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from counterpoise.fusion import Absent, Fusion
from counterpoise.methods.arm._cache import Cache
from counterpoise.records import Presence

__all__ = ["AsymmetricFusion", "fusion_weights"]

FLOOR: Final = 0.02
"""Smallest generalising share of a modality; no modality gets the weight 0 in the fused head."""


def fusion_weights(share: Tensor, tau: float) -> Tensor:
    r"""Return the factors of the features in the fused head, and of the gradients that return to the encoders,
    ``(M,)``.

    .. math:: w_m \propto (1 - \mu_m + \epsilon)^\tau, \quad \operatorname{mean}_m w_m = 1

    with :math:`\mu_m` the `memorised_share` of the modality. On training samples, a modality whose information does not
    generalise seems better than it is: the fused head relies on it, and the residual from which the other encoders
    learn vanishes. Equal shares give 1, and so does :math:`\tau = 0`.

    Args:
        share: Memorised shares, ``(M,)``.
        tau: Exponent; 0 for no re-weighting.

    Example:
        >>> fusion_weights(torch.tensor([0.1, 0.8]), tau=1.0)
        tensor([1.6140, 0.3860])
    """
    raw = (1 - share + FLOOR).pow(tau)
    return raw / raw.mean()


class AsymmetricFusion(Fusion):
    """A fusion whose inputs are scaled by one weight per modality.

    It wraps any fusion. The weights are a buffer: they are saved with the model and used unchanged at inference, so
    that no label can reach a prediction. A weight scales the features of a modality and the gradient that returns
    through them.

    Args:
        inner: Fusion to wrap.

    Example:
        >>> from counterpoise.fusion import Concat
        >>> fusion = AsymmetricFusion(Concat({"a": 2, "b": 2}, num_outputs=3))
        >>> fusion.update(fusion_weights(torch.tensor([0.1, 0.8]), tau=1.0))
        >>> fusion.weights
        tensor([1.6140, 0.3860])
    """

    absent = "skip"
    weights: Tensor

    def __init__(self, inner: Fusion) -> None:
        super().__init__(inner.feature_dims, inner.num_outputs)
        self.inner = inner
        self.register_buffer("weights", torch.ones(len(inner.feature_dims)))
        self._equal: Cache[bool] = Cache()

    def update(self, weights: Tensor) -> None:
        """Set the weights, ``(M,)``."""
        self.weights.copy_(weights)
        self.synchronise()

    def synchronise(self) -> bool:
        """Read whether all weights are 1, between epochs: a step does not read tensors."""
        return self._equal.get([self.weights], lambda: not self.weights.is_meta and bool((self.weights == 1).all()))

    def _weighted(self, features: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if self.synchronise():
            return features
        return {m: features[m] * w for m, w in zip(self.feature_dims, self.weights, strict=True)}

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """Return the inner fusion's logits for the scaled features; it handles absent modalities in its own way."""
        return self.inner.fuse(self._weighted(features), present)

    def slice_logits(self, features: Mapping[str, Tensor], present: Presence | None = None) -> dict[str, Tensor]:
        """Return the inner fusion's slices for the scaled features."""
        return self.inner.slices(self._weighted(features), present)

    def read_absent_as(self, absent: Absent) -> None:
        """See `Fusion.read_absent_as`; the inner fusion does it."""
        self.inner.read_absent_as(absent)
