"""Parallel preparation of raw files in shards that survive an interruption; every sample that is left out is
reported.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise._extras import extra
from counterpoise._files import write_atomic
from counterpoise.data._arrow import write_splits
from counterpoise.data._info import SPLITS, DataInfo
from counterpoise.data.absence import absence_notes
from counterpoise.data.preparation._findings import Finding, UnreadableError, summary, to_csv
from counterpoise.data.preparation._index import Index, Item, check_index, presence_of, targets_of
from counterpoise.data.preparation._reader import Reader, absence, is_empty, without_any
from counterpoise.data.preparation._result import (
    FINDINGS,
    MANIFEST,
    checksum,
    read_manifest,
    undamaged,
    write_split,
)
from counterpoise.data.preparation._shards import Sample, Shards, write_shard
from counterpoise.errors import ConfigError, DataError, NotFoundError, OutputError

__all__ = ["Report", "prepare_index"]

FORMAT: Final = 3
"""Version of the readers. It is increased when a reader returns other arrays for the same file, so that older results
are not reused."""
CHUNK: Final = 32
"""Samples per shard; after a power failure, each process loses at most one shard."""


@dataclass(frozen=True)
class Report:
    """Result of preparing raw files.

    Attributes:
        samples: Number of samples by split.
        findings: All faults.
        read: Number of samples read by this call; the others were read earlier.
        info: Description of the prepared data.
    """

    samples: Mapping[str, int]
    findings: Sequence[Finding]
    read: int
    info: DataInfo

    @property
    def left_out(self) -> int:
        """Number of samples that are missing from the prepared data."""
        return _left_out(self.findings)

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

    Work is done in shards of 32 samples in ``.NAME.partial`` beside ``out``. A second run, also after a kill, reads
    only the samples that are missing, and those that were changed or damaged since ``out`` was written. The result does
    not depend on the number of processes.

    Args:
        index: Content of the raw folder.
        out: Folder to write.
        name: Name of the data set.
        recipe: Settings of `RunConfig` that suit it.
        jobs: Number of processes; None uses one per core.
        on_progress: Function that is called with the numbers of finished samples and of all samples.

    Raises:
        DataError: If a split has no readable sample.
        OutputError: If ``out`` cannot be written to.
    """
    findings = check_index(index)
    readers = dict(index.readers)
    _fit(readers, index)
    key = _key(readers, index.optional)
    unique = list({item.id: item for item in index.items}.values())
    stamps = {item.id: _stamp(item, key) for item in unique}
    work = out.parent / f".{out.name}.partial"
    with _writing(out):
        work.mkdir(parents=True, exist_ok=True)
        shards, unreadable = _from_before(work, out)
        todo = [item for item in unique if stamps[item.id] not in shards and stamps[item.id] not in unreadable]
        progress = _Progress(len(unique) - len(todo), len(unique), on_progress)
        for count, path, new in _in_parallel(todo, stamps, readers, work, jobs, index.optional):
            unreadable |= new
            if path is not None:
                shards.add(path)
            progress.add(count)
        for item in unique:
            findings += [*unreadable.get(stamps[item.id], []), *shards.findings.get(stamps[item.id], [])]
        readable = [item for item in index.items if stamps[item.id] in shards]
        findings += _same_content(readable, tuple(readers), stamps, shards)
        kept = _by_split(readable)
        _check_not_empty(kept, name, work, findings)
        _check_present(kept["train"], readers, stamps, shards, work, findings)
        notes = [*summary(findings), *_absence(index, readable, stamps, shards)]
        info = _info(index, readers, name, recipe, notes)
        _write(work, out, info, index, kept, stamps, shards, unreadable, findings)
    return Report({part: len(items) for part, items in kept.items()}, findings, len(todo), info)


def _absence(index: Index, items: Sequence[Item], stamps: Mapping[str, str], shards: Shards) -> list[str]:
    """Return notes on how often each modality is present, and on whether its absence is informative about the label."""
    present = presence_of([shards.absent(stamps[item.id]) for item in items], index.readers)
    return absence_notes(present, targets_of(items, index.task), index.task)


def _fit(readers: Mapping[str, Reader], index: Index) -> None:
    train = [item for item in index.items if item.split == "train"]
    for m, reader in readers.items():
        reader.fit(item.sources[m] for item in train if item.sources.get(m) is not None)


