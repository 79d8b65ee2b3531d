"""Colours that remain distinct under colour blindness (Okabe and Ito; Tol's muted set).

Modalities and methods have different sets of colours, so that no colour is used for both. Colours are tokens (``@m0``
is the first modality's, ``@ink`` the text's): the page resolves them in its light or dark theme, figures for print with
`resolve`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = [
    "FOCUS",
    "INK",
    "METHODS",
    "MODALITIES",
    "MUTED",
    "RULE",
    "css",
    "modality_slot",
    "modality_token",
    "resolve",
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


def css() -> str:
    """Return the style rule that defines the colours of modalities and methods.

    Example:
        >>> css()[:29]
        ':root{--m0:#0072B2;--m1:#E69F'
    """
    named = {"m": MODALITIES, "k": METHODS}
    slots = [f"--{name}{i}:{c};" for name, chosen in named.items() for i, c in enumerate(chosen)]
    return f":root{{{''.join(slots)}--focus:{FOCUS}}}\n"
