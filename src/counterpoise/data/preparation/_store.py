"""The prepared folder, which is written at once, and what is left of earlier calls."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from counterpoise._files import write_atomic
from counterpoise.data._arrow import write_splits
from counterpoise.data._info import DataInfo
from counterpoise.data.preparation._findings import Finding, by_stamp, to_csv
from counterpoise.data.preparation._index import Index, Item
from counterpoise.data.preparation._result import (
    FINDINGS,
    MANIFEST,
    checksum,
    read_manifest,
    undamaged,
    write_split,
)
from counterpoise.data.preparation._shards import Shards
from counterpoise.data.preparation._stamps import FORMAT
from counterpoise.errors import DataError, OutputError


def count_left_out(findings: Iterable[Finding]) -> int:
    """Return the number of samples that are missing from the prepared data."""
    return len({f.item for f in findings if f.left_out})


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Convert errors of the file system into errors with advice."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"Could not write `{out}`: {error.strerror or error}. Free some disk space or choose another --out, then "
            "run the same command again; it resumes."
        ) from error


def write_result(
    work: Path,
    out: Path,
    info: DataInfo,
    index: Index,
    kept: Mapping[str, Sequence[Item]],
    stamps: Mapping[str, str],
    shards: Shards,
    unreadable: Mapping[str, Sequence[Finding]],
    findings: Sequence[Finding],
) -> None:
    """Write the result, its manifest and the findings beside ``out``, and put all of it in place at once."""
    from counterpoise.data._prepared import write_info

    final = work / "final"
    final.mkdir()
    for part, items in kept.items():
        write_split(final / part, info, index, items, stamps, shards)
    write_splits(final, list(kept))
    write_info(info, final)
    here = set(stamps.values())
    manifest = {
        "format": FORMAT,
        "name": info.name,
        "parameters": {m: reader.parameters for m, reader in index.readers.items()},
        "samples": {part: len(items) for part, items in kept.items()},
        "listed": dict(Counter(item.split for item in index.items)),
        "published": dict(index.expected),
        "left_out": count_left_out(findings),
        "findings": dict(Counter(f.kind for f in findings)),
        "files": {path.relative_to(final).as_posix(): checksum(path) for path in sorted(final.rglob("*.arrow"))},
        "unreadable": {s: [asdict(f) for f in unreadable[s]] for s in sorted(here & set(unreadable))},
    }
    write_atomic(final / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    write_atomic(final / FINDINGS, to_csv(findings))
    if out.exists():
        out.replace(work / "old")  # killed here, the next run puts it back
    final.replace(out)
    shutil.rmtree(work, ignore_errors=True)


def from_before(work: Path, out: Path) -> tuple[Shards, dict[str, list[Finding]]]:
    """Return the samples that are there already, and by stamp what was found wrong with those that cannot be read."""
    if (work / "old").exists():
        if not out.exists():
            (work / "old").replace(out)
        shutil.rmtree(work / "old", ignore_errors=True)
    shutil.rmtree(work / "final", ignore_errors=True)
    shards, records = Shards(), []
    if (out / MANIFEST).is_file():
        manifest = read_manifest(out)
        if manifest["format"] == FORMAT:
            for path in undamaged(out, manifest):
                shards.add(path)
            records.append(manifest["unreadable"])
    for path in sorted(work.glob("*.arrow")):
        if not shards.add(path):
            path.unlink()
    known = _findings(out / MANIFEST, records)
    for path in sorted(work.glob("*.json")):
        try:
            known |= _findings(path, [json.loads(path.read_text())])
        except (ValueError, DataError):  # damaged: its samples are read again
            path.unlink()
    return shards, known


def _findings(path: Path, records: Sequence[Any]) -> dict[str, list[Finding]]:
    """Return findings by stamp, as `in_parallel` and `write_result` wrote them."""
    try:
        return {stamp: rows for record in records for stamp, rows in by_stamp(record).items()}
    except (TypeError, AttributeError) as error:
        raise DataError(f"`{path}` is damaged ({error}). Delete it and prepare the data again.") from error
