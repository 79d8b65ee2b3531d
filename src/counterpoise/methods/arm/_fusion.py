"""First component of ARM: dynamic feature-level fusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from counterpoise.fusion import Absent, Fusion
from counterpoise.methods.arm._cache import Cache
from counterpoise.model import scale_gradient
from counterpoise.records import Presence

__all__ = ["AsymmetricFusion", "fusion_weights", "gradient_shares"]

FLOOR: Final = 0.02
"""Smallest generalising share of a modality; no modality gets the weight 0 in the fused head."""
WITHHELD: Final = 0.9
"""Share of the fused gradient that does not reach the encoder of a weak modality."""


def fusion_weights(share: Tensor, tau: float) -> Tensor:
    r"""Return the factors of the features in the fused head, ``(M,)``.

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


def gradient_shares(reinforced: Tensor, strength: float) -> Tensor:
    r"""Return the shares of the fused gradient that reach the encoders, ``(M,)``.

    .. math:: c_m = 1 - \min(1, 0.9\, \text{strength})\, r_m

    The gradient of the fused loss is small, and little of it concerns modality m, where other modalities already
    predict the label. In an encoder that receives both gradients, it competes with that of the modality's own loss.
    The encoder of a weak modality therefore learns mostly from its own loss. This changes the *direction* of the
    gradient, which no optimizer normalises. A tenth remains, so that what only all modalities together know can be
    learned.

    Args:
        reinforced: :math:`r`, to what extent each modality is reinforced, in [0, 1], ``(M,)``.
        strength: Strength of the asymmetry.

    Example:
        >>> gradient_shares(torch.tensor([0.0, 1.0]), strength=1.0)
        tensor([1.0000, 0.1000])
    """
    return 1 - min(1.0, WITHHELD * strength) * reinforced


class AsymmetricFusion(Fusion):
    """A fusion with two factors per modality: one for its features, one for the gradient that returns to its encoder.

    It wraps any fusion. The factors are buffers: they are saved with the model and used unchanged at inference, so
    that no label can reach a prediction. A weight scales the features of a modality and the gradient that returns
    through them; a gradient share scales the gradient only.

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
    gradients: Tensor

    def __init__(self, inner: Fusion) -> None:
        super().__init__(inner.feature_dims, inner.num_outputs)
        self.inner = inner
        self.register_buffer("weights", torch.ones(len(inner.feature_dims)))
        self.register_buffer("gradients", torch.ones(len(inner.feature_dims)))
        self._equal: Cache[bool] = Cache()

    def update(self, weights: Tensor, gradients: Tensor | None = None) -> None:
        """Set the weights of the features and the shares of the gradients, each ``(M,)``; None for all of them."""
        self.weights.copy_(weights)
        self.gradients.copy_(torch.ones_like(weights) if gradients is None else gradients)
        self.synchronise()

    def synchronise(self) -> bool:
        """Read whether all factors are 1, between epochs: a step does not read tensors."""
        factors = [self.weights, self.gradients]
        return self._equal.get(factors, lambda: not any(x.is_meta or bool((x != 1).any()) for x in factors))

    def _weighted(self, features: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if self.synchronise():
            return features
        factors = zip(self.feature_dims, self.weights, self.gradients, strict=True)
        return {m: scale_gradient(features[m], share) * w for m, w, share in factors}

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """Return the inner fusion's logits for the scaled features; it handles absent modalities in its own way."""
        return self.inner.fuse(self._weighted(features), present)

    def slice_logits(self, features: Mapping[str, Tensor], present: Presence | None = None) -> dict[str, Tensor]:
        """Return the inner fusion's slices for the scaled features."""
        return self.inner.slices(self._weighted(features), present)

    def read_absent_as(self, absent: Absent) -> None:
        """See `Fusion.read_absent_as`; the inner fusion does it."""
        self.inner.read_absent_as(absent)
