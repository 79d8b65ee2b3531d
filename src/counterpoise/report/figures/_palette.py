"""Colours that remain distinct under colour blindness (Okabe and Ito; Tol's muted set), and the colour of every row.

Modalities and methods draw from different sets, so that a colour never means both. Colours are tokens (``@m0`` is the
first modality's, ``@ink`` the text's): the page resolves them in its light or dark theme, figures for print with
`resolve`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from counterpoise.report.analysis.comparison import Comparison

__all__ = [
    "FOCUS",
    "INK",
    "METHODS",
    "MODALITIES",
    "MUTED",
    "dash",
    "modality_slot",
    "modality_token",
    "resolve",
    "token",
]

MODALITIES: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#A89A00", "#5B4BB7", "#8C5A2B")
"""Okabe-Ito's blue, orange, green, purple and sky; then a dark yellow, a violet and a brown."""

METHODS: Final = ("#44AA99", "#AA4499", "#999933", "#6699CC", "#997700", "#994455")
FOCUS: Final = "#D55E00"
INK: Final = "#1F2937"
MUTED: Final = "#6B7280"
RULE: Final = "#E5E7EB"

_TOKENS: Final = {
    "@ink": INK,
    "@muted": MUTED,
    "@rule": RULE,
    "@reference": MUTED,
    "@focus": FOCUS,
    "@accent": FOCUS,
    "@surface": "#FFFFFF",
    **{f"@m{i}": c for i, c in enumerate(MODALITIES)},
    **{f"@k{i}": c for i, c in enumerate(METHODS)},
}
_DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def resolve(colour: str) -> str:
    """Return the colour of a token for print; other colours stay as they are.

    Example:
        >>> resolve("@m1"), resolve("#123456")
        ('#E69F00', '#123456')
    """
    return _TOKENS.get(colour, colour)


def modality_slot(modalities: Sequence[str], m: str) -> int:
    """Return the place of ``m``'s colour; over eight modalities the colours repeat.

    Example:
        >>> modality_slot(("image", "text"), "text")
        1
    """
    return list(modalities).index(m) % len(MODALITIES)


def modality_token(modalities: Sequence[str], m: str | None) -> str:
    """Return the token of a modality's colour.

    Example:
        >>> modality_token(("image", "text"), "text")
        '@m1'
    """
    return f"@m{modality_slot(modalities, m)}" if m in modalities and m is not None else "@muted"


def _method_slot(comparison: Comparison, label: str) -> int | None:
    """Return the place of a method's colour; None for the methods of the reference and the focus."""
    special = {comparison.rows[x].method for x in (comparison.reference, comparison.focus) if x is not None}
    others = [r.method for r in comparison.rows.values() if r.modality is None and r.method not in special]
    method = comparison.rows[label].method
    return None if method in special else list(dict.fromkeys(others)).index(method) % len(METHODS)


def token(comparison: Comparison, label: str, modalities: Sequence[str]) -> str:
    """Return the token of a row's colour: its modality's, the reference's, the focus's or one of the others'."""
    row = comparison.rows[label]
    if row.modality is not None:
        return modality_token(modalities, row.modality)
    if comparison.focus is not None and row.method == comparison.rows[comparison.focus].method:
        return "@focus"
    slot = _method_slot(comparison, label)
    return "@reference" if slot is None else f"@k{slot}"


def dash(comparison: Comparison, label: str) -> str:
    """Return the line style of a row: solid for the reference and the focus, another for each of the other methods."""
    slot = None if comparison.is_unimodal(label) else _method_slot(comparison, label)
    return "solid" if slot is None else _DASHES[1 + slot % (len(_DASHES) - 1)]
