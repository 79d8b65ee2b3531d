"""Joint training: the baseline that everything else is compared with."""

from __future__ import annotations

from counterpoise.methods.base import Objective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

__all__ = ["Joint"]


class Joint(Objective):
    r"""Joint training of all encoders through the fused head only: :math:`L = CE(z, y)`.

    The unimodal heads are trained beside it on detached features: they watch, and change nothing in the encoders.

    Example:
        >>> Joint()
        Joint()
    """

    def __init__(self) -> None:
        super().__init__()

    def head_gradient(self, model: MultimodalClassifier, batch: Batch) -> float:
        """Return 0: no unimodal gradient enters the encoders."""
        return 0.0
