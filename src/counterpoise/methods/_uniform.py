"""Uniform multitask training, the 'sum of cross-entropies'."""

from __future__ import annotations

from typing import ClassVar

from counterpoise.methods.base import STRENGTH, Objective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

__all__ = ["Uniform"]


class Uniform(Objective):
    r"""Uniform multitask training: :math:`L = CE(z, y) + \lambda \sum_m CE(u_m, y)`.

    Separate linear heads :math:`u_m` per modality, as in MMPareto (Wei & Hu, ICML 2024), which names this baseline;
    it is also what a published toolkit's MMPareto row
    really computes. :math:`\lambda` acts on what enters the encoders; the heads themselves always get their full
    gradient.

    Args:
        strength: :math:`\lambda`, in [0, inf).

    Example:
        >>> Uniform(strength=0.5)
        Uniform(strength=0.5)
    """

    constraints: ClassVar = {"strength": STRENGTH}
    strength: float

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__(strength=strength)

    def head_gradient(self, model: MultimodalClassifier, batch: Batch) -> float:
        r"""Return :math:`\lambda`."""
        return self.strength
