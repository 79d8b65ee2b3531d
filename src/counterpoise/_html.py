"""Tables for notebooks: HTML without a style sheet, so that the notebook's own theme applies."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["html_paragraph", "html_table"]


def html_paragraph(text: str, *, strong: bool = False) -> str:
    """Return a paragraph; ``text`` is escaped."""
    inner = escape(text)
    return f"<p><strong>{inner}</strong></p>" if strong else f"<p>{inner}</p>"


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first row is its header.

    Example:
        >>> html_table([["modality"], ["a<b"]])
        '<table><thead><tr><th>modality</th></tr></thead><tbody><tr><td>a&lt;b</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
