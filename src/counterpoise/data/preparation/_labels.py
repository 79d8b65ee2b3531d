"""The label column of a manifest: classes, several labels per sample, or numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import numpy as np

from counterpoise._arrays import guess_task
from counterpoise.data.tables import MISSING, Numbers, Table
from counterpoise.errors import DataError

__all__ = ["Labels", "read_labels"]

WHOLE: Final = re.compile(r"[-+]?\d+")
LARGEST_ID: Final = 100_000


@dataclass(frozen=True)
class Labels:
    """Labels of the rows.

    Attributes:
        values: One per row: a class name, an array, or a number; None where there is none.
        task: ``multiclass``, ``multilabel`` or ``regression``.
        classes: Names of the classes or labels, or empty.
        odd: Faults of the labels that cannot be read, by row.
        notes: Assumptions that were made.
    """

    values: Sequence[Any]
    task: str
    classes: tuple[str, ...] = ()
    odd: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_labels(table: Table, column: str, task: str | None = None) -> Labels:
    """Return the labels of a table.

    Names are classes, whose spelling is kept; lists are several labels per sample; numbers are classes or regression
    targets as `counterpoise._arrays.guess_task` says.

    Args:
        table: The table.
        column: The column of the labels.
        task: ``multiclass``, ``multilabel`` or ``regression``, None to infer it from the labels.

    Raises:
        DataError: If there is no label, or all of them are equal.
    """
    cells = table.cells(column)
    present = [cell for cell in cells if cell is not None]
    if not present:
        raise DataError(f"The label column `{column}` of `{table.name}` is empty.")
    if 2 * sum(_is_list(cell) for cell in present) > len(present):
        return _several(table, column, cells)
    labels = _numbers(table, column, cells, task) if task != "multiclass" else _names(cells)
    labels = labels or _names(cells)
    if task is not None and labels.task != task:
        raise DataError(f"The label column `{column}` of `{table.name}` suits the task {labels.task}, not {task}.")
    _check_varied(labels, table.name)
    return labels


def _check_varied(labels: Labels, name: str) -> None:
    distinct = {value for value in labels.values if value is not None}
    if len(distinct) < 2:
        raise DataError(
            f"All samples of `{name}` have the same label, `{next(iter(distinct), '')}`. A task needs at least two "
            "classes, or a target that varies."
        )


def _is_list(cell: Any) -> bool:
    return isinstance(cell, (list, np.ndarray))


def _numbers(table: Table, column: str, cells: Sequence[Any], task: str | None) -> Labels | None:
    """Return numbers as regression targets or as classes; None for names."""
    numbers = _numeric_column(table, column, cells)
    if numbers is None:
        return None
    read = np.isfinite(numbers.values)
    spelled = all(WHOLE.fullmatch(str(cells[k]).strip()) for k in np.flatnonzero(read).tolist())
    finite = numbers.values[read]
    guess = guess_task(finite.astype(np.int64) if spelled else finite)
    if task != "regression" and guess.task == "multiclass":
        named = _numbered_classes(cells, numbers, spelled=spelled)
        return replace(named, notes=(*guess.notes, *named.notes))
    values = [float(v) if np.isfinite(v) else None for v in numbers.values]
    odd = {k: f"the label `{cell[:40]}` is not a number" for k, cell in numbers.odd.items()}
    return Labels(values, "regression", odd=odd, notes=guess.notes if task is None else ())


def _numeric_column(table: Table, column: str, cells: Sequence[Any]) -> Numbers | None:
    """Return the numbers of a column; None if it holds names as well, or only ``True`` and ``False``."""
    try:
        numbers = table.numbers(column)
    except DataError:  # numbers and names: names
        return None
    present = {str(cell).strip() for cell in cells if cell is not None}
    return None if present <= {"True", "False"} else numbers


def _numbered_classes(cells: Sequence[Any], numbers: Numbers, *, spelled: bool) -> Labels:
    """Return numbers as classes. Unless all are ``spelled`` as whole numbers, their decimals are dropped."""
    known = [_known(cell) for cell in cells]
    return _names(known if spelled else [_whole(cell, k in numbers.odd) for k, cell in enumerate(known)])


def _known(cell: Any) -> Any:
    """Return a cell of a column of numbers, or None if it is empty or a word for missing."""
    return None if cell is None or str(cell).strip().lower() in MISSING else cell


def _whole(cell: Any, odd: bool) -> Any:
    """Return a whole number without its decimals; other cells as they are."""
    return cell if cell is None or odd else str(int(float(cell)))


def _names(cells: Iterable[Any]) -> Labels:
    values = [None if cell is None else str(cell).strip() for cell in cells]
    classes = sorted({value for value in values if value is not None}, key=_order)
    joined = next((name for name in classes if re.fullmatch(r"[^|]+(\|[^|]+)+", name)), None)
    note = f"labels like `{joined}` are one class per combination; give lists in JSON for several labels per sample"
    return Labels(values, "multiclass", tuple(classes), notes=(note,) if joined else ())


def _order(name: str) -> tuple[bool, float, str]:
    """Sort numbers by value, before names."""
    return (False, float(name), name) if WHOLE.fullmatch(name) else (True, 0.0, name)


# -- lists -------------------------------------------------------------------------------------------------------------

Rows: TypeAlias = list[list[Any] | None]


def _several(table: Table, column: str, cells: Sequence[Any]) -> Labels:
    """Return lists of names or ids, or rows of zeros and ones, as several labels per sample."""
    rows, odd = _rows(cells)
    entries = _entries(rows)
    if any(isinstance(entry, str) for entry in entries):
        return _named_lists(rows, odd)
    length, count = Counter(len(row) for row in rows if row is not None).most_common(1)[0]
    if length > 1 and 2 * count > len(rows) - rows.count(None) and set(entries) <= {0, 1}:
        return Labels(_equal_rows(rows, length, np.int64, odd), "multilabel", odd=odd)
    if _are_ids(entries):
        return _id_lists(rows, odd)
    note = f"lists of numbers: {length} regression targets"
    return Labels(_equal_rows(rows, length, np.float64, odd), "regression", odd=odd, notes=(note,))


def _entries(rows: Rows) -> list[Any]:
    return [entry for row in rows if row is not None for entry in row]


def _are_ids(entries: Iterable[Any]) -> bool:
    return all(float(entry).is_integer() and entry >= 0 for entry in entries)


def _rows(cells: Sequence[Any]) -> tuple[Rows, dict[int, str]]:
    rows: Rows = []
    odd = {}
    for k, cell in enumerate(cells):
        rows.append(list(cell) if _is_list(cell) else None)
        if rows[-1] is None and cell is not None:
            odd[k] = f"the label `{str(cell)[:40]}` is not a list"
    return rows, odd


def _equal_rows(rows: Rows, length: int, kind: type, odd: dict[int, str]) -> list[np.ndarray | None]:
    """Return rows of one length as arrays, and add those of another length to the odd ones."""
    values: list[np.ndarray | None] = []
    for k, row in enumerate(rows):
        if row is not None and len(row) != length:
            odd[k] = f"{len(row)} numbers, expected {length}"
        values.append(np.asarray(row, kind) if row is not None and k not in odd else None)
    return values


def _named_lists(rows: Rows, odd: dict[int, str]) -> Labels:
    names = sorted({str(name) for row in rows if row is not None for name in row}, key=_order)
    position = {name: k for k, name in enumerate(names)}
    ids = [None if row is None else [position[str(name)] for name in row] for row in rows]
    note = f"lists of names: {len(names)} labels, each present or not"
    return Labels(_hot(ids, len(names)), "multilabel", tuple(names), odd, (note,))


def _id_lists(rows: Rows, odd: dict[int, str]) -> Labels:
    ids = [None if row is None else [int(entry) for entry in row] for row in rows]
    size = 1 + max((max(row) for row in ids if row), default=0)
    if size > LARGEST_ID:
        raise DataError(f"Lists of label ids should hold ids below {LARGEST_ID:,}. Found {size - 1:,}.")
    note = f"lists of ids: {size} labels, each present or not"
    return Labels(_hot(ids, size), "multilabel", tuple(map(str, range(size))), odd, (note,))


def _hot(ids: Sequence[list[int] | None], size: int) -> list[np.ndarray | None]:
    values: list[np.ndarray | None] = []
    for part in ids:
        row = None if part is None else np.zeros(size, np.int64)
        if row is not None and part:
            row[part] = 1
        values.append(row)
    return values
