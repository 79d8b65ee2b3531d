"""DGL: disentangled gradient learning (Wei et al., ICCV 2025)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from counterpoise.methods.base import Hyperparameter, Interval, NamedTensors
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier, scale_gradient
from counterpoise.records import Batch

__all__ = ["DGL"]


class DGL(ModulatedObjective):
    r"""Disentangled gradients: encoders learn from their unimodal losses only, the fused head from the fused loss only.

    Wei, Luo, Luo, "Boosting Multimodal Learning via Disentangled Gradient Learning", ICCV 2025 (arXiv 2507.10213): the
    fused loss is cut off before the encoders, the unimodal losses before the fusion. The unimodal losses here are those of the model's
    unimodal heads, which share nothing with the fusion. Only its abstract could be read; with full strength the encoders are those of
    `UnimodalEnsemble` bit for bit (a test), and a fused head is trained on them.

    Args:
        strength: s, in [0, 1]; the fused gradient that enters the encoders is multiplied by :math:`1 - s`, the unimodal one by s.

    Example:
        >>> DGL(strength=0.5)
        DGL(strength=0.5)
    """

    strength = Hyperparameter(1.0, Interval(0, 1, "[]"))
    head_scale = 1.0

    def modulate(
        self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Mapping[str, Tensor], NamedTensors]:
        """Return the features with their gradient cut (or scaled)."""
        return {m: scale_gradient(h, 1.0 - self.strength) for m, h in features.items()}, {}
