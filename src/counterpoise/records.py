"""Data structures shared between the packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from counterpoise._tree import Nested, leaves, to_device
from counterpoise.errors import DataError

__all__ = ["Batch", "Inputs", "Nested", "Outputs", "StepRecord", "batch_size"]

Inputs: TypeAlias = Mapping[str, Nested]
"""One entry per modality."""


def batch_size(inputs: Inputs) -> int:
    """Return the number of samples, after checking that every modality has as many.

    Raises:
        DataError: if two modalities differ, or there is none.

    Example:
        >>> batch_size({"image": torch.zeros(4, 3), "text": {"ids": torch.zeros(4, 7)}})
        4
    """
    sizes = {m: sorted({leaf.shape[0] for leaf in leaves(value).values()}) for m, value in inputs.items()}
    distinct = {size for modality_sizes in sizes.values() for size in modality_sizes}
    if len(distinct) != 1:
        listing = ", ".join(f"`{m}`: {'/'.join(map(str, s))}" for m, s in sizes.items()) or "no modality"
        raise DataError(f"Every modality should have the same number of samples. Found {listing}.")
    return distinct.pop()


@dataclass(frozen=True)
class Batch:
    """Some samples with their targets.

    Attributes:
        inputs: one tensor of shape ``(B, ...)``, or a nested mapping of such tensors, per modality.
        target: ``(B,)`` class ids, ``(B, C)`` zeros and ones (multi-label) or ``(B, C)`` reals (regression).
        index: ``(B,)`` position of each sample in its split, so that methods can remember things per sample.

    Example:
        >>> batch = Batch({"a": torch.zeros(2, 3), "b": torch.zeros(2, 5)}, torch.tensor([0, 1]), torch.arange(2))
        >>> len(batch), batch.modalities
        (2, ('a', 'b'))
    """

    inputs: Inputs
    target: Tensor
    index: Tensor

    def __post_init__(self) -> None:
        size = batch_size(self.inputs)
        if len(self.target) != size or len(self.index) != size:
            raise DataError(
                f"A batch should have one target and one index per sample. Found {size} samples, "
                f"{len(self.target)} targets and {len(self.index)} indices."
            )

    def __len__(self) -> int:
        return len(self.target)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of the modalities, in order."""
        return tuple(self.inputs)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Return the batch on another device."""
        return Batch(
            to_device(self.inputs, device, non_blocking=non_blocking),
            self.target.to(device, non_blocking=non_blocking),
            self.index.to(device, non_blocking=non_blocking),
        )


@dataclass(frozen=True)
class Outputs:
    """Outputs of a multimodal model for a batch. The model has no access to the targets.

    Attributes:
        features: ``{m: (B, D_m)}``, each encoder's representation.
        logits: ``(B, C)``, the fused head.
        unimodal_logits: ``{m: (B, C)}``, each modality's own head.
    """

    features: Mapping[str, Tensor]
    logits: Tensor
    unimodal_logits: Mapping[str, Tensor]

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of the modalities, in order."""
        return tuple(self.features)

    def experts(self) -> Tensor:
        """Return ``(M + 1, B, C)``: the fused logits first, then every modality's."""
        return torch.stack([self.logits, *self.unimodal_logits.values()])


@dataclass(frozen=True)
class StepRecord:
    """Summary of one training step.

    All tensors are detached and stay on their device, so that only a logger that reads them synchronises.

    Attributes:
        loss: scalar, what was minimised.
        parts: the named terms of the loss.
        coefficients: what the method chose in this step (weights, gradient scales), by name.
    """

    loss: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    coefficients: Mapping[str, Tensor] = field(default_factory=dict)
