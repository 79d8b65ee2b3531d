"""Colours that the colour-blind can tell apart (Okabe and Ito; Tol's muted set), one per modality everywhere.

Modalities and methods draw from different sets, so that a colour never means both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["FLAGSHIP", "INK", "METHODS", "MODALITIES", "MUTED", "dash", "method_slot", "modality_slot"]

MODALITIES: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#A89A00", "#5B4BB7", "#8C5A2B")
"""Okabe-Ito's blue, orange, green, purple and sky; then a dark yellow, a violet and a brown."""

METHODS: Final = ("#44AA99", "#AA4499", "#999933", "#6699CC", "#997700", "#994455")
FLAGSHIP: Final = "#D55E00"
INK: Final = "#1F2937"
MUTED: Final = "#6B7280"

_DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def modality_slot(modalities: Sequence[str], m: str) -> int:
    """Return the place of ``m``'s colour; over eight modalities the colours repeat.

    Example:
        >>> modality_slot(("image", "text"), "text")
        1
    """
    return list(modalities).index(m) % len(MODALITIES)


def method_slot(label: str, labels: Sequence[str]) -> int | None:
    """Return the place of a method's colour among ``labels``; None for joint training and the flagship."""
    base = label.partition(" ")[0]
    others = list(dict.fromkeys(b for b in (name.partition(" ")[0] for name in labels) if b not in {"joint", "arm"}))
    return None if base in {"joint", "arm"} else others.index(base) % len(METHODS)


def dash(label: str, labels: Sequence[str]) -> str:
    """Return the line style of a method: solid for the flagship and joint training, another for each of the rest."""
    slot = method_slot(label, labels)
    return "solid" if slot is None else _DASHES[1 + slot % (len(_DASHES) - 1)]
