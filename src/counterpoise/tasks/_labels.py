"""Tasks whose targets are labels, which can be smoothed."""

from __future__ import annotations

import copy
from typing import Self

from counterpoise._validation import Interval
from counterpoise.tasks._task import Task


class LabelTask(Task):
    """A task whose loss may smooth the labels.

    Args:
        num_outputs: C.
        smoothing: Share of every label that `loss` spreads over the other values.
    """

    def __init__(self, num_outputs: int, smoothing: float = 0.0) -> None:
        super().__init__(num_outputs)
        self.smoothing = self._checked(smoothing)

    def _checked(self, smoothing: float) -> float:
        Interval(0, 1).check(type(self).__name__, "smoothing", smoothing)
        return smoothing

    def with_smoothing(self, smoothing: float) -> Self:
        """See `Task.with_smoothing`."""
        result = copy.copy(self)
        result.smoothing = self._checked(smoothing)
        return result
