"""Samples on disk while a data set is prepared: written atomically, read through a few mapped files at a time."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise._extras import extra
from counterpoise.data._arrow import write_arrow
from counterpoise.data.preparation._findings import Finding

__all__ = ["Sample", "Shards", "write_shard"]

OPEN: Final = 4
"""Maximum number of files that are mapped at once; it bounds the memory of reading, whatever the number of samples."""
COLUMNS: Final = ("stamp", "content", "findings")


@dataclass(frozen=True)
class Sample:
    """One sample that was read.

    Attributes:
        stamp: Hash of its sources as they were (see the engine).
        content: One hash per modality of what its file holds; empty for modalities that are not files.
        findings: Faults that did not exclude the sample.
        arrays: One per modality.
    """

    stamp: str
    content: Sequence[str]
    findings: Sequence[Finding]
    arrays: Mapping[str, np.ndarray]

    @property
    def columns(self) -> tuple[str, str, str]:
        """The entries of `COLUMNS`."""
        return self.stamp, json.dumps(list(self.content)), json.dumps([asdict(f) for f in self.findings])


def write_shard(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples as one file.

    Raises:
        OutputError: If the file cannot be written.
    """
    rows = zip(*(sample.columns for sample in samples), strict=True)
    columns: dict[str, Any] = {name: list(row) for name, row in zip(COLUMNS, rows, strict=True)}
    columns |= {m: np.stack([sample.arrays[m] for sample in samples]) for m in samples[0].arrays}
    write_arrow(path, [columns])


class Shards:
    """Samples in shards, by stamp."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[Path, int]] = {}
        self.content: dict[str, tuple[str, ...]] = {}
        self.findings: dict[str, list[Finding]] = {}
        self._open: OrderedDict[Path, Any] = OrderedDict()

    def __contains__(self, stamp: str) -> bool:
        return stamp in self._places

    def add(self, path: Path) -> bool:
        """Add the samples of a file; return False if it is not a whole file of samples."""
        with extra("data"):
            import pyarrow as pa

        try:
            table = _table(path)
            stamps, contents, findings = (table.column(name).to_pylist() for name in COLUMNS)
        except (pa.ArrowInvalid, KeyError, OSError):
            return False
        for row, stamp in enumerate(stamps):
            self._places[stamp] = path, row
            self.content[stamp] = tuple(json.loads(contents[row]))
            self.findings[stamp] = [Finding(**f) for f in json.loads(findings[row])]
        return True

    def absent(self, stamp: str) -> set[str]:
        """Return the modalities that a sample lacks."""
        return {f.modality for f in self.findings[stamp] if f.kind == "absent"}

    def cell(self, stamp: str, column: str) -> np.ndarray:
        """Return one sample's array of one modality, flat: a view of a mapped file, to be copied soon."""
        path, row = self._places[stamp]
        if path not in self._open:
            self._open[path] = _table(path)
        self._open.move_to_end(path)
        if len(self._open) > OPEN:
            self._open.popitem(last=False)
        values: np.ndarray = self._open[path].column(column)[row].values.to_numpy(zero_copy_only=False)
        return values

    def columns(self, stamps: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield the columns of the samples that are not arrays."""
        rows = [Sample(s, self.content[s], self.findings[s], {}).columns for s in stamps]
        for k, name in enumerate(COLUMNS):
            yield name, [row[k] for row in rows]


def _table(path: Path) -> Any:
    with extra("data"):
        import pyarrow as pa

    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
