"""Content of a page, independent of its layout: sentences, tiles and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Cell", "Sentence", "Table", "Tile", "sentence", "text_table"]

Sentence = list[tuple[str, bool]]
"""Pieces of text; True marks a number with its unit."""

_NUMBER = re.compile(r"([+−]?\d+(?:\.\d+)?(?: ± \d+(?:\.\d+)?)? (?:%|points|nats|×))")


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: Text that is shown.
        value: Number as in ``table.csv``, if the cell shows a number of that table.
        key: Position of the number in ``table.csv``, as JSON.
        best: Whether it is set in bold.
        detail: A second, smaller line.
    """

    text: str
    value: str = ""
    key: str = ""
    best: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose cells hold their numbers as well as their texts. The first cell of a row is its header."""

    caption: str
    header: list[str]
    rows: list[list[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Tile:
    """One important number, with its name and a detail."""

    label: str
    value: str
    detail: str = ""


def sentence(text: str) -> Sentence:
    """Split a sentence so that its numbers can be emphasised.

    Example:
        >>> sentence("It gains 3.3 ± 0.1 points over joint.")
        [('It gains ', False), ('3.3 ± 0.1 points', True), (' over joint.', False)]
    """
    return [(part, i % 2 == 1) for i, part in enumerate(_NUMBER.split(text)) if part]


def text_table(caption: str, rows: Iterable[Sequence[str]], note: str = "") -> Table:
    """Return a table of texts whose first row is the header; two spaces in a cell start its second line.

    Example:
        >>> text_table("Numbers", [["name", "value"], ["a", "12 %  0.1 nats"]]).rows[0][1].detail
        '0.1 nats'
    """
    header, *body = rows
    return Table(caption, list(header), [[_cell(text) for text in row] for row in body], note)


def _cell(text: str) -> Cell:
    shown, _, detail = text.partition("  ")
    return Cell(shown, detail=detail.strip())
