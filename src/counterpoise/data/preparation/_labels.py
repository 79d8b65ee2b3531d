"""The label column of a manifest: classes, several labels per sample, or numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from counterpoise._arrays import guess_task
from counterpoise.data._tables import MISSING, Table
from counterpoise.errors import DataError

__all__ = ["Labels", "read_labels"]

WHOLE: Final = re.compile(r"[-+]?\d+")


@dataclass(frozen=True)
class Labels:
    """Labels of the rows.

    Attributes:
        values: One per row: a class name, an array, or a number; None where there is none.
        task: ``multiclass``, ``multilabel`` or ``regression``.
        classes: Names of the classes or labels, or empty.
        odd: By row, what is wrong with a label that cannot be read.
        notes: What was assumed.
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
        task: ``multiclass``, ``multilabel`` or ``regression``, where the labels do not tell.

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
    distinct = {value for value in labels.values if value is not None}
    if len(distinct) < 2:
        raise DataError(
            f"All samples of `{table.name}` have the same label, `{next(iter(distinct), '')}`. A task needs at least "
            "two classes, or a target that varies."
        )
    return labels


def _is_list(cell: Any) -> bool:
    return isinstance(cell, (list, np.ndarray))


def _numbers(table: Table, column: str, cells: Sequence[Any], task: str | None) -> Labels | None:
    """Return numbers as regression targets or as classes; None for names."""
    try:
        found = table.numbers(column)
    except DataError:  # numbers and names: names
        return None
    if found is None or all(str(cell) in ("True", "False") for cell in cells if cell is not None):
        return None
    finite = found.values[np.isfinite(found.values)]
    spelled = all(WHOLE.fullmatch(str(cell).strip()) for k, cell in enumerate(cells) if np.isfinite(found.values[k]))
    guess = guess_task(finite.astype(np.int64) if spelled else finite)
    if task != "regression" and guess.task == "multiclass":
        known = [None if _is_missing(cell) else cell for cell in cells]
        named = _names([cell if spelled or k in found.odd else _whole(cell) for k, cell in enumerate(known)])
        return replace(named, notes=(*guess.notes, *named.notes))
    values = [float(v) if np.isfinite(v) else None for v in found.values]
    odd = {k: f"the label `{cell[:40]}` is no number" for k, cell in found.odd.items()}
    return Labels(values, "regression", odd=odd, notes=guess.notes if task is None else ())


def _is_missing(cell: Any) -> bool:
    return cell is None or str(cell).strip().lower() in MISSING


def _whole(cell: Any) -> str | None:
    return None if cell is None else str(int(float(cell)))


def _names(cells: Iterable[Any]) -> Labels:
    values = [None if cell is None else str(cell).strip() for cell in cells]
    classes = sorted({value for value in values if value is not None}, key=_order)
    joined = [name for name in classes if re.fullmatch(r"[^|]+(\|[^|]+)+", name)]
    notes = (
        (f"labels like `{joined[0]}` are one class per combination; give lists in JSON for several labels per sample",)
        if joined
        else ()
    )
    return Labels(values, "multiclass", tuple(classes), notes=notes)


def _order(name: str) -> tuple[bool, float, str]:
    """Sort numbers by value, before names."""
    return (False, float(name), name) if WHOLE.fullmatch(name) else (True, 0.0, name)


def _several(table: Table, column: str, cells: Sequence[Any]) -> Labels:
    """Return lists of names or ids, or rows of zeros and ones, as several labels per sample."""
    odd = {k: f"the label `{str(cell)[:40]}` is no list" for k, cell in enumerate(cells) if cell is not None and not _is_list(cell)}  # fmt: skip
    lists = [list(cell) if _is_list(cell) else None for cell in cells]
    filled = [part for part in lists if part is not None]
    if any(isinstance(name, str) for part in filled for name in part):
        known = sorted({str(name) for part in filled for name in part}, key=_order)
        note = f"lists of names: {len(known)} labels, each present or not"
        return _hot([None if p is None else [known.index(str(n)) for n in p] for p in lists], known, odd, note)
    length, count = Counter(map(len, filled)).most_common(1)[0]
    if count * 2 > len(filled) and all(n in (0, 1) for part in filled for n in part) and length > 1:
        odd |= {
            k: f"{len(part)} labels, expected {length}"
            for k, part in enumerate(lists)
            if part is not None and len(part) != length
        }
        values = [None if p is None or k in odd else np.asarray(p, np.int64) for k, p in enumerate(lists)]
        return Labels(values, "multilabel", odd=odd)
    if all(float(n).is_integer() and n >= 0 for part in filled for n in part):
        largest = max((int(n) for part in filled for n in part), default=0)
        note = f"lists of ids: {largest + 1} labels, each present or not"
        ids = [None if p is None else [int(n) for n in p] for p in lists]
        return _hot(ids, list(map(str, range(largest + 1))), odd, note)
    odd |= {
        k: f"{len(p)} numbers, expected {length}" for k, p in enumerate(lists) if p is not None and len(p) != length
    }
    targets = [None if p is None or k in odd else np.asarray(p, np.float64) for k, p in enumerate(lists)]
    return Labels(targets, "regression", odd=odd, notes=(f"lists of numbers: {length} regression targets",))


def _hot(ids: Sequence[list[int] | None], names: Sequence[str], odd: dict[int, str], note: str) -> Labels:
    values: list[np.ndarray | None] = []
    for part in ids:
        row = None if part is None else np.zeros(len(names), np.int64)
        if row is not None and part:
            row[part] = 1
        values.append(row)
    return Labels(values, "multilabel", tuple(names), odd, (note,))
