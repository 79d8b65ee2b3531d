"""Reading tables with one row per sample, and recognising columns of numbers."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from counterpoise._extras import extra
from counterpoise._files import LARGE, RATIO, check_memory, check_unpacked
from counterpoise.errors import DataError, NotFoundError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TABLES", "Numbers", "Table", "counts_rows", "is_empty", "numbers", "read_table"]

TABLES: Final = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".jsonl", ".json", ".parquet")
MISSING: Final = frozenset({"na", "n/a", "#n/a", "<na>", "nan", "-nan", "none", "null"})
"""Words (in lower case) that mean an empty cell in columns of numbers."""
INDEX_NAMES: Final = re.compile(r"unnamed: \d+(\.\d+)*|index|idx|__index_level_\d+__|level_\d+", re.IGNORECASE)
"""Names that pandas gives to a row index."""
FORMATTED: Final = re.compile(r"[-+]?(\d{1,3}([,'\u00a0 ]\d{3})+(\.\d+)?|\d+,\d+|\d+(\.\d+)?) ?%?")
"""Numbers as people write them: ``1,234.5``, ``3,14`` or ``20 %``."""
MOST: Final = 0.9
"""A text column of which at least this share looks like numbers is a column of numbers."""


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes:
        name: Name of the file.
        frame: The columns. A cell is missing only if it is empty.
        typed: Whether the file distinguishes strings from numbers, as JSON and Parquet do.
        notes: Assumptions that were made.
    """

    name: str
    frame: pd.DataFrame
    typed: bool
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.frame.columns)

    def cells(self, column: str) -> list[Any]:
        """Return the cells of a column; None where one is empty."""
        return [None if is_empty(value) else value for value in self.frame[column].tolist()]

    def numbers(self, column: str) -> Numbers | None:
        """Return the numbers of a column, or None if it holds something else (see `numbers`)."""
        return numbers(column, self.frame[column], typed=self.typed)


@dataclass(frozen=True)
class Numbers:
    """A column of numbers.

    Attributes:
        values: ``(N,)`` float64, NaN where a cell is empty or no number.
        odd: Cells that are neither empty nor numbers, by row, from 0.
    """

    values: np.ndarray
    odd: dict[int, str] = field(default_factory=dict)


def is_empty(value: Any) -> bool:
    """Return whether a cell is empty: None, NaN, pandas' NA or NaT, or an empty text."""
    if value is None or isinstance(value, str):
        return not value
    if isinstance(value, (list, dict, np.ndarray, bytes)):
        return False
    return bool(value != value) if isinstance(value, (float, np.floating)) else str(value) in ("<NA>", "NaT")


def counts_rows(values: np.ndarray) -> bool:
    """Return whether numbers are row numbers, counted from 0 or from 1.

    Example:
        >>> counts_rows(np.arange(5)), counts_rows(np.array([1.0, 2.0, 3.0])), counts_rows(np.array([0, 2, 1]))
        (True, True, False)
    """
    if len(values) < 2:
        return False
    return bool((values == np.arange(len(values)) + values[0]).all() and values[0] in (0, 1))


def numbers(name: str, column: pd.Series, *, typed: bool) -> Numbers | None:
    """Return the numbers of a column, or None if it holds texts, lists or other objects.

    If only a few cells are not numbers, the column still counts as numbers, and these cells are returned in ``odd``.

    Args:
        name: Name of the column, for the message.
        column: The cells.
        typed: Whether strings stay strings even if they look like numbers.

    Raises:
        DataError: If many cells are numbers and many are not.
    """
    if column.dtype.kind in "iufb":
        return Numbers(column.to_numpy(np.float64, na_value=np.nan) if column.hasnans else column.to_numpy(np.float64))
    cells = column.tolist()
    if any(isinstance(cell, (list, dict, np.ndarray)) for cell in cells):
        return None
    values = np.full(len(cells), np.nan)
    odd: dict[int, str] = {}
    filled = 0
    for row, cell in enumerate(cells):
        if _is_missing(cell, typed):
            continue
        filled += 1
        value = _number(cell, typed)
        if value is None:
            odd[row] = str(cell)
        else:
            values[row] = value
    return _judged(name, Numbers(values, odd), filled, typed)


def _is_missing(cell: Any, typed: bool) -> bool:
    return is_empty(cell) or (isinstance(cell, str) and not typed and cell.strip().lower() in MISSING)


def _judged(name: str, column: Numbers, filled: int, typed: bool) -> Numbers | None:
    """Return the numbers if nearly all cells are some, None if most are not, or raise `DataError`."""
    read = filled - len(column.odd)
    formatted = 0 if typed else sum(bool(FORMATTED.fullmatch(text.strip())) for text in column.odd.values())
    if not read + formatted:
        return None
    if len(column.odd) <= (1 - MOST) * filled:
        return column
    if read + formatted >= MOST * filled or 2 * read >= filled:
        row, cell = next(iter(column.odd.items()))
        raise DataError(
            f"Column `{name}` holds {read} numbers and {len(column.odd)} cells that are not numbers, the first in row "
            f"{row + 1}: `{cell[:40]}`. Write numbers like 1234.5, leave missing cells empty, or leave the column out."
        )
    return None


