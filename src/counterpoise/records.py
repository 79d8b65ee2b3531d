"""Data structures shared between the packages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import torch
from torch import Tensor

from counterpoise import distributed
from counterpoise._tree import Nested, leaves, to_device
from counterpoise.errors import DataError

__all__ = [
    "Batch",
    "Inputs",
    "MovedPresence",
    "Nested",
    "Outputs",
    "Presence",
    "StepRecord",
    "batch_size",
    "concat_presence",
    "host_mask",
    "known_presence",
    "present_mean",
]

Inputs: TypeAlias = Mapping[str, Nested]
"""One entry per modality."""

Presence: TypeAlias = Mapping[str, Tensor]
"""Which samples have which modality: ``{m: (B,) bool}`` for every modality."""


def batch_size(inputs: Inputs) -> int:
    """Return the number of samples, after checking that it is the same for all modalities.

    Raises:
        DataError: If two modalities differ, or if there is no modality.

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


def known_presence(modalities: Collection[str], size: int, present: Presence | None) -> Presence | None:
    """Check which samples have which modality, and return None if nothing is missing.

    Values are read on the CPU only: masks on an accelerator were checked before they were moved there.

    Args:
        modalities: Names of the modalities.
        size: B.
        present: ``{m: (B,) bool}`` for every modality, or None.

    Raises:
        DataError: If a mask is missing or is not a boolean tensor of shape ``(B,)``, or if a sample has no modality.

    Example:
        >>> known_presence(("a", "b"), 2, {"a": torch.tensor([True, True]), "b": torch.tensor([True, True])}) is None
        True
    """
    if present is None:
        return None
    if set(present) != set(modalities):
        raise DataError(
            f"`present` should have one mask for each of {', '.join(modalities)}. Found {', '.join(present) or 'none'}."
        )
    for m, mask in present.items():
        if mask.dtype != torch.bool or mask.shape != (size,):
            raise DataError(
                f"`present[{m!r}]` should be a boolean tensor of shape ({size},). Found {mask.dtype} of shape "
                f"{tuple(mask.shape)}."
            )
    masks = torch.stack([present[m] for m in modalities])
    if masks.device.type != "cpu":
        return present
    empty = (~masks.any(0)).nonzero().flatten().tolist()
    if empty:
        shown = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        raise DataError(
            f"Every sample should have at least one modality. Found none in {len(empty)} of {size} samples: {shown}. "
            "Leave these samples out."
        )
    return None if bool(masks.all()) else present


class MovedPresence(dict[str, Tensor]):
    """Masks on an accelerator that keep their copies on the CPU, so that reading positions does not wait for a kernel.

    Attributes:
        host: The masks on the CPU.
    """

    def __init__(self, masks: Presence, host: Presence) -> None:
        super().__init__(masks)
        self.host = host


def host_mask(present: Presence, m: str) -> Tensor:
    """Return the mask of a modality on the CPU; if it is known, the copy from before it was moved.

    Masks whose values on the CPU are not known (changed or gathered on an accelerator) are copied, which waits for the
    kernels that compute them.

    Example:
        >>> masks = {"a": torch.tensor([True, False])}
        >>> host_mask(MovedPresence({"a": masks["a"].to("meta")}, masks), "a")
        tensor([ True, False])
    """
    return (present.host if isinstance(present, MovedPresence) else present)[m].cpu()


def concat_presence(parts: Sequence[tuple[Presence | None, Tensor]]) -> Presence | None:
    """Concatenate the masks of several batches; None if nothing is missing in any.

    Args:
        parts: Masks of each batch, and a tensor that has its number of samples and its device.
    """
    names = next((tuple(present) for present, _ in parts if present is not None), None)
    if names is None:
        return None
    return {
        m: torch.cat(
            [
                torch.ones(len(rows), dtype=torch.bool, device=rows.device) if present is None else present[m]
                for present, rows in parts
            ]
        )
        for m in names
    }


