"""Names of the corruptions of an input, without torch, shared by training, records, tables and pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from counterpoise._validation import unknown
from counterpoise.errors import DataError

__all__ = ["KINDS", "Corruption"]

KINDS: Final = ("noise", "zeros", "mean", "permute", "dropout", "mix")
"""Kinds of corruption: normal noise, zeros, the mean input, the input of another sample, a share of the entries set to
zero, and the sum with another sample's input."""


@dataclass(frozen=True, order=True)
class Corruption:
    """One corruption of the input of a modality.

    Attributes:
        kind: One of `KINDS`.
        strength: Standard deviations of the input for ``noise``, the share of the entries for ``dropout``, the factor
            of the other sample's input for ``mix``; 1 for kinds that have no strength.

    Raises:
        NotFoundError: If the kind is not one of `KINDS`.
        DataError: If the strength is negative or not finite.

    Example:
        >>> str(Corruption("noise", 0.5)), str(Corruption("permute"))
        ('noise 0.5', 'permute')
    """

    kind: str
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("corruption", self.kind, KINDS)
        if not math.isfinite(self.strength) or self.strength < 0:
            raise DataError(f"The strength of a corruption should be finite and >= 0. Found {self.strength}.")

    def __str__(self) -> str:
        return f"{self.kind} {self.strength:g}" if self.kind in ("noise", "dropout", "mix") else self.kind
