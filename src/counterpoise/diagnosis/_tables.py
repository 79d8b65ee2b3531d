"""Diagnosis of files: `.npz` archives, CSV, TSV and Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np

from counterpoise._extras import extra
from counterpoise._files import RESERVED, read_npz
from counterpoise._validation import nearest
from counterpoise.diagnosis._arrays import diagnose_features
from counterpoise.diagnosis._diagnosis import Diagnosis
from counterpoise.diagnosis._options import Settings
from counterpoise.errors import DataError, NotFoundError
from counterpoise.tasks import Task

__all__ = ["columns_of", "diagnose_csv", "diagnose_file"]

PARQUET: Final = (".parquet", ".pq")
TABS: Final = (".tsv", ".tab")


def diagnose_file(path: Path | str, *, task: str | Task | None = None, **settings: Unpack[Settings]) -> Diagnosis:
    """Diagnose an ``.npz``: one array ``(N, ...)`` per modality under its name, and ``label``.

    Entries called ``group``, ``class_names``, ``split``, ``num_classes`` and ``rate_<modality>`` are no modalities.

    Args:
        path: The file.
        task: See `counterpoise.diagnose_arrays`.
        settings: See `counterpoise.diagnose_arrays`.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it is no ``.npz``, has no ``label``, or holds what `diagnose_arrays` refuses.
    """
    entries = read_npz(path)
    if "label" not in entries:
        hint = nearest("label", entries)
        raise DataError(
            f"`{Path(path).name}` should hold an array `label` and one array per modality. Found: "
            f"{', '.join(entries) or 'nothing'}.{hint} Save it again: np.savez(path, a=..., b=..., label=...)."
        )
    modalities = {m: array for m, array in entries.items() if not _reserved(m, entries)}
    given: dict[str, Any] = {}
    if "group" in entries:
        given["group"] = entries["group"]
    if "class_names" in entries:
        given["class_names"] = [str(name) for name in entries["class_names"]]
    if task is None and "task" in entries:
        task = str(entries["task"])
    return diagnose_features(modalities, entries["label"], task, {**given, **settings})


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
    **settings: Unpack[Settings],  # type: ignore[misc]  # group is a column here
) -> Diagnosis:
    """Diagnose a table: CSV or TSV with a header line, or Parquet.

    Args:
        path: The file. Its ending decides the format.
        label: Column of the labels.
        modalities: ``{name: [columns]}``; columns of few different texts become indicators, one per value.
        group: Column that says which rows belong together.
        task: See `counterpoise.diagnose_arrays`.
        settings: See `counterpoise.diagnose_arrays`.

    Raises:
        NotFoundError: If there is no such file or column.
        DataError: If it cannot be read, has empty cells, or holds what `diagnose_arrays` refuses.
    """
    path = Path(path)
    table = _read(path)
    features, labels = _chosen(table, label, modalities, path.name, [group] if group else [])
    given = {} if group is None else {"group": table[group].to_numpy()}
    return diagnose_features(features, labels, task, {**given, **settings})


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
        array = np.asarray(table)
        return {m: array[:, list(names)] for m, names in modalities.items()}, labels
    if isinstance(labels, str):
        return _chosen(table, labels, modalities, "the table", [])
    return _chosen(table, None, modalities, "the table", [])[0], labels


def _chosen(
    table: Any, label: str | None, modalities: Mapping[str, Sequence[str]], file: str, more: Sequence[str]
) -> tuple[dict[str, Any], Any]:
    columns = [str(c) for c in table.columns]
    chosen = {m: [names] if isinstance(names, str) else list(names) for m, names in modalities.items()}
    wanted = [*([label] if label else []), *more, *(c for names in chosen.values() for c in names)]
    for name in wanted:
        if name not in list(table.columns):
            raise NotFoundError(
                f"`{file}` has no column `{name}`.{nearest(str(name), columns)} It has: {', '.join(columns)}."
            )
    empty = [m for m, names in chosen.items() if not names]
    if empty:
        raise DataError(f"Modality `{empty[0]}` should have at least one column of `{file}`. Found none.")
    leaking = [m for m, names in chosen.items() if label in names]
    if leaking:
        raise DataError(
            f"Modality `{leaking[0]}` holds the label column `{label}`: it would explain itself. Leave it out."
        )
    twice = [c for c in wanted if sum(c in names for names in chosen.values()) > 1]
    if twice:
        raise DataError(f"Column `{twice[0]}` should belong to one modality. Found it in several.")
    _check_cells(table, [*([label] if label else []), *(c for names in chosen.values() for c in names)], file)
    return {m: _columns(table[names]) for m, names in chosen.items()}, None if label is None else table[label]


def _check_cells(table: Any, used: Sequence[str], file: str) -> None:
    holes = {c: int(table[c].isna().sum()) for c in used if table[c].isna().any()}
    if holes:
        shown = ", ".join(f"`{c}`: {k}" for c, k in holes.items())
        first = int(np.flatnonzero(table[used].isna().any(axis=1))[0]) + 2
        raise DataError(
            f"`{file}` has empty cells or NaN in {shown} of {len(table)} rows, the first in line {first}. Fill or drop "
            "them."
        )


def _columns(table: Any) -> np.ndarray:
    """Return ``(N, D)``: numbers as they are, text and booleans as indicator columns."""
    parts = []
    for name in table.columns:
        column = table[name]
        if column.dtype.kind in "fiub":
            parts.append(column.to_numpy(dtype=np.float64)[:, None])
            continue
        values, codes = np.unique(column.astype(str).to_numpy(dtype=str), return_inverse=True)
        if 2 * len(values) > len(column):
            raise DataError(
                f"Column `{name}` holds {len(values)} different texts in {len(column)} rows: names rather than kinds. "
                "Leave it out, or turn it into numbers."
            )
        parts.append(np.eye(len(values))[codes.reshape(-1)])
    return np.concatenate(parts, 1)


def _read(path: Path) -> Any:
    with extra("data"):
        import pandas as pd

    if not path.is_file():
        raise NotFoundError(f"There is no file `{path}`. Give a CSV, TSV or Parquet file with named columns.")
    endings = [s.lower() for s in path.suffixes]
    try:
        if any(ending in PARQUET for ending in endings):
            return pd.read_parquet(path)
        # Only an empty cell is missing: "NA" or "None" may be the name of a class.
        separator = "\t" if any(ending in TABS for ending in endings) else ","
        return pd.read_csv(path, sep=separator, keep_default_na=False, na_values=[""])
    except ImportError as error:
        raise DataError(
            f"`{path.name}` is a Parquet file. To read it, install pyarrow: pip install pyarrow."
        ) from error
    except (OSError, ValueError) as error:  # pandas' parser errors and undecodable text are ValueErrors
        raise DataError(f"`{path.name}` is no readable table: {error}. Save it as UTF-8 with a header line.") from error