def present_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over the samples that have a modality, 0 if none has it; without a mask the plain mean.

    Args:
        values: ``(..., B)``.
        mask: ``(B,)`` or ``(..., B)``, or None.

    Example:
        >>> present_mean(torch.tensor([1.0, float("nan"), 3.0]), torch.tensor([True, False, True]))
        tensor(2.)
    """
    if mask is None:
        return values.mean(-1)
    return values.masked_fill(~mask, 0).sum(-1) / mask.sum(-1).clamp_min(1)


@dataclass(frozen=True)
class Batch:
    """Some samples with their targets.

    Attributes:
        inputs: One tensor of shape ``(B, ...)``, or a nested mapping of such tensors, per modality. Rows of samples
            without the modality are not read.
        target: ``(B,)`` class ids, ``(B, C)`` zeros and ones (multi-label) or ``(B, C)`` reals (regression).
        index: ``(B,)`` position of each sample in its split, for methods that keep statistics per sample.
        present: Which samples have which modality, ``{m: (B,) bool}`` for every modality; None if nothing is missing.

    Raises:
        DataError: If lengths differ, or a sample has no modality at all.

    In distributed training, the inputs are those of one process; targets, positions and presence are those of
    all (see `counterpoise.distributed`).

    Example:
        >>> inputs = {"a": torch.zeros(2, 3), "b": torch.zeros(2, 5)}
        >>> batch = Batch(inputs, torch.tensor([0, 1]), torch.arange(2))
        >>> len(batch), batch.modalities, batch.present
        (2, ('a', 'b'), None)
        >>> masks = {"a": torch.tensor([True, False]), "b": torch.tensor([True, True])}
        >>> Batch(inputs, torch.tensor([0, 1]), torch.arange(2), masks).present["a"]
        tensor([ True, False])
    """

    inputs: Inputs
    target: Tensor
    index: Tensor
    present: Presence | None = None

    def __post_init__(self) -> None:
        size = distributed.total_rows(batch_size(self.inputs))
        if len(self.target) != size or len(self.index) != size:
            raise DataError(
                f"A batch should have one target and one index per sample. Found {size} samples, "
                f"{len(self.target)} targets and {len(self.index)} indices."
            )
        object.__setattr__(self, "present", known_presence(self.modalities, size, self.present))

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
            self._moved_presence(device, non_blocking=non_blocking),
        )

    def _moved_presence(self, device: torch.device | str, *, non_blocking: bool) -> Presence | None:
        if self.present is None:
            return None
        host = self.present.host if isinstance(self.present, MovedPresence) else self.present
        moved = to_device(self.present, device, non_blocking=non_blocking)
        on_cpu = all(mask.device.type == "cpu" for mask in host.values())
        return MovedPresence(moved, host) if on_cpu and torch.device(device).type != "cpu" else cast(Presence, moved)

    def mask(self, m: str) -> Tensor | None:
        """Return which samples have modality ``m``, ``(B,)``, or None if nothing is missing in the batch."""
        return None if self.present is None else self.present[m]


@dataclass(frozen=True)
class Outputs:
    """Outputs of a multimodal model for a batch. The model has no access to the targets.

    Attributes:
        features: ``{m: (B, D_m)}``, each encoder's representation.
        logits: ``(B, C)``, the fused head.
        unimodal_logits: ``{m: (B, C)}``, each modality's own head. The rows of samples without the modality are zeros
            that carry no gradient; they are not predictions.
        present: Which samples have which modality, ``{m: (B,) bool}``; None if nothing is missing.
    """

    features: Mapping[str, Tensor]
    logits: Tensor
    unimodal_logits: Mapping[str, Tensor]
    present: Presence | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of the modalities, in order."""
        return tuple(self.features)

    def experts(self) -> Tensor:
        """Return ``(M + 1, B, C)``: the fused logits first, then every modality's."""
        return torch.stack([self.logits, *self.unimodal_logits.values()])

    def mask(self, m: str) -> Tensor | None:
        """Return which samples have modality ``m``, ``(B,)``, or None if nothing is missing."""
        return None if self.present is None else self.present[m]


@dataclass(frozen=True)
class StepRecord:
    """Summary of one training step.

    All tensors are detached and stay on their device, so that only a logger that reads them synchronises.

    Attributes:
        loss: The minimised loss, a scalar.
        parts: The named terms of the loss.
        coefficients: Numbers that the method chose in this step (weights, gradient scales), by name.
    """

    loss: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    coefficients: Mapping[str, Tensor] = field(default_factory=dict)