def _number(cell: Any, typed: bool) -> float | None:
    if isinstance(cell, str):
        return None if typed else _parsed(cell.strip())
    if not isinstance(cell, (int, float, np.number, np.bool_, Decimal)):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _parsed(text: str) -> float | None:
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    if "_" in text or text.lower() in MISSING:  # Python reads 1_000 and nan as numbers
        return None
    try:
        return float(text)
    except ValueError:
        return None


def read_table(path: Path, *, text: Iterable[str] = ()) -> Table:
    """Read a table: CSV, TSV, JSON lines, JSON or Parquet; CSV and TSV may be compressed by gzip.

    Args:
        path: The file.
        text: Columns of a CSV whose cells keep their spelling (labels, groups, names), where they exist.

    Raises:
        NotFoundError: If the file does not exist.
        DataError: If the file has another format, cannot be read, or holds no rows.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no table `{path}`. Give one with one row per sample: {', '.join(TABLES)}.")
    name = path.name.lower()
    try:
        _check_size(path)
        if name.endswith(".parquet"):
            table = _read_parquet(path)
        elif name.endswith((".jsonl", ".json")):
            table = _read_json(path)
        elif name.endswith(TABLES):
            table = _read_csv(path, set(text))
        else:
            raise DataError(f"A table should be one of {', '.join(TABLES)}. Found `{path.name}`.")
    except UnicodeError as error:
        raise DataError(f"`{path.name}` is not text in UTF-8 ({error}). Save it as UTF-8.") from error
    except (ValueError, TypeError, LookupError, OSError, EOFError, NotImplementedError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"`{path.name}` cannot be read as a table: {error}. Save it again as UTF-8.") from error
    if not len(table):
        raise DataError(f"`{path.name}` has no rows.")
    return table


def _check_size(path: Path) -> None:
    """Raise `DataError` for a table that unpacks to far more than its file, before it is unpacked."""
    size = path.stat().st_size
    unpacked = size
    if path.suffix.lower() == ".gz":
        unpacked, most = 0, max(LARGE, RATIO * size) + 1
        with gzip.open(path) as file:
            while unpacked < most and (block := file.read(1 << 20)):
                unpacked += len(block)
    elif path.suffix.lower() == ".parquet":
        with extra("data"):
            from pyarrow import parquet
        with parquet.ParquetFile(path) as file:
            unpacked = 8 * file.metadata.num_rows * file.metadata.num_columns
    check_unpacked(f"`{path.name}`", size, unpacked, "save it as a CSV")
    check_memory(path.name, unpacked)


def _read_parquet(path: Path) -> Table:
    with extra("data"):
        import pandas as pd

    return Table(path.name, pd.read_parquet(path).rename(columns=str), typed=True)


def _read_json(path: Path) -> Table:
    """Read a JSON list of objects, or one object per line."""
    with extra("data"):
        import pandas as pd

    content = path.read_text(encoding=_encoding(path))
    if content.lstrip().startswith("["):
        rows = json.loads(content)
    else:
        rows = [_json_row(number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"`{path.name}` should hold one JSON object per row.")
    names = dict.fromkeys(str(key) for row in rows for key in row)
    frame = pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})
    return Table(path.name, frame, typed=True)


def _json_row(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise DataError(f"Line {number} is not JSON: {error}.") from error


def _read_csv(path: Path, text: set[str]) -> Table:
    with extra("data"):
        import pandas as pd

    encoding = _encoding(path)
    with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rt", encoding=encoding, newline="") as file:
        header = file.readline()
    tabs = ".tsv" in path.name.lower()
    separator = _separator(header, "\t" if tabs else ",")
    notes = [] if separator in ("," if not tabs else "\t") else [f"columns are separated by {_spelled(separator)}"]
    if encoding == "utf-16":
        notes.append("the table is in UTF-16")
    frame = pd.read_csv(
        path,
        sep=separator,
        encoding=encoding,
        keep_default_na=False,
        na_values=[""],
        dtype=dict.fromkeys(text, str),
        low_memory=False,
    )
    return Table(path.name, frame.rename(columns=str), typed=False, notes=notes)


def _encoding(path: Path) -> str:
    with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
        start = file.read(2)
    return "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _separator(header: str, expected: str) -> str:
    """Return the separator of a header line: the expected one, or the one that separates most where that does not."""
    if expected in header:
        return expected
    others: Sequence[str] = [mark for mark in (";", "\t", ",", "|") if mark in header]
    return max(others, key=header.count, default=expected)


def _spelled(separator: str) -> str:
    return {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "vertical bars"}[separator]
