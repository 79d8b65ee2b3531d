"""Joint training: the baseline for all comparisons."""

from __future__ import annotations

from collections.abc import Iterator

from counterpoise.methods.base import Backward, Method, backward, joint_step
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord

__all__ = ["Joint"]


class Joint(Method):
    r"""Joint training of all encoders through the fused head only: :math:`L = CE(z, y)`.

    The unimodal heads are trained on detached features, so that they change nothing in the encoders.

    Example:
        >>> Joint()
        Joint()
    """

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        yield from joint_step(model, batch, backward)
