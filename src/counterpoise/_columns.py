"""Assignment of the columns of a table to modalities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from counterpoise._validation import nearest
from counterpoise.errors import DataError, NotFoundError

__all__ = ["check_columns", "column_groups", "is_free_text"]

CATEGORIES: Final = 20
"""A column of words with at most this number of distinct values is a category."""


def is_free_text(distinct: int, rows: int) -> bool:
    """Return whether a column of words is free text rather than a category. All parts of the library use this rule.

    Args:
        distinct: Number of distinct values.
        rows: Number of rows. A category has at most 20 distinct values, or the square root of this number, if more.

    Example:
        >>> is_free_text(20, 100), is_free_text(21, 100), is_free_text(100, 10_000)
        (False, True, False)
    """
    return distinct > max(CATEGORIES, rows**0.5)


def column_groups(
    modalities: Mapping[str, Sequence[Any]], known: Sequence[Any], *, label: str | None = None, where: str = "The table"
) -> dict[str, list[Any]]:
    """Return the columns of each modality.

    Args:
        modalities: ``{name: [columns]}``; a single column may be given by its name without a list.
        known: The columns of the table.
        label: Column of the labels, which is not a modality.
        where: Name of the table, with which the messages begin.

    Raises:
        NotFoundError: For an unknown column.
        DataError: For a modality without columns, a column in two modalities, or the label among the features.

    Example:
        >>> column_groups({"vital": ["age", "pulse"], "text": "notes"}, ["age", "pulse", "notes"])
        {'vital': ['age', 'pulse'], 'text': ['notes']}
    """
    groups = {m: [names] if isinstance(names, str) else list(dict.fromkeys(names)) for m, names in modalities.items()}
    owner: dict[Any, str] = {}
    for m, names in groups.items():
        if not names:
            raise DataError(f"Modality `{m}` should have at least one column. Found none.")
        if label in names:
            raise DataError(
                f"Modality `{m}` holds the label column `{label}`, which trivially predicts the label. Leave it out."
            )
        check_columns(names, known, where)
        for name in names:
            if owner.setdefault(name, m) != m:
                raise DataError(f"Column `{name}` should belong to one modality. Found it in several.")
    return groups


def check_columns(names: Iterable[Any], known: Sequence[Any], where: str) -> None:
    """Check that a table has some columns.

    Raises:
        NotFoundError: For an unknown column.
    """
    for name in names:
        if name not in known:
            texts = [str(k) for k in known]
            raise NotFoundError(
                f"{where} has no column `{name}`.{nearest(str(name), texts)} It has: {', '.join(texts)}."
            )
