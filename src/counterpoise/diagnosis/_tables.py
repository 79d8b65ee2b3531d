"""Diagnosis of files: `.npz` archives, CSV, TSV and Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from counterpoise._columns import check_columns, column_groups
from counterpoise._files import RESERVED, read_npz
from counterpoise._validation import nearest
from counterpoise.data.tables import Table, numbers, read_table
from counterpoise.diagnosis._arrays import diagnose_features
from counterpoise.diagnosis._diagnosis import Diagnosis
from counterpoise.diagnosis._options import Settings
from counterpoise.errors import DataError
from counterpoise.tasks import Task

__all__ = ["columns_of", "diagnose_csv", "diagnose_file"]


def diagnose_file(path: Path | str, *, task: str | Task | None = None, **settings: Unpack[Settings]) -> Diagnosis:
    """Diagnose an ``.npz``: one array ``(N, ...)`` per modality under its name, and ``label``.

    Entries called ``group``, ``class_names``, ``split``, ``num_classes`` and ``rate_<modality>`` are not modalities.
    ``present_<modality>`` should be True for all samples.

    Args:
        path: The file.
        task: See `counterpoise.diagnose_arrays`.
        settings: See `counterpoise.diagnose_arrays`.

    Raises:
        NotFoundError: If the file does not exist.
        DataError: If the file is not an ``.npz`` or has no ``label``, if some of its samples lack a modality, or if
            `diagnose_arrays` refuses the contents.
    """
    entries = read_npz(path)
    if "label" not in entries:
        hint = nearest("label", entries)
        raise DataError(
            f"`{Path(path).name}` should hold an array `label` and one array per modality. Found: "
            f"{', '.join(entries) or 'nothing'}.{hint} Save it again: np.savez(path, a=..., b=..., label=...)."
        )
    modalities = {m: array for m, array in entries.items() if not _reserved(m, entries)}
    _refuse_absent(entries, modalities, Path(path).name)
    given: dict[str, Any] = {}
    if "group" in entries:
        given["group"] = entries["group"]
    if "class_names" in entries:
        given["class_names"] = [str(name) for name in entries["class_names"]]
    if task is None and "task" in entries:
        task = str(entries["task"])
    return diagnose_features(modalities, entries["label"], task, {**given, **settings})


def _refuse_absent(entries: Mapping[str, Any], modalities: Mapping[str, Any], file: str) -> None:
    """Raise `DataError` if samples lack a modality, because the masked rows hold no data."""
    for m in modalities:
        mask = entries.get(f"present_{m}")
        if mask is not None and not mask.all():
            raise DataError(
                f"{int((mask == 0).sum())} samples of `{file}` lack `{m}` (`present_{m}`), and a diagnosis of arrays "
                "needs all. Use `counterpoise.valuation.estimate` with `present`, or diagnose a trained run."
            )


def _reserved(name: str, entries: Mapping[str, Any]) -> bool:
    if name in (*RESERVED, "task"):
        return True
    prefix, _, m = name.partition("_")
    return prefix in ("rate", "present") and m in entries and m not in RESERVED


def diagnose_csv(
    path: Path | str,
    *,
    label: str,
    modalities: Mapping[str, Sequence[str]],
    group: str | None = None,
    task: str | Task | None = None,
    **settings: Any,
) -> Diagnosis:
    """Diagnose a table: CSV or TSV with a header line, JSON lines, or Parquet.

    Args:
        path: The file; its suffix determines the format.
        label: Column of the labels.
        modalities: ``{name: [columns]}``. Columns of at most 20 different texts (or the square root of the number of
            rows, if more) become indicators, one per value; those of more become counts of their words. Empty cells of
            numbers become the mean and an indicator, those of categories a value of their own.
        group: Column of the groups: rows with the same value belong together.
        task: See `counterpoise.diagnose_arrays`.
        settings: See `counterpoise.diagnose_arrays`.

    Raises:
        NotFoundError: If the file or a column does not exist.
        DataError: If the file cannot be read, if labels are empty, or if `diagnose_arrays` refuses the contents.
    """
    path = Path(path)
    table = read_table(path, text=[name for name in (label, group) if name])
    check_columns([label, *([group] if group else [])], table.columns, f"`{path.name}`")
    groups = column_groups(modalities, table.columns, label=label, where=f"`{path.name}`")
    frame = _numeric(table, [name for columns in groups.values() for name in columns])
    given: dict[str, Any] = {} if group is None else {"group": frame[group].to_numpy()}
    features = {m: frame[columns] for m, columns in groups.items()}
    result = diagnose_features(features, _as_numbers(label, frame[label], table), task, {**given, **settings})
    return replace(result, notes=(*result.notes, *table.notes))


def _numeric(table: Table, names: Sequence[str]) -> Any:
    """Return the table with its columns of numbers converted to numbers.

    Raises:
        DataError: For cells that are not numbers in a column of numbers.
    """
    frame = table.frame
    for name in dict.fromkeys(names):
        if name not in table.columns or frame[name].dtype.kind in "iufb":
            continue
        column = numbers(name, frame[name], typed=table.typed)
        if column is None:
            continue
        if column.odd:
            row, cell = next(iter(column.odd.items()))
            raise DataError(
                f"Column `{name}` of `{table.name}` holds {len(column.odd)} cells that are not numbers, the first in "
                f"row {row + 1}: `{cell[:40]}`. Correct them, or leave them empty."
            )
        frame = frame.assign(**{name: column.values})
    return frame


def _as_numbers(name: str, labels: Any, table: Table) -> Any:
    """Convert labels that were read as text to numbers, if all of them are numbers."""
    if table.typed or labels.dtype.kind in "iufb":
        return labels
    column = numbers(name, labels, typed=False)
    return labels if column is None or column.odd else labels.astype(float)


def columns_of(table: Any, labels: Any, modalities: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], Any]:
    """Return one frame per modality, and the labels; these may be the name of a column.

    Args:
        table: DataFrame, or 2-d array whose columns are then chosen by position.
        labels: Array, Series or name of a column.
        modalities: ``{name: [columns]}``.

    Raises:
        NotFoundError: For an unknown column.
        DataError: For a column in two modalities, or the label's own column among the features.
    """
    if not hasattr(table, "columns"):
        array: Any = np.asarray(table)
        return {m: array[:, list(names)] for m, names in modalities.items()}, labels
    label = labels if isinstance(labels, str) else None
    if label is not None:
        check_columns([label], list(table.columns), "The table")
    groups = column_groups(modalities, list(table.columns), label=label)
    return {m: table[names] for m, names in groups.items()}, labels if label is None else table[label]
