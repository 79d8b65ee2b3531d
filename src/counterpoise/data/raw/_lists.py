"""Reading the lists that data sets are published with."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from counterpoise.errors import DataError, NotFoundError

__all__ = ["find", "read_json", "rows"]


def find(source: Path, *names: str) -> Path:
    """Return the first file below ``source`` that has one of the names, the earlier name first.

    Raises:
        NotFoundError: if there is none.
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
        found = sorted(source.rglob(name)) if source.is_dir() else []
        if found:
            return found[0]
    return None


def rows(path: Path, delimiter: str = ",") -> Iterator[list[str]]:
    """Yield the non-empty rows of a table; a byte-order mark (CREMA-D's stat.csv has one) is no part of the first cell.

    Raises:
        DataError: if it is no text.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.reader(file, delimiter=delimiter):
                if any(cell.strip() for cell in row):
                    yield [cell.strip() for cell in row]
    except UnicodeDecodeError as error:
        raise DataError(f"`{path}` is no text in UTF-8 ({error}). Save it as UTF-8.") from error


def read_json(path: Path, needed: Sequence[str] = ()) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: if it is broken or lacks a key.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"`{path}` is no JSON ({error}). Download it again.") from error
    missing = [key for key in needed if key not in content]
    if missing:
        raise DataError(f"`{path}` should have the keys {', '.join(needed)}. Missing: {', '.join(missing)}.")
    return content
