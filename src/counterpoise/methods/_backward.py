"""Back-propagation through a function, for AMP, gradient accumulation and Lightning."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

Backward: TypeAlias = Callable[[Tensor], None]
"""Function that back-propagates a scalar, through which AMP, gradient accumulation and Lightning are supported."""


def backward(loss: Tensor) -> None:
    """Back-propagate a scalar: the default of ``backward`` in `Method.steps`."""
    loss.backward()
