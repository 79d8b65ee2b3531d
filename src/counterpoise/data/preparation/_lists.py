"""Reading the lists that data sets are published with."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from counterpoise.data.preparation._findings import Finding
from counterpoise.errors import DataError, NotFoundError

__all__ = ["find", "find_or_none", "listed", "read_database", "read_json", "rows"]


def find(source: Path, *names: str) -> Path:
    """Return the first file below ``source`` that has one of the names, the earlier name first.

    Raises:
        NotFoundError: If there is none.
    """
    path = find_or_none(source, *names)
    if path is None:
        raise NotFoundError(
            f"`{source}` should hold {' or '.join(names)}. Give the folder of the download as --source."
        )
    return path


def find_or_none(source: Path, *names: str) -> Path | None:
    """Return what `find` does, or None."""
    for name in names:
        paths = sorted(source.rglob(name)) if source.is_dir() else []
        if paths:
            return paths[0]
    return None


def rows(path: Path, delimiter: str = ",") -> Iterator[list[str]]:
    """Yield the non-empty rows of a table; a byte-order mark (as in CREMA-D's stat.csv) is not part of the first cell.

    Raises:
        DataError: If it is not a text.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.reader(file, delimiter=delimiter):
                if any(cell.strip() for cell in row):
                    yield [cell.strip() for cell in row]
    except UnicodeDecodeError as error:
        raise DataError(f"`{path}` is not a text in UTF-8 ({error}). Save it as UTF-8.") from error


def listed(
    path: Path,
    cells: int,
    *,
    delimiter: str = ",",
    spaces: bool = False,
    header: Callable[[list[str]], bool] = lambda row: False,
) -> tuple[list[list[str]], list[Finding]]:
    """Return the rows that have at least ``cells`` cells, and a finding for each that has fewer.

    Args:
        path: The list.
        cells: Number of cells that a row must have.
        delimiter: Character between cells.
        spaces: Whether the first white space separates the cells of a line without a delimiter.
        header: Tells whether the first row names columns.
    """
    table: list[list[str]] = []
    findings = []
    for number, row in enumerate(rows(path, delimiter), 1):
        if spaces and len(row) == 1:
            row = row[0].split(maxsplit=1)
        if number == 1 and header(row):
            continue
        if len(row) < cells or not all(row[:cells]):
            detail = f"{path}: row {number}: expected {cells} cells, found `{delimiter.join(row)}`"
            findings.append(Finding("line", f"{path.name}:{number}", "", detail, True))
        else:
            table.append(row)
    return table, findings


def read_database(path: Path) -> tuple[list[tuple[str, str, str]], list[Finding]]:
    """Return (clip, split, label) of a database, and a finding for each entry that lacks them.

    The layout is ``{"database": {clip: {"subset", "annotations": {"label"}}}}``.
    """
    parts = {
        "training": "train",
        "train": "train",
        "validation": "val",
        "val": "val",
        "testing": "test",
        "test": "test",
    }
    clips, findings = [], []
    for clip, entry in read_json(path, ["database"])["database"].items():
        try:
            clips.append((clip, parts[entry["subset"]], str(entry["annotations"]["label"])))
        except (KeyError, TypeError) as error:
            detail = (
                f"{path}: `{clip}`: expected subset (training, validation, testing) and annotations.label, found "
                f"{json.dumps(entry)[:80]} ({error})"
            )
            findings.append(Finding("line", clip, "", detail, True))
    return clips, findings


def read_json(path: Path, needed: Sequence[str] = ()) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: If it is broken or lacks a key.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"`{path}` is not JSON ({error}). Download it again.") from error
    missing = [key for key in needed if not isinstance(content, dict) or key not in content]
    if missing:
        raise DataError(f"`{path}` should have the keys {', '.join(needed)}. Missing: {', '.join(missing)}.")
    return content
