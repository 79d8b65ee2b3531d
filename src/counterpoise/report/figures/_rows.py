"""The colour and the line style of every row of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from counterpoise.pages.colours import METHODS, modality_token
from counterpoise.report.analysis.comparison import Comparison

__all__ = ["dash", "token"]

_DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def _method_slot(comparison: Comparison, label: str) -> int | None:
    """Return the position of a method's colour; None for the methods of the reference and the focus."""
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
    """Return the line style of a row, so that rows of one colour (the decision rules of a method) differ in style.

    The first row of the reference and of the focus is solid, and that of each other method has a style of its own.
    """
    slot = None if comparison.is_unimodal(label) else _method_slot(comparison, label)
    first = 0 if slot is None else 1 + slot % (len(_DASHES) - 1)
    colours = {name: token(comparison, name, comparison.modalities) for name in comparison.labels}
    alike = [name for name, colour in colours.items() if colour == colours[label]]
    return _DASHES[(first + alike.index(label)) % len(_DASHES)]
