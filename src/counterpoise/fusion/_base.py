"""Base class of fusions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from counterpoise._validation import Options
from counterpoise.errors import ModelError
from counterpoise.records import Presence

__all__ = ["Absent", "Fusion", "count_present", "feature_dims_of", "only_present"]

Absent = Literal["auto", "token", "zeros"]
"""Treatment of modalities that a sample lacks: as the class declares, as learned tokens, or as zeros."""


class Fusion(nn.Module, ABC):
    """Base class of fused heads, which map the features of all modalities to logits.

    A subclass implements `forward`. If it can leave out modalities that a sample lacks, it declares ``absent = "skip"``
    and takes ``present`` as a second argument of `forward` (and of `slice_logits`). Otherwise the features of absent
    modalities are replaced before `forward` sees them: by zeros, or by one learned token per modality (see
    `read_absent_as`). Callers use `fuse` and `slices`, which do this.

    Args:
        feature_dims: D_m by modality, in order.
        num_outputs: C.

    Example:
        >>> from counterpoise.fusion import Concat
        >>> fusion = Concat({"a": 2, "b": 3}, num_outputs=4)
        >>> fusion.read_absent_as("token")
        >>> features = {"a": torch.ones(5, 2), "b": torch.ones(5, 3)}
        >>> present = {"a": torch.tensor([True, False, True, True, True]), "b": torch.ones(5, dtype=torch.bool)}
        >>> fusion.fuse(features, present).shape, fusion.tokens["token_a"].shape
        (torch.Size([5, 4]), torch.Size([2]))
    """

    absent: ClassVar[Literal["token", "skip"]] = "token"
    """Preferred treatment of absent modalities by this fusion: ``skip`` or ``token``."""

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int) -> None:
        super().__init__()
        self.feature_dims = dict(feature_dims)
        self.num_outputs = num_outputs
        self.reading: Absent | None = None
        self.skips = self.absent == "skip"
        self.tokens: nn.ParameterDict | None = None

    def read_absent_as(self, absent: Absent) -> None:
        """Choose the treatment of absent modalities. By default they are skipped if possible, and are zeros otherwise.

        Args:
            absent: ``token``: one learned vector per modality, which starts at zero. ``zeros``: zeros. ``auto``:
                tokens, unless the fusion skips absent modalities.
        """
        Options(get_args(Absent)).check("fusion", "absent", absent)
        self.reading = absent
        self.skips = absent == "auto" and self.absent == "skip"
        self.tokens = None
        if absent == "token" or (absent == "auto" and not self.skips):
            reference = next(self.parameters(), torch.empty(0))
            self.tokens = nn.ParameterDict(
                {f"token_{m}": nn.Parameter(reference.new_zeros(d)) for m, d in self.feature_dims.items()}
            )

    def fuse(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """Return logits ``(B, C)`` of samples that may lack modalities.

        Args:
            features: ``{m: (B, D_m)}``. Rows of absent modalities are not read.
            present: Which samples have which modality, ``{m: (B,) bool}``; None if nothing is missing.
        """
        logits: Tensor
        if present is not None and self.skips:
            logits = self(features, present)
        else:
            logits = self(self.filled(features, present))
        return logits

    def slices(self, features: Mapping[str, Tensor], present: Presence | None = None) -> dict[str, Tensor]:
        """Return `slice_logits` of samples that may lack modalities; they sum to `fuse`."""
        if present is not None and self.skips:
            return self.slice_logits(features, present)  # type: ignore[call-arg]
        return self.slice_logits(self.filled(features, present))

    def filled(self, features: Mapping[str, Tensor], present: Presence | None) -> Mapping[str, Tensor]:
        """Return features with zeros or tokens in the rows of absent modalities."""
        if present is None:
            return features
        filled = {}
        for m, h in features.items():
            token = h.new_zeros(()) if self.tokens is None else self.tokens[f"token_{m}"].to(h.dtype)
            filled[m] = torch.where(present[m].unsqueeze(-1), h, token)
        return filled

    @abstractmethod
    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits ``(B, C)`` for features ``{m: (B, D_m)}``."""

    def slice_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each modality's additive share of the fused logits, ``{m: (B, C)}``, if the fusion is additive.

        Raises:
            ModelError: For fusions whose logits are not a sum over modalities.
        """
        raise ModelError(
            f"`{type(self).__name__}` is not additive, so its logits are not a sum over modalities. Use an additive "
            f"fusion (concat, sum), or a method that does not need one."
        )


def count_present(names: Collection[str], present: Presence | None) -> int | Tensor:
    """Return the number of modalities that each sample has, ``(B, 1)`` and at least 1, or M if nothing is missing."""
    if present is None:
        return len(names)
    return torch.stack([present[m] for m in names]).sum(0).clamp_min(1).unsqueeze(-1)


def only_present(values: Tensor, m: str, present: Presence | None) -> Tensor:
    """Return values ``(B, ...)`` with zeros where a sample lacks modality ``m``; no gradient flows there."""
    if present is None:
        return values
    return values.masked_fill(~present[m].view(-1, *[1] * (values.ndim - 1)), 0)


_DIMENSIONS = ("feature_dim", "num_features", "out_features", "embed_dim")


def feature_dims_of(encoders: Mapping[str, nn.Module]) -> dict[str, int]:
    """Infer D_m of each encoder from its attribute ``feature_dim``, or from its last linear layer.

    Raises:
        ModelError: If an encoder has neither.
    """
    dims = {}
    for m, encoder in encoders.items():
        width = next(_widths(encoder), None)
        if width is None:
            raise ModelError(
                f"Could not determine the feature dimension of the encoder of `{m}` ({type(encoder).__name__}). "
                f"Pass `feature_dims={{'{m}': D, ...}}`, or give it an attribute `feature_dim`."
            )
        dims[m] = width
    return dims


def _widths(encoder: nn.Module) -> Iterator[int]:
    """Yield candidates of the feature dimension of an encoder, the most reliable first."""
    stated = [getattr(encoder, name, None) for name in _DIMENSIONS]
    stated.append(getattr(getattr(encoder, "config", None), "hidden_size", None))
    yield from (width for width in stated if isinstance(width, int))
    if isinstance(encoder, nn.Sequential):
        yield from (layer.out_features for layer in reversed(encoder) if isinstance(layer, nn.Linear))
