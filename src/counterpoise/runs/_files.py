"""Files of records."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from counterpoise._files import write_atomic
from counterpoise.errors import CounterpoiseError, DataError
from counterpoise.runs._record import RunRecord

SAMPLES: Final = "samples.json"
"""File beside ``record.json`` with the samples of a run."""


def write_records(path: Path, records: Iterable[RunRecord]) -> None:
    """Write JSON lines."""
    write_atomic(path, "".join(record.to_json() + "\n" for record in records))


def _record_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif (path / "record.json").is_file():
        yield path / "record.json"
    elif (path / "runs.jsonl").is_file():
        yield path / "runs.jsonl"
    else:
        yield from sorted(path.rglob("record.json"))


def read_records(paths: Iterable[Path | str]) -> tuple[list[RunRecord], list[str]]:
    """Read every record below ``paths`` (files, run folders, or folders of runs).

    Returns:
        The records (each key once), and one line for every file that cannot be read or is not a record.

    Raises:
        DataError: If a path does not exist.
    """
    records: dict[str, RunRecord] = {}
    skipped: list[str] = []
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"There is no `{path}`. Give a run folder, a folder of runs, or a runs.jsonl.")
        files = list(_record_files(path))
        if not files:
            skipped.append(f"{path}: no record.json or runs.jsonl in it")
        for file in files:
            twice = [record.key for record in _read_file(file, skipped) if _is_second(record, records, file, skipped)]
            if twice:
                skipped.append(
                    f"{file}: {len(twice)} records repeat a key with other numbers (first: {twice[0]}); the numbers "
                    "that were read first are used"
                )
    return list(records.values()), skipped


def _is_second(record: RunRecord, records: dict[str, RunRecord], file: Path, skipped: list[str]) -> bool:
    """Add a record unless its key is known; return whether it is known with other numbers."""
    if record.key in records:
        return records[record.key] != record and records[record.key].to_json() != record.to_json()
    records[record.key] = _with_samples(record, file, skipped)
    return False


def _read_file(file: Path, skipped: list[str]) -> Iterator[RunRecord]:
    """Yield the records of a file; unreadable content becomes one line of ``skipped``."""
    broken: list[str] = []
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        skipped.append(f"{file}: {error.strerror or error}")
        return
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield RunRecord.from_json(line)
        except CounterpoiseError as error:
            broken.append(f"{file}:{number}: {error}")
        except Exception as error:  # any error of a foreign file becomes one line and does not end the report
            broken.append(f"{file}:{number}: {type(error).__name__}: {error}")
    if broken:
        more = f" And {len(broken) - 1} more lines of it." if len(broken) > 1 else ""
        skipped.append(broken[0] + more)


def _with_samples(record: RunRecord, file: Path, skipped: list[str]) -> RunRecord:
    """Return the record with the samples that lie next to it, if there are any."""
    folder = file.parent if file.name == "record.json" else file.parent / "runs" / record.key
    path = folder / SAMPLES
    try:
        if "/" in record.key or not path.is_file():
            return record
        samples = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError) as error:
        skipped.append(f"{path}: the samples of this run cannot be read ({error}); its numbers are shown")
        return record
    return dataclasses.replace(record, samples=samples) if isinstance(samples, dict) else record