class _Progress:
    """The number of samples that are done."""

    def __init__(self, done: int, total: int, on_progress: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._call = done, total, on_progress

    def add(self, count: int) -> None:
        self._done += count
        if self._call is not None:
            self._call(self._done, self._total)


def _by_split(items: Sequence[Item]) -> dict[str, list[Item]]:
    return {part: [item for item in items if item.split == part] for part in SPLITS}


def _check_not_empty(kept: Mapping[str, Sequence[Item]], name: str, work: Path, findings: Sequence[Finding]) -> None:
    empty = next((part for part, items in kept.items() if not items), None)
    if empty is not None:
        write_atomic(work / FINDINGS, to_csv(findings))
        raise DataError(
            f"No sample of the split `{empty}` of `{name}` could be read. "
            f"{' '.join(summary(findings)) or 'None is listed.'} The whole list: {work / FINDINGS}."
        )


def _check_present(
    train: Sequence[Item],
    modalities: Iterable[str],
    stamps: Mapping[str, str],
    shards: Shards,
    work: Path,
    findings: Sequence[Finding],
) -> None:
    """Raise `DataError` if no training sample has some modality, which means a wrong folder rather than absent data."""
    never = set(modalities).intersection(*(shards.absent(stamps[item.id]) for item in train))
    if never:
        write_atomic(work / FINDINGS, to_csv(findings))
        raise DataError(
            f"No training sample has the modality `{min(never)}`. {' '.join(summary(findings))} Correct its column, or "
            f"leave it out. The whole list: {work / FINDINGS}."
        )


def _left_out(findings: Iterable[Finding]) -> int:
    return len({f.item for f in findings if f.left_out})


@contextmanager
def _writing(out: Path) -> Iterator[None]:
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


def _info(
    index: Index, readers: Mapping[str, Reader], name: str, recipe: Mapping[str, Any], notes: Sequence[str]
) -> DataInfo:
    return DataInfo(
        name=name,
        modalities=tuple(reader.modality(m) for m, reader in readers.items()),
        task=index.task,
        num_outputs=len(index.classes) if index.classes else int(np.size(index.items[0].label)),
        class_names=index.classes,
        group=index.group,
        source=index.origin,
        notes=(*index.notes, *notes),
        recipe=recipe,
        augment=index.augment,
        target_offset=index.target_offset,
        target_unit=index.target_unit,
    )


def _write(
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
        "left_out": _left_out(findings),
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


def _from_before(work: Path, out: Path) -> tuple[Shards, dict[str, list[Finding]]]:
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
    """Return findings by stamp, as `_chunk` and `_write` wrote them."""
    try:
        return {s: [Finding(**f) for f in entries] for record in records for s, entries in record.items()}
    except (TypeError, AttributeError) as error:
        raise DataError(f"`{path}` is damaged ({error}). Delete it and prepare the data again.") from error


def _key(readers: Mapping[str, Reader], optional: Collection[str]) -> str:
    content = json.dumps({m: r.parameters for m, r in readers.items()}, sort_keys=True, default=str)
    content += ",".join(sorted(optional))
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
    """Return what changes when a source does: of files path, size and time; of a folder those of the files in it."""
    if isinstance(source, Path):
        try:
            stat = source.stat()
            inside = sorted(source.iterdir()) if source.is_dir() else []
            return f"{source}{stat.st_size}{stat.st_mtime_ns}".encode() + b"".join(map(_state, inside))
        except OSError:
            return b"missing"
    return source.encode() if isinstance(source, str) else np.asarray(source).tobytes()


def _read(
    item: Item, stamp: str, readers: Mapping[str, Reader], optional: Collection[str]
) -> tuple[Sample | None, list[Finding]]:
    """Return a sample, or None and what cost it; what was found besides is part of either.

    A modality whose source cannot be read for one of the reasons in ``optional`` is absent.
    """
    arrays: dict[str, np.ndarray] = {}
    findings: list[Finding] = []
    content = []
    for m, reader in readers.items():
        array, remarks = _read_source(item, m, reader, optional)
        findings += remarks
        if array is not None:
            arrays[m] = array
            content.append("" if any(f.kind == "absent" for f in remarks) else _content(item.sources.get(m), array))
    if sum(f.kind == "absent" for f in findings) == len(readers):
        return None, without_any(item.id, findings)
    whole = len(arrays) == len(readers)
    return (Sample(stamp, content, findings, arrays) if whole else None), findings


def _read_source(
    item: Item, m: str, reader: Reader, optional: Collection[str]
) -> tuple[np.ndarray | None, list[Finding]]:
    """Return the array of one modality, or None if that costs the sample, and what was found."""
    source = item.sources.get(m)
    findings: list[Finding] = []
    try:
        if is_empty(source):
            raise UnreadableError("missing", f"{item.id}: no {m}")
        return reader.read(
            source, lambda kind, detail: findings.append(Finding(kind, item.id, m, detail, False))
        ), findings
    except UnreadableError as error:
        fault = error
    except (ConfigError, NotFoundError, OutputError):
        raise  # about the settings or the installation, not about this sample
    except Exception as error:
        detail = f"{_named(item, source)}: {type(error).__name__}: {error}"
        fault = UnreadableError("undecodable", " ".join(detail.split()))
    if absent := absence(m, item.id, source, fault, optional):
        return reader.blank(), [*findings, *absent]
    return None, [*findings, Finding(fault.kind, item.id, m, fault.detail, True)]


def _named(item: Item, source: Any) -> str:
    return str(source) if isinstance(source, Path) else item.id


def _content(source: Any, array: np.ndarray) -> str:
    """Return a hash of a file (of a folder: of what was read), or nothing for texts and numbers.

    Texts and numbers of different samples may be equal by chance.
    """
    if isinstance(source, Path) and source.is_file():
        return checksum(source)
    if isinstance(source, (Path, tuple)):
        return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
    return ""


def _chunk(
    items: Sequence[Item], stamps: Sequence[str], readers: Mapping[str, Reader], work: str, optional: Collection[str]
) -> tuple[int, str | None, dict[str, list[dict[str, Any]]]]:
    """Read some items and write them as one shard; return their number, the shard, and what cannot be read."""
    if multiprocessing.parent_process() is not None:
        _one_thread()
    samples: list[Sample] = []
    unreadable: dict[str, list[dict[str, Any]]] = {}
    for item, stamp in zip(items, stamps, strict=True):
        sample, findings = _read(item, stamp, readers, optional)
        if sample is None:
            unreadable[stamp] = [asdict(f) for f in findings]
        else:
            samples.append(sample)
    folder = Path(work)
    path = None
    if unreadable:
        write_atomic(folder / f"{stamps[0]}.json", json.dumps(unreadable))
    if samples:
        path = folder / f"{stamps[0]}.arrow"
        write_shard(path, samples)
    return len(items), str(path) if path else None, unreadable


def _one_thread() -> None:
    """Keep OpenCV, where it is loaded, from starting a thread per core in every process."""
    import sys

    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


def _in_parallel(
    items: Sequence[Item],
    stamps: Mapping[str, str],
    readers: Mapping[str, Reader],
    work: Path,
    jobs: int | None,
    optional: Collection[str],
) -> Iterator[tuple[int, Path | None, dict[str, list[Finding]]]]:
    with extra("data", "Preparing data"):
        import joblib
        from joblib.externals.loky.process_executor import TerminatedWorkerError

    chunks = [items[k : k + CHUNK] for k in range(0, len(items), CHUNK)]
    calls = ((chunk, [stamps[item.id] for item in chunk], readers, str(work), optional) for chunk in chunks)
    processes = min(jobs or joblib.cpu_count(), len(chunks))
    if processes < 2:
        results: Iterable[Any] = (_chunk(*call) for call in calls)
    else:
        parallel = joblib.Parallel(n_jobs=processes, return_as="generator_unordered")
        results = parallel(joblib.delayed(_chunk)(*call) for call in calls)
    try:
        for count, path, unreadable in results:
            yield count, Path(path) if path else None, _as_findings(unreadable)
    except TerminatedWorkerError as error:
        raise DataError(
            "A process that was reading files died: memory ran out, or a file crashes the decoder. Samples that were "
            "read are kept. Run the same command again with --jobs 1."
        ) from error


def _as_findings(record: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, list[Finding]]:
    return {stamp: [Finding(**fields) for fields in rows] for stamp, rows in record.items()}


def _same_content(
    items: Sequence[Item], modalities: Sequence[str], stamps: Mapping[str, str], shards: Shards
) -> list[Finding]:
    """Return a finding for every file that stands under another name in another split."""
    first: dict[tuple[str, str], Item] = {}
    findings = []
    for item in items:
        for m, content in zip(modalities, shards.content[stamps[item.id]], strict=True):
            other = first.setdefault((m, content), item) if content else item
            if other.id != item.id and other.split != item.split:
                detail = f"{m} of {item.id} ({item.split}) is the same as of {other.id} ({other.split})"
                findings.append(Finding("duplicate", item.id, m, detail, False))
    return findings
