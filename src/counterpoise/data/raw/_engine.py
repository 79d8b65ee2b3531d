"""From raw files to prepared data: in parallel, in shards that survive being killed, nothing left out without being told."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise.data._core import SPLITS, DataInfo
from counterpoise.data._prepared import quiet_datasets, write_info
from counterpoise.data.raw._findings import Finding, UnreadableError, summary, to_csv
from counterpoise.data.raw._index import Index, Item, check_index
from counterpoise.data.raw._readers import Reader
from counterpoise.errors import DataError, OutputError
from counterpoise.runs import write_atomic

__all__ = ["FINDINGS", "MANIFEST", "Report", "check_prepared", "prepare_index"]

MANIFEST: Final = "manifest.json"
FINDINGS: Final = "findings.csv"
FORMAT: Final = 1
CHUNK: Final = 32
"""Samples per shard of work: what is lost at most per process when the power goes."""
BATCH: Final = 64
SHARD: Final = 1 << 27
"""Bytes of a file of the result: what writing it needs of memory, however many there are."""


@dataclass(frozen=True)
class Report:
    """What came of preparing raw files.

    Attributes:
        samples: number of samples by split.
        findings: everything that was wrong.
        read: how many samples were read now; the others lay there from before.
        info: what is known about the prepared data.
    """

    samples: Mapping[str, int]
    findings: Sequence[Finding]
    read: int
    info: DataInfo

    @property
    def left_out(self) -> int:
        """Number of samples that are missing from the prepared data."""
        return len({f.item for f in self.findings if f.left_out})

    def lines(self) -> list[str]:
        """Return the report for the screen."""
        return summary(self.findings)


def prepare_index(
    index: Index,
    out: Path,
    *,
    name: str,
    recipe: Mapping[str, Any],
    jobs: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Read every item and write the prepared data, a manifest and the findings.

    Work is done in shards of 32 samples in ``.NAME.partial`` beside ``out``; a second run, also after a kill, reads only what is missing there and
    what has changed since ``out`` was written. The result does not depend on the number of processes.

    Args:
        index: what lies in the raw folder.
        out: folder to write.
        name: name of the data set.
        recipe: settings of `RunConfig` that suit it.
        jobs: processes; None takes one per core.
        on_progress: called with the samples that are done and all samples.

    Raises:
        DataError: if a split has no readable sample.
        OutputError: if ``out`` cannot be written to.
    """
    findings = check_index(index)
    readers = dict(index.readers)
    for m, reader in readers.items():
        reader.fit(item.sources[m] for item in index.items if item.split == "train" and item.sources.get(m) is not None)
    key = _key(readers)
    work = out.parent / f".{out.name}.partial"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Could not write `{work}`: {error.strerror or error}. Choose another --out.") from error
    unique = list({item.id: item for item in index.items}.values())
    stamps = {item.id: _stamp(item, key) for item in unique}
    known, told = _reusable(work, out)
    todo = [item for item in unique if stamps[item.id] not in known and stamps[item.id] not in told]
    done = len(unique) - len(todo)
    for count, new_told in _in_parallel(todo, stamps, readers, work, jobs):
        told |= new_told
        done += count
        if on_progress is not None:
            on_progress(done, len(unique))
    known, _ = _reusable(work, out)
    findings += [f for item in unique for f in told.get(stamps[item.id], [])]
    readable = [item for item in index.items if stamps[item.id] in known]
    findings += _same_content(readable, {i: known[s][2] for i, s in stamps.items() if s in known})
    kept = {part: [item for item in readable if item.split == part] for part in SPLITS}
    for part, items in kept.items():
        if not items:
            _write_findings(work, findings)
            raise DataError(
                f"No sample of the split `{part}` of `{name}` could be read. {' '.join(summary(findings)) or 'None is listed.'} "
                f"The whole list: {work / FINDINGS}."
            )
    info = DataInfo(
        name=name,
        modalities=tuple(reader.modality(m) for m, reader in readers.items()),
        task=index.task,
        num_outputs=len(index.classes) if index.classes else int(np.size(index.items[0].label)),
        class_names=index.classes,
        group=index.group,
        source=index.origin,
        notes=(*index.notes, *summary(findings)),
        recipe=recipe,
        augment=index.augment,
    )
    _assemble(out, info, index, kept, {i: known[s] for i, s in stamps.items() if s in known}, stamps)
    manifest = {
        "format": FORMAT,
        "name": name,
        "parameters": {m: reader.parameters for m, reader in readers.items()},
        "samples": {part: len(items) for part, items in kept.items()},
        "listed": dict(Counter(item.split for item in index.items)),
        "published": dict(index.expected),
        "left_out": len({f.item for f in findings if f.left_out}),
        "findings": dict(Counter(f.kind for f in findings)),
        "files": {path.relative_to(out).as_posix(): _checksum(path) for path in sorted(out.rglob("*.arrow"))},
        "told": {s: [asdict(f) for f in told[s]] for s in sorted(set(stamps.values()) & set(told))},
    }
    write_atomic(out / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    _write_findings(out, findings)
    shutil.rmtree(work, ignore_errors=True)
    return Report({part: len(items) for part, items in kept.items()}, findings, len(todo), info)


def _write_findings(folder: Path, findings: Sequence[Finding]) -> None:
    write_atomic(folder / FINDINGS, to_csv(findings))


def _key(readers: Mapping[str, Reader]) -> str:
    content = json.dumps({m: r.parameters for m, r in readers.items()}, sort_keys=True, default=str)
    return hashlib.blake2b(f"{FORMAT}{content}".encode(), digest_size=8).hexdigest()


def _stamp(item: Item, key: str) -> str:
    """Return a hash of what a sample is made of: its sources as they are now (path, size, time), and the parameters."""
    digest = hashlib.blake2b(f"{key}{item.id}".encode(), digest_size=12)
    for m, source in item.sources.items():
        for part in source if isinstance(source, tuple) else (source,):
            digest.update(m.encode())
            digest.update(_state(part))
    return digest.hexdigest()


def _state(source: Any) -> bytes:
    if isinstance(source, Path):
        try:
            stat = source.stat()
        except OSError:
            return b"missing"
        return f"{source}{stat.st_size}{stat.st_mtime_ns}".encode()
    return source.encode() if isinstance(source, str) else np.asarray(source).tobytes()


def _read(item: Item, readers: Mapping[str, Reader]) -> tuple[dict[str, np.ndarray] | None, list[Finding], str]:
    """Return a sample's arrays (None if it is left out), what was found, and a hash of its files' content."""
    arrays: dict[str, np.ndarray] = {}
    found: list[Finding] = []
    digest = hashlib.blake2b(digest_size=12)
    for m, reader in readers.items():
        source = item.sources.get(m)

        def remark(kind: str, detail: str, m: str = m) -> None:
            found.append(Finding(kind, item.id, m, detail, False))

        try:
            if source is None:
                raise UnreadableError("missing", f"{item.id}: no {m}")
            arrays[m] = reader.read(source, remark)
            digest.update(_content(source, arrays[m]))
        except UnreadableError as error:
            found.append(Finding(error.kind, item.id, m, error.detail, True))
    return (arrays if len(arrays) == len(readers) else None), found, digest.hexdigest()


def _content(source: Any, array: np.ndarray) -> bytes:
    """Return what tells a source from another: a file's bytes or a text itself; for folders and numbers what was read."""
    if isinstance(source, Path) and source.is_file():
        return _checksum(source).encode()
    return source.encode() if isinstance(source, str) else array.tobytes()


def _chunk(
    items: Sequence[Item], stamps: Sequence[str], readers: Mapping[str, Reader], work: str
) -> tuple[int, dict[str, Any]]:
    """Read some items and write them as one shard, whole or not at all."""
    rows, told = [], {}
    for item, stamp in zip(items, stamps, strict=True):
        arrays, found, content = _read(item, readers)
        if found:
            told[stamp] = [asdict(f) for f in found]
        if arrays is not None:
            rows.append((stamp, content, arrays))
    folder = Path(work)
    if rows:
        columns: dict[str, Any] = {"stamp": [r[0] for r in rows], "content": [r[1] for r in rows]}
        columns |= {m: np.stack([r[2][m] for r in rows]) for m in readers}
        _write_arrow(folder / f"{stamps[0]}.arrow", [columns])
    if told:
        write_atomic(folder / f"{stamps[0]}.json", json.dumps(told))
    return len(items), told


def _in_parallel(
    items: Sequence[Item], stamps: Mapping[str, str], readers: Mapping[str, Reader], work: Path, jobs: int | None
) -> Iterator[tuple[int, dict[str, list[Finding]]]]:
    import joblib

    jobs = jobs or os.cpu_count() or 1
    chunks = [items[k : k + CHUNK] for k in range(0, len(items), CHUNK)]
    calls = ((chunk, [stamps[item.id] for item in chunk], readers, str(work)) for chunk in chunks)
    if jobs == 1 or len(chunks) < 2:
        results: Iterable[Any] = (_chunk(*call) for call in calls)
    else:
        parallel = joblib.Parallel(n_jobs=min(jobs, len(chunks)), return_as="generator_unordered")
        results = parallel(joblib.delayed(_chunk)(*call) for call in calls)
    for count, told in results:
        yield count, {stamp: [Finding(**f) for f in found] for stamp, found in told.items()}


def _write_arrow(path: Path, batches: Iterable[Mapping[str, Any]]) -> None:
    """Write batches of columns as one Arrow stream, atomically: arrays ``(n, ...)`` as fixed-size lists, the rest as it is."""
    import pyarrow as pa

    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    os.close(handle)
    writer = None
    try:
        with pa.OSFile(temporary, "wb") as sink:
            for columns in batches:
                table = pa.table({k: _column(v) for k, v in columns.items()})
                writer = writer or pa.ipc.new_stream(sink, table.schema)
                writer.write_table(table)
            if writer is not None:
                writer.close()
        Path(temporary).replace(path)
    except OSError as error:
        raise OutputError(
            f"Could not write `{path}`: {error.strerror or error}. Make room; the next run goes on from here."
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _column(values: Any) -> Any:
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.ndim > 1:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, values[0].size)
    return pa.array(values)


Row = tuple[Any, int, str]
"""A memory-mapped table, the row in it, and the hash of the sample's content."""


def _reusable(work: Path, out: Path) -> tuple[dict[str, Row], dict[str, list[Finding]]]:
    """Return the samples that are there already, by stamp, and what was found when they were read."""
    import pyarrow as pa

    rows: dict[str, Row] = {}
    told: dict[str, list[Finding]] = {}
    shards = (
        [*sorted(out.rglob("*.arrow")), *sorted(work.glob("*.arrow"))]
        if (out / MANIFEST).is_file()
        else sorted(work.glob("*.arrow"))
    )
    for path in shards:
        table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        if "stamp" in table.column_names:
            stamps, contents = table.column("stamp").to_pylist(), table.column("content").to_pylist()
            rows |= {
                stamp: (table, k, content) for k, (stamp, content) in enumerate(zip(stamps, contents, strict=True))
            }
    records = [json.loads(path.read_text()) for path in sorted(work.glob("*.json"))]
    if (out / MANIFEST).is_file():
        records.insert(0, json.loads((out / MANIFEST).read_text()).get("told", {}))
    for record in records:
        told |= {stamp: [Finding(**f) for f in found] for stamp, found in record.items()}
    return rows, told


def _same_content(items: Sequence[Item], content: Mapping[str, str]) -> list[Finding]:
    """Return one finding per sample whose content stands under another id in another split."""
    first: dict[str, Item] = {}
    found = []
    for item in items:
        other = first.setdefault(content[item.id], item)
        if other.id != item.id and other.split != item.split:
            detail = f"{item.id} ({item.split}) is the same as {other.id} ({other.split})"
            found.append(Finding("duplicate", item.id, "", detail, False))
    return found


def _assemble(
    out: Path, info: DataInfo, index: Index, kept: Mapping[str, Sequence[Item]], rows: Mapping[str, Row], stamps: Mapping[str, str]
) -> None:  # fmt: skip
    """Write the splits as a Hugging Face ``DatasetDict`` in the index's order, a few rows at a time, and put it in place at once."""
    import datasets

    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    number = {name: k for k, name in enumerate(index.classes)}
    try:
        parts = {}
        for part, items in kept.items():
            shard = temporary / f"{part}.arrow"
            _write_arrow(shard, _batches(info, items, rows, stamps, number))
            parts[part] = datasets.Dataset.from_file(str(shard))
        final = temporary / "final"
        with quiet_datasets():
            shards = {part: -(-(temporary / f"{part}.arrow").stat().st_size // SHARD) for part in parts}
            datasets.DatasetDict(parts).save_to_disk(str(final), num_shards=shards)
        write_info(info, final)
        final.chmod(0o755)
        old = temporary / "old"
        if out.exists():
            out.replace(old)
        final.replace(out)
    except OSError as error:
        raise OutputError(
            f"Could not write `{out}`: {error.strerror or error}. Make room; the next run goes on from here."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _batches(
    info: DataInfo, items: Sequence[Item], rows: Mapping[str, Row], stamps: Mapping[str, str], number: Mapping[str, int]
) -> Iterator[dict[str, Any]]:  # fmt: skip
    for start in range(0, len(items), BATCH):
        some = items[start : start + BATCH]
        columns: dict[str, Any] = {}
        for modality in info.modalities:
            picked = [_cell(rows[item.id], modality.name) for item in some]
            columns[modality.name] = np.stack(picked).reshape(len(some), -1)
        if info.task == "multiclass":
            columns["label"] = np.array([number[str(item.label)] for item in some], np.int64)
        else:
            kind = np.float32 if info.task == "regression" else np.int64
            columns["label"] = np.array([np.atleast_1d(item.label) for item in some], kind)
        if info.group:
            columns["group"] = [item.group for item in some]
        columns["item"] = [item.id for item in some]
        columns["stamp"] = [stamps[item.id] for item in some]
        columns["content"] = [rows[item.id][2] for item in some]
        yield columns


def _cell(row: Row, column: str) -> np.ndarray:
    table, k, _ = row
    values: np.ndarray = table.column(column)[k].values.to_numpy(zero_copy_only=False)
    return values


def _checksum(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def check_prepared(folder: Path) -> tuple[list[str], bool]:
    """Return what there is to say of prepared data, and whether all is well: counts against the lists and the published ones, checksums, findings.

    Raises:
        DataError: if the manifest is damaged.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        lines = [f"{manifest['name']}: prepared data of format {manifest['format']}"]
        for part, count in manifest["samples"].items():
            published = manifest["published"].get(part)
            more = f", {published:,} published" if published else ""
            lines.append(f"{part}: {count:,} samples of {manifest['listed'].get(part, 0):,} listed{more}")
        damaged = [
            name
            for name, known in manifest["files"].items()
            if not (folder / name).is_file() or _checksum(folder / name) != known
        ]
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(f"`{folder / MANIFEST}` is damaged ({error}). Prepare the data again.") from error
    lines += [f"damaged: {name}" for name in damaged]
    lines += [f"{count} x {kind}" for kind, count in manifest["findings"].items()]
    lines.append(
        f"left out: {manifest['left_out']} samples" + (f" (see {folder / FINDINGS})" if manifest["left_out"] else "")
    )
    return lines, not damaged and not manifest["left_out"]
