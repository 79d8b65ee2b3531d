"""Rows of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

OWN_RULE: Final = "default"
"""Name of the rule of a row that uses the default decision rule of its method."""


@dataclass(frozen=True)
class RowId:
    """Identity of a row of a comparison. Its text is for display only and is never parsed.

    Attributes:
        method: Name in the catalogue, or import path of a user's own class.
        arguments: Hyper-parameters that differ from the defaults.
        modality: The one modality that is trained, for methods that train one; else None.
        rule: Name of the decision rule, ``default`` if it is the method's own.
        settings: Settings of the run by which rows of one comparison differ, such as ``{"optim.lr": 0.01}``; empty in
            a record.

    Example:
        >>> str(RowId("arm", {"loss_weights": False})), str(RowId("joint", rule="calibrated"))
        ('arm [loss_weights=False]', 'joint (calibrated)')
        >>> str(RowId("unimodal", modality="audio"))
        'unimodal:audio'
    """

    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    modality: str | None = None
    rule: str = OWN_RULE
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.method, self.modality, self.rule, *(repr(sorted(p.items())) for p in self._pairs)))

    @property
    def _pairs(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return self.arguments, self.settings

    @property
    def is_plain(self) -> bool:
        """Whether all hyper-parameters and settings are the defaults."""
        return not self.arguments and not self.settings

    def __str__(self) -> str:
        text = self.method if self.modality is None else f"{self.method}:{self.modality}"
        pairs = [f"{k}={v}" for part in self._pairs for k, v in sorted(part.items())]
        text += f" [{', '.join(pairs)}]" if pairs else ""
        return text if self.rule == OWN_RULE else f"{text} ({self.rule})"
